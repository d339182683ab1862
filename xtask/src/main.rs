//! The project's tasks: `cargo xtask <task>`. Each task is a module; this file only dispatches.

#[path = "../../src/catalogue/mod.rs"]
mod catalogue;
mod env;
mod run;
mod steps;
mod tasks;

use std::fs;
use std::process::ExitCode;

use anyhow::{Result, bail};

use env::{deps, paths};
use run::{command, disk, summary};
use steps::{aarch64, fresh, gate, reliability, sweep, wheel};
use tasks::{bench, build, demo, test};

type Task = fn(&[String]) -> Result<ExitCode>;

/// The tasks: name, what it does, and the function that does it.
const TASKS: &[(&str, &str, Task)] = &[
    (
        "build",
        "install the pinned kernel compiler if none is found, build the release library",
        |_| done(build::library().map(|library| println!("built {}", library.display()))),
    ),
    (
        "demo",
        "build, run every example, then Mish beside its peers on mish-cuda's workload
[--no-peers] [--json FILE] [--repeats N]",
        |arguments| done(demo::run(arguments)),
    ),
    (
        "test",
        "everything that can be tested on this machine, with a summary
[--no-torch] leaves out what needs PyTorch (some gigabytes the first time),
[NAME...] runs only these steps",
        test::run,
    ),
    (
        "aarch64",
        "the library for AArch64: its symbols, its NEON code, and its tests in an emulator
(fetches a compiler and the emulator from Debian, 270 MB)",
        |_| Ok(summary::summary(&summary::timed("AArch64", aarch64::all))),
    ),
    (
        "gate",
        "instructions per element, registers and access widths of every kernel against
bench/instructions.json  [--write] takes them into the file",
        |arguments| done(gate::run(arguments)),
    ),
    (
        "sweep",
        "the error of the library on every input, against its bounds; --help says more",
        |arguments| done(sweep::run(arguments)),
    ),
    (
        "bench",
        "cpu | gpu: libmish beside its peers, into bench/results and docs/performance.md
[--quick]; overhead: what a call costs the host; without more it says the rest",
        |arguments| done(bench::run(arguments)),
    ),
    (
        "wheel",
        "the Python wheel, in dist/
[--check] also tests it beside the newest and the oldest PyTorch served (11 GB) and
with every Python on the PATH, each in an environment of its own; [--out FILE]",
        wheel::run,
    ),
    (
        "reliability",
        "the full lengths of the GPU path's tests, of the fuzzer and of the stability check;
planted bugs; the dependencies",
        reliability::run,
    ),
    (
        "fresh",
        "as root: minimal Debian systems with what the README lists, in which an ordinary user
unpacks a tarball and runs the demo and some of the tests  [--brief] [RELEASE...]",
        fresh::run,
    ),
    (
        "where",
        "the root of this clone and the folder in which the tasks build",
        |_| {
            println!("{}\n{}", paths::root().display(), paths::target().display());
            Ok(ExitCode::SUCCESS)
        },
    ),
    (
        "bindings",
        "regenerate the header, the ABI metadata and the generated bindings  [--check]",
        |arguments| {
            let generator = ["run", "--quiet", "--package", "xtask-bindings", "--"];
            done(command::cargo().args(generator).args(arguments).check())
        },
    ),
];

fn done(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

fn usage() -> String {
    let lines = TASKS.iter().map(|(name, what, _)| {
        format!(
            "  {name:<13}{}\n",
            what.replace('\n', &format!("\n{:15}", ""))
        )
    });
    format!("cargo xtask <task>\n\n{}", lines.collect::<String>())
}

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}{}", disk::was_full());
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    if matches!(name.as_str(), "" | "help" | "--help" | "-h") {
        print!("{}", usage());
        return Ok(ExitCode::SUCCESS);
    }
    let Some((_, _, task)) = TASKS.iter().find(|task| task.0 == name) else {
        bail!("unknown task {name}\n\n{}", usage());
    };
    paths::find()?;
    if let Some(code) = elsewhere()? {
        return Ok(code);
    }
    let _alone = alone()?;
    task(&rest)
}

/// If this program was built in a folder that serves several clones, it may be another's: runs
/// the one that is built in this clone's part of it.
fn elsewhere() -> Result<Option<ExitCode>> {
    let target = paths::target().canonicalize();
    if target.is_ok_and(|target| std::env::current_exe().is_ok_and(|me| me.starts_with(target))) {
        return Ok(None);
    }
    let status = command::cargo()
        .words("run --quiet --package xtask --")
        .args(std::env::args_os().skip(1))
        .status()?;
    Ok(Some(ExitCode::from(
        status.code().map_or(1, |code| code as u8),
    )))
}

/// Waits until no other task runs in this clone, which would build and remove the same files.
fn alone() -> Result<fs::File> {
    let target = paths::target();
    let lock = deps::lock(&target.join("xtask.lock"), || {
        eprintln!("waiting for another task in this clone");
    })?;
    // What was built in a clone that was then renamed or copied names the old folder.
    let mark = target.join("xtask.root");
    let root = paths::root().as_os_str().as_encoded_bytes();
    if fs::read(&mark).is_ok_and(|found| found != root) {
        eprintln!("this clone was moved or copied: building anew");
        for entry in fs::read_dir(target)? {
            let path = entry?.path();
            if path.is_dir() {
                deps::remove(&path)?;
            }
        }
    }
    fs::write(mark, root)?;
    // What an interrupted run left.
    let temporary = target.join("tmp");
    deps::remove(&temporary)?;
    fs::create_dir_all(temporary)?;
    Ok(lock)
}
