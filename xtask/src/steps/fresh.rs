//! `cargo xtask fresh`: a machine that has nothing but what the README lists. A minimal Debian in a
//! folder, in which an ordinary user unpacks a tarball and runs the tasks.
//!
//! By hand, since a container runtime is on few machines and debootstrap is a package of Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::env::tools::{self, Missing, need};
use crate::env::{debian, deps, paths, tree};
use crate::run::command::{Program, program};
use crate::run::outcome::{Outcome, Outcomes};
use crate::run::summary;

/// Debian's releases, by number.
const RELEASES: [(&str, &str); 3] = [("11", "bullseye"), ("12", "bookworm"), ("13", "trixie")];

/// The folder into which the user unpacks: with a space, and with a letter that is not ASCII.
const CLONE: &str = "/home/visitor/a clone für Mish";

/// The tests of a full run: those whose tools are often missing.
const TESTS: [&str; 10] = [
    "test",
    "--no-torch",
    "bindings",
    "rust",
    "gate",
    "c",
    "kernel math",
    "reliability",
    "python",
    "examples",
];

/// Mounts the system with a layer to write to, or a copy where layers cannot be had, and what
/// the machine lends it: Rust, for which a release may be too old, crates and pip's downloads.
/// All of that ends with this process.
const ENTER: &str = r#"
set -eu
cd "$1"; base=$2; rust=$3; crates=$4; shift 4
mkdir -p lower upper work system pip
mount --bind "$base" lower
if ! mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay system 2>/dev/null; then
    mkdir -p copy
    [ -e copy/bin ] || cp -a lower/. copy
    mount --bind copy system
fi
mkdir -p system/opt/rust system/opt/crates system/opt/pip
mount --bind "$rust" system/opt/rust
mount -o remount,bind,ro system/opt/rust
mount --bind "$crates" system/opt/crates
mount --bind pip system/opt/pip
mount -t proc proc system/proc
mount --rbind /dev system/dev
for file in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$file" ] || { mkdir -p "system${file%/*}"; cp -L "$file" "system$file"; }
done
if [ ! -e system/home/visitor ]; then
    chroot system useradd --create-home --uid 4321 visitor
fi
chown 4321 pip
exec "$@"
"#;

/// Runs everything, or with `--brief` the demo, in the releases named, or in 12 and 13.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let (flags, mut numbers): (Vec<&str>, Vec<&str>) =
        (arguments.iter().map(String::as_str)).partition(|argument| argument.starts_with("--"));
    let in_full = match flags[..] {
        [] => true,
        ["--brief"] => false,
        _ => bail!("usage: cargo xtask fresh [--brief] [RELEASE...]"),
    };
    if numbers.is_empty() {
        numbers = vec!["12", "13"];
    }
    let mut results = Vec::new();
    for number in numbers {
        results.extend(summary::timed(&format!("Debian {number}"), || {
            in_release(number, in_full)
        }));
    }
    Ok(summary::summary(&results))
}

/// The demo in one release, as a step of `cargo xtask test`.
pub fn reduced() -> Outcomes {
    in_release("13", false)
}

fn in_release(number: &str, in_full: bool) -> Outcomes {
    let name = |what: &str| format!("Debian {number}: {what}");
    let system = match System::prepare(number) {
        Ok(system) => system,
        failed => return vec![(name("a minimal system"), Outcome::of(failed))],
    };
    let demo = ["demo", "--no-peers"];
    type Step<'a> = (&'a str, &'a dyn Fn() -> Outcome);
    let first: &[Step] = &[
        ("the demo", &|| Outcome::check(system.xtask(&demo))),
        ("the demo again, offline", &|| {
            Outcome::check(system.offline(&demo))
        }),
    ];
    let full: &[Step] = &[
        ("tests", &|| Outcome::check(system.xtask(&TESTS))),
        ("a full disk", &|| Outcome::of(system.full_disk())),
    ];
    let last: &[Step] = &[("files outside the clone", &|| {
        Outcome::of(system.leaves_nothing())
    })];
    [first, if in_full { full } else { &[] }, last]
        .concat()
        .into_iter()
        .flat_map(|(what, step)| summary::timed(what, || vec![(name(what), step())]))
        .collect()
}

/// A system, with the repository unpacked in it.
struct System {
    base: PathBuf,
    /// What was written in it, and pip's downloads.
    folder: PathBuf,
    rust: String,
}

impl System {
    fn prepare(number: &str) -> Result<System> {
        let release = RELEASES.iter().find(|(known, _)| *known == number);
        let (_, release) = release.with_context(|| format!("no Debian {number} is known"))?;
        if program("id").arg("-u").read()?.trim() != "0" {
            return Err(Missing("only root can make a system in a folder".into()).into());
        }
        for tool in ["debootstrap", "unshare", "chroot", "tar"] {
            need(tool)?;
        }
        let folder = paths::target().join("fresh").join(number);
        for layer in ["upper", "work", "copy"] {
            deps::remove(&folder.join(layer))?;
        }
        fs::create_dir_all(&folder)?;
        let system = System {
            base: base(number, release)?.join("root"),
            folder,
            rust: program("rustc")
                .words("--print sysroot")
                .read()?
                .trim()
                .to_owned(),
        };
        system.lend_crates()?;
        system.unpack()?;
        Ok(system)
    }

    /// What cargo has fetched, in a folder of the visitor's.
    fn lend_crates(&self) -> Result<()> {
        let crates = self.crates();
        deps::remove(&crates)?;
        fs::create_dir_all(crates.join("registry"))?;
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
        let registry = home.context("cargo's home")?.join("registry");
        program("cargo").words("fetch --quiet --locked").check()?;
        program("cp")
            .arg("-a")
            .args([registry.join("index"), registry.join("cache")])
            .arg(crates.join("registry"))
            .check()?;
        program("chown").words("-R 4321").arg(crates).check()
    }

    fn crates(&self) -> PathBuf {
        self.folder.join("crates")
    }

    /// Unpacks a tarball of this clone.
    fn unpack(&self) -> Result<()> {
        let list = self.folder.join("files");
        fs::write(&list, tree::files()?.join("\0"))?;
        let tarball = self.folder.join("clone.tar");
        program("tar")
            .words("--create --null --ignore-failed-read --files-from")
            .arg(list)
            .arg("--file")
            .arg(&tarball)
            .check()?;
        let script = r#"mkdir "$2"; tar --extract --no-same-owner --directory "$2" --file "$1"
            chown -R 4321 "$2""#;
        self.root()
            .args(["sh", "-ec", script, "sh"])
            .arg(tarball)
            .arg(format!("system{CLONE}"))
            .check()
    }

    /// A program that sees the system as the folder `system`.
    fn root(&self) -> Program {
        program("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                ENTER,
                "sh",
            ])
            .args([&self.folder, &self.base])
            .arg(&self.rust)
            .arg(self.crates())
    }

    /// A task in the clone, as the visitor, who has nothing set but how to reach the network.
    fn xtask(&self, arguments: &[&str]) -> Program {
        task(self.root(), arguments)
    }

    /// The same without a network.
    fn offline(&self, arguments: &[&str]) -> Program {
        task(self.root().words("unshare --net"), arguments)
    }

    /// A disk that is too small for what a task fetches is named in its last line.
    fn full_disk(&self) -> Result<()> {
        let script = r#"clone=$1; shift
            mkdir -p "$clone/.deps"; mount -t tmpfs -o size=100m,uid=4321 tmpfs "$clone/.deps"
            exec "$@""#;
        let small = self.root().args(["sh", "-ec", script, "sh"]);
        let small = small.arg(format!("system{CLONE}"));
        let (success, text) = task(small, &["build"]).output()?;
        let last = text.trim_end().lines().last().unwrap_or_default();
        ensure!(!success && last.contains("the disk is full"), "{text}");
        Ok(())
    }

    /// The visitor's files are all in the clone, but for a shell's first ones and what cargo
    /// always keeps.
    fn leaves_nothing(&self) -> Result<()> {
        let script = r#"cd system; find . -xdev -user 4321 -not -path ".$1" -not -path ".$1/*" -not -path "./opt/*" \
            -not -path ./home/visitor -not -path "./home/visitor/.*rc" \
            -not -path "./home/visitor/.*profile" -not -path "./home/visitor/.bash_logout""#;
        let left = self
            .root()
            .args(["sh", "-ec", script, "sh", CLONE])
            .read()?;
        ensure!(left.is_empty(), "left outside the clone:\n{left}");
        Ok(())
    }
}

/// Runs a task in the clone after the words of a program that has mounted the system.
fn task(entered: Program, arguments: &[&str]) -> Program {
    let mut program = entered
        .words("chroot --userspec=4321:4321 system /usr/bin/env -i")
        .words("HOME=/home/visitor LANG=de_DE.UTF-8 PATH=/opt/rust/bin:/usr/bin:/bin")
        .words("CARGO_HOME=/opt/crates CARGO_NET_OFFLINE=true PIP_CACHE_DIR=/opt/pip")
        .words("PIP_USER=yes PIP_REQUIRE_VIRTUALENV=yes");
    for (name, value) in std::env::vars() {
        let lower = name.to_lowercase();
        if lower.ends_with("_proxy") || lower.starts_with("pip_") || lower == "ssl_cert_file" {
            program = program.arg(format!("{name}={value}"));
        }
    }
    program
        .args(["sh", "-c", r#"cd "$0" && exec cargo xtask "$@""#, CLONE])
        .args(arguments)
}

/// The system as it is installed, with the packages of the README.
fn base(number: &str, release: &str) -> Result<PathBuf> {
    let mirror = debian::mirror()?;
    let packages: Vec<_> = tools::packages().collect();
    let packages = packages.join(",");
    deps::ensure(
        &format!("debian-{number}"),
        &format!("{packages}\n"),
        |folder| {
            println!("installing Debian {number} into .deps/debian-{number} (500 MB)");
            let (success, text) = program("debootstrap")
                .args([
                    "--variant=minbase",
                    &format!("--include={packages}"),
                    release,
                ])
                .arg(folder.join("root"))
                .arg(mirror)
                // Its files need not survive a power cut.
                .env("DPKG_FORCE", "unsafe-io")
                .output()?;
            if !success {
                println!("{text}");
                let last = text.trim_end().lines().last().unwrap_or_default();
                bail!(Missing(format!("debootstrap: {last}")));
            }
            Ok(String::new())
        },
    )
}
