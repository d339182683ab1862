//! The project's own Python environments, in the ignored folder.
//!
//! By hand, since nox and tox would have to be installed into such an environment first.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::env::{deps, paths, tools};
use crate::run::command::{Program, program};

/// An environment: its name under `.deps`, and the file that lists what it holds.
pub struct Environment {
    name: &'static str,
    requirements: &'static str,
}

/// Nothing but its own pip, which fetches the rest: the machine's may be missing, old or set up
/// otherwise.
pub const PIP: Environment = Environment {
    name: "pip",
    requirements: "xtask/requirements/none.txt",
};

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

    /// The environment's interpreter; creates or renews the environment if its requirements or
    /// the machine's Python changed.
    pub fn ensure(&self) -> Result<PathBuf> {
        self.ensure_for(host)
    }

    /// The same, made by the interpreter that `host` finds.
    pub fn ensure_for(&self, host: impl Fn() -> Result<&'static str>) -> Result<PathBuf> {
        let folder = paths::deps().join(self.name);
        let python = folder.join("bin/python");
        let wanted = requirements(self.requirements)?;
        let _lock = deps::lock_part(self.name)?;
        let stamp = folder.join("requirements.installed");
        // One whose interpreter is gone has no version; pip comes last.
        let is_current = version(&python).ok() == Some(version(host()?.as_ref())?)
            && folder.join("bin/pip").exists();
        if is_current && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(python);
        }
        println!("installing {} into .deps/{}", self.requirements, self.name);
        if !is_current {
            deps::remove(&folder)?;
            program(host()?).words("-m venv").arg(&folder).check()?;
        }
        if !wanted.is_empty() {
            let list = paths::root().join(self.requirements);
            pip(&python).arg("install").arg("-r").arg(list).check()?;
        }
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
        .find(|name| tools::is_installed(name))
        .context("no python3 on the PATH")
}

/// An interpreter's version, as 3.11.7.
fn version(python: &Path) -> Result<String> {
    let print = "import platform; print(platform.python_version(), end='')";
    program(python).args(["-c", print]).read()
}

/// The text of a file of requirements, with the files that it includes in their places.
fn requirements(file: &str) -> Result<String> {
    let path = paths::root().join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut whole = String::new();
    for line in text.lines() {
        match line.strip_prefix("-r ") {
            Some(name) => {
                let beside = Path::new(file).with_file_name(name.trim());
                whole += &requirements(&beside.to_string_lossy())?;
            }
            None => whole = whole + line + "\n",
        }
    }
    Ok(whole)
}

/// The pip of an environment, to install there, whatever the machine's configuration says. What
/// it downloads is kept only in a folder that `PIP_CACHE_DIR` names.
pub fn pip(python: &Path) -> Program {
    let mut pip = program(python)
        .words("-m pip --quiet --disable-pip-version-check")
        .env("PIP_USER", "no")
        .env("PIP_REQUIRE_VIRTUALENV", "no");
    for variable in [
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PYTHONPATH",
        "PYTHONHOME",
    ] {
        pip = pip.without_env(variable);
    }
    match std::env::var_os("PIP_CACHE_DIR") {
        Some(_) => pip,
        None => pip.env("PIP_NO_CACHE_DIR", "yes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_include_those_of_other_files() {
        let core = requirements(CORE.requirements).unwrap();
        let torch = requirements(TORCH.requirements).unwrap();
        assert!(core.contains("numpy") && torch.contains(&core) && !torch.contains("-r "));
        assert!(requirements("no/such/file.txt").is_err());
    }

    #[test]
    fn pip_installs_where_it_lies_whatever_is_configured() {
        let folder = paths::target().join("tmp/pip-test");
        deps::remove(&folder).unwrap();
        let venv = program(host().unwrap()).words("-m venv").arg(&folder);
        venv.check().unwrap();
        let python = folder.join("bin/python");
        assert_eq!(
            version(&python).unwrap(),
            version(host().unwrap().as_ref()).unwrap()
        );
        // What is set for the user stands in a file, which variables go before.
        let file = folder.join("pip.conf");
        fs::write(&file, "[global]\nuser = true\nrequire-virtualenv = true\n").unwrap();
        let install = |pip: Program| {
            let pip = pip.words("install --no-index pip");
            pip.env("PIP_CONFIG_FILE", &file).output().unwrap()
        };
        let (works, text) = install(pip(&python));
        assert!(works, "{text}");
        let (works, _) = install(program(&python).words("-m pip"));
        assert!(!works, "the configuration was not read");
        deps::remove(&folder).unwrap();
    }
}
