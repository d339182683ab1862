//! What runs the examples in Julia, C# and Lua: the programs on the PATH, else those of Debian,
//! unpacked. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::env::debian::{self, Suite};
use crate::env::deps;
use crate::env::tools::{Missing, is_installed};
use crate::run::command::program;

/// The last release that has Julia as a package.
const WITH_JULIA: &str = "bullseye";
/// Of what they need, what is the machine's own: they run with that C library.
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

/// Julia, after unpacking it if need be.
pub fn julia() -> Result<PathBuf> {
    let [julia] = programs("julia", ["julia"], &["julia"], Some(WITH_JULIA), |folder| {
        let libraries = folder.join("root/usr/lib/x86_64-linux-gnu");
        for (link, target) in LINKS {
            let link = libraries.join(link);
            if fs::symlink_metadata(&link).is_err() {
                std::os::unix::fs::symlink(target, &link)?;
            }
        }
        deps::script(
            &folder.join("julia"),
            "libraries=\"$here/root/usr/lib/x86_64-linux-gnu\"\n\
             for part in '' /julia /blas /lapack; do\n\
             LD_LIBRARY_PATH=\"${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries$part\"\n\
             done\n\
             export LD_LIBRARY_PATH\n\
             exec \"$here/root/usr/bin/julia\" \"$@\"\n",
        )?;
        runs(
            folder,
            "julia",
            &["--startup-file=no", "-e", "print(VERSION)"],
        )
    })?;
    Ok(julia)
}

/// The compiler of C# and what runs its programs: Mono's.
pub fn mono() -> Result<[PathBuf; 2]> {
    let packages = ["mono-mcs", "mono-runtime"];
    programs("mono", ["mcs", "mono"], &packages, None, |folder| {
        // Its own libraries need others, which a minimal system lacks; it says only that it finds
        // no file.
        let run = |arguments: &str| {
            format!(
                "root=\"$here/root\"\nMONO_CFG_DIR=\"$root/etc\"\n\
                 LD_LIBRARY_PATH=\"${{LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}}$root/usr/lib/x86_64-linux-gnu\"\n\
                 export MONO_CFG_DIR LD_LIBRARY_PATH\n\
                 exec \"$root/usr/bin/mono-sgen\" {arguments} \"$@\"\n"
            )
        };
        deps::script(&folder.join("mono"), &run(""))?;
        let compiler = run("\"$root/usr/lib/mono/4.5/mcs.exe\"");
        deps::script(&folder.join("mcs"), &compiler)?;
        runs(folder, "mcs", &["--version"])
    })
}

/// LuaJIT.
pub fn luajit() -> Result<PathBuf> {
    let [luajit] = programs("luajit", ["luajit"], &["luajit"], None, |folder| {
        deps::script(
            &folder.join("luajit"),
            "exec \"$here/root/usr/bin/luajit\" \"$@\"\n",
        )?;
        runs(folder, "luajit", &["-v"])
    })?;
    Ok(luajit)
}

/// The programs of these names, unpacked from a release of Debian (the machine's own, if `None`)
/// with all that they need unless they are on the PATH. `prepare` writes a script for each beside
/// the folder `root`.
fn programs<const N: usize>(
    part: &str,
    names: [&str; N],
    packages: &[&str],
    release: Option<&str>,
    prepare: impl FnOnce(&Path) -> Result<()>,
) -> Result<[PathBuf; N]> {
    if names.iter().all(|name| is_installed(name)) {
        return Ok(names.map(PathBuf::from));
    }
    let missing = || {
        format!(
            "{} is not on the PATH, and cannot be unpacked",
            names.join(" or ")
        )
    };
    let fetched = || {
        debian::require_tools()?;
        let release = release.map_or_else(debian::release, |name| Ok(name.to_owned()))?;
        let wanted = format!("{packages:?} of {release} without {PRESENT:?}\n");
        deps::ensure(part, &wanted, |folder| {
            println!("unpacking {} into .deps/{part}", packages.join(" and "));
            let apt = folder.join("apt");
            let suite = Suite::open(&apt, &release, &["amd64"])?;
            let archives = suite.download_with_dependencies(packages, &PRESENT)?;
            let unpacked = debian::unpack_all(&archives, &folder.join("root"))?;
            deps::remove(&apt)?;
            prepare(folder)?;
            Ok(unpacked)
        })
    };
    let folder =
        (fetched().with_context(missing)).map_err(|error| Missing(format!("{error:#}")))?;
    Ok(names.map(|name| folder.join(name)))
}

/// Fails unless what was unpacked starts.
fn runs(folder: &Path, name: &str, arguments: &[&str]) -> Result<()> {
    program(folder.join(name)).args(arguments).read().map(drop)
}
