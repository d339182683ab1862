//! `cargo xtask test`: everything that can be tested on this machine, and a summary of it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::build;
use crate::env::python::{CORE, TORCH};
use crate::run::outcome::{Outcome, Outcomes};
use crate::run::summary::{summary, timed};
use crate::steps::{
    aarch64, c, examples, fresh, gate, kernel_math, libtorch, mutants, oldest_rust, pytest,
    reliability, rust, setup, supply, sweep, wheel,
};

/// What the steps need, prepared before the first of them.
pub struct Context {
    /// The release library.
    pub library: PathBuf,
    /// The interpreter for the core's tests.
    pub python: PathBuf,
    /// The one that has PyTorch; `None` if no step of this run needs it.
    pub torch: Option<PathBuf>,
}

/// What a step needs beside the library.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    /// PyTorch, or it does not run.
    Torch,
    /// PyTorch, for a part of it.
    SomeTorch,
}
use Needs::{Nothing, SomeTorch, Torch};

type Step = fn(&Context) -> Outcomes;

/// The steps in the order they run: what fails fastest comes first.
const STEPS: &[(&str, Needs, Step)] = &[
    ("setup", Nothing, |_| setup::all()),
    ("format", Nothing, |_| rust::format()),
    ("lint", Nothing, |_| rust::lint()),
    ("oldest rust", Nothing, |_| oldest_rust::all()),
    ("bindings", Nothing, rust::bindings),
    ("rust", Nothing, |_| rust::tests()),
    ("gate", Nothing, gate::all),
    ("c", Nothing, |context| c::all(&context.library)),
    ("sweep", Nothing, |context| sweep::reduced(&context.library)),
    ("supply", Nothing, |_| supply::all()),
    ("reliability", Nothing, |_| reliability::share()),
    ("kernel math", Nothing, |_| kernel_math::all()),
    ("python", Nothing, pytest::core),
    ("examples", Nothing, examples::with_standin),
    ("aarch64", Nothing, |_| aarch64::all()),
    ("wheel", Nothing, |_| wheel::installed()),
    ("mutants", SomeTorch, |context| {
        mutants::share(context.torch.is_some())
    }),
    ("fresh", Nothing, |_| fresh::reduced()),
    ("torch", Torch, pytest::torch),
    ("libtorch", Torch, libtorch::all),
];

/// Runs the steps; the exit code says whether all passed.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let (options, wanted): (Vec<&str>, Vec<&str>) =
        (arguments.iter().map(String::as_str)).partition(|argument| *argument == "--no-torch");
    if let Some(unknown) = wanted
        .iter()
        .find(|name| STEPS.iter().all(|step| step.0 != **name))
    {
        let names: Vec<_> = STEPS.iter().map(|step| step.0).collect();
        bail!("no step {unknown}; the steps are {}", names.join(", "));
    }
    let chosen: Vec<_> = (STEPS.iter())
        .filter(|(name, ..)| wanted.is_empty() || wanted.contains(name))
        .collect();
    let needs_torch = options.is_empty()
        && (chosen.iter()).any(|(_, needs, _)| [Torch, SomeTorch].contains(needs));
    let prepare_torch = || {
        let torch = TORCH.ensure();
        torch.context("PyTorch for the tests (--no-torch does without)")
    };
    let context = Context {
        library: build::library()?,
        python: CORE.ensure()?,
        torch: needs_torch.then(prepare_torch).transpose()?,
    };
    let mut results = Vec::new();
    for (name, needs, step) in chosen {
        if *needs == Torch && context.torch.is_none() {
            results.push(((*name).into(), Outcome::skip("left out by --no-torch")));
        } else {
            results.extend(timed(name, || step(&context)));
        }
    }
    Ok(summary(&results))
}
