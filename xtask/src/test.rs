//! `cargo xtask test`: everything that can be tested on this machine, and a summary of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::command::{Program, cargo, program};
use crate::outcome::Outcome;
use crate::python::{CORE, TORCH};
use crate::skips::Allowed;
use crate::{
    aarch64, build, c_suite, disk, examples, fresh, gate, kernel_math, libtorch, msrv, mutants,
    paths, setup, supply, sweep, toolchain, tools, trust, wheel,
};

/// What the steps need, prepared before the first of them.
struct Context {
    library: PathBuf,
    python: PathBuf,
    /// The interpreter that has PyTorch; `None` if no step of this run needs it.
    torch: Option<PathBuf>,
}

type Step = fn(&Context) -> Vec<(String, Outcome)>;

/// The steps in the order they run: what fails fastest comes first.
const STEPS: &[(&str, Step)] = &[
    ("setup", |_| setup::all()),
    ("format", |_| one("rustfmt", rustfmt())),
    ("lint", |_| one("clippy", clippy())),
    ("oldest rust", |_| {
        one("the oldest Rust compiles it", msrv::outcome())
    }),
    ("bindings", |context| {
        one(
            "generated files and exported symbols",
            bindings(&context.library),
        )
    }),
    ("rust", |_| rust()),
    ("gate", |context| {
        gate::all(&context.library, &context.python)
    }),
    ("c", |context| c_suite::all(&context.library)),
    ("sweep", |context| sweep::reduced(&context.library)),
    ("supply", |_| one("dependencies", supply::outcome())),
    ("trust", |_| trust::share()),
    ("kernel math", |_| {
        one("kernel mathematics on the host", kernel_math::run())
    }),
    ("python", python),
    ("examples", |context| match trust::standin() {
        Ok(standin) => examples::all(&context.library, &context.python, Some(&standin)),
        // Without a compiler for it, they run once.
        Err(error) => {
            let mut outcomes = examples::all(&context.library, &context.python, None);
            outcomes.push(("stand-in driver".into(), Outcome::failure(&error)));
            outcomes
        }
    }),
    ("aarch64", |_| aarch64::all()),
    ("wheel", |_| one("the wheel, installed", wheel::installed())),
    ("mutants", |context| mutants::share(context.torch.is_some())),
    ("fresh", |_| fresh::reduced()),
];

/// Left out unless named: it makes a whole system first, which takes many minutes.
const ON_REQUEST: &str = "fresh";

type TorchStep = fn(&Context, &Path) -> Vec<(String, Outcome)>;

/// The steps that need PyTorch, and its interpreter.
const TORCH_STEPS: &[(&str, TorchStep)] = &[
    ("torch", |context, python| {
        one("pytest: PyTorch", torch(python, &context.library))
    }),
    ("libtorch", |context, python| {
        libtorch::all(&context.library, python)
    }),
];

/// Runs the steps; the exit code says whether all passed.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let with_torch = !arguments.iter().any(|argument| argument == "--no-torch");
    let wanted: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| *argument != "--no-torch")
        .collect();
    let names: Vec<_> = (STEPS.iter().map(|(name, _)| *name))
        .chain(TORCH_STEPS.iter().map(|(name, _)| *name))
        .collect();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        bail!("no step {unknown}; the steps are {}", names.join(", "));
    }
    let is_wanted = |name: &str| match wanted.is_empty() {
        true => name != ON_REQUEST,
        false => wanted.contains(&name),
    };
    let uses_torch = TORCH_STEPS.iter().map(|(name, _)| *name).chain(["mutants"]);
    let needs_torch = with_torch && uses_torch.into_iter().any(is_wanted);
    let context = Context {
        library: build::library()?,
        python: CORE.ensure()?,
        torch: needs_torch.then(prepare_torch).transpose()?,
    };
    let mut results = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| is_wanted(name)) {
        results.extend(timed(name, || step(&context)));
    }
    for (name, step) in TORCH_STEPS.iter().filter(|(name, _)| is_wanted(name)) {
        match &context.torch {
            Some(python) => results.extend(timed(name, || step(&context, python))),
            None => results.push((
                (*name).to_owned(),
                Outcome::NotRun("left out by --no-torch".into()),
            )),
        }
    }
    Ok(summary(&results))
}

/// Runs one step that needs nothing, with its summary.
pub fn step(name: &str, step: fn() -> Vec<(String, Outcome)>) -> ExitCode {
    summary(&timed(name, step).collect::<Vec<_>>())
}

fn prepare_torch() -> Result<PathBuf> {
    TORCH
        .ensure()
        .context("PyTorch for the tests (--no-torch does without)")
}

pub fn timed(
    name: &str,
    step: impl FnOnce() -> Vec<(String, Outcome)>,
) -> impl Iterator<Item = (String, Outcome)> {
    println!("\n── {name}");
    let start = Instant::now();
    let outcomes = step();
    println!("── {name}: {:.0} s", start.elapsed().as_secs_f64());
    outcomes.into_iter()
}

pub fn summary(results: &[(String, Outcome)]) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    let mut missing = Vec::new();
    println!("\n══ what ran");
    for (name, outcome) in results {
        match outcome {
            Outcome::Ran {
                passed: p,
                failed: f,
                not_run,
            } => {
                println!("  {name}: {p} passed, {f} failed");
                passed += p;
                failed += f;
                missing.extend(not_run.iter().map(|reason| format!("{name}: {reason}")));
            }
            Outcome::NotRun(reason) => missing.push(format!("{name}: {reason}")),
        }
    }
    println!("══ what did not run, and why");
    let allowed = match Allowed::in_force() {
        Ok(allowed) => allowed,
        Err(error) => {
            println!("{error:#}");
            failed += 1;
            None
        }
    };
    for line in &missing {
        let may_miss = allowed.as_ref().is_none_or(|allowed| allowed.covers(line));
        failed += u32::from(!may_miss);
        println!("  {}{line}", if may_miss { "" } else { "NOT ALLOWED " });
    }
    if missing.is_empty() {
        println!("  nothing");
    }
    println!(
        "\n{passed} passed, {failed} failed, {} skipped{}",
        missing.len(),
        disk::was_full()
    );
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn one(name: &str, outcome: Outcome) -> Vec<(String, Outcome)> {
    vec![(name.to_owned(), outcome)]
}

fn rustfmt() -> Outcome {
    let needed = tools::need_component("rustfmt", "rustfmt");
    Outcome::result(needed.and_then(|()| cargo().args(["fmt", "--all", "--check"]).check()))
}

fn clippy() -> Outcome {
    let clippy = || {
        tools::need_component("cargo-clippy", "clippy")?;
        cargo()
            .args(["clippy", "--quiet", "--all-targets"])
            .args(buildable())
            .args(["--", "-D", "warnings"])
            .check()
    };
    Outcome::result(clippy())
}

/// Cargo's arguments for every package that can be built here.
pub fn buildable() -> Vec<&'static str> {
    match tools::need_cpp() {
        Ok(()) => vec!["--workspace"],
        Err(_) => vec!["--workspace", "--exclude", "mish-standin"],
    }
}

fn bindings(library: &Path) -> Outcome {
    Outcome::check(
        cargo()
            .args([
                "run",
                "--quiet",
                "--package",
                "xtask-bindings",
                "--",
                "--check",
                "--library",
            ])
            .arg(library),
    )
}

fn rust() -> Vec<(String, Outcome)> {
    vec![
        ("kernels' machine code".into(), machine_code()),
        (
            "cargo test".into(),
            Outcome::count(cargo().args(["test", "--release"]).args(buildable())),
        ),
        (
            "cargo test, host-only build".into(),
            Outcome::count(cargo().args([
                "test",
                "--package",
                "libmish",
                "--no-default-features",
                "--lib",
            ])),
        ),
    ]
}

/// The tests that look at the kernels with the disassembler, which cargo alone leaves out.
fn machine_code() -> Outcome {
    if let Err(error) = toolchain::ensure_disassembler() {
        return Outcome::NotRun(format!("{error:#}"));
    }
    Outcome::count(cargo().args([
        "test",
        "--package",
        "libmish",
        "--release",
        "--lib",
        "--",
        "--ignored",
        "machine_code",
    ]))
}

/// The tests in Python.
pub const TESTS: &str = "tests/python";
/// How the names of the files begin whose tests need PyTorch.
const TORCH_TESTS: [&str; 2] = ["test_torch", "test_mish_cuda"];

fn python(context: &Context) -> Vec<(String, Outcome)> {
    let pytest = || pytest(&context.python, &context.library);
    let through_standin = trust::standin().map(|standin| {
        pytest()
            .env("LD_LIBRARY_PATH", standin)
            .args(["tests/python/test_cuda_arrays.py"])
            .args(["tests/python/test_cuda_driver.py"])
    });
    vec![
        (
            "pytest: core".into(),
            Outcome::count(pytest().args(core_tests())),
        ),
        (
            "pytest: GPU tests through the stand-in".into(),
            Outcome::count_if(through_standin),
        ),
    ]
}

/// pytest's arguments that leave out what needs PyTorch.
pub fn core_tests() -> Vec<String> {
    let ignored = TORCH_TESTS.map(|start| format!("--ignore-glob=*/{start}*"));
    ignored.into_iter().chain([TESTS.to_owned()]).collect()
}

fn torch(python: &Path, library: &Path) -> Outcome {
    let files = || -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(paths::root().join(TESTS))? {
            let entry = entry?;
            let name = entry.file_name();
            if TORCH_TESTS
                .iter()
                .any(|start| name.to_string_lossy().starts_with(start))
            {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    };
    Outcome::count_if(files().map(|files| pytest(python, library).args(files)))
}

/// `-rs` names every skipped test and its reason, for the summary.
fn pytest(python: &Path, library: &Path) -> Program {
    let cache = format!(
        "cache_dir={}",
        paths::target().join("cache/pytest").display()
    );
    program(python)
        .args(["-m", "pytest", "-q", "-rs", "-o"])
        .arg(cache)
        .env("MISH_LIBRARY", library)
        .env("PYTHONPATH", paths::root().join("bindings/python"))
}
