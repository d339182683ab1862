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
    let installed = program("rustup").args(["toolchain", "list"]).read()?;
    let Some(toolchain) = toolchain(&installed, OLDEST) else {
        let reason = format!("Rust {OLDEST} is not here: rustup toolchain install {OLDEST}");
        return Err(Missing(reason).into());
    };
    let cargo = || {
        let cargo = program("rustup")
            .args(["run", toolchain, "cargo"])
            // This cargo's rustup names its own.
            .without_env("RUSTUP_TOOLCHAIN")
            .without_env("CARGO")
            .without_env("RUSTC")
            .env("CARGO_TARGET_DIR", paths::target().join("oldest"));
        build::with_images(cargo)
    };
    let library = ["build", "--quiet", "--package", "libmish"];
    cargo()?.args(library).check()?;
    let check = cargo()?.args(["check", "--quiet", "--all-targets"]);
    check.args(buildable()).check()
}

/// The first toolchain of a release in `rustup toolchain list`.
fn toolchain<'a>(list: &'a str, release: &str) -> Option<&'a str> {
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names.into_iter().find(|name| {
        name.strip_prefix(release)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    })
}

#[cfg(test)]
mod tests {
    use super::toolchain;

    #[test]
    fn finds_a_release_among_the_toolchains() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\n\
                    1.8-x86_64-unknown-linux-gnu\n1.89.0-x86_64-unknown-linux-gnu\n";
        assert_eq!(
            toolchain(list, "1.89"),
            Some("1.89.0-x86_64-unknown-linux-gnu")
        );
        assert_eq!(toolchain(list, "1.8"), Some("1.8-x86_64-unknown-linux-gnu"));
        assert_eq!(toolchain(list, "1.90"), None);
    }
}
