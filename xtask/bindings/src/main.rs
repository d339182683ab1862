//! `cargo xtask bindings [--check] [--library FILE]`
//!
//! Writes every file that describes the C ABI outside of the Rust source. With `--check` writes
//! nothing and fails if a file differs; with `--library` also compares the symbols that a built
//! library exports.

#[path = "../../../src/catalogue/mod.rs"]
mod catalogue;
mod hardened;
mod header;
mod json;
mod julia;
mod library;
mod lists;
mod model;
mod python;
mod rust;
mod safer;
mod source;
mod torch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bindings: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut is_check = false;
    let mut library = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--check" => is_check = true,
            "--library" => {
                library = Some(PathBuf::from(arguments.next().context("--library FILE")?));
            }
            other => bail!("unknown argument {other}; usage: [--check] [--library FILE]"),
        }
    }
    // Asked when it runs: the folder may have been moved since it was compiled.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").context("this is started by cargo")?;
    let root = Path::new(&package).join("../..");
    let abi = source::read(&root)?;
    let files = [
        ("include/mish.h", header::render(&abi)?),
        ("bindings/mish.abi.json", json::render(&abi)?),
        ("bindings/python/mish/_abi.py", python::render(&abi)?),
        ("bindings/julia/src/abi.jl", julia::render(&abi)?),
        ("tests/abi/declarations.rs", rust::render(&abi)?),
        ("tests/catalogue.h", lists::render()?),
        ("bindings/csharp/Abi.cs", safer::csharp(&abi)?),
        ("bindings/lua/mish_abi.lua", safer::lua(&abi)?),
        (
            "bindings/cpp/include/mish/torch_checks.hpp",
            torch::render()?,
        ),
    ];
    let mut stale = Vec::new();
    for (name, text) in &files {
        let path = root.join(name);
        let is_current = fs::read_to_string(&path).is_ok_and(|found| found == *text);
        if is_current {
            continue;
        }
        stale.push(*name);
        if !is_check {
            fs::create_dir_all(path.parent().context("no folder")?)?;
            fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
    }
    if is_check && !stale.is_empty() {
        bail!(
            "differs from the source: {}; run `cargo xtask bindings`",
            stale.join(", ")
        );
    }
    let verb = if is_check { "checked" } else { "written" };
    println!(
        "{} functions, {} constants, {} structs: {} files {verb}, {} changed",
        abi.functions.len(),
        abi.constants.len(),
        abi.structs.len(),
        files.len(),
        stale.len()
    );
    if let Some(path) = library {
        println!("{}", library::check(&abi, &path)?);
    }
    Ok(())
}
