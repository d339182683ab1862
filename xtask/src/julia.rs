//! A Julia to run: the one on the PATH, else one unpacked from an older Debian release, where the
//! machine's own apt configuration says which mirror to ask. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{Program, is_installed, program};
use crate::paths;

/// The last release that has Julia as a package.
const RELEASE: &str = "bullseye";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
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
    for tool in ["apt-get", "dpkg", "uname"] {
        if !is_installed(tool) {
            bail!("julia is not on the PATH, and without {tool} none can be unpacked");
        }
    }
    let machine = program("uname").arg("-m").read()?;
    if machine.trim() != "x86_64" {
        bail!(
            "julia is not on the PATH, and none is unpacked on {}",
            machine.trim()
        );
    }
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
    let mirror = mirror(&sources()?).context("no Debian mirror in the apt configuration")?;
    let downloads = folder.join("downloads");
    fs::create_dir_all(folder.join("lists/partial"))?;
    fs::create_dir_all(folder.join("cache/archives/partial"))?;
    fs::create_dir_all(&downloads)?;
    fs::write(folder.join("status"), "")?;
    let list = folder.join("sources.list");
    fs::write(
        &list,
        format!("deb [signed-by={KEYRING}] {mirror} {RELEASE} main\n"),
    )?;
    apt(folder, &list).args(["update", "-qq"]).read()?;
    apt(folder, &list)
        .args(["download", "-qq"])
        .args(PACKAGES)
        .current_dir(&downloads)
        .read()?;
    for entry in fs::read_dir(&downloads)? {
        let package = entry?.path();
        program("dpkg")
            .arg("--extract")
            .arg(&package)
            .arg(folder.join("root"))
            .read()?;
    }
    fs::remove_dir_all(&downloads)?;
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

/// apt with every folder it writes to moved into ours.
fn apt(folder: &Path, list: &Path) -> Program {
    let option = |name: &str, path: &Path| format!("{name}={}", path.display());
    program("apt-get").args([
        "-o".to_owned(),
        option("Dir::Etc::sourcelist", list),
        "-o".to_owned(),
        option("Dir::Etc::sourceparts", Path::new("/dev/null")),
        "-o".to_owned(),
        option("Dir::State::Lists", &folder.join("lists")),
        "-o".to_owned(),
        option("Dir::State::status", &folder.join("status")),
        "-o".to_owned(),
        option("Dir::Cache", &folder.join("cache")),
        "-o".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ])
}

/// The text of every source list of this machine.
fn sources() -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        for entry in entries {
            files.push(entry?.path());
        }
    }
    files.sort();
    let is_list = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("list" | "sources"))
    };
    let texts = files.iter().filter(|path| is_list(path));
    Ok(texts
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect::<Vec<_>>()
        .join("\n"))
}

/// The mirror of Debian itself: the first address in a classic `deb` line or a `URIs:` field that
/// ends in `/debian`.
fn mirror(sources: &str) -> Option<String> {
    let addresses = sources.lines().flat_map(|line| {
        let line = line.trim();
        let is_source = line.starts_with("deb ")
            || line.starts_with("deb\t")
            || line.to_ascii_lowercase().starts_with("uris:");
        line.split_whitespace().skip(1).filter(move |_| is_source)
    });
    addresses
        .map(|address| address.trim_end_matches('/'))
        .find(|address| address.contains("://") && address.ends_with("/debian"))
        .map(str::to_owned)
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

#[cfg(test)]
mod tests {
    use super::mirror;

    #[test]
    fn finds_the_mirror_in_both_formats() {
        let classic = "# deb http://old.example/debian x main\n\
                       deb [arch=amd64] http://other.example/tools stable main\n\
                       deb [signed-by=/a b=c] http://mirror.example/debian/ bookworm main\n";
        assert_eq!(mirror(classic).unwrap(), "http://mirror.example/debian");
        let deb822 = "Types: deb\nURIs: https://mirror.example/debian\nSuites: bookworm\n";
        assert_eq!(mirror(deb822).unwrap(), "https://mirror.example/debian");
        assert_eq!(
            mirror("deb http://mirror.example/ubuntu noble main\n"),
            None
        );
    }
}
