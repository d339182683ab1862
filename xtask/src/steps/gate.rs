//! `cargo xtask gate`: instructions per element of every kernel against `bench/instructions.json`,
//! which stands for their speed without timing anything.

use std::path::Path;

use anyhow::{Result, bail};

use super::c;
use crate::env::python::CORE;
use crate::env::toolchain;
use crate::env::tools::{is_installed, need_baseline};
use crate::run::command::{Program, program, rustc_version};
use crate::run::outcome::{Outcome, Outcomes};
use crate::tasks::{build, overhead, test};

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
pub fn all(context: &test::Context) -> Outcomes {
    let (library, python) = (&context.library, &context.python);
    let counted = need_baseline("the count").and_then(|()| counter(library, python));
    let quiet = overhead::on_stub("tests/gate/calls.c", "calls", library);
    let quiet = quiet.map(|calls| calls.arg("quiet"));
    vec![
        (
            "instructions per element".into(),
            Outcome::reported(counted),
        ),
        (
            "a CUDA call: no allocation, no system call".into(),
            Outcome::reported(quiet),
        ),
    ]
}

/// `bench/instructions.py` with what it counts.
fn counter(library: &Path, python: &Path) -> Result<Program> {
    let mut counter = program(python)
        .arg("bench/instructions.py")
        .arg("--kernels")
        .arg(build::images()?)
        .arg("--library")
        .arg(library)
        .args(["--rustc", &rustc_version()?]);
    if is_installed("gcc") {
        let compile = |name: &str| c::compile(&format!("tests/gate/{name}.c"), name, library);
        counter = counter
            .arg("--count")
            .arg(compile("count")?)
            .arg("--calls")
            .arg(compile("calls")?)
            .arg("--stub")
            .arg(overhead::stub()?);
    }
    match toolchain::DISASSEMBLER.ensure() {
        Ok(nvdisasm) => counter = counter.arg("--nvdisasm").arg(nvdisasm),
        Err(error) => println!("{error:#}"),
    }
    Ok(counter)
}
