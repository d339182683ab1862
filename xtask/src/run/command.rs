//! Running programs: from the root, with errors that say what was run.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use super::disk;
use super::report::Report;
use crate::env::{deps, paths};

/// Where programs keep what they would leave in the user's folders, below the target folder.
const CACHES: [(&str, &str); 7] = [
    ("TMPDIR", "tmp"),
    // pip, zig, cargo-zigbuild and others.
    ("XDG_CACHE_HOME", "cache"),
    ("MPLCONFIGDIR", "cache/matplotlib"),
    ("TORCHINDUCTOR_CACHE_DIR", "cache/inductor"),
    ("TRITON_CACHE_DIR", "cache/triton"),
    ("CUDA_CACHE_PATH", "cache/cuda"),
    ("JULIA_DEPOT_PATH", "cache/julia"),
];

/// A program to run.
pub struct Program(Command);

/// A program by name or path.
pub fn program(name: impl AsRef<OsStr>) -> Program {
    let target = paths::target();
    let mut program = plain(name, paths::root())
        .env("CARGO_TARGET_DIR", target)
        // This program runs, so it names this machine, and changes nothing but folders' names.
        .without_env("CARGO_BUILD_TARGET");
    for (variable, folder) in CACHES {
        program = program.env(variable, target.join(folder));
    }
    program
}

/// A program, run in a folder, that may write where it likes.
pub fn plain(name: impl AsRef<OsStr>, folder: &Path) -> Program {
    let mut command = Command::new(name);
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        // What it says is read.
        .env("LC_ALL", "C.UTF-8")
        .env_remove("LANGUAGE");
    Program(command)
}

/// The cargo that runs this task.
pub fn cargo() -> Program {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A `cargo test` that reports as data. libtest has the format on stable compilers too, behind the
/// variable that only what runs the tests is given: for a compiler it would change what is built.
/// (nextest, which has a report of its own, runs no tests of documentation and would be fetched.)
pub fn libtest(cargo: Program, arguments: &[&str]) -> Result<Program> {
    let rustdoc = paths::target().join("tmp/rustdoc");
    deps::script(&rustdoc, "RUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n")?;
    Ok(cargo
        .env("RUSTDOC", rustdoc)
        .words("--no-fail-fast --config")
        .arg("target.'cfg(all())'.runner = ['env', 'RUSTC_BOOTSTRAP=1']")
        .words("-- -Zunstable-options --format=json")
        .args(arguments))
}

/// The commit that is checked out, and whether something is changed.
pub fn commit() -> Result<String> {
    let commit = (program("git").words("describe --always --dirty")).read()?;
    Ok(commit.trim().to_owned())
}

/// A compiler's version in its own words.
pub fn rustc_version() -> Result<String> {
    Ok(program("rustc").arg("--version").read()?.trim().to_owned())
}

/// The objects of JSON text that has one in a line, as cargo's messages.
pub fn json_lines(text: &str) -> impl Iterator<Item = serde_json::Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}

impl Program {
    /// Appends an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// Appends arguments that are words.
    pub fn words(self, words: &str) -> Self {
        self.args(words.split(' '))
    }

    /// Appends arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Takes an environment variable away.
    pub fn without_env(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    /// Runs it in a folder other than the root.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Runs it with its output shown; returns how it ended.
    pub fn status(mut self) -> Result<ExitStatus> {
        self.0.status().with_context(|| self.line())
    }

    /// Runs it with its output shown; an error if it fails.
    pub fn check(self) -> Result<()> {
        let line = self.line();
        let status = self.status()?;
        if !status.success() {
            bail!("{line}: {status}{}", disk::full());
        }
        Ok(())
    }

    /// Runs it, showing what `show` makes of each line of its standard output as it comes; returns
    /// how it ended, and what was shown.
    pub fn stream(
        mut self,
        mut show: impl FnMut(&str) -> Option<String>,
    ) -> Result<(ExitStatus, String)> {
        let line = self.line();
        let mut child = self.0.stdout(Stdio::piped()).spawn().context(line)?;
        let mut text = String::new();
        let stdout = child.stdout.take().context("standard output")?;
        for line in BufReader::new(stdout).split(b'\n') {
            if let Some(line) = show(&String::from_utf8_lossy(&line?)) {
                println!("{line}");
                text = text + &line + "\n";
            }
        }
        Ok((child.wait()?, text))
    }

    /// Runs it, reading its report as it comes; returns that, and what was shown.
    pub fn report(self) -> Result<(Report, String)> {
        let mut report = Report::default();
        let (status, text) = self.stream(|line| report.line(line))?;
        report.close(status);
        Ok((report, text))
    }

    /// Runs it silently and returns its standard output; an error, with all it printed, if it
    /// fails.
    pub fn read(mut self) -> Result<String> {
        let line = self.line();
        let output = self.0.output().with_context(|| line.clone())?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            output.stderr.as_slice().read_to_string(&mut text)?;
            bail!("{line}: {}{}\n{text}", output.status, disk::full());
        }
        Ok(text)
    }

    /// Runs it silently; returns whether it succeeded, and all it printed.
    pub fn output(mut self) -> Result<(bool, String)> {
        let output = self.0.output().with_context(|| self.line())?;
        let text = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        ))
    }

    /// Runs a build of cargo's; returns the file of this name that it made, wherever its
    /// configuration put it.
    pub fn built(mut self, name: &str) -> Result<PathBuf> {
        self.0.stderr(Stdio::inherit());
        let messages = self
            .words("--message-format json-render-diagnostics")
            .read()?;
        json_lines(&messages)
            .filter_map(|message| message["filenames"].as_array().cloned())
            .flatten()
            .filter_map(|file| file.as_str().map(PathBuf::from))
            .find(|file| file.file_name().is_some_and(|found| found == name))
            .with_context(|| format!("cargo did not build {name}"))
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_speak_one_language_and_write_below_the_target_folder() {
        let said = program("sh").args(["-c", "echo $LC_ALL; echo $TMPDIR; echo $XDG_CACHE_HOME"]);
        let said = said.read().unwrap();
        let target = paths::target().display();
        assert_eq!(said, format!("C.UTF-8\n{target}/tmp\n{target}/cache\n"));
    }
}
