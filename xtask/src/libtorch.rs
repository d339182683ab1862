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
    let (root, folder) = (paths::root(), paths::target().join("cpp"));
    let prefix = match install(&root, &folder, &cmake, library) {
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
            report(
                example(&root, &folder, python, &prefix).and_then(|binary| program(binary).check()),
            ),
        ),
    ]
}

/// Installs the package of a copy of the repository and builds the LibTorch example against it,
/// all in a folder; returns the program.
pub fn build(root: &Path, folder: &Path, library: &Path, python: &Path) -> Result<PathBuf> {
    let prefix = install(root, folder, &python.with_file_name("cmake"), library)?;
    example(root, folder, python, &prefix)
}

fn install(root: &Path, folder: &Path, cmake: &Path, library: &Path) -> Result<PathBuf> {
    let prefix = folder.join("prefix");
    program(cmake)
        .args(["-S", "bindings/cpp", "-B"])
        .arg(folder.join("package"))
        .arg(format!("-DMISH_LIBRARY={}", library.display()))
        .current_dir(root)
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

fn example(root: &Path, folder: &Path, python: &Path, prefix: &Path) -> Result<PathBuf> {
    let cmake = python.with_file_name("cmake");
    let torch = program(python)
        .args([
            "-c",
            "import torch; print(torch.utils.cmake_prefix_path, end='')",
        ])
        .read()
        .context("PyTorch's CMake folder")?;
    let build = folder.join("libtorch");
    program(&cmake)
        .args(["-S", "examples/libtorch", "-B"])
        .arg(&build)
        .arg(format!("-DCMAKE_PREFIX_PATH={};{torch}", prefix.display()))
        .arg("-DCMAKE_BUILD_TYPE=Release")
        .current_dir(root)
        .read()?;
    program(&cmake).arg("--build").arg(&build).read()?;
    Ok(build.join("libtorch"))
}

fn report(result: Result<()>) -> Outcome {
    if let Err(error) = &result {
        println!("{error:#}");
    }
    Outcome::of(result.is_ok())
}
