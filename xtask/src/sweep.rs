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

/// The reduced sweep, as a test: every quantity of every element type is one.
pub fn reduced(library: &Path) -> Outcome {
    Outcome::count(program(library).arg("--reduced"))
}

fn program(library: &Path) -> Program {
    cargo()
        .args(["run", "--quiet", "--release", "--package", "mish-sweep"])
        .args(["--", "--library"])
        .arg(library)
        .arg("--state")
        .arg(paths::target().join("sweep"))
}
