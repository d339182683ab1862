//! The programs of the machine: what every task needs, and what makes more tests run.

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

use crate::env::python;
use crate::run::command::{plain, program};

/// A tool that is not here: what needs it did not run, which is no failure.
#[derive(Debug)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// Whether a program of this name is on the PATH.
pub fn is_installed(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// Fails as [`Missing`] unless a program is on the PATH.
pub fn need(name: &str) -> Result<()> {
    match is_installed(name) {
        true => Ok(()),
        false => Err(Missing(format!("{name} is not installed")).into()),
    }
}

/// Fails as [`Missing`] unless there is the C++ compiler that build scripts use.
pub fn need_cpp() -> Result<()> {
    match std::env::var_os("CXX") {
        Some(_) => Ok(()),
        None => need("c++"),
    }
}

/// Fails as [`Missing`] unless a component of the Rust toolchain runs: rustup has a command for
/// each, installed or not.
pub fn need_component(command: &str, component: &str) -> Result<()> {
    match plain(command, Path::new("/")).arg("--version").read() {
        Ok(_) => Ok(()),
        Err(_) => Err(Missing(format!("{component} is not installed")).into()),
    }
}

/// Fails as [`Missing`] unless a compiler takes these flags, libraries among them.
pub fn need_flags(compiler: &str, language: &str, flags: &[&str]) -> Result<()> {
    need(compiler)?;
    let script = r#"echo 'int main(void) { return 0; }' | "$@""#;
    let (works, _) = program("sh")
        .args(["-c", script, "sh", compiler, "-x", language, "-"])
        .args(flags)
        .words("-o /dev/null")
        .output()?;
    match works {
        true => Ok(()),
        false => Err(Missing(format!("{compiler} here has no {}", flags.join(" "))).into()),
    }
}

/// Fails as [`Missing`] if `RUSTFLAGS` or a configuration file has cargo compile for more than
/// every processor, as it then compiled this program too.
pub fn need_baseline(what: &str) -> Result<()> {
    match cfg!(target_feature = "avx") {
        false => Ok(()),
        true => Err(Missing(format!(
            "{what} is of a library for every processor, and RUSTFLAGS has a target-cpu"
        ))
        .into()),
    }
}

/// Something that every task needs, and the packages that bring it.
struct Prerequisite {
    what: &'static str,
    is_here: fn() -> bool,
    apt: &'static str,
    dnf: &'static str,
    brew: &'static str,
}

/// With Rust, which cargo has already checked, the list of the README.
const PREREQUISITES: [Prerequisite; 2] = [
    Prerequisite {
        what: "a C compiler",
        is_here: || ["cc", "gcc", "clang"].iter().any(|name| is_installed(name)),
        apt: "gcc libc6-dev",
        dnf: "gcc",
        brew: "gcc",
    },
    Prerequisite {
        what: "Python 3.9 or newer with venv",
        is_here: || {
            // Debian has the first without the second.
            let imports = "import sys, venv, ensurepip; assert sys.version_info >= (3, 9)";
            python::host().is_ok_and(|host| program(host).args(["-c", imports]).read().is_ok())
        },
        apt: "python3-venv",
        dnf: "python3",
        brew: "python",
    },
];

/// Fails, with a line to install what is missing, unless the prerequisites are here.
pub fn check() -> Result<()> {
    let missing: Vec<_> = PREREQUISITES
        .iter()
        .filter(|one| !(one.is_here)())
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => bail!(advice(&missing)),
    }
}

fn advice(missing: &[&Prerequisite]) -> String {
    let list = |part: fn(&Prerequisite) -> &str, between: &str| {
        let parts: Vec<_> = missing.iter().map(|one| part(one)).collect();
        parts.join(between)
    };
    format!(
        "needs {}: `apt install {}`, `dnf install {}` or `brew install {}`",
        list(|one| one.what, " and "),
        list(|one| one.apt, " "),
        list(|one| one.dnf, " "),
        list(|one| one.brew, " ")
    )
}

/// Debian's packages of the prerequisites.
pub fn packages() -> impl Iterator<Item = &'static str> {
    PREREQUISITES.iter().flat_map(|one| one.apt.split(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::paths;
    use crate::run::outcome::Outcome;

    #[test]
    fn one_line_says_what_to_install_and_the_readme_lists_the_same() {
        let all: Vec<_> = PREREQUISITES.iter().collect();
        let line = advice(&all);
        assert_eq!(
            line,
            "needs a C compiler and Python 3.9 or newer with venv: \
             `apt install gcc libc6-dev python3-venv`, `dnf install gcc python3` or \
             `brew install gcc python`"
        );
        let readme = std::fs::read_to_string(paths::root().join("README.md")).unwrap();
        for command in line.split('`').skip(1).step_by(2) {
            assert!(readme.contains(command), "README.md lacks {command}");
        }
    }

    #[test]
    fn what_is_missing_did_not_run_and_did_not_fail() {
        for error in [
            need("no-such-compiler").unwrap_err().context("more words"),
            need_flags("no-such-compiler", "c", &[]).unwrap_err(),
            need_component("no-such-component", "it").unwrap_err(),
            need_flags("cc", "c", &["-std=c++1234"]).unwrap_err(),
        ] {
            let outcome = Outcome::from(error);
            assert_eq!((outcome.failures.len(), outcome.skips.len()), (0, 1));
        }
        need_flags("cc", "c", &["-lm"]).unwrap();
    }
}
