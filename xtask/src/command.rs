//! Running programs: from the root, with errors that say what was run.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::paths;

/// A program to run.
pub struct Program(Command);

/// A program by name or path.
pub fn program(name: impl AsRef<OsStr>) -> Program {
    let mut command = Command::new(name);
    command.current_dir(paths::root()).stdin(Stdio::null());
    Program(command)
}

/// The cargo that runs this task.
pub fn cargo() -> Program {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether a program of this name is on the PATH.
pub fn is_installed(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

impl Program {
    /// Appends an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
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
    pub fn current_dir(mut self, folder: impl AsRef<std::path::Path>) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Runs it with its output shown; an error if it fails.
    pub fn check(mut self) -> Result<()> {
        let line = self.line();
        let status = self.0.status().with_context(|| line.clone())?;
        if !status.success() {
            bail!("{line}: {status}");
        }
        Ok(())
    }

    /// Runs it, showing its standard output as it comes; returns whether it succeeded, and that
    /// output.
    pub fn stream(mut self) -> Result<(bool, String)> {
        let line = self.line();
        let mut child = self.0.stdout(Stdio::piped()).spawn().context(line)?;
        let mut text = String::new();
        let stdout = child.stdout.take().context("standard output")?;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            text.push_str(&line);
            text.push('\n');
        }
        Ok((child.wait()?.success(), text))
    }

    /// Runs it silently and returns its standard output; an error, with all it printed, if it
    /// fails.
    pub fn read(mut self) -> Result<String> {
        let line = self.line();
        let output = self.0.output().with_context(|| line.clone())?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            output.stderr.as_slice().read_to_string(&mut text)?;
            bail!("{line}: {}\n{text}", output.status);
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

    fn line(&self) -> String {
        let words = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }
}
