//! Packages of Debian, fetched by apt with its signatures checked, and unpacked: nothing is
//! installed. The mirror is the one in the machine's own configuration.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::env::tools::{Missing, need};
use crate::run::command::{Program, program};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite of Debian, and the folder for everything that apt keeps about it.
pub struct Suite {
    folder: PathBuf,
    architectures: Vec<String>,
}

impl Suite {
    /// Fetches the suite's list of packages, in these architectures, the machine's first.
    pub fn open(folder: &Path, name: &str, architectures: &[&str]) -> Result<Suite> {
        let mirror = mirror()?;
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        fs::write(folder.join("status"), "")?;
        let entry = format!("deb [signed-by={KEYRING}] {mirror} {name} main\n");
        fs::write(folder.join("sources.list"), entry)?;
        let suite = Suite {
            folder: folder.to_path_buf(),
            architectures: architectures.iter().map(|&name| name.into()).collect(),
        };
        let update = suite.apt("apt-get").args(["update", "-qq"]);
        // Else a mirror that does not answer is only warned of.
        let update = update.args(["-o", "APT::Update::Error-Mode=any"]).read();
        update.context("the mirror in the apt configuration does not give its list of packages")?;
        Ok(suite)
    }

    /// The version of a package that apt would take, as in `apt-cache policy`.
    pub fn version(&self, package: &str) -> Result<String> {
        let policy = (self.apt("apt-cache").args(["policy", package])).read()?;
        let version = candidate(&policy).with_context(|| format!("it has no {package}"))?;
        Ok(version.to_owned())
    }

    /// Of the packages whose names are a number between these two, the one with the highest.
    pub fn newest(&self, start: &str, end: &str) -> Result<String> {
        let names = (self.apt("apt-cache").args(["pkgnames", start])).read()?;
        let number = |name: &str| -> Option<u32> {
            let rest = name.strip_prefix(start)?.strip_suffix(end)?;
            rest.parse().ok()
        };
        let newest = names.lines().filter_map(number).max();
        let newest = newest.with_context(|| format!("it has no {start}*{end}"))?;
        Ok(format!("{start}{newest}{end}"))
    }

    /// Fetches these packages; returns their files.
    pub fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let downloads = self.folder.join("downloads");
        fs::create_dir_all(&downloads)?;
        self.apt("apt-get")
            .args(["download", "-qq"])
            .args(packages)
            .current_dir(&downloads)
            .read()?;
        files(&downloads)
    }

    /// Fetches these packages and all that they depend on, but for what is `present`; returns
    /// their files.
    pub fn download_with_dependencies(
        &self,
        packages: &[&str],
        present: &[&str],
    ) -> Result<Vec<PathBuf>> {
        let status: String = present.iter().map(|name| self.installed(name)).collect();
        fs::write(self.folder.join("status"), status)?;
        self.apt("apt-get")
            .args(["install", "--download-only", "--no-install-recommends"])
            .args(["-qq", "--yes"])
            .args(packages)
            .read()?;
        files(&self.folder.join("cache/archives"))
    }

    /// What the list of installed packages says about one that is to count as installed.
    fn installed(&self, package: &str) -> String {
        let architecture = &self.architectures[0];
        format!(
            "Package: {package}\nStatus: install ok installed\nVersion: 9999\n\
             Architecture: {architecture}\nMulti-Arch: foreign\nMaintainer: none\n\
             Description: the machine's own\n\n"
        )
    }

    /// apt with every folder it writes to moved into ours.
    fn apt(&self, command: &str) -> Program {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut options = vec![
            format!("Dir::Etc::sourcelist={}", path("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".into(),
            format!("Dir::State::Lists={}", path("lists")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
        ];
        options.push(format!("APT::Architecture={}", self.architectures[0]));
        for name in &self.architectures {
            options.push(format!("APT::Architectures::={name}"));
        }
        let options = options.into_iter().flat_map(|text| ["-o".into(), text]);
        program(command).args(options)
    }
}

/// Fails unless this is a machine on which packages for x86-64 can be fetched and run.
pub fn require_tools() -> Result<()> {
    for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
        need(tool)?;
    }
    match cfg!(target_arch = "x86_64") {
        true => Ok(()),
        false => Err(Missing("the packages are for x86-64".into()).into()),
    }
}

/// The name of this machine's own release, which its mirror has.
pub fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let none = || Missing("/etc/os-release names no release of Debian".into());
    Ok(codename(&text).ok_or_else(none)?.to_owned())
}

/// The release in the text of `/etc/os-release`.
fn codename(text: &str) -> Option<&str> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(line.trim().trim_matches('"'))
}

/// Unpacks packages; returns their names, a line each.
pub fn unpack_all(packages: &[PathBuf], folder: &Path) -> Result<String> {
    let mut names = String::new();
    for package in packages {
        let unpack = program("dpkg-deb").arg("--extract");
        unpack.args([package.as_path(), folder]).read()?;
        names = names + &package.file_name().unwrap_or_default().to_string_lossy() + "\n";
    }
    Ok(names)
}

/// Unpacks one file of a package that has many.
pub fn unpack_file(package: &Path, file: &str, folder: &Path) -> Result<()> {
    let script = r#"dpkg-deb --fsys-tarfile "$1" | tar --extract --directory="$2" "./$3""#;
    program("sh")
        .args(["-c", script, "sh"])
        .args([package, folder])
        .arg(file)
        .read()?;
    Ok(())
}

/// The packages in a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
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

/// The mirror in the machine's configuration.
pub fn mirror() -> Result<String> {
    let none = || Missing("there is no Debian mirror in the apt configuration".into());
    Ok(mirror_in(&sources()?).ok_or_else(none)?)
}

/// The mirror of Debian itself: the first address in a classic `deb` line or a `URIs:` field that
/// ends in `/debian`.
fn mirror_in(sources: &str) -> Option<String> {
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

/// The version that `apt-cache policy` would install.
fn candidate(policy: &str) -> Option<&str> {
    let line = policy.lines().map(str::trim);
    line.filter_map(|line| line.strip_prefix("Candidate:"))
        .map(str::trim)
        .find(|version| *version != "(none)")
}

#[cfg(test)]
mod tests {
    use super::{candidate, codename, mirror_in};

    #[test]
    fn finds_the_mirror_in_both_formats() {
        let classic = "# deb http://old.example/debian x main\n\
                       deb [arch=amd64] http://other.example/tools stable main\n\
                       deb [signed-by=/a b=c] http://mirror.example/debian/ bookworm main\n";
        assert_eq!(mirror_in(classic).unwrap(), "http://mirror.example/debian");
        let deb822 = "Types: deb\nURIs: https://mirror.example/debian\nSuites: bookworm\n";
        assert_eq!(mirror_in(deb822).unwrap(), "https://mirror.example/debian");
        assert_eq!(
            mirror_in("deb http://mirror.example/ubuntu noble main\n"),
            None
        );
    }

    #[test]
    fn finds_the_release() {
        let text = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(codename(text), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=\"trixie\"\n"), Some("trixie"));
        assert_eq!(codename("ID=other\n"), None);
    }

    #[test]
    fn finds_the_candidate() {
        let policy = "rustc:\n  Installed: (none)\n  Candidate: 1.97.1+dfsg1-1\n  Version table:\n";
        assert_eq!(candidate(policy), Some("1.97.1+dfsg1-1"));
        assert_eq!(
            candidate("a:\n  Installed: (none)\n  Candidate: (none)\n"),
            None
        );
        assert_eq!(candidate(""), None);
    }
}
