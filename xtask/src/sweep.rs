//! `cargo xtask sweep`: the library's error on every input (`tests/sweep`).

use std::path::Path;

use anyhow::Result;

use crate::command::{Program, cargo};
use crate::outcome::Outcome;
use crate::{build, paths};

/// Builds the library and sweeps it; an error if it is outside of its bounds anywhere.
pub fn run(arguments: &[String]) -> Result<()> {
    let library = build::library()?;
    program(&library).args(arguments).check()
}

/// The reduced sweep, as a test: every quantity of every element type is one, with the best
/// instruction set of this machine and with lesser ones.
pub fn reduced(library: &Path) -> Vec<(String, Outcome)> {
    ["", "avx2", "baseline"]
        .into_iter()
        .map(|simd| {
            let name = match simd {
                "" => "errors of all inputs, reduced".to_owned(),
                simd => format!("the same, {simd}"),
            };
            let sweep = program(library).arg("--reduced").env("MISH_SIMD", simd);
            (name, Outcome::count(sweep))
        })
        .collect()
}

fn program(library: &Path) -> Program {
    cargo()
        .args(["run", "--quiet", "--release", "--package", "mish-sweep"])
        .args(["--", "--library"])
        .arg(library)
        .arg("--state")
        .arg(paths::target().join("sweep"))
}
