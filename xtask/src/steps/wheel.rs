//! `cargo xtask wheel`: the Python wheel, with the library linked against an old glibc.
//!
//! Packed by setuptools: maturin packs extension modules, and this package opens the library with
//! ctypes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::pytest::{TESTS, core_tests};
use crate::env::python::{Environment, pip};
use crate::env::toolchain::{GLIBC, ZIG};
use crate::env::{deps, paths, toolchain, tools};
use crate::run::command::{commit, program};
use crate::run::outcome::{Outcome, Outcomes};
use crate::run::summary;
use crate::tasks::build;

/// The newest PyTorch, and the oldest served.
const PYTORCHES: [Environment; 2] = [
    Environment::new("wheel-torch-new", "xtask/requirements/torch-new.txt"),
    Environment::new("wheel-torch-old", "xtask/requirements/torch-old.txt"),
];

const TARGET: &str = "x86_64-unknown-linux-gnu";
const PLATFORM: &str = "manylinux_2_28_x86_64";

/// Every Python of which the core is tested, if it is on this machine.
const PYTHONS: [(&str, Environment); 6] = [
    ("python3.9", core("wheel-python3.9")),
    ("python3.10", core("wheel-python3.10")),
    ("python3.11", core("wheel-python3.11")),
    ("python3.12", core("wheel-python3.12")),
    ("python3.13", core("wheel-python3.13")),
    ("python3.14", core("wheel-python3.14")),
];

const fn core(name: &'static str) -> Environment {
    Environment::new(name, "xtask/requirements/core.txt")
}

const USAGE: &str = "usage: cargo xtask wheel [--check] [--out FILE]";

/// Builds the wheel; with `--check`, also tests it in environments with different PyTorches and
/// Pythons, and writes what came of it to a file.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let (check, out) = match arguments {
        [] => (false, None),
        [flag] if flag == "--check" => (true, None),
        [flag, option, out] if flag == "--check" && option == "--out" => (true, Some(out)),
        _ => bail!(USAGE),
    };
    // Of what is packed, whatever is committed meanwhile.
    let commit = out.map(|_| commit()).transpose()?.unwrap_or_default();
    let wheel = pack()?;
    println!("built {}", wheel.display());
    if !check {
        return Ok(ExitCode::SUCCESS);
    }
    let (mut records, mut success) = (Vec::new(), true);
    let mut record = |python: &Path, tests: &[String]| -> Result<()> {
        let (passed, text) = test(python, &wheel, tests)?;
        success &= passed;
        records.push(text);
        Ok(())
    };
    for environment in &PYTORCHES {
        record(&environment.ensure()?, &[TESTS.to_owned()])?;
    }
    for (name, environment) in &PYTHONS {
        // A version manager's command may be there without the version.
        if program(name).arg("--version").read().is_ok() {
            record(&environment.ensure_for(|| Ok(name))?, &core_tests())?;
        } else {
            println!("not tested: {name} does not run here");
        }
    }
    if let Some(out) = out {
        let record = json!({
            "wheel": wheel.file_name().unwrap_or_default().to_string_lossy(),
            "sha256": checksum(&wheel)?,
            "bytes": fs::metadata(&wheel)?.len(),
            "commit": commit,
            "environments": records,
        });
        let text = serde_json::to_string_pretty(&record)? + "\n";
        fs::write(out, text).with_context(|| out.clone())?;
    }
    Ok(summary::code(success))
}

fn checksum(file: &Path) -> Result<String> {
    program(crate::env::python::host()?)
        .args([
            "-c",
            "import hashlib, sys; data = open(sys.argv[1], 'rb').read(); \
             print(hashlib.sha256(data).hexdigest(), end='')",
        ])
        .arg(file)
        .read()
}

/// Builds the wheel, installs it into an empty environment and uses it from there.
pub fn installed() -> Outcomes {
    let run = || -> Result<()> {
        let wheel = pack()?;
        let folder = paths::target().join("wheel-test");
        deps::remove(&folder)?;
        program(crate::env::python::host()?)
            .words("-m venv")
            .arg(&folder)
            .check()?;
        let python = folder.join("bin/python");
        pip(&python)
            .words("install --no-index")
            .arg(&wheel)
            .check()?;
        program(&python)
            .words("-I -m mish")
            .current_dir(&folder)
            .check()
    };
    vec![("the wheel, installed".into(), Outcome::of(run()))]
}

/// Builds the wheel into `dist` and checks what it promises.
fn pack() -> Result<PathBuf> {
    tools::need_baseline("the wheel")?;
    toolchain::ensure()?;
    let python = ZIG.ensure()?;
    let library = library()?;
    let dist = paths::root().join("dist");
    // What setuptools left of an earlier build would be packed again.
    for stale in [dist.clone(), paths::root().join("bindings/python/build")] {
        deps::remove(&stale)?;
    }
    pip(&python)
        .words("wheel --no-deps --no-build-isolation")
        .arg("--wheel-dir")
        .arg(&dist)
        .arg("bindings/python")
        .env("MISH_LIBRARY", library)
        .env("MISH_WHEEL_PLATFORM", PLATFORM)
        .check()?;
    let wheel = only_file(&dist)?;
    let report = program(&python)
        .words("-m auditwheel show")
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

/// The release library, linked against the old glibc.
fn library() -> Result<PathBuf> {
    build::with_images(toolchain::zigbuild(None)?)?
        .words("zigbuild --release --package libmish --target")
        .arg(format!("{TARGET}.{GLIBC}"))
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

/// Installs the wheel into an environment and runs tests on what was installed. Returns whether
/// they passed, and what to record of it.
fn test(python: &Path, wheel: &Path, tests: &[String]) -> Result<(bool, Value)> {
    pip(python)
        .words("install --no-deps --no-index --force-reinstall")
        .arg(wheel)
        .check()?;
    let versions = program(python)
        .args(["-I", "-c", VERSIONS])
        .without_env("MISH_LIBRARY")
        .read()?;
    println!("{versions}");
    let mut environment: Value = serde_json::from_str(&versions)?;
    let outcome = Outcome::pytest(Ok(program(python)
        .words("-m pytest")
        .args(tests)
        .without_env("MISH_LIBRARY")
        .without_env("PYTHONPATH")
        .env("MISH_TEST_INSTALLED", "1")));
    let failed = outcome.failures.len();
    environment["passed"] = outcome.passed.into();
    environment["failed"] = failed.into();
    environment["not run, without a GPU"] = outcome.skips.len().into();
    Ok((failed == 0, environment))
}

/// What an environment holds, as JSON; fails if the package is not the wheel's.
const VERSIONS: &str = r#"
import importlib.util, json, pathlib, platform
import mish
folder = pathlib.Path(mish.__file__).parent
assert "site-packages" in folder.parts and (folder / "libmish.so").is_file(), folder
versions = {"python": platform.python_version(), "glibc": platform.libc_ver()[1]}
for name in ("numpy", "torch"):
    if importlib.util.find_spec(name):
        versions[name] = importlib.import_module(name).__version__
print(json.dumps(versions))
"#;
