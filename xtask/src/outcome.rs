//! What a test step came to.

use crate::command::Program;
use crate::tools::Missing;

/// The result of a step: how many tests ran, or why none could.
pub enum Outcome {
    /// Tests ran.
    Ran {
        /// How many passed.
        passed: u32,
        /// How many failed.
        failed: u32,
        /// What within the step did not run, each with its reason.
        not_run: Vec<String>,
    },
    /// The step could not run here, and why.
    NotRun(String),
}

impl Outcome {
    /// One test that passed.
    pub fn pass() -> Outcome {
        Outcome::of(true)
    }

    /// One test with this result.
    pub fn of(success: bool) -> Outcome {
        Outcome::Ran {
            passed: success.into(),
            failed: (!success).into(),
            not_run: Vec::new(),
        }
    }

    /// Runs a program as one test.
    pub fn check(program: Program) -> Outcome {
        Outcome::result(program.check())
    }

    /// One test that could not be made: not run for want of a tool, else failed; shows why.
    pub fn failure(error: &anyhow::Error) -> Outcome {
        if error.is::<Missing>() {
            return Outcome::NotRun(format!("{error:#}"));
        }
        println!("{error:#}");
        Outcome::of(false)
    }

    /// One test with this result.
    pub fn result(result: anyhow::Result<()>) -> Outcome {
        match result {
            Ok(()) => Outcome::pass(),
            Err(error) => Outcome::failure(&error),
        }
    }

    /// Counts as [`Outcome::count`] does, if there is a program to run.
    pub fn count_if(program: anyhow::Result<Program>) -> Outcome {
        match program {
            Ok(program) => Outcome::count(program),
            Err(error) => Outcome::failure(&error),
        }
    }

    /// Runs `cargo test` or pytest and counts from their closing lines. A run without any such
    /// line, or one in which nothing ran, has failed.
    pub fn count(program: Program) -> Outcome {
        let (success, text) = match program.stream() {
            Ok(result) => result,
            Err(error) => return Outcome::failure(&error),
        };
        let (mut passed, mut failed) = (0, 0);
        for line in text.lines().filter(|line| is_closing(line)) {
            passed += number_before(line, "passed");
            failed += number_before(line, "failed") + number_before(line, "error");
        }
        if (!success || passed == 0) && failed == 0 {
            failed = 1;
        }
        let not_run = text
            .lines()
            .filter_map(|line| line.strip_prefix("SKIPPED "))
            .map(str::to_owned)
            .collect();
        Outcome::Ran {
            passed,
            failed,
            not_run,
        }
    }
}

/// `test result: ok. 3 passed; 0 failed; …` of cargo, `== 3 passed, 1 skipped in 0.1s ==` of pytest.
fn is_closing(line: &str) -> bool {
    line.starts_with("test result: ")
        || (line.contains(" in ")
            && (line.contains(" passed") || line.contains(" failed") || line.contains(" error")))
}

fn number_before(line: &str, word: &str) -> u32 {
    let words: Vec<&str> = line
        .split([' ', ',', ';'])
        .filter(|w| !w.is_empty())
        .collect();
    words
        .windows(2)
        .filter(|pair| pair[1].starts_with(word))
        .find_map(|pair| pair[0].parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_closing_lines() {
        let cargo = "test result: ok. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let pytest = "====== 2 failed, 31 passed, 4 skipped, 1 error in 1.23s ======";
        assert!(is_closing(cargo) && is_closing(pytest));
        assert_eq!(
            (
                number_before(cargo, "passed"),
                number_before(cargo, "failed")
            ),
            (12, 3)
        );
        assert_eq!(
            (
                number_before(pytest, "passed"),
                number_before(pytest, "failed")
            ),
            (31, 2)
        );
        assert_eq!(number_before(pytest, "error"), 1);
    }
}
