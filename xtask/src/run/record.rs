//! Raw results under `bench/results/`: what a run printed, after what it ran on.

use std::fs;

use anyhow::{Context, Result};

use super::command::{Program, commit, program};
use super::report::Report;
use crate::env::paths;

/// Runs a program in full length and keeps what it printed.
pub fn run(name: &str, program: Program) -> Result<Report> {
    let header = header()?;
    let (report, text) = program.report()?;
    write(name, &header, &text)?;
    Ok(report)
}

/// Writes `bench/results/NAME.txt`.
pub fn write(name: &str, header: &str, text: &str) -> Result<()> {
    let path = paths::root().join(format!("bench/results/{name}.txt"));
    fs::write(&path, format!("{header}\n{text}")).with_context(|| path.display().to_string())
}

/// Commit, machine and day, a line each. Taken before a run, for what is committed meanwhile is
/// not what ran.
pub fn header() -> Result<String> {
    let commit = commit()?;
    let day = program("date").words("-u +%F").read()?;
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    Ok(format!(
        "commit {commit}\ncpu    {cpu}\ndate   {}\n",
        day.trim()
    ))
}
