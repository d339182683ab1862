//! Rust's own tools: the formatter, the linter, the tests; and the generated files.

use crate::env::{toolchain, tools};
use crate::run::command::{Program, cargo};
use crate::run::outcome::{Outcome, Outcomes};
use crate::tasks::test::Context;

/// rustfmt.
pub fn format() -> Outcomes {
    let needed = tools::need_component("rustfmt", "rustfmt");
    let format = needed.and_then(|()| cargo().words("fmt --all --check").check());
    vec![("rustfmt".into(), Outcome::of(format))]
}

/// clippy.
pub fn lint() -> Outcomes {
    let lint = tools::need_component("cargo-clippy", "clippy").and_then(|()| {
        cargo()
            .words("clippy --quiet --all-targets")
            .args(buildable())
            .words("-- -D warnings")
            .check()
    });
    vec![("clippy".into(), Outcome::of(lint))]
}

/// Cargo's arguments for every package that can be built here.
pub fn buildable() -> Vec<&'static str> {
    match tools::need_cpp() {
        Ok(()) => vec!["--workspace"],
        Err(_) => vec!["--workspace", "--exclude", "mish-standin"],
    }
}

/// The generator of the bindings, to compare.
pub fn compare_bindings() -> Program {
    let arguments = [
        "run",
        "--quiet",
        "--package",
        "xtask-bindings",
        "--",
        "--check",
        "--library",
    ];
    cargo().args(arguments)
}

/// Generated files and exported symbols.
pub fn bindings(context: &Context) -> Outcomes {
    let check = Outcome::check(compare_bindings().arg(&context.library));
    vec![("generated files and exported symbols".into(), check)]
}

/// The tests of every package.
pub fn tests() -> Outcomes {
    let all = cargo().words("test --release").args(buildable());
    let host_only = [
        "test",
        "--package",
        "libmish",
        "--no-default-features",
        "--lib",
    ];
    // Those that look at the kernels with the disassembler are left out where cargo runs alone.
    let more: &[&str] = match toolchain::DISASSEMBLER.ensure() {
        Ok(_) => &["--include-ignored"],
        Err(error) => {
            println!("{error:#}");
            &[]
        }
    };
    vec![
        ("cargo test".into(), Outcome::cargo(all, more)),
        (
            "cargo test, host-only build".into(),
            Outcome::cargo(cargo().args(host_only), &[]),
        ),
    ]
}
