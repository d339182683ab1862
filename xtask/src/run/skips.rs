//! What continuous integration may leave out: `tests/allowed-skips.txt`. Anything else that did
//! not run there fails it, so that a tool that goes missing does not take its tests along.
//!
//! By hand: pytest and libtest know only skips of their own.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::env::paths;

/// What may be missing, as parts of the summary's lines.
pub struct Allowed(Vec<Vec<String>>);

impl Allowed {
    /// The list that this run must keep to, if it must to any: `CI` is true.
    pub fn in_force() -> Result<Option<Allowed>> {
        match std::env::var("CI") {
            Ok(value) if value == "true" => Allowed::read().map(Some),
            _ => Ok(None),
        }
    }

    fn read() -> Result<Allowed> {
        let path = paths::root().join("tests/allowed-skips.txt");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Allowed::parse(&text).with_context(|| path.display().to_string())
    }

    /// A pattern in each line that begins with no `#`; the comment above says why.
    fn parse(text: &str) -> Result<Allowed> {
        let (mut patterns, mut is_explained) = (Vec::new(), false);
        for line in text.lines().map(str::trim) {
            match line {
                "" => is_explained = false,
                _ if line.starts_with('#') => is_explained = true,
                _ => {
                    ensure!(is_explained, "no reason stands above: {line}");
                    patterns.push(line.split('*').map(str::to_owned).collect());
                }
            }
        }
        Ok(Allowed(patterns))
    }

    /// Whether a line of the summary is one of them.
    pub fn covers(&self, line: &str) -> bool {
        self.0.iter().any(|parts| matches(parts, line))
    }
}

/// Whether a line is these parts with anything between them.
fn matches(parts: &[String], line: &str) -> bool {
    let (first, last) = (&parts[0], &parts[parts.len() - 1]);
    if parts.len() == 1 {
        return line == first;
    }
    let Some(mut rest) = line
        .strip_prefix(first.as_str())
        .and_then(|rest| rest.strip_suffix(last.as_str()))
    else {
        return false;
    };
    parts[1..parts.len() - 1].iter().all(|part| {
        let found = rest.split_once(part.as_str());
        rest = found.map_or(rest, |(_, after)| after);
        found.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_list_names() {
        let allowed = Allowed::parse("# Why.\nC: * is not installed\n*: no GPU*\nMiri: x\n");
        let allowed = allowed.unwrap();
        for line in [
            "C: valgrind is not installed",
            "pytest: no GPU here",
            "Miri: x",
        ] {
            assert!(allowed.covers(line), "{line}");
        }
        for line in [
            "C: valgrind does not build",
            "C++: g++ is not installed",
            "Miri: xy",
            "pytest: no PyTorch",
            "",
        ] {
            assert!(!allowed.covers(line), "{line}");
        }
    }

    #[test]
    fn every_skip_has_its_reason() {
        assert!(Allowed::parse("Miri: x\n").is_err());
        assert!(Allowed::parse("# Why.\nMiri: x\n\nother\n").is_err());
        assert!(!Allowed::read().unwrap().0.is_empty());
    }
}
