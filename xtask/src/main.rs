//! The project's tasks: `cargo xtask <task>`. Each task is a module; this file only dispatches.

mod aarch64;
mod bench;
mod build;
mod c_suite;
#[path = "../../src/catalogue/mod.rs"]
mod catalogue;
mod command;
mod cross;
mod debian;
mod demo;
mod deps;
mod disk;
mod examples;
mod fresh;
mod gate;
mod interpreters;
mod kernel_math;
mod libtorch;
mod msrv;
mod mutants;
mod neon;
mod outcome;
mod overhead;
mod paths;
mod python;
mod record;
mod setup;
mod skips;
mod supply;
mod sweep;
mod test;
mod toolchain;
mod tools;
mod tree;
mod trust;
mod wheel;

use std::fs;
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask <task>

  build      install the pinned kernel compiler if none is found, build the release library
  demo       build, run every example, then Mish beside its peers on the ancestor's workload
             [--no-peers] [--json FILE] [--repeats N]
  bench      overhead FILE: what a CUDA call costs the CPU beyond cuLaunchKernel
  test       everything that can be tested on this machine, with a summary
             [--no-torch] leaves out what needs PyTorch (some gigabytes the first time),
             [NAME...] runs only these steps
  aarch64    the library for AArch64: its symbols, its NEON code, and its tests in an emulator
             (fetches a compiler and the emulator from Debian, 270 MB)
  gate       instructions per element, registers and access widths of every kernel against
             bench/instructions.json  [--write] takes them into the file
  sweep      the error of the library on every input, against its bounds; --help says more
  bench      cpu | gpu: libmish beside its peers, into bench/results and docs/performance.md
             [--quick]; overhead: what a call costs the host; without more it says the rest
  wheel      the Python wheel, in dist/
             [--check] also tests it beside the newest and the oldest PyTorch served (11 GB) and
             with every Python on the PATH, each in an environment of its own; [--out FILE]
  trust      the full lengths of the GPU path's tests, of the fuzzer and of the stability check;
             planted bugs; the dependencies
  fresh      as root: minimal Debian systems with what the README lists, in which an ordinary user
             unpacks a tarball and runs the demo and some of the tests  [--brief] [RELEASE...]
  where      the root of this clone and the folder in which the tasks build
  bindings   regenerate the header, the ABI metadata and the generated bindings  [--check]
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}{}", disk::was_full());
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    if matches!(task.as_str(), "" | "help" | "--help" | "-h") {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    paths::find()?;
    if let Some(code) = elsewhere()? {
        return Ok(code);
    }
    let _alone = alone()?;
    match task.as_str() {
        "build" => build::library().map(|library| println!("built {}", library.display()))?,
        "bench" => bench::run(&rest)?,
        "demo" => demo::run(&rest)?,
        "test" => return test::run(&rest),
        "aarch64" => return Ok(test::step("AArch64", aarch64::all)),
        "gate" => gate::run(&rest)?,
        "sweep" => sweep::run(&rest)?,
        "trust" => return trust::run(&rest),
        "wheel" => return wheel::run(&rest),
        "where" => println!("{}\n{}", paths::root().display(), paths::target().display()),
        "fresh" => return fresh::run(&rest),
        "bindings" => command::cargo()
            .args(["run", "--quiet", "--package", "xtask-bindings", "--"])
            .args(&rest)
            .check()?,
        other => bail!("unknown task {other}\n\n{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// If this program was built in a folder that serves several clones, it may be another's: runs
/// the one that is built in this clone's part of it.
fn elsewhere() -> Result<Option<ExitCode>> {
    let target = paths::target().canonicalize();
    if target.is_ok_and(|target| std::env::current_exe().is_ok_and(|me| me.starts_with(target))) {
        return Ok(None);
    }
    let status = command::cargo()
        .args(["run", "--quiet", "--package", "xtask", "--"])
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
