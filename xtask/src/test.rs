//! `cargo xtask test`: everything that can be tested on this machine, and a summary of it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::command::{cargo, is_installed, program};
use crate::outcome::Outcome;
use crate::python::CORE;
use crate::{
    build, c_suite, examples, kernel_math, libtorch, paths, supply, toolchain, trust, wheel,
};

/// What steps need and only the first of them prepares.
struct Context {
    library: std::path::PathBuf,
    python: std::path::PathBuf,
}

type Step = fn(&Context) -> Vec<(String, Outcome)>;

/// The steps in the order they run: what fails fastest comes first.
const STEPS: &[(&str, Step)] = &[
    ("format", |_| one("rustfmt", rustfmt())),
    ("lint", |_| one("clippy", clippy())),
    ("bindings", |context| {
        one(
            "generated files and exported symbols",
            bindings(&context.library),
        )
    }),
    ("rust", |_| rust()),
    ("c", |context| c_suite::all(&context.library)),
    ("supply", |_| one("dependencies", supply::outcome())),
    ("trust", |_| trust::share()),
    ("kernel math", |_| {
        one("kernel mathematics on the host", kernel_math::run())
    }),
    ("python", |context| {
        one("pytest: core", python(&context.python, &context.library))
    }),
    ("examples", |context| {
        examples::all(&context.library, &context.python)
    }),
    ("libtorch", |context| {
        libtorch::all(&context.library, &context.python)
    }),
    ("wheel", |_| one("the wheel, installed", wheel::installed())),
];

/// Runs the steps; the exit code says whether all passed.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let with_torch = !arguments.iter().any(|argument| argument == "--no-torch");
    let wanted: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| *argument != "--no-torch")
        .collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|name| !STEPS.iter().any(|(step, _)| step == *name))
    {
        let names: Vec<_> = STEPS.iter().map(|(name, _)| *name).collect();
        bail!("no step {unknown}; the steps are {}", names.join(", "));
    }
    let library = build::library()?;
    let python = CORE.ensure()?;
    let context = Context { library, python };
    let mut results = Vec::new();
    for (name, step) in STEPS {
        if !wanted.is_empty() && !wanted.contains(name) {
            continue;
        }
        println!("\n── {name}");
        let start = Instant::now();
        let outcomes = step(&context);
        println!("── {name}: {:.0} s", start.elapsed().as_secs_f64());
        results.extend(outcomes);
    }
    Ok(summary(&results, with_torch))
}

fn summary(results: &[(String, Outcome)], with_torch: bool) -> ExitCode {
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
    if !with_torch {
        missing.push("everything that needs PyTorch: left out by --no-torch".into());
    }
    println!("══ what did not run, and why");
    for line in &missing {
        println!("  {line}");
    }
    if missing.is_empty() {
        println!("  nothing");
    }
    println!(
        "\n{passed} passed, {failed} failed, {} skipped",
        missing.len()
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
    if !is_installed("rustfmt") {
        return Outcome::NotRun("rustfmt is not installed".into());
    }
    Outcome::check(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Outcome {
    if !is_installed("cargo-clippy") {
        return Outcome::NotRun("clippy is not installed".into());
    }
    Outcome::check(cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
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
            Outcome::count(cargo().args(["test", "--workspace", "--release"])),
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

/// `-rs` names every skipped test and its reason, for the summary.
fn python(python: &Path, library: &Path) -> Outcome {
    Outcome::count(
        program(python)
            .args(["-m", "pytest", "-q", "-rs", "tests/python"])
            .env("MISH_LIBRARY", library)
            .env("PYTHONPATH", paths::root().join("bindings/python")),
    )
}
