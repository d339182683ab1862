//! `cargo xtask sweep`: the library's error on every input (`tests/sweep`).

use std::path::Path;

use anyhow::Result;

use crate::env::paths;
use crate::run::command::{Program, cargo};
use crate::run::outcome::{Outcome, Outcomes};
use crate::tasks::build;

/// Builds the library and sweeps it; an error if it is outside of its bounds anywhere.
pub fn run(arguments: &[String]) -> Result<()> {
    let library = build::library()?;
    program(&library).args(arguments).check()
}

/// The reduced sweep, as a test: every quantity of every element type is one, with the best
/// instruction set of this machine and with lesser ones.
pub fn reduced(library: &Path) -> Outcomes {
    ["", "avx2", "baseline"]
        .into_iter()
        .map(|simd| {
            let name = match simd {
                "" => "errors of all inputs, reduced".to_owned(),
                simd => format!("errors of all inputs, reduced, {simd}"),
            };
            let sweep = program(library).arg("--reduced").env("MISH_SIMD", simd);
            (name, Outcome::reported(Ok(sweep)))
        })
        .collect()
}

fn program(library: &Path) -> Program {
    cargo()
        .words("run --quiet --release --package mish-sweep")
        .words("-- --library")
        .arg(library)
        .arg("--state")
        .arg(paths::target().join("sweep"))
}
