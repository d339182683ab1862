//! `cargo xtask build`: the release library.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::{Program, cargo};
use crate::{toolchain, tools};

/// Builds the release library, after installing the kernel compiler if none is found; returns
/// its path.
pub fn library() -> Result<PathBuf> {
    tools::check()?;
    toolchain::ensure()?;
    release("libmish").built("libmish.so")
}

/// Cargo, to build a package as it is released.
pub fn release(package: &str) -> Program {
    cargo().args(["build", "--release", "--package", package])
}

/// A number that changes with the files of a folder.
pub fn fingerprint(folder: &Path) -> Result<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    let mut hasher = std::hash::DefaultHasher::new();
    for file in files {
        std::hash::Hash::hash(&std::fs::read(file.path())?, &mut hasher);
    }
    Ok(std::hash::Hasher::finish(&hasher).to_string())
}
