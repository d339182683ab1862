//! The CMake package and the LibTorch example: installed, found, built, run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::env::{paths, tools};
use crate::run::command::{Program, program};
use crate::run::outcome::{Outcome, Outcomes};
use crate::tasks::test;

/// Installs the package into a folder of its own and builds the examples against it.
pub fn all(context: &test::Context) -> Outcomes {
    let python = context.torch.as_deref().unwrap_or(&context.python);
    let (root, folder) = (paths::root(), paths::target().join("cpp"));
    let installed =
        tools::need("g++").and_then(|()| install(root, &folder, python, &context.library));
    let prefix = match installed {
        Ok(prefix) => prefix,
        failed => return vec![("CMake package".into(), Outcome::of(failed))],
    };
    let example = || program(example(root, &folder, python, &prefix)?).check();
    vec![
        ("pkg-config file".into(), Outcome::of(pkg_config(&prefix))),
        (
            "example: LibTorch, with CMake".into(),
            Outcome::of(example()),
        ),
    ]
}

/// Installs the package of a copy of the repository and builds the LibTorch example against it,
/// all in a folder; returns the program.
pub fn build(root: &Path, folder: &Path, library: &Path, python: &Path) -> Result<PathBuf> {
    let prefix = install(root, folder, python, library)?;
    example(root, folder, python, &prefix)
}

/// The environment's own CMake, as a module: the script of that name holds the folder in which it
/// was installed.
fn cmake(python: &Path) -> Program {
    program(python).words("-m cmake")
}

fn install(root: &Path, folder: &Path, python: &Path, library: &Path) -> Result<PathBuf> {
    let prefix = folder.join("prefix");
    cmake(python)
        .words("-S bindings/cpp -B")
        .arg(folder.join("package"))
        .arg(format!("-DMISH_LIBRARY={}", library.display()))
        .current_dir(root)
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

fn example(root: &Path, folder: &Path, python: &Path, prefix: &Path) -> Result<PathBuf> {
    let folders = program(python)
        .args([
            "-c",
            "import ninja, torch; print(torch.utils.cmake_prefix_path, ninja.BIN_DIR, sep='\\n')",
        ])
        .read()
        .context("PyTorch's CMake folder")?;
    let (torch, ninja) = folders.trim().split_once('\n').context("two folders")?;
    let build = folder.join("libtorch");
    cmake(python)
        .words("-G Ninja -S examples/libtorch -B")
        .arg(&build)
        .arg(format!("-DCMAKE_MAKE_PROGRAM={ninja}/ninja"))
        .arg(format!("-DCMAKE_PREFIX_PATH={};{torch}", prefix.display()))
        .arg("-DCMAKE_BUILD_TYPE=Release")
        .current_dir(root)
        .read()?;
    cmake(python).arg("--build").arg(&build).read()?;
    Ok(build.join("libtorch"))
}
