//! The kernels' mathematics, compiled for the host and run without a GPU.

use std::fs;

use anyhow::Result;

use crate::env::{paths, tools};
use crate::run::command::{Program, program};
use crate::run::outcome::{Outcome, Outcomes};

/// Compiles and runs `tests/kernels/math.cpp`.
pub fn all() -> Outcomes {
    vec![(
        "kernel mathematics on the host".into(),
        Outcome::reported(compiled()),
    )]
}

fn compiled() -> Result<Program> {
    let folder = paths::target().join("kernels");
    let binary = folder.join("math");
    // Without the instruction, the C library's fma gives the same results more slowly.
    #[cfg(target_arch = "x86_64")]
    let fma = std::arch::is_x86_feature_detected!("fma").then_some("-mfma");
    #[cfg(not(target_arch = "x86_64"))]
    let fma: Option<&str> = None;
    // Its 128-bit floats are the reference.
    tools::need_flags("g++", "c++", &["-lquadmath"])?;
    fs::create_dir_all(&folder)?;
    program("g++")
        .words("-std=c++17 -O2 -Wall -Wextra -Werror")
        // The kernels' loop pragmas are for another compiler; every fused multiply-add is written
        // out, and no others may appear.
        .words("-Wno-unknown-pragmas -ffp-contract=off -Ikernels")
        .args(fma)
        .arg("tests/kernels/math.cpp")
        .arg("-o")
        .arg(&binary)
        .arg("-lquadmath")
        .check()?;
    Ok(program(&binary))
}
