//! A Julia to run: the one on the PATH, else one unpacked from an older Debian release. Nothing is
//! installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::program;
use crate::debian::{self, Suite};
use crate::deps;
use crate::tools::is_installed;

/// The last release that has Julia as a package.
const RELEASE: &str = "bullseye";
/// Of what it needs, what is the machine's own: it runs with that C library.
const PRESENT: [&str; 7] = [
    "libc6",
    "libc-bin",
    "libgcc-s1",
    "libstdc++6",
    "debconf",
    "dpkg",
    "perl-base",
];
/// Julia loads these by the names that only development packages bring.
const LINKS: [(&str, &str); 2] = [
    ("libmpfr.so", "libmpfr.so.6"),
    ("libgmp.so", "libgmp.so.10"),
];

/// The program to run, after unpacking it if need be.
pub fn ensure() -> Result<PathBuf> {
    if is_installed("julia") {
        return Ok("julia".into());
    }
    debian::require_tools().context("julia is not on the PATH, and none can be unpacked")?;
    let wanted = format!("{RELEASE} without {PRESENT:?}\n");
    let folder = deps::ensure("julia", &wanted, |folder| {
        println!("unpacking Julia into .deps/julia");
        fetch(folder).context("julia is not on the PATH and cannot be unpacked")
    })?;
    Ok(folder.join("julia"))
}

/// Fetches it with all that it needs; returns the names of the packages.
fn fetch(folder: &Path) -> Result<String> {
    let (apt, root) = (folder.join("apt"), folder.join("root"));
    let suite = Suite::open(&apt, RELEASE, &["amd64"])?;
    let names = debian::unpack_all(
        &suite.download_with_dependencies(&["julia"], &PRESENT)?,
        &root,
    )?;
    deps::remove(&apt)?;
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    for (link, target) in LINKS {
        let link = libraries.join(link);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(target, &link)?;
        }
    }
    debian::script(
        &folder.join("julia"),
        "libraries=\"$here/root/usr/lib/x86_64-linux-gnu\"\n\
         for part in '' /julia /blas /lapack; do\n\
         LD_LIBRARY_PATH=\"${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries$part\"\n\
         done\n\
         export LD_LIBRARY_PATH\n\
         exec \"$here/root/usr/bin/julia\" \"$@\"\n",
    )?;
    program(folder.join("julia"))
        .args(["--startup-file=no", "-e", "print(VERSION)"])
        .read()?;
    Ok(names)
}
