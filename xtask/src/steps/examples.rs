//! The examples, one per language.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use super::{c, reliability};
use crate::env::{interpreters, paths};
use crate::run::command::{Program, program};
use crate::run::outcome::{Outcome, Outcomes};
use crate::tasks::{build, test};

/// The most units in the last place by which a printed value may miss the reference.
const TOLERANCE: u32 = 2;

/// All of them, as tests, with a stand-in driver where there is no GPU.
pub fn with_standin(context: &test::Context) -> Outcomes {
    let (library, python) = (&context.library, &context.python);
    match reliability::standin() {
        Ok(standin) => all(library, python, Some(&standin)),
        // Without a compiler for it, they run once.
        failed => {
            let mut outcomes = all(library, python, None);
            outcomes.push(("stand-in driver".into(), Outcome::of(failed)));
            outcomes
        }
    }
}

/// Makes a program afresh for each run, given what is needed for that.
type Example = Box<dyn Fn() -> Program>;

/// Compiles, runs and checks each. With the folder of a stand-in driver, an example that finds no
/// GPU runs a second time with that.
pub fn all(library: &Path, python: &Path, standin: Option<&Path>) -> Outcomes {
    let examples: [(&str, &dyn Fn() -> Result<Example>); 7] = [
        ("C", &|| compiled("c", library)),
        ("C++", &|| compiled("cpp", library)),
        ("Rust", &rust),
        ("Python", &|| {
            let run = [PathBuf::from(python), "examples/quickstart.py".into()];
            Ok(interpreted(run.into(), library))
        }),
        ("Julia", &|| {
            let options = ["--startup-file=no", "examples/quickstart.jl"].map(PathBuf::from);
            Ok(interpreted(
                [vec![interpreters::julia()?], options.into()].concat(),
                library,
            ))
        }),
        ("C#", &|| csharp(library)),
        ("Lua", &|| {
            let run = vec![interpreters::luajit()?, "examples/quickstart.lua".into()];
            Ok(interpreted(run, library))
        }),
    ];
    (examples.into_iter())
        .map(|(language, make)| {
            let result = make().and_then(|example| check(&*example, library, standin));
            let outcome = result.unwrap_or_else(Outcome::from);
            (format!("example: {language}"), outcome)
        })
        .collect()
}

/// A program with its arguments, which is told where the library is.
fn interpreted(words: Vec<PathBuf>, library: &Path) -> Example {
    let library = library.to_owned();
    Box::new(move || {
        program(&words[0])
            .args(&words[1..])
            .env("MISH_LIBRARY", &library)
            .env("PYTHONPATH", paths::root().join("bindings/python"))
    })
}

fn compiled(extension: &str, library: &Path) -> Result<Example> {
    let source = format!("examples/quickstart.{extension}");
    let binary = c::compile(&source, &format!("quickstart-{extension}"), library)?;
    let library = library.to_owned();
    Ok(Box::new(move || c::linked(&binary, &library)))
}

fn rust() -> Result<Example> {
    let example = build::release("libmish").words("--example quickstart");
    let binary = example.built("quickstart")?;
    Ok(Box::new(move || program(&binary)))
}

fn csharp(library: &Path) -> Result<Example> {
    let [compiler, mono] = interpreters::mono()?;
    let folder = paths::target().join("csharp");
    let binary = folder.join("quickstart.exe");
    fs::create_dir_all(&folder)?;
    program(&compiler)
        .words("-unsafe -warnaserror -warn:4")
        .arg(format!("-out:{}", binary.display()))
        .arg("examples/quickstart.cs")
        .words("bindings/csharp/Abi.cs bindings/csharp/Mish.cs")
        .check()?;
    let library = library.to_owned();
    Ok(Box::new(move || c::linked(&mono, &library).arg(&binary)))
}

/// Runs an example and compares what it prints with `tests/reference/example.csv`; each device is
/// a test.
fn check(example: &dyn Fn() -> Program, library: &Path, standin: Option<&Path>) -> Result<Outcome> {
    let mut devices = compare(&example().read()?)?;
    println!("    on {}", devices.join(" and "));
    let mut skips = Vec::new();
    if !devices.iter().any(|device| device == "cuda") {
        skips.push("its part on a GPU: no GPU here".to_owned());
        if let Some(standin) = standin {
            let path = env::join_paths([library.parent().context("a folder")?, standin])?;
            devices = compare(&example().env("LD_LIBRARY_PATH", path).read()?)?;
            ensure!(devices.len() == 2, "found no GPU with the stand-in driver");
            println!("    on {}, the stand-in's", devices.join(" and "));
        }
    }
    Ok(Outcome {
        passed: devices.len() as u32,
        skips,
        ..Outcome::default()
    })
}

/// `device operation index value` per line; returns the devices, each of which must have printed
/// every expected value.
fn compare(text: &str) -> Result<Vec<String>> {
    let expected = expected()?;
    let mut devices: Vec<(String, usize)> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [device, operation, index, value] = words[..] else {
            bail!("unexpected line: {line}");
        };
        let (index, value): (usize, f32) = (index.parse()?, value.parse()?);
        if devices.last().is_none_or(|(last, _)| last != device) {
            devices.push((device.to_owned(), 0));
        }
        let (_, printed) = devices.last_mut().context("no device")?;
        let Some((name, at, reference)) = expected.get(*printed) else {
            bail!("more lines than expected: {line}");
        };
        *printed += 1;
        if (operation, index) != (name.as_str(), *at) {
            bail!("expected {name} {at}, got {line}");
        }
        let distance = ordered(value).abs_diff(ordered(*reference));
        if distance > TOLERANCE {
            bail!("{line}: {distance} units in the last place from {reference}");
        }
    }
    for (device, printed) in &devices {
        if *printed != expected.len() {
            bail!("{device}: {printed} values, not {}", expected.len());
        }
    }
    if devices.first().is_none_or(|(device, _)| device != "cpu") {
        bail!("nothing about the CPU");
    }
    Ok(devices.into_iter().map(|(device, _)| device).collect())
}

fn expected() -> Result<Vec<(String, usize, f32)>> {
    let path = paths::root().join("tests/reference/example.csv");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let rows = text.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        let [operation, index, value] = cells[..] else {
            bail!("{}: {line}", path.display());
        };
        Ok((operation.to_owned(), index.parse()?, value.parse()?))
    });
    rows.collect()
}

/// Numbers the floats in their order, so that neighbours differ by one.
fn ordered(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    if bits < 0 { i32::MIN - bits } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_cross_zero() {
        assert_eq!(ordered(0.0), ordered(-0.0));
        let tiny = f32::from_bits(1);
        assert_eq!(ordered(tiny).abs_diff(ordered(-tiny)), 2);
        assert_eq!(ordered(1.0_f32.next_up()) - ordered(1.0), 1);
    }

    fn output(device: &str) -> String {
        let rows = expected().unwrap();
        rows.iter()
            .map(|(name, index, value)| format!("{device} {name} {index} {value:e}\n"))
            .collect()
    }

    #[test]
    fn a_complete_output_passes_and_anything_else_fails() {
        let (cpu, cuda) = (output("cpu"), output("cuda"));
        assert_eq!(compare(&cpu).unwrap(), ["cpu"]);
        assert_eq!(compare(&(cpu.clone() + &cuda)).unwrap(), ["cpu", "cuda"]);
        assert!(compare("").is_err());
        assert!(compare(&cuda).is_err());
        assert!(compare(&(cpu.clone() + "cuda forward 0 1\n")).is_err());
        let last = cpu.trim_end().rfind('\n').unwrap();
        assert!(compare(&cpu[..last]).is_err());
        assert!(compare(&cpu.replace("forward 3 -3.0340147e-1", "forward 3 -3.03404e-1")).is_err());
        assert!(compare(&(cpu + "hello\n")).is_err());
    }
}
