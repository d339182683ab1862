//! The C and C++ tests against the header.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::env::paths;
use crate::env::tools::{need, need_baseline, need_flags};
use crate::run::command::{Program, program};
use crate::run::outcome::{Outcome, Outcomes};

const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Iinclude"];

const C: &[&str] = &["c99", "c11", "c17"];
const CPP: &[&str] = &["c++11", "c++14", "c++17", "c++20", "c++23"];
/// Each with its language, and the standards to hold the headers to.
const COMPILERS: [(&str, &str, &[&str]); 4] = [
    ("gcc", "c", C),
    ("clang", "c", C),
    ("g++", "c++", CPP),
    ("clang++", "c++", CPP),
];

/// Compiler, standard, name, what it tests, and sources of each program.
type Source = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);
const PROGRAMS: [Source; 5] = [
    (
        "gcc",
        "c99",
        "header",
        "C: header by itself, layouts",
        &["header.c", "header_again.c"],
    ),
    (
        "gcc",
        "c99",
        "bad_input",
        "C: bad input is refused",
        &["bad_input.c"],
    ),
    (
        "gcc",
        "c99",
        "good_input",
        "C: unusual input works",
        &["good_input.c"],
    ),
    (
        "gcc",
        "c99",
        "endurance",
        "C: memory over a million calls",
        &["endurance.c"],
    ),
    (
        "g++",
        "c++11",
        "layer",
        "C++: types, containers, exceptions",
        &["layer.cpp"],
    ),
];

/// Compiles and runs them.
pub fn all(library: &Path) -> Outcomes {
    let mut outcomes = vec![("C, C++: headers under every standard".to_owned(), headers())];
    // good_input uses threads and mathematics; the rest needs neither, which costs nothing.
    for (compiler, standard, name, title, sources) in PROGRAMS {
        let sources = sources_of(sources);
        let compiled = compile(compiler, standard, &sources, name, library);
        // Valgrind's float arithmetic is not the machine's, where accuracy is checked.
        let arguments: Option<&[&str]> = match name {
            "bad_input" | "header" | "layer" => Some(&[]),
            "endurance" => Some(&["5000"]),
            _ => None,
        };
        if let (Ok(binary), Some(arguments)) = (&compiled, arguments) {
            let outcome = valgrind(binary, library, arguments);
            outcomes.push((format!("{title} under Valgrind"), outcome));
        }
        let plain = compiled.map(|binary| linked(&binary, library));
        outcomes.push((title.to_owned(), Outcome::reported(plain)));
        let sanitized = sanitized(compiler, standard, &sources, name, library);
        outcomes.push((
            format!("{title} under ASan and UBSan"),
            Outcome::reported(sanitized),
        ));
    }
    outcomes
}

/// Both headers by themselves, as strictly as each compiler can be asked for.
fn headers() -> Outcome {
    let mut outcome = Outcome::default();
    for (compiler, language, standards) in COMPILERS {
        let headers: &[&str] = match language {
            "c" => &["include/mish.h"],
            _ => &["include/mish.h", "include/mish.hpp"],
        };
        for standard in standards {
            let flag = format!("-std={standard}");
            if let Err(missing) = need_flags(compiler, language, &[&flag]) {
                outcome.add("", Err(missing));
                continue;
            }
            for header in headers {
                let check = program(compiler)
                    .args(STRICT)
                    .arg(&flag)
                    .args(["-fsyntax-only", "-x", language])
                    // As the main file of a compilation, a header draws warnings of its own.
                    .args(["-include", header, "/dev/null"]);
                outcome.add("", check.check());
            }
        }
    }
    outcome
}

/// Compiles a program against the headers and links it with the library; returns its path.
pub fn compile(
    compiler: &str,
    standard: &str,
    sources: &[PathBuf],
    name: &str,
    library: &Path,
) -> Result<PathBuf> {
    let root = paths::root();
    compile_with(root, compiler, standard, sources, name, library, &[])
}

/// Compiles one of the programs of a copy of the repository.
pub fn compile_in(root: &Path, name: &str, library: &Path) -> Result<PathBuf> {
    let found = PROGRAMS.iter().find(|program| program.2 == name);
    let &(compiler, standard, _, _, sources) = found.with_context(|| name.to_owned())?;
    let sources = sources_of(sources);
    let output = format!("{name}-copy");
    compile_with(root, compiler, standard, &sources, &output, library, &[])
}

fn sources_of(names: &[&str]) -> Vec<PathBuf> {
    let folder = Path::new("tests/c");
    names.iter().map(|name| folder.join(name)).collect()
}

/// The same, run under the compiler's sanitizers, leaks included.
fn sanitized(
    compiler: &str,
    standard: &str,
    sources: &[PathBuf],
    name: &str,
    library: &Path,
) -> Result<Program> {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let name = format!("{name}-sanitized");
    need_flags(compiler, "c", &flags)?;
    let binary = compile_with(
        paths::root(),
        compiler,
        standard,
        sources,
        &name,
        library,
        &flags,
    )?;
    Ok(linked(&binary, library)
        // Its allocator has no statistics: the leak checker is what watches.
        .env("ASAN_OPTIONS", "detect_leaks=1")
        .env("UBSAN_OPTIONS", "print_stacktrace=1"))
}

fn compile_with(
    root: &Path,
    compiler: &str,
    standard: &str,
    sources: &[PathBuf],
    name: &str,
    library: &Path,
    flags: &[&str],
) -> Result<PathBuf> {
    need(compiler)?;
    let folder = paths::target().join("c");
    fs::create_dir_all(&folder)?;
    let binary = folder.join(name);
    let libraries = library.parent().unwrap_or(Path::new("."));
    program(compiler)
        .args(STRICT)
        .args(["-Itests/c", "-g", "-O1", "-D_GNU_SOURCE"])
        .arg(format!("-std={standard}"))
        .args(flags)
        .args(sources)
        .arg("-o")
        .arg(&binary)
        .arg("-L")
        .arg(libraries)
        .args(["-lmish", "-lm", "-ldl", "-lpthread"])
        .current_dir(root)
        .check()?;
    Ok(binary)
}

/// A program that finds the library at run time.
pub fn linked(binary: &Path, library: &Path) -> Program {
    let libraries = library.parent().unwrap_or(Path::new("."));
    program(binary).env("LD_LIBRARY_PATH", libraries)
}

fn valgrind(binary: &Path, library: &Path, arguments: &[&str]) -> Outcome {
    // Valgrind does not know the newest instructions.
    let needed = need("valgrind").and_then(|()| need_baseline("Valgrind's run"));
    let watched = linked(Path::new("valgrind"), library)
        .args(["--quiet", "--error-exitcode=9", "--leak-check=full"])
        // A thread's last message and the pool live as long as the process.
        .args([
            "--errors-for-leak-kinds=definite",
            "--show-leak-kinds=definite",
        ])
        .arg(binary)
        .args(arguments);
    Outcome::reported(needed.map(|()| watched))
}
