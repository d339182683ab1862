//! Copies of what the repository holds, committed or not yet.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::env::paths;
use crate::env::tools::{Missing, need};
use crate::run::command::program;

/// Makes a folder hold the repository's files. Those that stay as they are keep their times, which
/// tell cargo that nothing changed.
pub fn copy(to: &Path) -> Result<()> {
    for file in files()? {
        let (from, to) = (paths::root().join(&file), to.join(&file));
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a folder")?)?;
        fs::write(to, bytes)?;
    }
    Ok(())
}

/// The files that git has or would take.
pub fn files() -> Result<Vec<String>> {
    need("git")?;
    let list = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    // In another user's clone git answers nothing, as in a tarball.
    let Ok(names) = program("git").args(list).read() else {
        return Err(Missing("git does not list the files of this folder".into()).into());
    };
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}
