//! The project's own Python environments, in the ignored folder.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::{self, program};
use crate::paths;

/// An environment: its name under `.deps`, and the file that lists what it holds.
pub struct Environment {
    name: &'static str,
    requirements: &'static str,
}

/// NumPy, mpmath, pytest: what the core's tests need.
pub const CORE: Environment = Environment {
    name: "python",
    requirements: "xtask/requirements/core.txt",
};

/// The same with PyTorch: the peers of the demo and the adapter's tests. Some gigabytes.
pub const TORCH: Environment = Environment {
    name: "torch",
    requirements: "xtask/requirements/torch.txt",
};

impl Environment {
    /// An environment of this name with what this file lists.
    pub const fn new(name: &'static str, requirements: &'static str) -> Self {
        Environment { name, requirements }
    }

    /// The environment's interpreter; creates or renews the environment if its requirements
    /// changed.
    pub fn ensure(&self) -> Result<PathBuf> {
        let folder = paths::deps().join(self.name);
        let python = folder.join("bin/python");
        let wanted = fs::read_to_string(paths::root().join(self.requirements))
            .with_context(|| self.requirements.to_owned())?;
        let stamp = folder.join("requirements.installed");
        if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(python);
        }
        println!("installing {} into .deps/{}", self.requirements, self.name);
        program(host()?).args(["-m", "venv"]).arg(&folder).check()?;
        program(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(paths::root().join(self.requirements))
            .check()?;
        fs::write(stamp, wanted)?;
        Ok(python)
    }

    /// The machine's own interpreter if it has everything this environment is for, which
    /// importing `module` shows; else [`Environment::ensure`].
    pub fn ensure_or_host(&self, module: &str) -> Result<PathBuf> {
        let imports = format!("import numpy, ml_dtypes, mpmath, pytest, {module}");
        let host = host()?;
        match program(host).args(["-c", &imports]).read() {
            Ok(_) => Ok(host.into()),
            Err(_) => self.ensure(),
        }
    }
}

/// The machine's Python.
pub fn host() -> Result<&'static str> {
    ["python3", "python"]
        .into_iter()
        .find(|name| command::is_installed(name))
        .context("no python3 on the PATH")
}
