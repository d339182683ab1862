//! Measures the error of the library on every input of the 16-bit types and of float32, and on as
//! many as asked for of float64, through its C ABI and against a reference of its own.
//! `cargo xtask sweep` builds the library and runs this.

#[path = "../../../src/catalogue/mod.rs"]
mod catalogue;
mod check;
mod directed;
mod format;
mod library;
mod measure;
mod oracle;
mod peer;
mod points;
mod progress;
mod quantity;
mod report;
mod run;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail};
use half::{bf16, f16};
use serde_json::json;

use crate::catalogue::{Dtype, Op};
use crate::check::Checked;
use crate::format::Element;
use crate::library::{Device, Mish};
use crate::peer::Peer;
use crate::points::Amount;
use crate::report::Row;
use crate::run::{Plan, Subject, Swept};

const USAGE: &str = "\
cargo xtask sweep [--dtype TYPE,...] [--op OPERATION,...]
                  [--device cpu|cuda] [--reduced | --brief] [--points N] [--json FILE]
                  [--fresh] [--peer COMMAND]

  --dtype    the element types by their short names such as bf16, all by default
  --op       the operations such as double_backward, all by default
  --reduced  2^24 inputs of float32 instead of all, and fewer of float64
  --brief    as --reduced, with 2^19 inputs of float32: for an emulator
  --points   of float64: 10^9 by default, 4 million with --reduced, 500,000 with --brief
  --json     where to write the results
  --peer     measure a program instead of the library; tests/sweep/src/peer.rs says what it does
  --fresh    start again; otherwise an interrupted sweep of the same library is resumed
";

struct Arguments {
    library: PathBuf,
    /// The folder for the state of an interrupted sweep.
    state: PathBuf,
    dtypes: Vec<Dtype>,
    operations: Vec<Op>,
    device: Device,
    reduced: bool,
    /// Even fewer than `reduced`, which then is set too.
    brief: bool,
    points: Option<u64>,
    json: Option<PathBuf>,
    peer: Option<String>,
    fresh: bool,
}

/// Those of `all` whose names are in a comma-separated list.
fn choose<T: Copy>(list: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<Vec<T>> {
    let names: Vec<&str> = list.split(',').collect();
    if let Some(unknown) = names
        .iter()
        .find(|n| !all.iter().any(|&item| name(item) == **n))
    {
        let known: Vec<_> = all.iter().map(|&item| name(item)).collect();
        bail!("{unknown} is none of {}", known.join(", "));
    }
    Ok(all
        .iter()
        .copied()
        .filter(|&item| names.contains(&name(item)))
        .collect())
}

impl Arguments {
    fn parse() -> Result<Option<Arguments>> {
        let mut arguments = Arguments {
            library: "target/release/libmish.so".into(),
            state: "target/sweep".into(),
            dtypes: Dtype::ALL.to_vec(),
            operations: Op::ALL.to_vec(),
            device: Device::Cpu,
            reduced: false,
            brief: false,
            points: None,
            json: None,
            peer: None,
            fresh: false,
        };
        let mut list = std::env::args().skip(1);
        while let Some(argument) = list.next() {
            let mut value = || {
                list.next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--library" => arguments.library = value()?.into(),
                "--state" => arguments.state = value()?.into(),
                "--dtype" => arguments.dtypes = choose(&value()?, &Dtype::ALL, Dtype::name)?,
                "--op" => arguments.operations = choose(&value()?, &Op::ALL, Op::name)?,
                "--device" => {
                    arguments.device = match value()?.as_str() {
                        "cpu" => Device::Cpu,
                        "cuda" => Device::Cuda,
                        other => bail!("{other} is neither cpu nor cuda"),
                    }
                }
                "--reduced" => arguments.reduced = true,
                "--brief" => (arguments.reduced, arguments.brief) = (true, true),
                "--points" => arguments.points = Some(value()?.parse().context("--points")?),
                "--json" => arguments.json = Some(value()?.into()),
                "--peer" => arguments.peer = Some(value()?),
                "--fresh" => arguments.fresh = true,
                "--help" | "-h" => return Ok(None),
                other => bail!("unknown argument {other}\n\n{USAGE}"),
            }
        }
        Ok(Some(arguments))
    }

    fn amount(&self) -> Amount {
        let (single, wide) = match (self.reduced, self.brief) {
            (_, true) => (1 << 19, 500_000),
            (true, false) => (1 << 24, 4_000_000),
            (false, false) => (1 << 32, 1_000_000_000),
        };
        Amount {
            single,
            wide: self.points.unwrap_or(wide),
            // Gradients are for the library alone.
            rounds: match self.peer {
                Some(_) => 1,
                None if self.reduced => 4,
                None => 256,
            },
        }
    }

    /// A state's name says all that it depends on.
    fn state_file(&self, dtype: Dtype) -> Result<Option<PathBuf>> {
        if self.reduced {
            return Ok(None);
        }
        let mut hasher = DefaultHasher::new();
        match &self.peer {
            Some(command) => command.hash(&mut hasher),
            None => fs::read(&self.library)
                .with_context(|| self.library.display().to_string())?
                .hash(&mut hasher),
        }
        fs::read(std::env::current_exe()?)?.hash(&mut hasher);
        let operations: Vec<_> = self.operations.iter().map(|op| op.name()).collect();
        (operations, self.device == Device::Cuda, self.amount().wide).hash(&mut hasher);
        let name = format!("{}-{:016x}.json", dtype.name(), hasher.finish());
        Ok(Some(self.state.join(name)))
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sweep: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let Some(arguments) = Arguments::parse()? else {
        print!("{USAGE}");
        return Ok(true);
    };
    let (subject, name) = match &arguments.peer {
        Some(command) => {
            let name = Peer::start(command, arguments.dtypes[0])?.name.clone();
            (Subject::Peer(command.clone()), name)
        }
        None => {
            let mish = Mish::load(&arguments.library, arguments.device)?;
            let name = format!("libmish {}", mish.version);
            (Subject::Library(Box::new(mish)), name)
        }
    };
    let start = Instant::now();
    let (mut rows, mut checks) = (Vec::new(), Vec::new());
    let (mut seconds, mut directed) = (Vec::new(), Vec::new());
    for &dtype in &arguments.dtypes {
        let (new_rows, checked, swept) = match dtype {
            Dtype::F16 => sweep::<f16>(&subject, &arguments)?,
            Dtype::BF16 => sweep::<bf16>(&subject, &arguments)?,
            Dtype::F32 => sweep::<f32>(&subject, &arguments)?,
            Dtype::F64 => sweep::<f64>(&subject, &arguments)?,
        };
        rows.extend(new_rows);
        checks.push(checked);
        seconds.push((dtype.name().to_owned(), json!(swept.seconds)));
        directed.push((dtype.name().to_owned(), json!(swept.directed)));
    }
    report::table(&rows);
    if let Some(path) = &arguments.json {
        let header = json!({
            "what": "worst errors in units of the last place",
            "of": name,
            "date": date(),
            "commit": commit(),
            "device": match arguments.device { Device::Cpu => "cpu", Device::Cuda => "cuda" },
            "cpu": cpu(),
            "instruction_sets": instruction_sets(),
            "threads": rayon::current_num_threads(),
            "reduced": arguments.reduced,
            "seconds": serde_json::Map::from_iter(seconds),
            "sets": arguments.dtypes.iter().map(|&dtype| {
                let sets = points::sets(dtype, arguments.amount());
                let sets = sets.iter().map(|set| json!({"what": set.name, "points": set.count}));
                (dtype.name().to_owned(), sets.collect())
            }).collect::<serde_json::Map<_, _>>(),
            "directed": serde_json::Map::from_iter(directed),
            "references_checked_log2": checks,
            "profile_from": arguments.dtypes.iter().map(|&dtype| {
                (dtype.name().to_owned(), json!(measure::profile_start(dtype)))
            }).collect::<serde_json::Map<_, _>>(),
        });
        let lines: Vec<String> = rows
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<_, _>>()?;
        let header = serde_json::to_string_pretty(&header)?;
        let text = format!(
            "{{\n\"header\": {header},\n\"rows\": [\n{}\n]\n}}\n",
            lines.join(",\n")
        );
        fs::write(path, text).with_context(|| path.display().to_string())?;
        println!("\nwritten to {}", path.display());
    }
    let passed = rows.iter().filter(|row| row.passed()).count();
    let failed = rows.len() - passed;
    let seconds = start.elapsed().as_secs_f64();
    if arguments.peer.is_some() {
        println!(
            "\n{name}: {failed} of {} outside of libmish's bounds, in {seconds:.0} s",
            rows.len()
        );
        return Ok(true);
    }
    println!("\nin {seconds:.0} s");
    // What the test runner reads: the lines of libtest's JSON.
    for row in rows.iter().filter(|row| !row.passed()) {
        println!(
            "{}",
            json!({"type": "test", "event": "failed", "name": row.name()})
        );
    }
    let event = if failed == 0 { "ok" } else { "failed" };
    println!(
        "{}",
        json!({"type": "suite", "event": event, "passed": passed, "failed": failed})
    );
    Ok(failed == 0)
}

fn sweep<E: Element>(
    subject: &Subject,
    arguments: &Arguments,
) -> Result<(Vec<Row>, Checked, Swept)> {
    let sets = points::sets(E::DTYPE, arguments.amount());
    let checked = check::references::<E>(&sets, if arguments.reduced { 4_000 } else { 40_000 })?;
    let plan = Plan {
        operations: arguments.operations.clone(),
        device: arguments.device,
        state: arguments.state_file(E::DTYPE)?,
    };
    if let Some(state) = plan
        .state
        .as_ref()
        .filter(|state| arguments.fresh && state.exists())
    {
        fs::remove_file(state)?;
    }
    let swept = run::sweep::<E>(subject, &plan, &sets)?;
    Ok((
        report::rows(E::DTYPE, &E::FORMAT, &swept.tallies),
        checked,
        swept,
    ))
}

/// The library's; `MISH_COMMIT` names it where that is not the one checked out.
fn commit() -> Option<String> {
    if let Ok(named) = std::env::var("MISH_COMMIT") {
        return Some(named);
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    git(&["rev-parse", "--short", "HEAD"])
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split(':').nth(1)?.trim().to_owned())
}

/// What the library may choose from.
fn instruction_sets() -> Vec<&'static str> {
    #[allow(unused_mut)]
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        for (name, is_there) in [
            ("avx512f", has!("avx512f")),
            ("avx2", has!("avx2")),
            ("fma", has!("fma")),
            ("f16c", has!("f16c")),
        ] {
            if is_there {
                sets.push(name);
            }
        }
    }
    sets
}

/// Today in UTC, as year-month-day.
fn date() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let days = now.map_or(0, |now| now.as_secs() / 86_400) as i64;
    // Years from March on, in eras of 400 of them.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day = shifted.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let in_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{in_month:02}", year + era * 400 + next)
}
