//! The CMake package and the LibTorch example: installed, found, built, run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{is_installed, program};
use crate::outcome::Outcome;
use crate::paths;

/// Installs the package into a folder of its own and builds the examples against it.
pub fn all(library: &Path, python: &Path) -> Vec<(String, Outcome)> {
    let cmake = python.with_file_name("cmake");
    let why = if !cmake.exists() {
        Some("there is no CMake in the Python environment with PyTorch")
    } else if !is_installed("g++") || !is_installed("make") {
        Some("g++ or make is not installed")
    } else {
        None
    };
    if let Some(why) = why {
        return vec![("CMake package".into(), Outcome::NotRun(why.into()))];
    }
    let prefix = match install(&cmake, library) {
        Ok(prefix) => prefix,
        Err(error) => {
            println!("{error:#}");
            return vec![("CMake package".into(), Outcome::of(false))];
        }
    };
    vec![
        ("pkg-config file".into(), pkg_config(&prefix)),
        (
            "example: LibTorch, with CMake".into(),
            report(example(&cmake, python, &prefix)),
        ),
    ]
}

fn install(cmake: &Path, library: &Path) -> Result<PathBuf> {
    let folder = paths::target().join("cpp");
    let prefix = folder.join("prefix");
    program(cmake)
        .args(["-S", "bindings/cpp", "-B"])
        .arg(folder.join("package"))
        .arg(format!("-DMISH_LIBRARY={}", library.display()))
        .read()?;
    program(cmake)
        .arg("--install")
        .arg(folder.join("package"))
        .arg("--prefix")
        .arg(&prefix)
        .read()?;
    Ok(prefix)
}

/// Compiles and runs the C++ example with nothing but what pkg-config says.
fn pkg_config(prefix: &Path) -> Outcome {
    if !is_installed("pkg-config") {
        return Outcome::NotRun("pkg-config is not installed".into());
    }
    let run = || -> Result<()> {
        let flags = program("pkg-config")
            .args(["--cflags", "--libs", "mish"])
            .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
            .read()?;
        let binary = prefix.with_file_name("quickstart");
        program("g++")
            .args(["-std=c++11", "examples/quickstart.cpp", "-o"])
            .arg(&binary)
            .args(flags.split_whitespace())
            .arg("-ldl")
            .check()?;
        program(&binary)
            .env("LD_LIBRARY_PATH", prefix.join("lib"))
            .read()
            .map(|_| ())
    };
    report(run())
}

fn example(cmake: &Path, python: &Path, prefix: &Path) -> Result<()> {
    let torch = program(python)
        .args([
            "-c",
            "import torch; print(torch.utils.cmake_prefix_path, end='')",
        ])
        .read()
        .context("PyTorch's CMake folder")?;
    let build = paths::target().join("cpp/libtorch");
    program(cmake)
        .args(["-S", "examples/libtorch", "-B"])
        .arg(&build)
        .arg(format!("-DCMAKE_PREFIX_PATH={};{torch}", prefix.display()))
        .arg("-DCMAKE_BUILD_TYPE=Release")
        .read()?;
    program(cmake).arg("--build").arg(&build).read()?;
    program(build.join("libtorch")).check()
}

fn report(result: Result<()>) -> Outcome {
    if let Err(error) = &result {
        println!("{error:#}");
    }
    Outcome::of(result.is_ok())
}
