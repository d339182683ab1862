//! Where the dependencies come from: registries, checksums, licences, withdrawn versions, pins.
//!
//! What of `deny.toml` needs no database is checked here, with nothing but cargo; where
//! `cargo-deny` is installed, it runs too and adds the advisories.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::command::cargo;
use crate::outcome::Outcome;
use crate::paths;
use crate::tools::is_installed;

/// A check, and what it found in words.
type Check = fn() -> Result<String>;

/// The checks as tests.
pub fn outcome() -> Outcome {
    let mut not_run = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    let checks: [(&str, Check); 5] = [
        ("sources and checksums", locked),
        ("licences", licences),
        ("what is published", contents),
        ("withdrawn versions", withdrawn),
        ("hashes of fetched programs", pins),
    ];
    for (name, check) in checks {
        match check() {
            Ok(facts) => {
                println!("{name}: {facts}");
                passed += 1;
            }
            Err(error) if error.is::<Offline>() => not_run.push(format!("{name}: {error}")),
            Err(error) => {
                println!("{name}: {error:#}");
                failed += 1;
            }
        }
    }
    if is_installed("cargo-deny") {
        match cargo().args(["deny", "check"]).check() {
            Ok(()) => passed += 1,
            Err(error) => {
                println!("{error:#}");
                failed += 1;
            }
        }
    } else {
        not_run.push("advisories: cargo-deny, which has the database, is not installed".into());
    }
    Outcome::Ran {
        passed,
        failed,
        not_run,
    }
}

/// The registry could not be asked.
#[derive(Debug)]
struct Offline;

impl std::fmt::Display for Offline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the registry cannot be reached")
    }
}

impl std::error::Error for Offline {}

/// Every package in the lock file is the project's own or of the one registry, by its checksum.
fn locked() -> Result<String> {
    let text = fs::read_to_string(paths::root().join("Cargo.lock"))?;
    let (mut own, mut fetched) = (0, 0);
    let mut registries = BTreeSet::new();
    for package in text.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split('"').nth(1))
        };
        let name = field("name").context("a package without a name")?;
        match (field("source"), field("checksum")) {
            (None, None) => own += 1,
            (Some(source), Some(sum)) if source.starts_with("registry+") && sum.len() == 64 => {
                registries.insert(source.to_owned());
                fetched += 1;
            }
            (source, _) => bail!("{name}: source {source:?}, or no checksum"),
        }
    }
    ensure!(registries.len() == 1, "several registries: {registries:?}");
    ensure!(own >= 3 && fetched > 10, "the lock file was not understood");
    Ok(format!(
        "{fetched} packages by checksum, {own} of the project"
    ))
}

/// Every licence is one that `deny.toml` allows.
fn licences() -> Result<String> {
    let allowed = allowed()?;
    let tree = cargo()
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--edges",
            "all",
            "--target",
            "all",
        ])
        .args(["--prefix", "none", "--format", "{p}|{l}"])
        .read()?;
    let mut seen = BTreeSet::new();
    // Headings of kinds of dependencies are in brackets.
    for line in tree.lines().filter(|line| line.contains('|')) {
        let (package, licence) = line.split_once('|').context("no licence column")?;
        let licence = licence.trim_end_matches(" (*)");
        ensure!(
            is_allowed(licence, &allowed),
            "{package}: {licence:?} is not allowed by deny.toml"
        );
        seen.insert(package.split(' ').next().unwrap_or(package).to_owned());
    }
    ensure!(seen.len() > 10, "the tree was not understood");
    Ok(format!("{} packages, all allowed", seen.len()))
}

fn allowed() -> Result<Vec<String>> {
    let text = fs::read_to_string(paths::root().join("deny.toml"))?;
    let list = text
        .split_once("[licenses]")
        .and_then(|(_, rest)| rest.split_once("allow = ["))
        .and_then(|(_, rest)| rest.split_once(']'))
        .context("deny.toml has no list of licences")?
        .0;
    Ok(list
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect())
}

/// An SPDX expression: alternatives of conjunctions, which may be in parentheses.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut conjunctions = split(&expression, " AND ");
    if conjunctions.len() > 1 {
        return conjunctions.iter().all(|part| is_allowed(part, allowed));
    }
    let alternatives = split(&conjunctions.remove(0), " OR ");
    if alternatives.len() > 1 {
        return alternatives.iter().any(|part| is_allowed(part, allowed));
    }
    let bare = alternatives[0].trim();
    match bare
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(inner) => is_allowed(inner, allowed),
        None => allowed.iter().any(|licence| licence == bare),
    }
}

/// Splits outside of parentheses.
fn split(text: &str, by: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if depth == 0 && rest.starts_with(by) {
            parts.push(String::new());
            rest = &rest[by.len()..];
            continue;
        }
        depth += i32::from(c == '(') - i32::from(c == ')');
        parts.last_mut().expect("not empty").push(c);
        rest = &rest[c.len_utf8()..];
    }
    parts
}

/// The published crate has what it is built from and what says how to use it, and neither
/// measurements nor pictures.
fn contents() -> Result<String> {
    let list = cargo()
        .args(["package", "--package", "libmish", "--list", "--allow-dirty"])
        .read()?;
    let wanted = |file: &str| {
        let parts = [
            "src/",
            "kernels/",
            "include/",
            "examples/quickstart.rs",
            "tests/reference",
        ];
        // At the top, cargo adds some of its own.
        !file.contains('/') || parts.iter().any(|part| file.starts_with(part))
    };
    let other: Vec<&str> = list.lines().filter(|file| !wanted(file)).collect();
    ensure!(
        other.is_empty(),
        "published without need: {}",
        other.join(" ")
    );
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
    Ok(format!("{} files", list.lines().count()))
}

/// No locked version was withdrawn, and what is packed builds: publishing asks the registry about
/// each, up to the upload.
fn withdrawn() -> Result<String> {
    let (success, text) = cargo()
        .args([
            "publish",
            "--package",
            "libmish",
            "--dry-run",
            "--allow-dirty",
        ])
        .arg("--target-dir")
        .arg(paths::target().join("package"))
        .output()?;
    let is_offline = [
        "failed to download",
        "failed to fetch",
        "Could not resolve",
        "offline",
    ]
    .iter()
    .any(|part| text.contains(part));
    if !success && is_offline {
        return Err(Offline.into());
    }
    ensure!(success, "{text}");
    let withdrawn: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("yanked"))
        .collect();
    ensure!(withdrawn.is_empty(), "{}", withdrawn.join("\n"));
    Ok("none".into())
}

/// What is fetched to make the library or to look into it is pinned by version and hash.
fn pins() -> Result<String> {
    let mut pinned = Vec::new();
    for file in ["kernels.txt", "disassembler.txt"] {
        let path = paths::root().join("xtask/requirements").join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let text = text.replace("\\\n", " ");
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let is_pinned = line.contains("==") && line.contains("--hash=sha256:");
            ensure!(is_pinned, "{file}: {line} has no version or no hash");
            pinned.push(line.split(' ').next().unwrap_or(line).to_owned());
        }
    }
    ensure!(!pinned.is_empty(), "no pins were found");
    Ok(pinned.join(", "))
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn expressions() {
        let allowed = ["MIT".to_owned(), "Zlib".to_owned()];
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/Zlib",
            "(GPL-3.0 OR MIT) AND Zlib",
        ] {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR Zlib) AND GPL-3.0",
        ] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }
}
