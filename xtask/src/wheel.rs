//! `cargo xtask wheel`: the Python wheel, with the library linked against an old glibc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::command::program;
use crate::outcome::Outcome;
use crate::python::Environment;
use crate::{paths, toolchain};

/// The linker, the packer and the checker.
const TOOLS: Environment = Environment::new("wheel", "xtask/requirements/wheel.txt");

/// The newest PyTorch, and the oldest served.
const PYTORCHES: [Environment; 2] = [
    Environment::new("wheel-torch-new", "xtask/requirements/torch-new.txt"),
    Environment::new("wheel-torch-old", "xtask/requirements/torch-old.txt"),
];

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The glibc of manylinux_2_28, which PyTorch's own wheels need too.
const GLIBC: &str = "2.28";
const PLATFORM: &str = "manylinux_2_28_x86_64";

/// Builds the wheel; with `--check`, also tests it in two environments with different PyTorches.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("usage: cargo xtask wheel [--check]"),
    };
    let wheel = build()?;
    println!("built {}", wheel.display());
    let mut success = true;
    if check {
        for environment in &PYTORCHES {
            success &= test(environment, &wheel)?;
        }
    }
    Ok(if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the wheel, installs it into an empty environment and uses it from there.
pub fn installed() -> Outcome {
    let run = || -> Result<()> {
        let wheel = build()?;
        let folder = paths::target().join("wheel-test");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        program(crate::python::host()?)
            .args(["-m", "venv"])
            .arg(&folder)
            .check()?;
        let python = folder.join("bin/python");
        program(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-index"])
            .arg("--disable-pip-version-check")
            .arg(&wheel)
            .check()?;
        program(&python)
            .args(["-I", "-m", "mish"])
            .current_dir(&folder)
            .check()
    };
    let result = run();
    if let Err(error) = &result {
        println!("{error:#}");
    }
    Outcome::of(result.is_ok())
}

/// Builds the wheel into `dist` and checks what it promises.
pub fn build() -> Result<PathBuf> {
    toolchain::ensure()?;
    let python = TOOLS.ensure()?;
    let library = library(&python)?;
    let dist = paths::root().join("dist");
    // What setuptools left of an earlier build would be packed again.
    for stale in [dist.clone(), paths::root().join("bindings/python/build")] {
        if stale.exists() {
            fs::remove_dir_all(&stale).with_context(|| stale.display().to_string())?;
        }
    }
    program(&python)
        .args(["-m", "pip", "wheel", "--quiet", "--no-deps"])
        .args(["--no-build-isolation", "--disable-pip-version-check"])
        .arg("--wheel-dir")
        .arg(&dist)
        .arg("bindings/python")
        .env("MISH_LIBRARY", library)
        .env("MISH_WHEEL_PLATFORM", PLATFORM)
        .check()?;
    let wheel = only_file(&dist)?;
    let report = program(&python)
        .args(["-m", "auditwheel", "show"])
        .arg(&wheel)
        .read()?;
    let flat = report.split_whitespace().collect::<Vec<_>>().join(" ");
    let promised = format!("\"{PLATFORM}\"");
    ensure!(
        flat.contains(&format!("following platform tag: {promised}"))
            || flat.contains("following platform tag: \"manylinux_2_17")
            || flat.contains("following platform tag: \"manylinux2014"),
        "auditwheel does not find {promised}:\n{report}"
    );
    Ok(wheel)
}

/// The release library, linked by zig, which has every glibc's symbols.
fn library(python: &Path) -> Result<PathBuf> {
    let tools = python.parent().context("the environment's folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        std::iter::once(tools.to_path_buf()).chain(std::env::split_paths(&path)),
    )?;
    program(tools.join("cargo-zigbuild"))
        .args(["zigbuild", "--release", "--package", "libmish", "--target"])
        .arg(format!("{TARGET}.{GLIBC}"))
        .env("PATH", path)
        .check()?;
    Ok(paths::target().join(TARGET).join("release/libmish.so"))
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let files: Vec<_> = fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
    match &files[..] {
        [file] => Ok(file.path()),
        _ => bail!("{}: {} files, not one wheel", folder.display(), files.len()),
    }
}

/// Installs the wheel beside a PyTorch and runs the tests on what was installed.
fn test(environment: &Environment, wheel: &Path) -> Result<bool> {
    let python = environment.ensure()?;
    program(&python)
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--force-reinstall", "--disable-pip-version-check"])
        .arg(wheel)
        .check()?;
    let outcome = Outcome::count(
        program(&python)
            .args(["-m", "pytest", "-q", "-rs", "tests/python"])
            .env("MISH_TEST_INSTALLED", "1"),
    );
    Ok(matches!(outcome, Outcome::Ran { failed: 0, .. }))
}
