//! A Julia to run: the one on the PATH, else one unpacked from an older Debian release. Nothing is
//! installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{is_installed, program};
use crate::debian::{self, Suite};
use crate::paths;

/// The last release that has Julia as a package.
const RELEASE: &str = "bullseye";
/// Julia and those of its libraries that a newer release has in other versions only.
const PACKAGES: [&str; 29] = [
    "julia",
    "julia-common",
    "libjulia1",
    "libblas3",
    "libbsd0",
    "libcurl3-gnutls",
    "libdsfmt-19937-1",
    "libedit2",
    "libffi7",
    "libgfortran5",
    "libgit2-1.1",
    "libgmp10",
    "libhttp-parser2.9",
    "liblapack3",
    "libldap-2.4-2",
    "libllvm9",
    "libmbedcrypto3",
    "libmbedtls12",
    "libmbedx509-0",
    "libmd0",
    "libmpfr6",
    "libopenblas0-pthread",
    "libopenlibm3",
    "libpcre2-8-0",
    "libpcre3",
    "libquadmath0",
    "libssh2-1",
    "libunwind8",
    "libutf8proc2",
];

/// The program to run, after unpacking it if need be.
pub fn ensure() -> Result<PathBuf> {
    if is_installed("julia") {
        return Ok("julia".into());
    }
    let folder = paths::deps().join("julia");
    let launcher = folder.join("julia");
    if launcher.is_file() {
        return Ok(launcher);
    }
    debian::require_tools().context("julia is not on the PATH, and none can be unpacked")?;
    println!("unpacking Julia into .deps/julia");
    unpack(&folder).context("julia is not on the PATH and cannot be unpacked")?;
    write_launcher(&folder, &launcher)?;
    program(&launcher)
        .args(["--startup-file=no", "-e", "print(VERSION)"])
        .read()
        .inspect_err(|_| drop(fs::remove_file(&launcher)))?;
    Ok(launcher)
}

fn unpack(folder: &Path) -> Result<()> {
    let suite = Suite::open(folder, RELEASE, &["amd64"])?;
    for package in suite.download(&PACKAGES)? {
        debian::unpack(&package, &folder.join("root"))?;
    }
    fs::remove_dir_all(folder.join("downloads"))?;
    // Julia loads these by the names that only development packages bring.
    let libraries = folder.join("root/usr/lib/x86_64-linux-gnu");
    for (link, target) in [
        ("libmpfr.so", "libmpfr.so.6"),
        ("libgmp.so", "libgmp.so.10"),
    ] {
        let link = libraries.join(link);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(target, &link)?;
        }
    }
    Ok(())
}

fn write_launcher(folder: &Path, launcher: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let libraries = folder.join("root/usr/lib/x86_64-linux-gnu");
    let script = format!(
        "#!/bin/sh\nexport LD_LIBRARY_PATH='{0}:{0}/julia:{0}/blas:{0}/lapack'\"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\nexec '{1}' \"$@\"\n",
        libraries.display(),
        folder.join("root/usr/bin/julia").display()
    );
    fs::write(launcher, script)?;
    fs::set_permissions(launcher, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
