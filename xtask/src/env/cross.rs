//! A compiler for AArch64, a disassembler and an emulator, unpacked from Debian: the installed
//! toolchain often has no standard library for another architecture, while Debian has it as a
//! package, for its own compiler. They are run with their own C library, whatever the machine's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::toolchain;
use crate::env::debian::{self, Suite};
use crate::env::{deps, paths};
use crate::run::command::{Program, program};

/// The architecture as rustc names it.
pub const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Where to look, first the one whose packages were tried together. Their versions move on: any
/// compiler serves that the project does.
const SUITES: [&str; 2] = ["testing", "unstable"];
const OLDEST_RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// What runs here, with all that it needs, and the standard library's source, of which
/// ThreadSanitizer's is built.
const HOST: [&str; 4] = [
    "rustc",
    "rust-src",
    "binutils-aarch64-linux-gnu",
    "qemu-user",
];
/// Of what that needs, what the machine serves with: rustc links build scripts with it.
const PRESENT: [&str; 3] = ["gcc", "libc-dev", "binutils"];
/// What is linked and emulated, and nothing that it needs.
const EMULATED: [&str; 2] = ["libc6:arm64", "libgcc-s1:arm64"];
const EMULATOR: &str = "usr/bin/qemu-aarch64";
/// The script that runs a program in it.
const EMULATE: &str = "emulate-aarch64";

/// The first processor with the instruction set: no extension of it is there.
const CPU: &str = "cortex-a53";

/// The tools, once they are there.
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Fetches them where they are not yet.
    pub fn ensure() -> Result<Tools> {
        debian::require_tools()?;
        let wanted =
            format!("{SUITES:?} {OLDEST_RUST} {HOST:?} {PRESENT:?} {EMULATED:?} {EMULATE}\n");
        let folder = deps::ensure("aarch64", &wanted, |folder| {
            println!("fetching a compiler for AArch64 and an emulator (270 MB) into .deps/aarch64");
            let mut reasons = Vec::new();
            for suite in SUITES {
                match fetch(suite, folder) {
                    Ok(names) => return Ok(names),
                    Err(error) => {
                        println!("Debian {suite}: {error:#}");
                        reasons.push(format!("Debian {suite}: {error}"));
                        deps::remove(folder)?;
                    }
                }
            }
            bail!("{}", reasons.join("; "));
        })?;
        Ok(Tools { folder })
    }

    /// A cargo that builds for AArch64 and runs what it builds in the emulator; its output is in
    /// [`Tools::output`].
    pub fn cargo(&self, command: &str) -> Result<Program> {
        Ok(toolchain::zigbuild(Some(&self.folder))?
            .args([command, "--release", "--target"])
            .arg(format!("{TARGET}.{}", toolchain::GLIBC))
            .arg("--target-dir")
            .arg(self.target())
            .env("RUSTC", self.rustc())
            // With the types of generic functions in their names, which are kept.
            .without_env("RUSTFLAGS")
            .without_env("CARGO_ENCODED_RUSTFLAGS")
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
                "-Csymbol-mangling-version=v0",
            )
            .env("CARGO_PROFILE_RELEASE_STRIP", "none")
            // By its name: cargo splits the variable at spaces, which the folder may have. The
            // other variable as in `libtest`.
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
                format!("env RUSTC_BOOTSTRAP=1 {EMULATE}"),
            ))
    }

    /// A file that [`Tools::cargo`] built.
    pub fn output(&self, name: &str) -> PathBuf {
        self.target().join(TARGET).join("release").join(name)
    }

    /// A program for AArch64.
    pub fn emulated(&self, binary: &Path) -> Program {
        program(self.folder.join(EMULATE)).arg(binary)
    }

    /// Their compiler, which is also one for this machine, with the standard library's source.
    pub fn rustc(&self) -> PathBuf {
        self.folder.join("rustc")
    }

    /// ThreadSanitizer's runtime for what the compiler instruments.
    pub fn thread_sanitizer(&self) -> PathBuf {
        self.folder.join("libclang_rt.tsan-x86_64.so")
    }

    /// What the disassembler says about a library, with readable names.
    pub fn disassemble(&self, library: &Path) -> Result<String> {
        program(self.folder.join("objdump"))
            .words("--disassemble --demangle --no-show-raw-insn")
            .arg(library)
            .read()
    }

    /// A copy of a library without symbols, as releases are.
    pub fn strip(&self, library: &Path) -> Result<PathBuf> {
        let copy = self
            .target()
            .join(library.file_name().context("no file name")?);
        program(self.folder.join("strip"))
            .arg(library)
            .arg("-o")
            .arg(&copy)
            .read()?;
        Ok(copy)
    }

    /// Apart from the machine's own, whose compiler is another.
    fn target(&self) -> PathBuf {
        paths::target().join("aarch64")
    }
}

/// Fetches everything from a suite; returns the names of the packages.
fn fetch(name: &str, folder: &Path) -> Result<String> {
    let (apt, root) = (folder.join("apt"), folder.join("root"));
    let suite = Suite::open(&apt, name, &["amd64", "arm64"])?;
    let version = suite.version("rustc")?;
    let compared = program("dpkg").args(["--compare-versions", &version, "ge", OLDEST_RUST]);
    let is_new = compared.status()?.success();
    ensure!(is_new, "its rustc is {version}, older than {OLDEST_RUST}");
    // Another build of the standard library than the compiler's does not serve it.
    let library = format!("libstd-rust-dev:arm64={version}");
    let runtime = suite.newest("libclang-rt-", "-dev")?;
    let mut packages = suite
        .download(&[&library, &runtime, EMULATED[0], EMULATED[1]])
        .and_then(|mut packages| {
            packages.extend(suite.download_with_dependencies(&HOST, &PRESENT)?);
            Ok(packages)
        })
        .context("not all of its packages can be fetched")?;
    packages.sort();
    fs::create_dir_all(&root)?;
    // Of some packages a part is enough.
    let mut whole = Vec::new();
    for package in packages {
        let name = package
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("qemu-user_") {
            // It emulates every machine there is.
            debian::unpack_file(&package, EMULATOR, &root)?;
        } else if name.starts_with("rust-src_") {
            // The compiler's own source is most of it.
            let release = version.split(['+', '-']).next().unwrap_or_default();
            debian::unpack_file(&package, &format!("usr/src/rustc-{release}/library"), &root)?;
            let link = root.join("usr/lib/rustlib/src/rust");
            fs::create_dir_all(link.parent().context("its folder")?)?;
            std::os::unix::fs::symlink(format!("../../../src/rustc-{release}"), link)?;
        } else if name.starts_with(&format!("{runtime}_")) {
            let clang = runtime.trim_matches(|c: char| !c.is_ascii_digit());
            let file = format!(
                "usr/lib/llvm-{clang}/lib/clang/{clang}/lib/linux/libclang_rt.tsan-x86_64.so"
            );
            debian::unpack_file(&package, &file, &root)?;
            fs::rename(root.join(file), folder.join("libclang_rt.tsan-x86_64.so"))?;
        } else {
            whole.push(package);
        }
    }
    let names = debian::unpack_all(&whole, &root)?;
    deps::remove(&apt)?;
    // Where the emulator and the programs in it look for the C library.
    std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
    launcher(folder, "rustc", r#"rustc --sysroot "$here/root/usr""#)?;
    launcher(folder, "objdump", "aarch64-linux-gnu-objdump")?;
    launcher(folder, "strip", "aarch64-linux-gnu-strip")?;
    deps::script(
        &folder.join(EMULATE),
        &format!("exec \"$here/root/{EMULATOR}\" -cpu {CPU} -L \"$here/root\" \"$@\"\n"),
    )?;
    let text = program(folder.join("rustc")).arg("--version").read()?;
    println!("{} of Debian {name}", text.trim());
    Ok(names)
}

/// A script that runs one of the programs with the C library that was unpacked with it.
fn launcher(folder: &Path, name: &str, command: &str) -> Result<()> {
    let text = format!(
        "libraries=\"$here/root/usr/lib/x86_64-linux-gnu\"\n\
         exec \"$libraries/ld-linux-x86-64.so.2\" --library-path \"$libraries\" \
         \"$here/root/usr/bin/\"{command} \"$@\"\n"
    );
    deps::script(&folder.join(name), &text)
}
