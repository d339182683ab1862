//! The oldest Rust that the project promises, where rustup has it.

use anyhow::Result;

use super::rust::buildable;
use crate::env::paths;
use crate::env::tools::{self, Missing};
use crate::run::command::program;
use crate::run::outcome::{Outcome, Outcomes};
use crate::tasks::build;

/// `rust-version` of Cargo.toml, which is also this package's.
pub const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Compiles everything with it but the kernels, which another compiler makes.
pub fn all() -> Outcomes {
    vec![("the oldest Rust compiles it".into(), Outcome::of(compile()))]
}

fn compile() -> Result<()> {
    tools::need("rustup")?;
    // rustup itself knows by which of its names a release is here.
    let run = |name: &String| {
        program("rustup")
            .args(["run", name, "rustc", "-V"])
            .output()
    };
    let names = [OLDEST.to_owned(), format!("{OLDEST}.0")];
    let Some(toolchain) = (names.iter()).find(|name| run(name).is_ok_and(|(here, _)| here)) else {
        let reason = format!("Rust {OLDEST} is not here: rustup toolchain install {OLDEST}");
        return Err(Missing(reason).into());
    };
    let cargo = || {
        let cargo = program("rustup")
            .args(["run", toolchain.as_str(), "cargo"])
            // This cargo's rustup names its own.
            .without_env("RUSTUP_TOOLCHAIN")
            .without_env("CARGO")
            .without_env("RUSTC")
            .env("CARGO_TARGET_DIR", paths::target().join("oldest"));
        build::with_images(cargo)
    };
    let library = ["build", "--quiet", "--package", "libmish"];
    cargo()?.args(library).check()?;
    let check = cargo()?.words("check --quiet --all-targets");
    check.args(buildable()).check()
}
