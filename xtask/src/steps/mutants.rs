//! `cargo xtask reliability mutants`: plants one bug after the other in a copy of the tree; the check that
//! is named beside each must fail. The list is `tests/mutants.txt`. `cargo xtask test` plants a
//! share of them, another with every commit.
//!
//! By hand, since cargo-mutants changes Rust alone: these are in CUDA, C++ and Python too, and each has
//! the check that must see it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::env::python::{CORE, TORCH};
use crate::env::{paths, tree};
use crate::run::command::{Program, cargo, program};
use crate::run::outcome::{Outcome, Outcomes};
use crate::run::record;
use crate::run::report::Report;
use crate::run::summary;
use crate::steps::{c, libtorch, reliability};
use crate::tasks::build;

/// The fewest bugs that `cargo xtask test` plants.
const SHARE: usize = 8;

/// A planted bug.
struct Mutant {
    name: String,
    file: String,
    by: Check,
    from: String,
    to: String,
}

/// What must notice a bug: a kind, and what it is given.
#[derive(Clone, PartialEq)]
struct Check {
    kind: &'static str,
    arguments: String,
}

/// The kinds that are named in the list, which explains them; else it is a scenario of
/// `tests/reliability`, by a part of its name.
const KINDS: [&str; 6] = ["cargo", "sweep", "c", "pytest", "torch", "libtorch"];
const SCENARIO: &str = "scenario";

impl Check {
    fn parse(text: &str) -> Check {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let kind = KINDS.into_iter().find(|kind| *kind == word);
        let (kind, arguments) = kind.map_or((SCENARIO, text), |kind| (kind, rest));
        Check {
            kind,
            arguments: arguments.to_owned(),
        }
    }

    fn needs_torch(&self) -> bool {
        ["torch", "libtorch"].contains(&self.kind)
    }

    /// What failed, for the report.
    fn name(&self, output: &str) -> String {
        if self.kind != SCENARIO {
            return format!("{} {}", self.kind, self.arguments);
        }
        let mut report = Report::default();
        output.lines().for_each(|line| drop(report.line(line)));
        let failed = report.failures.first();
        failed.map_or("a scenario", String::as_str).to_owned()
    }
}

/// Plants every bug whose name contains one of `names`, or all; writes the outcome for all of
/// them to `bench/results/reliability-mutants.txt`.
pub fn run(names: &[&str]) -> Result<ExitCode> {
    let all = read()?;
    let chosen: Vec<&Mutant> = all
        .iter()
        .filter(|mutant| names.is_empty() || names.iter().any(|n| mutant.name.contains(n)))
        .collect();
    ensure!(!chosen.is_empty(), "no such bug in tests/mutants.txt");
    let header = record::header()?;
    let (report, missed) = plant(&chosen)?;
    let report = format!("Planted bugs, and the check that noticed each:\n\n{report}");
    if names.is_empty() {
        record::write("reliability-mutants", &header, &report)?;
    }
    Ok(summary::code(missed.is_empty()))
}

/// The share that this commit's tests plant; without PyTorch those that need none.
pub fn share(has_torch: bool) -> Outcomes {
    let outcome = || -> Result<Outcome> {
        let commit = program("git").words("rev-parse HEAD").read()?;
        let seed = commit
            .get(..8)
            .map(|digits| u32::from_str_radix(digits, 16));
        let all = read()?;
        let (chosen, left_out): (Vec<&Mutant>, Vec<&Mutant>) =
            slice(&all, seed.context("the commit")?? as usize)
                .partition(|mutant| has_torch || !mutant.by.needs_torch());
        let (_, missed) = plant(&chosen)?;
        Ok(Outcome {
            passed: (chosen.len() - missed.len()) as u32,
            failures: missed,
            skips: (left_out.iter())
                .map(|mutant| format!("{}: left out by --no-torch", mutant.name))
                .collect(),
        })
    };
    let outcome = outcome().unwrap_or_else(Outcome::from);
    vec![("planted bugs, a share".into(), outcome)]
}

/// At least [`SHARE`] of them, from all over the list, so that kinds of bugs and of checks mix.
fn slice<T>(all: &[T], seed: usize) -> impl Iterator<Item = &T> {
    let slices = (all.len() / SHARE).max(1);
    all.iter().skip(seed % slices).step_by(slices)
}

/// Plants these; returns a line for each, and the names of those that were missed.
fn plant(chosen: &[&Mutant]) -> Result<(String, Vec<String>)> {
    let site = Site::prepare(chosen.iter().any(|mutant| mutant.by.needs_torch()))?;
    let start = Instant::now();
    println!("the tree without any bug");
    site.build("")?;
    let mut checks: Vec<&Check> = Vec::new();
    for mutant in chosen {
        if !checks.contains(&&mutant.by) {
            checks.push(&mutant.by);
        }
    }
    for check in checks {
        let failure = site.failure(check)?;
        ensure!(
            failure.is_none(),
            "fails without any bug:\n{}",
            failure.unwrap_or_default()
        );
    }
    println!("passes  ({:.0} s)", start.elapsed().as_secs_f64());
    let (mut report, mut missed) = (String::new(), Vec::new());
    for mutant in chosen {
        let path = site.tree.join(&mutant.file);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replacen(&mutant.from, &mutant.to, 1))?;
        let outcome = site.build(&mutant.file);
        let outcome = outcome.and_then(|()| site.failure(&mutant.by));
        fs::write(&path, text)?;
        let line = match outcome.with_context(|| mutant.name.clone())? {
            Some(output) => format!("caught  {}: {}", mutant.name, mutant.by.name(&output)),
            None => {
                missed.push(mutant.name.clone());
                format!("MISSED  {}", mutant.name)
            }
        };
        println!("{line}  ({:.0} s)", start.elapsed().as_secs_f64());
        writeln!(report, "{line}")?;
    }
    let caught = chosen.len() - missed.len();
    writeln!(report, "\n{caught} passed, {} failed", missed.len())?;
    Ok((report, missed))
}

/// Reads the list, and checks that each bug's text is there exactly once.
fn read() -> Result<Vec<Mutant>> {
    let text = fs::read_to_string(paths::root().join("tests/mutants.txt"))?;
    let mut mutants = Vec::new();
    for block in text.split("\n== ").skip(1) {
        let mut lines = block.lines();
        let name = lines.next().context("a name")?.to_owned();
        let (mut file, mut by, mut from, mut to) = ("", "", String::new(), String::new());
        for line in lines {
            if let Some(rest) = line.strip_prefix("in ") {
                file = rest;
            } else if let Some(rest) = line.strip_prefix("by ") {
                by = rest;
            } else if let Some(part) = line.strip_prefix('-') {
                from += part;
                from.push('\n');
            } else if let Some(part) = line.strip_prefix('+') {
                to += part;
                to.push('\n');
            }
        }
        let source = fs::read_to_string(paths::root().join(file)).with_context(|| name.clone())?;
        let places = source.matches(&from).count();
        ensure!(
            !from.is_empty() && !by.is_empty() && places == 1,
            "{name}: its text is in {file} {places} times"
        );
        mutants.push(Mutant {
            name,
            file: file.to_owned(),
            by: Check::parse(by),
            from,
            to,
        });
    }
    Ok(mutants)
}

/// A copy of what the repository holds, and what is built from it.
struct Site {
    tree: PathBuf,
    target: PathBuf,
    /// The kernels' images, for as long as no bug is in what they are made from.
    images: PathBuf,
    /// The interpreters for the core's tests and, if a check needs it, for PyTorch's.
    python: PathBuf,
    torch: Option<PathBuf>,
}

impl Site {
    fn prepare(needs_torch: bool) -> Result<Site> {
        build::library()?;
        let folder = paths::target().join("mutants");
        let tree = folder.join("tree");
        copy(&tree)?;
        Ok(Site {
            tree,
            target: folder.join("target"),
            images: build::images()?,
            python: CORE.ensure()?,
            torch: needs_torch.then(|| TORCH.ensure()).transpose()?,
        })
    }

    fn built(&self, name: &str) -> PathBuf {
        self.target.join("mutants").join(name)
    }

    /// cargo in the copy.
    fn cargo(&self, command: &str) -> Program {
        cargo()
            .args([command, "--quiet", "--profile", "mutants", "--target-dir"])
            .arg(&self.target)
            .env("MISH_KERNEL_IMAGES", &self.images)
            .current_dir(&self.tree)
    }

    /// Builds the copy, in which this file is changed: all of it each time, so that nothing is built
    /// in two ways, but the library with changed kernels, of which only the stand-in's are run.
    fn build(&self, changed: &str) -> Result<()> {
        let mut packages = vec!["mish-standin", "mish-reliability", "mish-sweep"];
        if !changed.starts_with("kernels/") {
            packages.push("libmish");
        }
        let packages = packages.into_iter().flat_map(|name| ["--package", name]);
        compiled(self.cargo("build").args(packages))
    }

    /// Runs a check until something fails; what it printed, or none if all passed.
    fn failure(&self, check: &Check) -> Result<Option<String>> {
        let words = || check.arguments.split_whitespace();
        let library = self.built("libmish.so");
        let pytest = |python: &Path| {
            program(python)
                .words("-m pytest -q -x -p no:cacheprovider")
                .args(words())
                .env("MISH_LIBRARY", &library)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .current_dir(&self.tree)
        };
        let torch = || self.torch.as_deref().context("PyTorch");
        let program = match check.kind {
            SCENARIO => program(self.built("mish-reliability"))
                .args(["run", &check.arguments])
                .env("MISH_STANDIN_FOLDER", self.standin()?)
                .env("MISH_LIBRARY", &library)
                .env("MISH_FAIL_FAST", "1"),
            "cargo" => {
                compiled(self.cargo("test").args(words()).arg("--no-run"))?;
                self.cargo("test").args(words())
            }
            "sweep" => program(self.built("mish-sweep"))
                .words("--brief --fresh --library")
                .arg(&library)
                .arg("--state")
                .arg(self.target.join("sweep"))
                .args(words()),
            "c" => {
                let name = &check.arguments;
                let binary = c::compile_in(&self.tree, name, &library)?;
                c::linked(&binary, &library)
            }
            "pytest" => pytest(&self.python),
            "torch" => pytest(torch()?).env("LD_LIBRARY_PATH", self.standin()?),
            _ => {
                let folder = self.target.join("cpp");
                program(libtorch::build(&self.tree, &folder, &library, torch()?)?)
            }
        };
        let (passed, text) = program.output()?;
        Ok((!passed).then_some(text))
    }

    /// The folder with the stand-in as the driver. Not beside what is built: cargo has that on the
    /// library path of build scripts, and NVRTC would take it for a driver.
    fn standin(&self) -> Result<PathBuf> {
        let built = self.built("libmish_standin.so");
        reliability::named(&built, self.target.join("standin"))
    }
}

/// A bug that does not compile is not one.
fn compiled(build: Program) -> Result<()> {
    let (built, text) = build.output()?;
    ensure!(built, "does not compile:\n{text}");
    Ok(())
}

/// A copy of what the repository holds, with its parts.
fn copy(to: &Path) -> Result<()> {
    tree::copy(to)?;
    let deps = to.join(".deps");
    if !deps.exists() {
        symlink(paths::deps(), deps)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_its_place() {
        let all = read().unwrap();
        assert!(all.len() >= 50);
        // Every kind of check is in use, and every layer has bugs.
        for kind in KINDS {
            assert!(all.iter().any(|m| m.by.kind == kind), "no bug by {kind}");
        }
        for folder in [
            "src/gpu/cuda/",
            "src/gpu/geometry/",
            "src/cpu/",
            "src/cpu/math/",
            "src/adapters/torch/",
            "bindings/python/mish/",
            "bindings/cpp/",
            "kernels/",
        ] {
            assert!(all.iter().any(|m| m.file.starts_with(folder)), "{folder}");
        }
    }

    #[test]
    fn shares_are_large_enough_and_cover_the_list() {
        for length in [5, 8, 15, 16, 63] {
            let all: Vec<usize> = (0..length).collect();
            let mut seen = vec![false; length];
            for seed in 0..length {
                let share: Vec<_> = slice(&all, seed).collect();
                assert!(share.len() >= SHARE.min(length), "{length} {seed}");
                share.into_iter().for_each(|&i| seen[i] = true);
            }
            assert!(seen.into_iter().all(|seen| seen), "{length}");
        }
    }

    #[test]
    fn checks_by_kind() {
        let check = Check::parse("launch: strided, sm_90");
        assert!(check.kind == SCENARIO && check.arguments == "launch: strided, sm_90");
        let check = Check::parse("pytest tests/python/test_arrays.py -k out");
        assert!(check.kind == "pytest" && check.arguments.ends_with("-k out"));
        assert!(Check::parse("libtorch").needs_torch());
        assert!(Check::parse("contexts: current").kind == SCENARIO);
    }
}
