//! What a CUDA call costs beyond `cuLaunchKernel`, with a driver of empty functions.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::env::{paths, tools};
use crate::run::command::{Program, commit, program, rustc_version};
use crate::steps::c;
use crate::tasks::build;

/// Measures the calls of the C ABI (`bench/overhead.c`); writes the results to a file.
pub fn c_abi(out: &Path) -> Result<()> {
    let library = build::library()?;
    on_stub("bench/overhead.c", "overhead", &library)?
        .arg(out)
        .args([commit()?, rustc_version()?])
        .check()
}

/// A C program linked with the library, to run with the stub as the driver.
pub fn on_stub(source: &str, name: &str, library: &Path) -> Result<Program> {
    let binary = c::compile(source, name, library)?;
    let libraries = library.parent().context("the library's folder")?;
    let path = std::env::join_paths([stub()?.as_path(), libraries])?;
    Ok(program(binary).env("LD_LIBRARY_PATH", path))
}

/// The folder with the stub as `libcuda.so.1`.
pub fn stub() -> Result<PathBuf> {
    tools::need("gcc")?;
    let folder = paths::target().join("stub");
    fs::create_dir_all(&folder)?;
    program("gcc")
        .words("-std=c99 -O2 -Wall -Wextra -Wpedantic -Werror")
        .words("-shared -fPIC -Wl,-soname,libcuda.so.1")
        .words("bench/stub_cuda.c -o")
        .arg(folder.join("libcuda.so.1"))
        .check()?;
    Ok(folder)
}
