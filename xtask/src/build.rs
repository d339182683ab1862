//! `cargo xtask build`: the release library.

use std::path::PathBuf;

use anyhow::Result;

use crate::{command, paths};

/// Builds the release library, after installing the kernel compiler if none is found; returns
/// its path.
pub fn library() -> Result<PathBuf> {
    crate::toolchain::ensure()?;
    command::cargo()
        .args(["build", "--release", "--package", "libmish"])
        .check()?;
    Ok(paths::target().join("release/libmish.so"))
}

/// A number that changes with the files of a folder.
pub fn fingerprint(folder: &std::path::Path) -> Result<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    let mut hasher = std::hash::DefaultHasher::new();
    for file in files {
        std::hash::Hash::hash(&std::fs::read(file.path())?, &mut hasher);
    }
    Ok(std::hash::Hasher::finish(&hasher).to_string())
}
