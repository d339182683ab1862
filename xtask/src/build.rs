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
