//! The examples, one per language.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::command::{Program, program};
use crate::outcome::Outcome;
use crate::{build, c_suite, interpreters, paths};

/// The most units in the last place by which a printed value may miss the reference.
const TOLERANCE: u32 = 2;

/// Compiles, runs and checks each. With the folder of a stand-in driver, an example that finds no
/// GPU runs a second time with that.
pub fn all(library: &Path, python: &Path, standin: Option<&Path>) -> Vec<(String, Outcome)> {
    let check = |example: &dyn Fn() -> Program, folders: &[&Path]| check(example, folders, standin);
    let python_example = || {
        program(python)
            .arg("examples/quickstart.py")
            .env("MISH_LIBRARY", library)
            .env("PYTHONPATH", paths::root().join("bindings/python"))
    };
    vec![
        (
            "example: C".into(),
            compiled("gcc", "c99", "c", library, check),
        ),
        (
            "example: C++".into(),
            compiled("g++", "c++11", "cpp", library, check),
        ),
        ("example: Rust".into(), rust(check)),
        ("example: Python".into(), check(&python_example, &[])),
        ("example: Julia".into(), julia(library, check)),
        ("example: C#".into(), csharp(library, check)),
        ("example: Lua".into(), lua(library, check)),
    ]
}

fn compiled(
    compiler: &str,
    standard: &str,
    extension: &str,
    library: &Path,
    check: impl Check,
) -> Outcome {
    let source = PathBuf::from(format!("examples/quickstart.{extension}"));
    let name = format!("quickstart-{extension}");
    match c_suite::compile(compiler, standard, &[source], &name, library) {
        Ok(binary) => check(
            &|| c_suite::linked(&binary, library),
            &[library.parent().unwrap_or(Path::new("."))],
        ),
        Err(error) => Outcome::failure(&error),
    }
}

fn rust(check: impl Check) -> Outcome {
    match build::release("libmish")
        .args(["--example", "quickstart"])
        .built("quickstart")
    {
        Ok(binary) => check(&|| program(&binary), &[]),
        Err(error) => Outcome::failure(&error),
    }
}

fn julia(library: &Path, check: impl Check) -> Outcome {
    match interpreters::julia() {
        Ok(julia) => check(
            &|| {
                program(&julia)
                    .args(["--startup-file=no", "examples/quickstart.jl"])
                    .env("MISH_LIBRARY", library)
            },
            &[],
        ),
        Err(error) => Outcome::NotRun(format!("{error:#}")),
    }
}

fn csharp(library: &Path, check: impl Check) -> Outcome {
    let [compiler, mono] = match interpreters::mono() {
        Ok(programs) => programs,
        Err(error) => return Outcome::NotRun(format!("{error:#}")),
    };
    let folder = paths::target().join("csharp");
    let binary = folder.join("quickstart.exe");
    let compile = || {
        fs::create_dir_all(&folder)?;
        program(&compiler)
            .args(["-unsafe", "-warnaserror", "-warn:4"])
            .arg(format!("-out:{}", binary.display()))
            .arg("examples/quickstart.cs")
            .args(["bindings/csharp/Abi.cs", "bindings/csharp/Mish.cs"])
            .check()
    };
    match compile() {
        Ok(()) => check(
            &|| c_suite::linked(&mono, library).arg(&binary),
            &[library.parent().unwrap_or(Path::new("."))],
        ),
        Err(error) => Outcome::failure(&error),
    }
}

fn lua(library: &Path, check: impl Check) -> Outcome {
    match interpreters::luajit() {
        Ok(luajit) => check(
            &|| {
                program(&luajit)
                    .arg("examples/quickstart.lua")
                    .env("MISH_LIBRARY", library)
            },
            &[],
        ),
        Err(error) => Outcome::NotRun(format!("{error:#}")),
    }
}

/// Judges an example, given the folders with the libraries it needs.
trait Check: Fn(&dyn Fn() -> Program, &[&Path]) -> Outcome {}
impl<F: Fn(&dyn Fn() -> Program, &[&Path]) -> Outcome> Check for F {}

/// Runs an example and compares what it prints with `tests/reference/example.csv`.
fn check(example: &dyn Fn() -> Program, folders: &[&Path], standin: Option<&Path>) -> Outcome {
    let run = || {
        let mut devices = compare(&example().read()?)?;
        println!("    on {}", devices.join(" and "));
        let mut not_run = Vec::new();
        if !devices.iter().any(|device| device == "cuda") {
            not_run.push("its part on a GPU: no GPU here".to_owned());
            if let Some(standin) = standin {
                let path = env::join_paths(folders.iter().copied().chain([standin]))?;
                devices = compare(&example().env("LD_LIBRARY_PATH", path).read()?)?;
                ensure!(devices.len() == 2, "found no GPU with the stand-in driver");
                println!("    on {}, the stand-in's", devices.join(" and "));
            }
        }
        Ok((devices, not_run))
    };
    match run() {
        Ok((devices, not_run)) => Outcome::Ran {
            passed: devices.len() as u32,
            failed: 0,
            not_run,
        },
        Err(error) => Outcome::failure(&error),
    }
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
