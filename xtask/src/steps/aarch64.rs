//! `cargo xtask aarch64`: the library for another architecture, where its kernels are NEON code:
//! compiled, looked at, and run in an emulator, which shows that it is right, not how fast it is.

use std::path::Path;

use anyhow::Result;

use super::neon;
use super::rust::compare_bindings;
use crate::env::cross::{TARGET, Tools};
use crate::env::toolchain;
use crate::run::outcome::{Outcome, Outcomes};
use crate::tasks::build;

/// All of it, as tests.
pub fn all() -> Outcomes {
    let reason = match Tools::ensure() {
        _ if cfg!(target_arch = "aarch64") => {
            "this machine's own architecture, which the other steps test".into()
        }
        Ok(tools) => return with(&tools),
        Err(error) => format!("no compiler and no emulator for it: {error:#}"),
    };
    vec![(TARGET.into(), Outcome::skip(reason))]
}

fn with(tools: &Tools) -> Outcomes {
    let built = || {
        toolchain::ensure()?;
        let packages = ["--package", "libmish", "--package", "mish-sweep"];
        build::with_images(tools.cargo("zigbuild")?)?
            .args(packages)
            .check()
    };
    if let Err(error) = built() {
        return vec![(TARGET.into(), error.into())];
    }
    let library = tools.output("libmish.so");
    let symbols =
        (tools.strip(&library)).and_then(|stripped| compare_bindings().arg(stripped).check());
    // The library's own tests and the reference vectors; documentation's need another rustdoc, and
    // the disassembler is no program for it.
    let tests = (tools.cargo("test").and_then(build::with_images)).map(|test| {
        let test = test.words("--package libmish --lib --tests");
        Outcome::cargo(test, &["--skip=in_machine_code"])
    });
    let sweep = tools.emulated(&tools.output("mish-sweep"));
    let sweep = sweep.words("--brief --library").arg(&library);
    vec![
        ("AArch64: exported symbols".into(), Outcome::of(symbols)),
        (
            "AArch64: kernels' machine code".into(),
            machine_code(tools, &library).unwrap_or_else(Outcome::from),
        ),
        (
            "AArch64: cargo test, emulated".into(),
            tests.unwrap_or_else(Outcome::from),
        ),
        (
            "AArch64: errors, brief, emulated".into(),
            Outcome::reported(Ok(sweep)),
        ),
    ]
}

fn machine_code(tools: &Tools, library: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    println!("fused multiply-adds in the code of");
    for (kernel, result) in neon::kernels(&tools.disassemble(library)?) {
        let shown = result.map(|facts| println!("  {kernel}: {facts}"));
        outcome.add(&kernel, shown);
    }
    Ok(outcome)
}
