//! The kernels' mathematics, compiled for the host and run without a GPU.

use std::fs;

use crate::command::{is_installed, program};
use crate::outcome::Outcome;
use crate::paths;

/// Compiles and runs `tests/kernels/math.cpp`.
pub fn run() -> Outcome {
    let compiler = "g++";
    if !is_installed(compiler) {
        return Outcome::NotRun(format!(
            "{compiler}, whose 128-bit floats are the reference, is not installed"
        ));
    }
    let folder = paths::target().join("kernels");
    let binary = folder.join("math");
    // Without the instruction, the C library's fma gives the same results more slowly.
    #[cfg(target_arch = "x86_64")]
    let fma = std::arch::is_x86_feature_detected!("fma").then_some("-mfma");
    #[cfg(not(target_arch = "x86_64"))]
    let fma: Option<&str> = None;
    let compiled = fs::create_dir_all(&folder)
        .map_err(anyhow::Error::from)
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
    match compiled {
        Ok(()) => Outcome::count(program(&binary)),
        Err(error) => {
            println!("{error:#}");
            Outcome::of(false)
        }
    }
}
