//! `cargo xtask build`: the release library.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::env::{toolchain, tools};
use crate::run::command::{Program, cargo, json_lines};

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

/// Where the build script of the release library put the kernels' images.
pub fn images() -> Result<PathBuf> {
    let messages = release("libmish")
        .words("--quiet --message-format json")
        .read()?;
    json_lines(&messages)
        .filter_map(|message| message["out_dir"].as_str().map(PathBuf::from))
        .map(|folder| folder.join("kernels"))
        .find(|folder| folder.join("images.rs").is_file())
        .context("cargo does not name the build script's folder")
}

/// A build that takes the release library's images where the sources are the same.
pub fn with_images(cargo: Program) -> Result<Program> {
    Ok(cargo.env("MISH_KERNEL_IMAGES", images()?))
}
