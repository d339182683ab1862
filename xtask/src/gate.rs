//! `cargo xtask gate`: instructions per element of every kernel against `bench/instructions.json`,
//! which stands for their speed without timing anything.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{Program, json_strings, program};
use crate::outcome::Outcome;
use crate::python::CORE;
use crate::tools::{is_installed, need_baseline};
use crate::{build, c_suite, overhead, toolchain};

/// Compares, or with `--write` takes the counts as they are into the file.
pub fn run(arguments: &[String]) -> Result<()> {
    let write = match arguments {
        [] => None,
        [flag] if flag == "--write" => Some(flag),
        _ => bail!("usage: cargo xtask gate [--write]"),
    };
    let library = build::library()?;
    counter(&library, &CORE.ensure()?)?.args(write).check()
}

/// As a test: every kernel of every image and instruction set is one; and what a CUDA call must
/// not do on its way to the launch.
pub fn all(library: &Path, python: &Path) -> Vec<(String, Outcome)> {
    let counted = need_baseline("the count").and_then(|()| counter(library, python));
    let quiet = calls(library).map(|calls| calls.arg("quiet"));
    vec![
        (
            "instructions per element".into(),
            Outcome::count_if(counted),
        ),
        (
            "a CUDA call: no allocation, no system call".into(),
            Outcome::count_if(quiet),
        ),
    ]
}

/// `tools/instructions.py` with what it counts.
fn counter(library: &Path, python: &Path) -> Result<Program> {
    let mut counter = program(python)
        .arg("tools/instructions.py")
        .arg("--kernels")
        .arg(images()?)
        .arg("--library")
        .arg(library)
        .args(["--rustc", program("rustc").arg("--version").read()?.trim()]);
    if is_installed("gcc") {
        let compile = |name: &str| {
            let source = PathBuf::from(format!("tests/gate/{name}.c"));
            c_suite::compile("gcc", "c99", &[source], name, library)
        };
        counter = counter
            .arg("--count")
            .arg(compile("count")?)
            .arg("--calls")
            .arg(compile("calls")?)
            .arg("--stub")
            .arg(overhead::stub()?);
    }
    match toolchain::ensure_disassembler() {
        Ok(nvdisasm) => counter = counter.arg("--nvdisasm").arg(nvdisasm),
        Err(error) => println!("{error:#}"),
    }
    Ok(counter)
}

fn calls(library: &Path) -> Result<Program> {
    overhead::on_stub("tests/gate/calls.c", "calls", library)
}

/// Where the build script of the release library put the kernels' images.
fn images() -> Result<PathBuf> {
    let messages = build::release("libmish")
        .args(["--quiet", "--message-format", "json"])
        .read()?;
    json_strings(&messages, "out_dir")
        .into_iter()
        // The repository's own folder may have that name, too.
        .find(|folder| folder.contains("/build/libmish-"))
        .map(|folder| Path::new(&folder).join("kernels"))
        .context("cargo does not name the build script's folder")
}
