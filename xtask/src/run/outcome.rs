//! What a test step came to.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::command::{Program, libtest};
use super::report::Report;
use crate::env::paths;
use crate::env::tools::Missing;

/// The result of a step.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many tests passed.
    pub passed: u32,
    /// What failed, by name.
    pub failures: Vec<String>,
    /// What did not run, each with its reason.
    pub skips: Vec<String>,
}

/// Steps by what they tested.
pub type Outcomes = Vec<(String, Outcome)>;

impl Outcome {
    /// Nothing ran, for this reason.
    pub fn skip(reason: impl Into<String>) -> Outcome {
        Outcome {
            skips: vec![reason.into()],
            ..Outcome::default()
        }
    }

    /// One test with this result.
    pub fn of<T>(result: Result<T>) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.add("", result.map(drop));
        outcome
    }

    /// Runs a program as one test.
    pub fn check(program: Program) -> Outcome {
        Outcome::of(program.check())
    }

    /// Adds a test: not run for want of a tool, else passed or failed; shows why.
    pub fn add(&mut self, name: &str, result: Result<()>) {
        let Err(error) = result else {
            self.passed += 1;
            return;
        };
        let named = |what: String| match name {
            "" => what,
            name => format!("{name}: {what}"),
        };
        if error.is::<Missing>() {
            return self.skips.push(named(format!("{error:#}")));
        }
        let text = named(format!("{error:#}"));
        println!("{text}");
        let first = text.lines().next().unwrap_or_default();
        self.failures.push(first.to_owned());
    }

    /// The tests that a program runs which reports as libtest does; one failure if there is no
    /// such program.
    pub fn reported(program: Result<Program>) -> Outcome {
        let report = program.and_then(Program::report);
        report.map_or_else(Outcome::from, |(report, _)| report.into())
    }

    /// The tests that `cargo test` runs, with these arguments for themselves.
    pub fn cargo(program: Program, arguments: &[&str]) -> Outcome {
        Outcome::reported(libtest(program, arguments))
    }

    /// The tests that pytest runs.
    pub fn pytest(program: Result<Program>) -> Outcome {
        let report = program.and_then(|program| {
            let file = paths::target().join("tmp/pytest.xml");
            let _ = fs::remove_file(&file);
            pytest(program, &file)
        });
        report.map_or_else(Outcome::from, Outcome::from)
    }
}

impl From<anyhow::Error> for Outcome {
    fn from(error: anyhow::Error) -> Outcome {
        Outcome::of::<()>(Err(error))
    }
}

impl From<Report> for Outcome {
    fn from(report: Report) -> Outcome {
        Outcome {
            passed: report.passed,
            failures: report.failures,
            skips: report.skips,
        }
    }
}

/// The names of running tests are on its output (`-v`), of which the last is all that a crash
/// leaves.
fn pytest(program: Program, file: &Path) -> Result<Report> {
    let program = program.arg("-v").arg("--junit-xml").arg(file);
    let (status, text) = program.stream(|line| Some(line.to_owned()))?;
    let Ok(written) = fs::read_to_string(file) else {
        let last = text.trim_end().lines().last().unwrap_or_default();
        bail!("pytest ended without a report, {status}, in {last}");
    };
    let mut report = Report::junit(&written)?;
    report.close(status);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::env::python::CORE;
    use crate::run::command::{cargo, program};

    #[test]
    fn a_missing_tool_is_a_skip_and_an_error_a_failure_that_is_named() {
        let mut outcome = Outcome::default();
        outcome.add("a", Ok(()));
        outcome.add("b", Err(Missing("no tool".into()).into()));
        outcome.add("c", Err(anyhow::anyhow!("broken\nin detail")));
        assert_eq!(outcome.passed, 1);
        assert_eq!(outcome.skips, ["b: no tool"]);
        assert_eq!(outcome.failures, ["c: broken"]);
    }

    #[test]
    fn words_alone_are_no_report() {
        let said = program("echo").arg("test result: ok. 3 passed; 0 failed");
        let outcome = Outcome::reported(Ok(said));
        assert_eq!((outcome.passed, outcome.failures.len()), (0, 1));
    }

    /// A folder with these files.
    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = paths::target().join("tmp").join(name);
        for (file, text) in files {
            let file = folder.join(file);
            fs::create_dir_all(file.with_file_name("")).unwrap();
            fs::write(file, text).unwrap();
        }
        folder
    }

    #[test]
    fn what_fails_or_crashes_under_cargo_is_named() {
        let manifest = "[package]\nname = \"probe\"\nedition = \"2024\"\n[workspace]\n";
        let library = "/// ```\n/// panic!();\n/// ```\npub fn documented() {}\n\
            #[test]\nfn passes() {}\n#[test]\nfn fails() { panic!(\"3 passed\") }\n";
        let crash = "#[test]\nfn crashes() { std::process::abort() }\n";
        let files = [
            ("Cargo.toml", manifest),
            ("src/lib.rs", library),
            ("tests/crash.rs", crash),
        ];
        let folder = folder("probe-cargo", &files);
        let test = cargo().words("test --quiet --offline").current_dir(&folder);
        let outcome = Outcome::cargo(test.env("CARGO_TARGET_DIR", folder.join("target")), &[]);
        assert_eq!(outcome.passed, 1);
        let [fails, documented, crashes] = &outcome.failures[..] else {
            panic!("{:?}", outcome.failures);
        };
        assert_eq!(fails, "fails");
        assert!(crashes.starts_with("crashes did not end"), "{crashes}");
        assert!(documented.contains("documented"), "{documented}");
    }

    #[test]
    fn what_fails_or_crashes_under_pytest_is_named() {
        let tests = "import pytest\ndef test_passes(): pass\ndef test_fails(): assert False, '3 passed'\n\
            @pytest.mark.skip(reason='no GPU here')\ndef test_skips(): pass\n";
        let crash = "import os\ndef test_passes(): pass\ndef test_crashes(): os.abort()\n";
        let folder = folder(
            "probe-pytest",
            &[("test_probe.py", tests), ("test_crash.py", crash)],
        );
        let python = CORE.ensure().unwrap();
        let run = |file: &str| {
            let pytest = program(&python).words("-m pytest -p no:cacheprovider");
            Outcome::pytest(Ok(pytest.arg(file).current_dir(&folder)))
        };
        let outcome = run("test_probe.py");
        assert_eq!(outcome.passed, 1);
        assert_eq!(outcome.failures, ["test_probe::test_fails"]);
        assert_eq!(outcome.skips, ["test_probe: no GPU here"]);
        let outcome = run("test_crash.py");
        assert_eq!((outcome.passed, outcome.failures.len()), (0, 1));
        assert!(
            outcome.failures[0].ends_with("test_crash.py::test_crashes"),
            "{:?}",
            outcome.failures
        );
    }
}
