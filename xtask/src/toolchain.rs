//! The kernel compiler and the disassembler: pinned wheels in the ignored folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::program;
use crate::paths;

/// A set of pinned wheels, unpacked into a folder of its own.
struct Wheels {
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

const DISASSEMBLER: Wheels = Wheels {
    folder: "nvdisasm",
    requirements: "disassembler.txt",
    file: "nvidia/cu13/bin/nvdisasm",
    what: "the disassembler (nvdisasm, 5 MB)",
};

/// Installs the pinned kernel compiler if none is found.
pub fn ensure() -> Result<()> {
    if !toolkit_serves() {
        COMPILER.ensure()?;
    }
    Ok(())
}

/// Installs the disassembler that the kernels' tests use, where it is not yet; returns its path.
pub fn ensure_disassembler() -> Result<PathBuf> {
    DISASSEMBLER.ensure()
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
    /// The file, after fetching the wheels if it is not there or the pins have changed.
    fn ensure(&self) -> Result<PathBuf> {
        let folder = paths::deps().join(self.folder);
        let file = folder.join(self.file);
        let pins = paths::root()
            .join("xtask/requirements")
            .join(self.requirements);
        let wanted = fs::read_to_string(&pins).with_context(|| pins.display().to_string())?;
        let stamp = folder.join("installed-pins.txt");
        let is_current = fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted);
        if is_current && file.exists() {
            return Ok(file);
        }
        println!("fetching {} into {}", self.what, folder.display());
        // Into a folder beside it first, so that an interrupted fetch leaves nothing half done.
        let partial = paths::deps().join(format!("{}.partial", self.folder));
        remove(&partial)?;
        program("python3")
            .args(["-m", "pip", "install", "--disable-pip-version-check"])
            .args([
                "--root-user-action=ignore",
                "--no-deps",
                "--only-binary=:all:",
            ])
            .arg("--require-hashes")
            .arg("--target")
            .arg(&partial)
            .arg("--requirement")
            .arg(&pins)
            .check()
            .with_context(|| format!("cannot fetch {}", self.what))?;
        fs::write(partial.join("installed-pins.txt"), &wanted)?;
        remove(&folder)?;
        fs::rename(&partial, &folder)
            .with_context(|| format!("cannot move {} into place", partial.display()))?;
        anyhow::ensure!(file.exists(), "the wheels do not hold {}", file.display());
        Ok(file)
    }
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
