//! `cargo xtask gate`: instructions per element of every kernel against `bench/instructions.json`,
//! which stands for their speed without timing anything.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{Program, cargo, is_installed, program};
use crate::outcome::Outcome;
use crate::python::CORE;
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
    let counted = count(counter(library, python));
    let quiet = match is_installed("gcc") {
        true => count(calls(library).map(|calls| calls.arg("quiet"))),
        false => Outcome::NotRun("gcc is not installed".into()),
    };
    vec![
        ("instructions per element".into(), counted),
        ("a CUDA call: no allocation, no system call".into(), quiet),
    ]
}

fn count(program: Result<Program>) -> Outcome {
    match program {
        Ok(program) => Outcome::count(program),
        Err(error) => {
            println!("{error:#}");
            Outcome::of(false)
        }
    }
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
    let messages = cargo()
        .args(["build", "--quiet", "--release", "--package", "libmish"])
        .args(["--message-format", "json"])
        .read()?;
    let key = "\"out_dir\":\"";
    messages
        .lines()
        .filter(|line| line.contains("build-script-executed"))
        .filter_map(|line| line.split_once(key)?.1.split('"').next())
        // The repository's own folder may have that name, too.
        .find(|folder| folder.contains("/build/libmish-"))
        .map(|folder| Path::new(folder).join("kernels"))
        .context("cargo does not name the build script's folder")
}
