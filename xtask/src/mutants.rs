//! `cargo xtask trust mutants`: plants one bug after the other in a copy of the tree; a scenario
//! must notice each. The list is `tests/mutants.txt`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, program};
use crate::{build, paths, record, tree};

/// A planted bug.
struct Mutant {
    name: String,
    file: String,
    /// The part of a scenario's name by which it must be noticed.
    by: String,
    from: String,
    to: String,
}

/// Plants every bug whose name contains one of `names`, or all; writes the outcome for all of
/// them to `bench/results/trust-mutants.txt`.
pub fn run(names: &[&str]) -> Result<ExitCode> {
    let all = read()?;
    let chosen: Vec<&Mutant> = all
        .iter()
        .filter(|mutant| names.is_empty() || names.iter().any(|n| mutant.name.contains(n)))
        .collect();
    ensure!(!chosen.is_empty(), "no such bug in tests/mutants.txt");
    crate::toolchain::ensure()?;
    let header = record::header()?;
    let tree = copy()?;
    let start = Instant::now();
    println!("the tree without any bug");
    // An earlier run's library may have another version's kernels.
    let _ = fs::remove_file(stamp());
    let clean = attempt(
        &tree,
        &chosen.iter().map(|m| m.by.as_str()).collect::<Vec<_>>(),
    )?;
    ensure!(
        clean.is_none(),
        "fails without any bug:\n{}",
        clean.unwrap_or_default()
    );
    let mut report = String::from("Planted bugs, and the scenario that noticed each:\n\n");
    let mut missed = 0;
    for mutant in &chosen {
        let path = tree.join(&mutant.file);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replacen(&mutant.from, &mutant.to, 1))?;
        let outcome = attempt(&tree, &[mutant.by.as_str()]);
        fs::write(&path, text)?;
        let line = match outcome? {
            Some(output) => format!("caught  {}: {}", mutant.name, scenario(&output)),
            None => {
                missed += 1;
                format!("MISSED  {}", mutant.name)
            }
        };
        println!("{line}  ({:.0} s)", start.elapsed().as_secs_f64());
        writeln!(report, "{line}")?;
    }
    let closing = format!("{} passed, {missed} failed", chosen.len() - missed);
    writeln!(report, "\n{closing}")?;
    println!("test result: {closing}");
    if names.is_empty() {
        record::write("trust-mutants", &header, &report)?;
    }
    Ok(match missed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The name of the scenario that failed.
fn scenario(output: &str) -> &str {
    let line = output.lines().find(|line| line.contains("... FAILED"));
    line.and_then(|line| line.strip_prefix("test "))
        .and_then(|line| line.split(" ... ").next())
        .unwrap_or("a scenario")
}

/// Reads the list, and checks that each bug's text is there exactly once.
fn read() -> Result<Vec<Mutant>> {
    let text = fs::read_to_string(paths::root().join("tests/mutants.txt"))?;
    let mut mutants = Vec::new();
    for block in text.split("\n== ").skip(1) {
        let mut lines = block.lines();
        let name = lines.next().context("a name")?.to_owned();
        let mut mutant = Mutant {
            name,
            file: String::new(),
            by: String::new(),
            from: String::new(),
            to: String::new(),
        };
        for line in lines {
            if let Some(file) = line.strip_prefix("in ") {
                mutant.file = file.to_owned();
            } else if let Some(by) = line.strip_prefix("by ") {
                mutant.by = by.to_owned();
            } else if let Some(part) = line.strip_prefix('-') {
                mutant.from += part;
                mutant.from.push('\n');
            } else if let Some(part) = line.strip_prefix('+') {
                mutant.to += part;
                mutant.to.push('\n');
            }
        }
        let source = fs::read_to_string(paths::root().join(&mutant.file))
            .with_context(|| mutant.name.clone())?;
        let places = source.matches(&mutant.from).count();
        ensure!(
            !mutant.from.is_empty() && !mutant.by.is_empty() && places == 1,
            "{}: its text is in {} {places} times",
            mutant.name,
            mutant.file
        );
        mutants.push(mutant);
    }
    Ok(mutants)
}

/// A copy of what the repository holds, in the ignored folder.
fn copy() -> Result<PathBuf> {
    let tree = paths::target().join("mutants/tree");
    tree::copy(&tree)?;
    let deps = tree.join(".deps");
    if !deps.exists() {
        symlink(paths::deps(), deps)?;
    }
    Ok(tree)
}

fn target() -> PathBuf {
    paths::target().join("mutants/target")
}

/// Holds the fingerprint of the kernels that the built library has.
fn stamp() -> PathBuf {
    target().join("kernels.stamp")
}

/// Builds the copy and runs the scenarios until one fails; what it printed, or none if all passed.
fn attempt(tree: &Path, names: &[&str]) -> Result<Option<String>> {
    let target = target();
    // Of the kernels only the stand-in's are run: the library may keep those it has.
    let kernels = build::fingerprint(&tree.join("kernels"))?;
    let stamp = stamp();
    let packages: &[&str] = &["--package", "mish-standin", "--package", "mish-trust"];
    let with_library = !stamp.exists() || fs::read_to_string(&stamp)? == kernels;
    let mut command = cargo()
        .args(["build", "--quiet", "--profile", "mutants"])
        .args(packages)
        .arg("--target-dir")
        .arg(&target)
        .current_dir(tree);
    if with_library {
        command = command.args(["--package", "libmish"]);
    }
    let (built, text) = command.output()?;
    ensure!(built, "does not compile:\n{text}");
    if !stamp.exists() {
        fs::write(&stamp, &kernels)?;
    }
    let folder = target.join("mutants");
    // Not beside what is built: cargo has that on the library path of build scripts, and NVRTC
    // would take it for a driver.
    let standin = target.join("standin");
    let link = standin.join("libcuda.so.1");
    if !link.exists() {
        fs::create_dir_all(&standin)?;
        symlink(folder.join("libmish_standin.so"), link)?;
    }
    let (passed, text) = program(folder.join("mish-trust"))
        .args(["run"])
        .args(names)
        .env("MISH_STANDIN_FOLDER", &standin)
        .env("MISH_LIBRARY", folder.join("libmish.so"))
        .env("MISH_FAIL_FAST", "1")
        .output()?;
    Ok((!passed).then_some(text))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_bug_has_its_place() {
        assert!(super::read().unwrap().len() >= 20);
    }
}
