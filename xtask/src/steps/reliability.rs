//! `cargo xtask reliability`: the GPU path through the stand-in driver, faults, fuzzing, threads and
//! lifetimes, the stability check, planted bugs. `cargo xtask test` runs a bounded share of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::env::{cross, paths, tools};
use crate::run::command::{Program, cargo, program};
use crate::run::outcome::{Outcome, Outcomes};
use crate::run::{record, summary};
use crate::steps::{mutants, supply};
use crate::tasks::build;

const USAGE: &str = "\
cargo xtask reliability <what>

  scenarios [NAME...]      every scenario whose name contains one of these, in full length
  sanitized [NAME...]      the same with the kernels under ASan and UBSan
  threads [NAME...]        scenarios of threads, processes and lifetimes under ThreadSanitizer
  fuzz [CALLS] [SEED]      random calls of the C ABI on both backends; 10^8 without a number
  stability [ITERATIONS]   training iterations on both backends; 100,000 without a number
  mutants [NAME...]        plants one bug after the other; each must be caught
  supply                   dependencies: sources, checksums, licences, yanked and pinned versions

In full length, without names or numbers, each writes what it printed to bench/results/reliability-*.txt.
";

/// The scenarios that ThreadSanitizer watches.
///
/// Not `library: closed`, which forks: its runtime ends the child of a process with threads.
const THREADS: [&str; 4] = [
    "threads: ",
    "process: exit",
    "process: signals",
    "capture: launches",
];

/// Where the parts of a run are.
pub struct Suite {
    runner: PathBuf,
    /// The folder with the stand-in as `libcuda.so.1`.
    standin: PathBuf,
    /// The library as it ships.
    library: PathBuf,
    /// The library with overflow checks, assertions and test hooks.
    checked: PathBuf,
    /// Runtimes of the sanitizers, to be loaded first.
    runtimes: Option<String>,
    /// Whether the runner is instrumented, too: then it also needs them first.
    is_instrumented: bool,
}

/// Runs one of the tasks.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["scenarios", names @ ..] => {
            let program = Suite::prepare()?.full().arg("run").args(names);
            recorded("reliability-scenarios", names.is_empty(), program)
        }
        ["sanitized", names @ ..] => {
            let program = Suite::prepare()?.sanitized()?.full().arg("run").args(names);
            recorded("reliability-sanitized", names.is_empty(), program)
        }
        ["threads", names @ ..] => {
            let tools = cross::Tools::ensure()?;
            let suite = Suite::thread_sanitized(&tools)?;
            suite.sees_races()?;
            let program = suite.full().arg("run").args(match names {
                [] => &THREADS,
                names => names,
            });
            recorded("reliability-threads", names.is_empty(), program)
        }
        ["fuzz", rest @ ..] => {
            let calls = rest.first().unwrap_or(&"100000000");
            let seed = rest.get(1).unwrap_or(&"1");
            let program = Suite::prepare()?.alone().args(["fuzz", calls, seed]);
            recorded("reliability-fuzz", rest.is_empty(), program)
        }
        ["stability", rest @ ..] => {
            let iterations = rest.first().unwrap_or(&"100000");
            let program = Suite::prepare()?.alone().args(["stability", iterations]);
            recorded("reliability-stability", rest.is_empty(), program)
        }
        ["mutants", names @ ..] => mutants::run(names),
        ["supply"] => Ok(summary::summary(&supply::all())),
        _ => bail!("{USAGE}"),
    }
}

/// Runs a part; in its full length its output is kept in `bench/results/NAME.txt`.
fn recorded(name: &str, is_full: bool, program: Program) -> Result<ExitCode> {
    let report = match is_full {
        true => record::run(name, program)?,
        false => program.report()?.0,
    };
    Ok(summary::code(report.failures.is_empty()))
}

/// The bounded share, as a step of `cargo xtask test`.
pub fn share() -> Outcomes {
    let suite = match Suite::prepare() {
        Ok(suite) => suite,
        failed => return vec![("GPU path through the stand-in".into(), Outcome::of(failed))],
    };
    let sanitized = suite.sanitized().map(|suite| suite.program().arg("run"));
    vec![
        (
            "GPU path through the stand-in".into(),
            Outcome::reported(Ok(suite.program().arg("run"))),
        ),
        (
            "GPU path, kernels under ASan and UBSan".into(),
            Outcome::reported(sanitized),
        ),
        ("ThreadSanitizer".into(), thread_sanitized()),
        ("Miri".into(), Outcome::skip("needs a nightly toolchain")),
    ]
}

/// Only that its compiler cannot be had here is a reason not to run; that it does not build is a
/// failure.
fn thread_sanitized() -> Outcome {
    let tools = match cross::Tools::ensure() {
        Ok(tools) => tools,
        Err(error) => return Outcome::skip(format!("no compiler for it: {error:#}")),
    };
    let program = || {
        let suite = Suite::thread_sanitized(&tools)?;
        suite.sees_races()?;
        Ok(suite.program().arg("run").args(THREADS))
    };
    Outcome::reported(program())
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
        "checked",
        "--package",
        package,
    ])
}

impl Suite {
    /// Builds everything.
    pub fn prepare() -> Result<Suite> {
        let library = build::library()?;
        let standin = standin()?;
        let hooks = ["--features", "test-hooks"];
        Ok(Suite {
            runner: checked("mish-reliability").built("mish-reliability")?,
            standin,
            library,
            checked: build::with_images(checked("libmish"))?
                .args(hooks)
                .built("libmish.so")?,
            runtimes: None,
            is_instrumented: false,
        })
    }

    /// Everything under ThreadSanitizer, the standard library too: else its locks and barriers
    /// are not seen, and races are where there are none.
    fn thread_sanitized(tools: &cross::Tools) -> Result<Suite> {
        const TARGET: &str = "x86_64-unknown-linux-gnu";
        crate::env::toolchain::ensure()?;
        let runtime = tools.thread_sanitizer();
        if runtime.to_string_lossy().contains([' ', ':']) {
            let reason = "the loader preloads no file with a space or a colon in its path";
            return Err(tools::Missing(reason.into()).into());
        }
        let folder = paths::target().join("threads");
        let flags = [
            "-Zsanitizer=thread".to_owned(),
            // Not rustc's own runtime, which Debian does not ship.
            "-Zexternal-clangrt".to_owned(),
            format!("-Clink-arg={}", runtime.display()),
            format!(
                "-Clink-arg=-Wl,-rpath,{}",
                runtime.with_file_name("").display()
            ),
        ];
        build::with_images(cargo())?
            .args([
                "build",
                "--quiet",
                "--profile",
                "checked",
                "--target",
                TARGET,
            ])
            .arg("-Zbuild-std=std,panic_unwind")
            .words("--package libmish --package mish-standin")
            .words("--package mish-reliability --target-dir")
            .arg(&folder)
            .env("RUSTC", tools.rustc())
            // What is not stable yet in the compiler, and building its library, is used.
            .env("RUSTC_BOOTSTRAP", "1")
            .without_env("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .check()?;
        let built = folder.join(TARGET).join("checked");
        Ok(Suite {
            runner: built.join("mish-reliability"),
            standin: named(&built.join("libmish_standin.so"), "standin-threads")?,
            library: built.join("libmish.so"),
            checked: built.join("libmish.so"),
            runtimes: Some(runtime.display().to_string()),
            is_instrumented: true,
        })
    }

    /// Fails unless a race is reported where there is one.
    fn sees_races(&self) -> Result<()> {
        let (succeeded, text) = self.program().arg("race").output()?;
        ensure!(
            !succeeded && text.contains("ThreadSanitizer: data race"),
            "ThreadSanitizer does not see a race:\n{text}"
        );
        Ok(())
    }

    /// The same with the kernels built under ASan and UBSan, and the checked library.
    pub fn sanitized(&self) -> Result<Suite> {
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
        Ok(Suite {
            runner: self.runner.clone(),
            standin: named(&standin, "standin-sanitized")?,
            library: self.checked.clone(),
            checked: self.checked.clone(),
            runtimes: Some(runtimes.join(":")),
            is_instrumented: false,
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
            if self.is_instrumented {
                program = program.env("LD_PRELOAD", runtimes);
            }
        }
        program
    }

    /// The runner, to run everything in full length.
    fn full(&self) -> Program {
        self.program().env("MISH_RELIABILITY_FULL", "1")
    }

    /// The runner, for work of its own process.
    fn alone(&self) -> Program {
        self.program()
            .env("LD_LIBRARY_PATH", &self.standin)
            .env("MISH_STANDIN", "")
    }
}

/// A folder, below the target folder unless it is absolute, in which a built stand-in goes by the
/// driver's name.
pub fn named(library: &Path, folder: impl AsRef<Path>) -> Result<PathBuf> {
    let folder = paths::target().join(folder);
    fs::create_dir_all(&folder)?;
    let link = folder.join("libcuda.so.1");
    let _ = fs::remove_file(&link);
    symlink(library, &link).with_context(|| link.display().to_string())?;
    Ok(folder)
}
