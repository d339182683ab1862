//! `cargo xtask aarch64`: the library for another architecture, where its kernels are NEON code:
//! compiled, looked at, and run in an emulator, which shows that it is right, not how fast it is.

use std::path::Path;

use crate::command::cargo;
use crate::cross::{TARGET, Tools};
use crate::outcome::Outcome;
use crate::{neon, toolchain};

/// All of it, as tests.
pub fn all() -> Vec<(String, Outcome)> {
    if cfg!(target_arch = "aarch64") {
        let reason = "this machine's own architecture, which the other steps test";
        return vec![(TARGET.into(), Outcome::NotRun(reason.into()))];
    }
    match Tools::ensure() {
        Ok(tools) => with(&tools),
        Err(error) => {
            let reason = format!("no compiler and no emulator for it: {error:#}");
            vec![(TARGET.into(), Outcome::NotRun(reason))]
        }
    }
}

fn with(tools: &Tools) -> Vec<(String, Outcome)> {
    let built = toolchain::ensure().and_then(|()| {
        tools
            .cargo("zigbuild")?
            .args(["--package", "libmish", "--package", "mish-sweep"])
            .check()
    });
    if let Err(error) = built {
        return vec![(TARGET.into(), Outcome::failure(&error))];
    }
    let library = tools.output("libmish.so");
    vec![
        ("AArch64: exported symbols".into(), symbols(tools, &library)),
        (
            "AArch64: kernels' machine code".into(),
            machine_code(tools, &library),
        ),
        ("AArch64: cargo test, emulated".into(), tests(tools)),
        (
            "AArch64: errors, brief, emulated".into(),
            Outcome::count(
                tools
                    .emulated(&tools.output("mish-sweep"))
                    .args(["--brief", "--library"])
                    .arg(&library),
            ),
        ),
    ]
}

fn symbols(tools: &Tools, library: &Path) -> Outcome {
    match tools.strip(library) {
        Ok(stripped) => Outcome::check(
            cargo()
                .args(["run", "--quiet", "--package", "xtask-bindings"])
                .args(["--", "--check", "--library"])
                .arg(stripped),
        ),
        Err(error) => Outcome::failure(&error),
    }
}

fn machine_code(tools: &Tools, library: &Path) -> Outcome {
    let text = match tools.disassemble(library) {
        Ok(text) => text,
        Err(error) => return Outcome::failure(&error),
    };
    let (mut passed, mut failed) = (0, 0);
    println!("fused multiply-adds in the code of");
    for (kernel, result) in neon::kernels(&text) {
        match result {
            Ok(facts) => {
                println!("  {kernel}: {facts}");
                passed += 1;
            }
            Err(error) => {
                println!("  {kernel}: {error:#}");
                failed += 1;
            }
        }
    }
    Outcome::Ran {
        passed,
        failed,
        not_run: Vec::new(),
    }
}

/// The library's own tests and the reference vectors; documentation's need another rustdoc.
fn tests(tools: &Tools) -> Outcome {
    match tools.cargo("test") {
        Ok(test) => Outcome::count(test.args(["--package", "libmish", "--lib", "--tests"])),
        Err(error) => Outcome::failure(&error),
    }
}
