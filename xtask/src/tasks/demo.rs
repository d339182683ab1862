//! `cargo xtask demo`: from a clone to results.

use anyhow::{Context, Result, bail};

use crate::env::python::{CORE, TORCH};
use crate::env::{paths, tools};
use crate::run::command::program;
use crate::steps::examples;
use crate::tasks::build;

/// Builds, runs every example, then Mish beside its peers on mish-cuda's workload.
pub fn run(arguments: &[String]) -> Result<()> {
    let mut script = Vec::new();
    let mut with_peers = true;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--no-peers" => with_peers = false,
            "--json" | "--repeats" => {
                let value = rest
                    .next()
                    .with_context(|| format!("{argument} needs a value"))?;
                script.extend([argument.clone(), value.clone()]);
            }
            other => {
                bail!("unknown argument {other}; usage: [--no-peers] [--json FILE] [--repeats N]")
            }
        }
    }
    tools::check()?;
    println!("[1/4] building the library");
    let library = build::library()?;
    println!(
        "[2/4] preparing Python{}",
        if with_peers {
            " with PyTorch, for the peers (some gigabytes the first time)"
        } else {
            ""
        }
    );
    let python = if with_peers {
        TORCH.ensure_or_host("torch")?
    } else {
        CORE.ensure()?
    };
    println!("[3/4] running the examples");
    let mut failures = 0;
    for (name, outcome) in examples::all(&library, &python, None) {
        match (outcome.failures.len(), outcome.passed) {
            (0, 0) => println!("  {name}: not run, {}", outcome.skips.join(", ")),
            (0, _) => println!("  {name}: results agree with the reference"),
            _ => {
                failures += 1;
                println!("  {name}: FAILED");
            }
        }
    }
    println!("[4/4] Mish beside its peers, on the workload of mish-cuda's benchmark");
    if !with_peers {
        script.push("--no-peers".into());
    }
    program(&python)
        .arg(paths::root().join("bench/demo.py"))
        .args(script)
        .env("MISH_LIBRARY", &library)
        .env("PYTHONPATH", paths::root().join("bindings/python"))
        .check()?;
    if failures > 0 {
        bail!("{failures} examples failed");
    }
    Ok(())
}
