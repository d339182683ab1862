//! Where the dependencies come from. cargo-deny judges licences, sources and advisories by
//! `deny.toml`, pip the hashes of what it fetches. By hand is what neither looks at: what the
//! published crate holds, and what cargo says of it when asked to publish.

use std::fs;

use anyhow::{Result, ensure};

use crate::env::tools::{Missing, is_installed};
use crate::env::{paths, toolchain};
use crate::run::command::{Program, cargo, program};
use crate::run::outcome::{Outcome, Outcomes};
use crate::tasks::build;

/// The checks as tests.
pub fn all() -> Outcomes {
    let mut outcome = Outcome::default();
    let mut add = |name: &str, result: Result<()>| {
        println!("{name}");
        outcome.add(name, result);
    };
    let rules = [
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ];
    add(
        "licences and sources",
        deny().and_then(|deny| deny.args(rules).check()),
    );
    add("advisories", advisories());
    add("what is published", contents());
    add("withdrawn versions", withdrawn());
    vec![("dependencies".into(), outcome)]
}

fn deny() -> Result<Program> {
    Ok(match is_installed("cargo-deny") {
        true => cargo().arg("deny"),
        false => program(toolchain::DENY.ensure()?),
    })
}

fn advisories() -> Result<()> {
    if !deny()?.words("fetch db").output()?.0 {
        return Err(Missing("their database cannot be fetched".into()).into());
    }
    deny()?.words("check --disable-fetch advisories").check()
}

/// The published crate has what it is built from and what says how to use it, and neither
/// measurements nor pictures.
fn contents() -> Result<()> {
    let list = cargo()
        .words("package --package libmish --list --allow-dirty")
        .read()?;
    let wanted = [
        "src/",
        "kernels/",
        "include/",
        "examples/quickstart.rs",
        "tests/reference",
    ];
    for file in list.lines() {
        // At the top, cargo adds some of its own.
        let is_wanted = !file.contains('/') || wanted.iter().any(|part| file.starts_with(part));
        ensure!(is_wanted, "published without need: {file}");
    }
    for file in [
        "src/lib.rs",
        "kernels/mish.cu",
        "build.rs",
        "include/mish.h",
        "LICENSE-MIT",
    ] {
        ensure!(
            list.lines().any(|line| line == file),
            "not published: {file}"
        );
    }
    let manifest = fs::read_to_string(paths::root().join("Cargo.toml"))?;
    for field in ["homepage", "repository", "description", "license"] {
        let is_there = manifest.lines().any(|line| line.starts_with(field));
        ensure!(is_there, "Cargo.toml declares no {field}");
    }
    Ok(())
}

/// No locked version was withdrawn, and what is packed builds: publishing asks the registry about
/// each, up to the upload.
fn withdrawn() -> Result<()> {
    let (success, text) = build::with_images(cargo())?
        .words("publish --package libmish --dry-run --allow-dirty --target-dir")
        .arg(paths::target().join("package"))
        .output()?;
    let offline = [
        "failed to download",
        "failed to fetch",
        "Could not resolve",
        "offline",
    ];
    if !success && offline.iter().any(|part| text.contains(part)) {
        return Err(Missing("the registry cannot be reached".into()).into());
    }
    let withdrawn: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("yanked"))
        .collect();
    ensure!(success, "it cannot be published:\n{text}");
    ensure!(withdrawn.is_empty(), "{}", withdrawn.join("\n"));
    Ok(())
}
