//! The kernels' mathematics, compiled for the host and run without a GPU.

use std::fs;

use crate::command::program;
use crate::outcome::Outcome;
use crate::{paths, tools};

/// Compiles and runs `tests/kernels/math.cpp`.
pub fn run() -> Outcome {
    let compiler = "g++";
    let folder = paths::target().join("kernels");
    let binary = folder.join("math");
    // Without the instruction, the C library's fma gives the same results more slowly.
    #[cfg(target_arch = "x86_64")]
    let fma = std::arch::is_x86_feature_detected!("fma").then_some("-mfma");
    #[cfg(not(target_arch = "x86_64"))]
    let fma: Option<&str> = None;
    // Its 128-bit floats are the reference.
    let compiled = tools::need_flags(compiler, "c++", &["-lquadmath"])
        .and_then(|()| Ok(fs::create_dir_all(&folder)?))
        .and_then(|()| {
            program(compiler)
                .args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror"])
                // The kernels' loop pragmas are for another compiler; every fused
                // multiply-add is written out, and no others may appear.
                .args(["-Wno-unknown-pragmas", "-ffp-contract=off", "-Ikernels"])
                .args(fma)
                .arg("tests/kernels/math.cpp")
                .arg("-o")
                .arg(&binary)
                .arg("-lquadmath")
                .check()
        });
    Outcome::count_if(compiled.map(|()| program(&binary)))
}
