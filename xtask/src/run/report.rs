//! What test programs report, read as data. Two formats are in use: libtest's JSON, an object per
//! line, which `cargo test` writes when asked and the project's own programs write too (their
//! `test` and `suite` lines); and JUnit's XML, from pytest.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

/// What was read so far.
#[derive(Debug, Default)]
pub struct Report {
    /// How many tests passed.
    pub passed: u32,
    /// The names of those that failed.
    pub failures: Vec<String>,
    /// Those that did not run, with their reasons.
    pub skips: Vec<String>,
    /// Tests that began; they are left here if their process dies.
    running: BTreeSet<String>,
    /// Whether a suite began that has not closed, and how many failures came before it.
    is_open: bool,
    before: usize,
}

impl Report {
    /// Reads a line; returns what to show of it, if anything. What is no report is shown as it is.
    pub fn line(&mut self, line: &str) -> Option<String> {
        let event = match line.starts_with('{') {
            true => serde_json::from_str(line).unwrap_or(Value::Null),
            false => Value::Null,
        };
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        match (text("type"), text("event")) {
            ("suite", "started") => {
                self.is_open = true;
                None
            }
            ("suite", result @ ("ok" | "failed")) => {
                let count = |key: &str| event[key].as_u64().unwrap_or(0);
                let named = self.failures.len() - self.before;
                let unnamed = (count("failed") as usize).saturating_sub(named);
                self.failures
                    .extend((0..unnamed).map(|_| "see above".into()));
                self.passed += count("passed") as u32;
                self.before = self.failures.len();
                self.is_open = false;
                let (passed, failed) = (count("passed"), count("failed"));
                Some(format!(
                    "test result: {result}. {passed} passed; {failed} failed"
                ))
            }
            ("test", "started") => {
                self.running.insert(text("name").into());
                None
            }
            ("test", "timeout") => Some(format!("test {} takes long", text("name"))),
            ("test", result) => {
                let name = text("name");
                self.running.remove(name);
                let message = text("message");
                match result {
                    "failed" => self.failures.push(name.into()),
                    "ignored" if !message.is_empty() => {
                        self.skips.push(format!("{name}: {message}"));
                    }
                    _ => {}
                }
                let output = text("stdout").trim_end();
                let separator = if output.is_empty() { "" } else { "\n" };
                Some(format!("test {name} ... {result}{separator}{output}"))
            }
            // Of a generated test of documentation.
            ("report", _) => None,
            _ => Some(line.into()),
        }
    }

    /// After the last line: names what the program left open when it ended, as `status` says.
    pub fn close(&mut self, status: std::process::ExitStatus) {
        for name in std::mem::take(&mut self.running) {
            self.failures.push(format!("{name} did not end: {status}"));
        }
        let failed = !self.failures.is_empty();
        if self.is_open && !failed {
            self.failures
                .push(format!("ended amid the tests: {status}"));
        } else if !status.success() && !failed {
            self.failures.push(format!("ended with {status}"));
        } else if self.passed == 0 && !failed {
            self.failures.push("no test ran".into());
        }
    }

    /// Reads what pytest wrote.
    pub fn junit(text: &str) -> Result<Report> {
        let document = roxmltree::Document::parse(text).context("pytest's report")?;
        let mut report = Report::default();
        let is_test = |node: &roxmltree::Node| node.has_tag_name("testcase");
        for test in document.descendants().filter(is_test) {
            let attribute = |name: &str| test.attribute(name).unwrap_or_default();
            // Of a file that cannot be read the class is empty and the name is the file's.
            let file = attribute("classname")
                .rsplit('.')
                .next()
                .unwrap_or_default();
            let name = format!("{file}::{}", attribute("name"));
            let outcome = test
                .children()
                .find(|node| ["failure", "error", "skipped"].contains(&node.tag_name().name()));
            match outcome {
                None => report.passed += 1,
                Some(node) if node.has_tag_name("skipped") => {
                    let reason = node.attribute("message").unwrap_or("without a reason");
                    report.skips.push(format!("{file}: {reason}"));
                }
                Some(_) => report.failures.push(name),
            }
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    const STARTED: &str = r#"{ "type": "suite", "event": "started", "test_count": 2 }"#;
    const CLOSED: &str = r#"{ "type": "suite", "event": "failed", "passed": 1, "failed": 1 }"#;

    fn report(lines: &[&str], status: i32) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.line(line);
        }
        report.close(ExitStatus::from_raw(status));
        report
    }

    #[test]
    fn names_what_failed_and_what_was_skipped() {
        let lines = [
            STARTED,
            "what a test printed: 3 passed, 4 failed",
            r#"{ "type": "test", "event": "started", "name": "a" }"#,
            r#"{ "type": "test", "event": "failed", "name": "a", "stdout": "why\n" }"#,
            r#"{ "type": "test", "event": "ok", "name": "b", "exec_time": 0.1 }"#,
            r#"{ "type": "test", "event": "ignored", "name": "c", "message": "no GPU here" }"#,
            CLOSED,
        ];
        let found = report(&lines, 256);
        assert_eq!(
            (found.passed, found.failures.as_slice()),
            (1, &["a".into()][..])
        );
        assert_eq!(found.skips, ["c: no GPU here"]);
        assert_eq!(
            Report::default().line(lines[3]).unwrap(),
            "test a ... failed\nwhy"
        );
        assert_eq!(Report::default().line(lines[1]).unwrap(), lines[1]);
    }

    #[test]
    fn suites_without_names_count() {
        let found = report(&[CLOSED, CLOSED], 256);
        assert_eq!((found.passed, found.failures.len()), (2, 2));
    }

    #[test]
    fn a_crash_is_a_failure_that_names_the_test() {
        let begun = r#"{ "type": "test", "event": "started", "name": "a" }"#;
        let found = report(&[STARTED, begun], 11);
        assert_eq!(found.failures.len(), 1);
        assert!(found.failures[0].starts_with("a did not end: signal: 11"));
        assert_eq!(report(&[STARTED], 6).failures.len(), 1);
    }

    #[test]
    fn nothing_ran_or_a_bad_end_is_a_failure() {
        let ok = CLOSED.replace("failed\"", "ok\"").replace(": 1 }", ": 0 }");
        assert!(!report(&[], 0).failures.is_empty());
        assert!(!report(&[STARTED, &ok], 256).failures.is_empty());
        assert!(!report(&["passed: everything"], 0).failures.is_empty());
    }

    #[test]
    fn reads_junit() {
        let text = r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite tests="4">
            <testcase classname="tests.python.test_a" name="test_x[1]" time="0"/>
            <testcase classname="tests.python.test_a" name="test_y"><failure message="m">t</failure></testcase>
            <testcase classname="" name="tests.python.test_b"><error message="m">t</error></testcase>
            <testcase classname="tests.python.test_a" name="z"><skipped message="no GPU here">t</skipped></testcase>
            </testsuite></testsuites>"#;
        let found = Report::junit(text).unwrap();
        assert_eq!(found.passed, 1);
        assert_eq!(found.failures, ["test_a::test_y", "::tests.python.test_b"]);
        assert_eq!(found.skips, ["test_a: no GPU here"]);
        assert!(Report::junit("<testsuites>").is_err());
    }
}
