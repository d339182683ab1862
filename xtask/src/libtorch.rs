//! The CMake package and the LibTorch example: installed, found, built, run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{Program, program};
use crate::outcome::Outcome;
use crate::{paths, tools};

/// Installs the package into a folder of its own and builds the examples against it.
pub fn all(library: &Path, python: &Path) -> Vec<(String, Outcome)> {
    let prefix = match tools::need("g++").and_then(|()| install(python, library)) {
        Ok(prefix) => prefix,
        Err(error) => return vec![("CMake package".into(), Outcome::failure(&error))],
    };
    vec![
        (
            "pkg-config file".into(),
            Outcome::result(pkg_config(&prefix)),
        ),
        (
            "example: LibTorch, with CMake".into(),
            Outcome::result(example(python, &prefix)),
        ),
    ]
}

/// The environment's own CMake, as a module: the script of that name holds the folder in which it
/// was installed.
fn cmake(python: &Path) -> Program {
    program(python).args(["-m", "cmake"])
}

fn install(python: &Path, library: &Path) -> Result<PathBuf> {
    let folder = paths::target().join("cpp");
    let prefix = folder.join("prefix");
    cmake(python)
        .args(["-S", "bindings/cpp", "-B"])
        .arg(folder.join("package"))
        .arg(format!("-DMISH_LIBRARY={}", library.display()))
        .read()?;
    cmake(python)
        .arg("--install")
        .arg(folder.join("package"))
        .arg("--prefix")
        .arg(&prefix)
        .read()?;
    Ok(prefix)
}

/// Compiles and runs the C++ example with nothing but what pkg-config says.
fn pkg_config(prefix: &Path) -> Result<()> {
    tools::need("pkg-config")?;
    let binary = prefix.with_file_name("quickstart");
    // What it says is quoted for a shell.
    let compile = r#"eval "g++ -std=c++11 examples/quickstart.cpp -ldl \
        $(pkg-config --cflags --libs mish)" '-o "$0"'"#;
    program("sh")
        .args(["-c", compile])
        .arg(&binary)
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .check()?;
    program(&binary)
        .env("LD_LIBRARY_PATH", prefix.join("lib"))
        .read()
        .map(drop)
}

fn example(python: &Path, prefix: &Path) -> Result<()> {
    let folders = program(python)
        .args([
            "-c",
            "import ninja, torch; print(torch.utils.cmake_prefix_path, ninja.BIN_DIR, sep='\\n')",
        ])
        .read()
        .context("PyTorch's CMake folder")?;
    let (torch, ninja) = folders.trim().split_once('\n').context("two folders")?;
    let build = paths::target().join("cpp/libtorch");
    cmake(python)
        .args(["-G", "Ninja", "-S", "examples/libtorch", "-B"])
        .arg(&build)
        .arg(format!("-DCMAKE_MAKE_PROGRAM={ninja}/ninja"))
        .arg(format!("-DCMAKE_PREFIX_PATH={};{torch}", prefix.display()))
        .arg("-DCMAKE_BUILD_TYPE=Release")
        .read()?;
    cmake(python).arg("--build").arg(&build).read()?;
    program(build.join("libtorch")).check()
}
