//! Where things are: asked at run time, for a binary outlives the folder it was compiled in.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::run::command;

static ROOT: OnceLock<PathBuf> = OnceLock::new();
static TARGET: OnceLock<PathBuf> = OnceLock::new();

/// The root of the clone in which cargo was called.
pub fn root() -> &'static Path {
    ROOT.get_or_init(|| find_root().unwrap_or_else(|error| panic!("{error:#}")))
}

/// The ignored folder for everything that is fetched or installed.
pub fn deps() -> PathBuf {
    root().join(".deps")
}

/// The folder for what cargo and the tasks build.
pub fn target() -> &'static Path {
    TARGET.get_or_init(|| find_target().unwrap_or_else(|error| panic!("{error:#}")))
}

/// Finds both, or says why not.
pub fn find() -> Result<()> {
    if ROOT.get().is_none() {
        let _ = ROOT.set(find_root()?);
    }
    if TARGET.get().is_none() {
        let _ = TARGET.set(find_target()?);
    }
    Ok(())
}

/// `cargo run` and `cargo test` name the folder of the package that they run.
fn find_root() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = PathBuf::from(package.context("this program is started as `cargo xtask`")?);
    let root = package.parent().context("xtask lies in the root")?;
    ensure!(
        root.join("xtask/Cargo.toml").is_file(),
        "{} is no clone of the repository",
        root.display()
    );
    Ok(root.to_path_buf())
}

/// Only cargo knows, from its variables and configuration files.
fn find_target() -> Result<PathBuf> {
    let metadata = command::plain("cargo", root())
        .words("metadata --no-deps --format-version 1")
        .read()?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let folder = metadata["target_directory"].as_str();
    let folder = Path::new(folder.context("cargo names no target folder")?);
    let part = own(folder, root());
    let create = || {
        fs::create_dir_all(&part)?;
        // A relative folder leaves its dots in the name.
        part.canonicalize()
    };
    create().with_context(|| part.display().to_string())
}

/// A folder elsewhere may serve several clones, which cargo takes for one another: it tells
/// changed files by their times. So this clone has a part of its own there.
fn own(folder: &Path, root: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    let name = format!("libmish-{:016x}", hasher.finish());
    match folder == root.join("target") || folder.ends_with(&name) {
        true => folder.to_path_buf(),
        false => folder.join(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_that_share_a_target_folder_do_not_share_what_they_build() {
        let shared = Path::new("/shared");
        let (a, b) = (own(shared, Path::new("/a")), own(shared, Path::new("/b")));
        assert_ne!(a, b);
        assert!(a.starts_with(shared) && b.starts_with(shared));
        assert_eq!(own(&a, Path::new("/a")), a, "the second time");
        let usual = Path::new("/a/target");
        assert_eq!(own(usual, Path::new("/a")), usual);
        // Where sources are, nothing is removed.
        let sources = own(Path::new("/a"), Path::new("/a"));
        assert_eq!(sources.parent(), Some(Path::new("/a")));
        assert!(sources.to_string_lossy().starts_with("/a/libmish-"));
    }
}
