//! `cargo xtask bench`: libmish beside its peers (`bench/`), and what a call costs.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::env::paths;
use crate::env::python::{Environment, host};
use crate::run::command::{Program, program};
use crate::tasks::{build, overhead};

const USAGE: &str = "\
cargo xtask bench cpu|gpu [--quick] [--trial] [--out FOLDER] [--dtypes TYPE,...]
    [--ops OPERATION,...] [--sizes N,...] [--impls NAME,...] [--threads N,...]
    [--simd avx2]
  times everything in turns, writes bench/results/<device>-<date>.json and, from it,
  docs/performance.md with its pictures; with --out nothing but the file there, and the
  tables are printed. CPU: a file for each number of threads, by default 1 and all; --simd avx2
  keeps every implementation to AVX2. --trial, with --out: says in the file that the machine was
  not quiet.

cargo xtask bench overhead [--out FOLDER]
  what a call costs the host: from PyTorch, and through the C ABI with a driver that does nothing

cargo xtask bench threads [--out FOLDER] [...]
  what two threads gain, awake and asleep, alone and beside PyTorch's: bench/threads.py, whose
  options it takes; writes threads-cpu.json
";

const CPU: Environment = Environment::new("bench", "xtask/requirements/bench.txt");
const GPU: Environment = Environment::new("bench-gpu", "xtask/requirements/bench-gpu.txt");

/// Dispatches to the benchmarks, then renders what they found.
pub fn run(arguments: &[String]) -> Result<()> {
    let (out, rest) = taken(arguments, "--out")?;
    let Some((what, rest)) = rest.split_first() else {
        bail!("{USAGE}");
    };
    if out.is_none() && rest.iter().any(|argument| argument == "--trial") {
        bail!("--trial needs --out: a trial is no result");
    }
    let folder = match &out {
        Some(folder) => PathBuf::from(folder),
        None => paths::root().join("bench/results"),
    };
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    match what.as_str() {
        "cpu" => cpu(&folder, rest)?,
        "gpu" => gpu(&folder, rest)?,
        "overhead" if rest.is_empty() => calls(&folder)?,
        "threads" => return threads(&folder, rest),
        _ => bail!("{USAGE}"),
    }
    let render = program(CPU.ensure()?);
    match out {
        None => render.words("bench/tables.py --figures").check(),
        Some(_) => render.arg("bench/performance.py").arg(folder).check(),
    }
}

fn cpu(folder: &Path, arguments: &[String]) -> Result<()> {
    let (threads, rest) = taken(arguments, "--threads")?;
    let threads = match (threads, std::thread::available_parallelism()?.get()) {
        (Some(threads), _) => threads,
        (None, 1) => "1".into(),
        (None, cores) => format!("1,{cores}"),
    };
    let library = build::library()?;
    let python = CPU.ensure()?;
    // A process each: thread pools are made once.
    for number in threads.split(',') {
        println!("── threads: {number}");
        speed(&python, &library, "cpu", folder, &rest)
            .args(["--threads", number])
            .check()?;
    }
    Ok(())
}

fn gpu(folder: &Path, arguments: &[String]) -> Result<()> {
    let library = build::library()?;
    // The machine's own frameworks, if it has them: they fit its driver.
    let imports = "import torch, jax; assert torch.cuda.is_available()";
    let python = match program(host()?).args(["-c", imports]).read() {
        Ok(_) => host()?.into(),
        Err(_) => GPU.ensure()?,
    };
    speed(&python, &library, "gpu", folder, arguments).check()
}

fn speed(
    python: &Path,
    library: &Path,
    device: &str,
    folder: &Path,
    arguments: &[String],
) -> Program {
    program(python)
        .args(["bench/bench.py", device, "--out"])
        .arg(folder)
        .args(arguments)
        .env("MISH_LIBRARY", library)
}

fn threads(folder: &Path, arguments: &[String]) -> Result<()> {
    let library = build::library()?;
    program(CPU.ensure()?)
        .words("bench/threads.py --out")
        .arg(folder.join("threads-cpu.json"))
        .args(arguments)
        .env("MISH_LIBRARY", library)
        .check()
}

fn calls(folder: &Path) -> Result<()> {
    let library = build::library()?;
    println!("── from PyTorch");
    program(CPU.ensure()?)
        .words("bench/torch_overhead.py --out")
        .arg(folder.join("overhead-torch.json"))
        .env("MISH_LIBRARY", &library)
        .check()?;
    println!("── through the C ABI, with a driver that does nothing");
    overhead::c_abi(&folder.join("overhead-c.json"))
}

/// The value of an option, and the arguments without it.
fn taken(arguments: &[String], option: &str) -> Result<(Option<String>, Vec<String>)> {
    let mut rest = arguments.to_vec();
    let Some(at) = rest.iter().position(|argument| argument == option) else {
        return Ok((None, rest));
    };
    rest.remove(at);
    if at == rest.len() {
        bail!("{option} needs a value");
    }
    let value = rest.remove(at);
    Ok((Some(value), rest))
}
