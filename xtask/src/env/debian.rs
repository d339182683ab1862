//! Packages of Debian, fetched by apt with its signatures checked, and unpacked: nothing is
//! installed. The mirror is the one in the machine's own configuration.
//!
//! By hand: apt fetches, and dpkg-deb unpacks, but neither does so beside the system.

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
        let update = suite.apt("apt-get").words("update -qq");
        // Else a mirror that does not answer is only warned of.
        let update = update.words("-o APT::Update::Error-Mode=any").read();
        update.context("the mirror in the apt configuration does not give its list of packages")?;
        Ok(suite)
    }

    /// The version of a package that apt would take, as in `apt-cache policy`.
    pub fn version(&self, package: &str) -> Result<String> {
        let policy = (self.apt("apt-cache").args(["policy", package])).read()?;
        let mut lines = policy.lines().map(str::trim);
        let version = lines.find_map(|line| line.strip_prefix("Candidate: "));
        let version = version.filter(|version| *version != "(none)");
        Ok(version
            .with_context(|| format!("it has no {package}"))?
            .into())
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
            .words("download -qq")
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
            .words("install --download-only --no-install-recommends")
            .words("-qq --yes")
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
    let name = ". /etc/os-release && echo \"$VERSION_CODENAME\"";
    let name = program("sh").args(["-c", name]).read().unwrap_or_default();
    match name.trim() {
        "" => Err(Missing("/etc/os-release names no release of Debian".into()).into()),
        name => Ok(name.into()),
    }
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

/// The mirror of Debian itself in the machine's configuration, as apt reads it.
pub fn mirror() -> Result<String> {
    need("apt-get")?;
    let list = [
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ];
    let addresses = program("apt-get").args(list).read()?;
    let addresses = addresses.lines().map(|line| line.trim_end_matches('/'));
    let none = || Missing("there is no Debian mirror in the apt configuration".into());
    let mirror = addresses
        .into_iter()
        .find(|address| address.ends_with("/debian"));
    Ok(mirror.ok_or_else(none)?.to_owned())
}
