//! `cargo xtask trust`: the GPU path through the stand-in driver, faults, fuzzing, threads and
//! lifetimes, the stability check, planted bugs. `cargo xtask test` runs a bounded share of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::command::{Program, cargo, program};
use crate::outcome::Outcome;
use crate::{build, mutants, paths, record, supply, tools};

const USAGE: &str = "\
cargo xtask trust <what>

  scenarios [NAME...]      every scenario whose name contains one of these, in full length
  sanitized [NAME...]      the same with the kernels under ASan and UBSan
  fuzz [CALLS] [SEED]      random calls of the C ABI on both backends; 10^8 without a number
  stability [ITERATIONS]   training iterations on both backends; 100,000 without a number
  mutants [NAME...]        plants one bug after the other; each must be caught
  supply                   dependencies: sources, checksums, licences, yanked and pinned versions

In full length, without names or numbers, each writes what it printed to bench/results/trust-*.txt.
";

/// Where the parts of a run are.
pub struct Trust {
    runner: PathBuf,
    /// The folder with the stand-in as `libcuda.so.1`.
    standin: PathBuf,
    /// The library as it ships.
    library: PathBuf,
    /// The library with overflow checks, assertions and test hooks.
    checked: PathBuf,
    /// Runtimes of the sanitizers, to be loaded first.
    runtimes: Option<String>,
}

/// Runs one of the tasks.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["scenarios", names @ ..] => {
            let program = Trust::prepare()?.full().arg("run").args(names);
            return done(recorded("trust-scenarios", names.is_empty(), program)?);
        }
        ["sanitized", names @ ..] => {
            let program = Trust::prepare()?.sanitized()?.full().arg("run").args(names);
            return done(recorded("trust-sanitized", names.is_empty(), program)?);
        }
        ["fuzz", rest @ ..] => {
            let calls = rest.first().unwrap_or(&"100000000");
            let seed = rest.get(1).unwrap_or(&"1");
            let program = Trust::prepare()?.alone().args(["fuzz", calls, seed]);
            return done(recorded("trust-fuzz", rest.is_empty(), program)?);
        }
        ["stability", rest @ ..] => {
            let iterations = rest.first().unwrap_or(&"100000");
            let program = Trust::prepare()?.alone().args(["stability", iterations]);
            return done(recorded("trust-stability", rest.is_empty(), program)?);
        }
        ["mutants", names @ ..] => return mutants::run(names),
        ["supply"] => match supply::outcome() {
            Outcome::Ran { failed: 0, .. } => {}
            _ => bail!("see above"),
        },
        _ => bail!("{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a part; in its full length its output is kept in `bench/results/NAME.txt`.
fn recorded(name: &str, is_full: bool, program: Program) -> Result<bool> {
    match is_full {
        true => record::run(name, program),
        false => Ok(program.stream()?.0),
    }
}

fn done(success: bool) -> Result<ExitCode> {
    Ok(match success {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The bounded share, as a step of `cargo xtask test`.
pub fn share() -> Vec<(String, Outcome)> {
    let trust = match Trust::prepare() {
        Ok(trust) => trust,
        Err(error) => return vec![("trust".into(), Outcome::failure(&error))],
    };
    let scenarios = Outcome::count(trust.program().arg("run"));
    let sanitized = match trust.sanitized() {
        Ok(trust) => Outcome::count(trust.program().arg("run")),
        Err(error) => Outcome::NotRun(format!("{error:#}")),
    };
    vec![
        ("GPU path through the stand-in".into(), scenarios),
        ("GPU path, kernels under ASan and UBSan".into(), sanitized),
        (
            "ThreadSanitizer".into(),
            Outcome::NotRun(
                "needs a standard library built with it: a nightly toolchain and -Zbuild-std"
                    .into(),
            ),
        ),
        (
            "Miri".into(),
            Outcome::NotRun("needs a nightly toolchain".into()),
        ),
    ]
}

/// The folder with the stand-in driver as `libcuda.so.1`: a program that has it on its library
/// path finds GPUs.
pub fn standin() -> Result<PathBuf> {
    tools::need_cpp()?;
    named(
        &checked("mish-standin").built("libmish_standin.so")?,
        "standin",
    )
}

/// Cargo, to build a package with every check.
fn checked(package: &str) -> Program {
    cargo().args([
        "build",
        "--quiet",
        "--profile",
        "trust",
        "--package",
        package,
    ])
}

impl Trust {
    /// Builds everything.
    pub fn prepare() -> Result<Trust> {
        let library = build::library()?;
        let standin = standin()?;
        let hooks = ["--features", "test-hooks"];
        Ok(Trust {
            runner: checked("mish-trust").built("mish-trust")?,
            standin,
            library,
            checked: checked("libmish").args(hooks).built("libmish.so")?,
            runtimes: None,
        })
    }

    /// The same with the kernels built under ASan and UBSan, and the checked library.
    pub fn sanitized(&self) -> Result<Trust> {
        tools::need_flags("g++", "c++", &["-fsanitize=address,undefined"])?;
        let runtimes: Vec<String> = ["libasan.so", "libubsan.so"]
            .into_iter()
            .map(|name| {
                let answer = program("g++")
                    .arg(format!("-print-file-name={name}"))
                    .read()?;
                let path = fs::canonicalize(answer.trim())
                    .with_context(|| format!("g++ has no {name}"))?;
                Ok(path.display().to_string())
            })
            .collect::<Result<_>>()?;
        let standin = checked("mish-standin")
            .arg("--target-dir")
            .arg(paths::target().join("sanitized"))
            .env("MISH_SANITIZE", "1")
            .built("libmish_standin.so")?;
        Ok(Trust {
            runner: self.runner.clone(),
            standin: named(&standin, "standin-sanitized")?,
            library: self.checked.clone(),
            checked: self.checked.clone(),
            runtimes: Some(runtimes.join(":")),
        })
    }

    /// The runner, with the environment it wants.
    pub fn program(&self) -> Program {
        let mut program = program(&self.runner)
            .env("MISH_STANDIN_FOLDER", &self.standin)
            .env("MISH_LIBRARY", &self.library)
            .env("MISH_LIBRARY_WITH_HOOKS", &self.checked);
        if let Some(runtimes) = &self.runtimes {
            program = program.env("MISH_SANITIZER_RUNTIME", runtimes);
        }
        program
    }

    /// The runner, to run everything in full length.
    fn full(&self) -> Program {
        self.program().env("MISH_TRUST_FULL", "1")
    }

    /// The runner, for work of its own process.
    fn alone(&self) -> Program {
        self.program()
            .env("LD_LIBRARY_PATH", &self.standin)
            .env("MISH_STANDIN", "")
    }
}

/// A folder in which a built stand-in goes by the driver's name.
fn named(library: &Path, folder: &str) -> Result<PathBuf> {
    let folder = paths::target().join(folder);
    fs::create_dir_all(&folder)?;
    let link = folder.join("libcuda.so.1");
    let _ = fs::remove_file(&link);
    symlink(library, &link).with_context(|| link.display().to_string())?;
    Ok(folder)
}
