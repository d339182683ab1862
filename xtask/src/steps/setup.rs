//! What a machine may set in other ways: which clone is built, where cargo builds, and for what.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::env::{deps, paths, tree};
use crate::run::command::{Program, plain, program};
use crate::run::outcome::{Outcome, Outcomes};

/// Each as a test.
pub fn all() -> Outcomes {
    vec![
        ("clones and target folders".into(), Outcome::of(clones())),
        ("RUSTFLAGS".into(), Outcome::of(flags())),
        ("cargo install".into(), Outcome::of(install())),
    ]
}

/// Copies of the repository, renamed and with target folders in other places: each task finds the
/// clone it was called in, and a folder that no other clone writes to.
fn clones() -> Result<()> {
    let folder = paths::target().join("setup");
    let [first, second, renamed] = ["first", "second clone", "clone für Mish"];
    let [first, second, renamed] = [first, second, renamed].map(|name| folder.join(name));
    let shared = folder.join("shared");
    deps::remove(&renamed)?;
    tree::copy(&first)?;
    tree::copy(&second)?;

    expect(&first, |cargo| cargo, &first.join("target"))?;
    // With what was built in it, which may name its folder.
    fs::create_dir_all(first.join("target/release"))?;
    fs::rename(&first, &renamed)?;
    expect(&renamed, |cargo| cargo, &renamed.join("target"))?;
    let stale = renamed.join("target/release");
    ensure!(!stale.exists(), "{} was kept", stale.display());
    fs::rename(&renamed, &first)?;

    let clones = [&first, &second];
    let own: Vec<PathBuf> = (clones.iter())
        .map(|clone| place(clone, |cargo| cargo.env("CARGO_TARGET_DIR", &shared)))
        .collect::<Result<_>>()?;
    ensure!(own[0] != own[1], "two clones build in {}", own[0].display());
    for (clone, own) in clones.into_iter().zip(&own) {
        ensure!(own.starts_with(&shared), "{} is elsewhere", own.display());
        expect(
            clone,
            |cargo| cargo.env("CARGO_TARGET_DIR", "../shared"),
            own,
        )?;
        expect(
            clone,
            |cargo| cargo.env("CARGO_BUILD_TARGET_DIR", &shared),
            own,
        )?;
    }
    let configuration = folder.join(".cargo/config.toml");
    fs::create_dir_all(folder.join(".cargo"))?;
    fs::write(&configuration, "[build]\ntarget-dir = \"shared\"\n")?;
    let configured = expect(&first, |cargo| cargo, &own[0]);
    fs::remove_file(configuration)?;
    configured?;

    let rustc = program("rustc").arg("-vV").read()?;
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.unwrap_or_default();
    expect(
        &first,
        |cargo| cargo.env("CARGO_BUILD_TARGET", host),
        &first.join("target"),
    )?;
    let homes = [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")];
    let homeless = |cargo: Program| match std::env::var_os("HOME") {
        None => cargo,
        Some(home) => homes
            .iter()
            .fold(cargo.without_env("HOME"), |cargo, (name, folder)| {
                let path = std::env::var_os(name).map(PathBuf::from);
                cargo.env(name, path.unwrap_or_else(|| Path::new(&home).join(folder)))
            }),
    };
    expect(&first, homeless, &first.join("target"))
}

/// Fails unless a task that is called in a clone finds it, and builds in `target`.
fn expect(clone: &Path, set: impl Fn(Program) -> Program, target: &Path) -> Result<()> {
    let found = place(clone, set)?;
    ensure!(
        found == target,
        "in {} builds go to {}, not to {}",
        clone.display(),
        found.display(),
        target.display()
    );
    Ok(())
}

/// The target folder of a task that is called in a clone.
fn place(clone: &Path, set: impl Fn(Program) -> Program) -> Result<PathBuf> {
    let mut cargo = plain("cargo", clone).words("xtask where");
    for variable in ["TARGET_DIR", "BUILD_TARGET_DIR", "BUILD_TARGET"] {
        cargo = cargo.without_env(&format!("CARGO_{variable}"));
    }
    let said = set(cargo).read()?;
    let mut lines = said.lines().map(PathBuf::from);
    let (root, target) = (lines.next(), lines.next());
    ensure!(
        root.as_deref() == Some(clone),
        "in {} the root is {said}",
        clone.display()
    );
    Ok(target.unwrap_or_default())
}

/// What is for every processor is refused, with the reason, where cargo compiles for one.
fn flags() -> Result<()> {
    let clone = paths::target().join("setup/first");
    let (built, text) = plain("cargo", &clone)
        .words("xtask wheel")
        .without_env("CARGO_TARGET_DIR")
        .env("RUSTFLAGS", "-Ctarget-cpu=x86-64-v3")
        .output()?;
    ensure!(
        !built && text.contains("RUSTFLAGS has a target-cpu"),
        "{text}"
    );
    Ok(())
}

/// There is no program to install, and cargo's words for that say how to use a library.
fn install() -> Result<()> {
    let (installed, text) = program("cargo").words("install --path .").output()?;
    ensure!(!installed && text.contains("has no binaries"), "{text}");
    Ok(())
}
