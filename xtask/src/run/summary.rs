//! The end of a test run: what ran, what did not and why, in closing lines.

use std::process::ExitCode;
use std::time::Instant;

use super::disk;
use super::outcome::{Outcome, Outcomes};
use super::skips::Allowed;

/// Runs a step between two lines about it.
pub fn timed(name: &str, step: impl FnOnce() -> Outcomes) -> Outcomes {
    println!("\n── {name}");
    let start = Instant::now();
    let outcomes = step();
    println!("── {name}: {:.0} s", start.elapsed().as_secs_f64());
    outcomes
}

/// The exit code for whether something has succeeded.
pub fn code(success: bool) -> ExitCode {
    match success {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Prints it; the exit code says whether everything passed and nothing was left out that may not
/// be.
pub fn summary(results: &[(String, Outcome)]) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    let mut missing = Vec::new();
    println!("\n══ what ran");
    for (name, outcome) in results {
        let failures = outcome.failures.len();
        if outcome.passed > 0 || failures > 0 {
            println!("  {name}: {} passed, {failures} failed", outcome.passed);
        }
        for failure in &outcome.failures {
            println!("    FAILED {failure}");
        }
        passed += outcome.passed;
        failed += failures;
        // A reason that several tests have stands there once.
        for (at, reason) in outcome.skips.iter().enumerate() {
            if !outcome.skips[..at].contains(reason) {
                missing.push(format!("{name}: {reason}"));
            }
        }
    }
    println!("══ what did not run, and why");
    let allowed = match Allowed::in_force() {
        Ok(allowed) => allowed,
        Err(error) => {
            println!("{error:#}");
            failed += 1;
            None
        }
    };
    for line in &missing {
        let may_miss = allowed.as_ref().is_none_or(|allowed| allowed.covers(line));
        failed += usize::from(!may_miss);
        println!("  {}{line}", if may_miss { "" } else { "NOT ALLOWED " });
    }
    if missing.is_empty() {
        println!("  nothing");
    }
    println!(
        "\n{passed} passed, {failed} failed, {} skipped{}",
        missing.len(),
        disk::was_full()
    );
    code(failed == 0 && passed > 0)
}
