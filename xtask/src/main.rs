//! The project's tasks: `cargo xtask <task>`. Each task is a module; this file only dispatches.

mod aarch64;
mod bench;
mod build;
mod c_suite;
mod command;
mod cross;
mod debian;
mod demo;
mod examples;
mod gate;
mod julia;
mod kernel_math;
mod libtorch;
mod mutants;
mod neon;
mod outcome;
mod overhead;
mod paths;
mod python;
mod record;
mod skips;
mod supply;
mod sweep;
mod test;
mod toolchain;
mod trust;
mod wheel;

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
  bindings   regenerate the header, the ABI metadata and the generated bindings  [--check]
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
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
        "bindings" => command::cargo()
            .args(["run", "--quiet", "--package", "xtask-bindings", "--"])
            .args(&rest)
            .check()?,
        "" | "help" | "--help" | "-h" => print!("{USAGE}"),
        other => bail!("unknown task {other}\n\n{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}
