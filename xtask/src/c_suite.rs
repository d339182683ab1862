//! The C and C++ tests against the header.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{Program, program};
use crate::outcome::Outcome;
use crate::paths;
use crate::tools::{need, need_baseline, need_flags};

const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Iinclude"];

/// A compiler for a language: the name to call it by and the standards to hold it to.
struct Compiler {
    name: &'static str,
    language: &'static str,
    standards: &'static [&'static str],
}

const C: &[&str] = &["c99", "c11", "c17"];
const CPP: &[&str] = &["c++11", "c++14", "c++17", "c++20", "c++23"];
const COMPILERS: [Compiler; 4] = [
    Compiler {
        name: "gcc",
        language: "c",
        standards: C,
    },
    Compiler {
        name: "clang",
        language: "c",
        standards: C,
    },
    Compiler {
        name: "g++",
        language: "c++",
        standards: CPP,
    },
    Compiler {
        name: "clang++",
        language: "c++",
        standards: CPP,
    },
];

/// Compiler, standard, name and sources of each program.
const PROGRAMS: [(&str, &str, &str, &[&str]); 5] = [
    ("gcc", "c99", "header", &["header.c", "header_again.c"]),
    ("gcc", "c99", "bad_input", &["bad_input.c"]),
    ("gcc", "c99", "good_input", &["good_input.c"]),
    ("gcc", "c99", "endurance", &["endurance.c"]),
    ("g++", "c++11", "layer", &["layer.cpp"]),
];

/// Compiles and runs them.
pub fn all(library: &Path) -> Vec<(String, Outcome)> {
    let mut outcomes = vec![("C, C++: headers under every standard".to_owned(), headers())];
    // good_input uses threads and mathematics; the rest needs neither, which costs nothing.
    for (compiler, standard, name, sources) in PROGRAMS {
        let sources = sources_of(sources);
        let title = format!("{}: {name}", if compiler == "gcc" { "C" } else { "C++" });
        match compile(compiler, standard, &sources, name, library) {
            Ok(binary) => {
                outcomes.push((title.clone(), Outcome::count(linked(&binary, library))));
                // Valgrind's float arithmetic is not the machine's, where accuracy is checked.
                let arguments: Option<&[&str]> = match name {
                    "bad_input" | "header" | "layer" => Some(&[]),
                    "endurance" => Some(&["5000"]),
                    _ => None,
                };
                if let Some(arguments) = arguments {
                    let outcome = valgrind(&binary, library, arguments);
                    outcomes.push((format!("{title} under Valgrind"), outcome));
                }
            }
            Err(error) => outcomes.push((title.clone(), Outcome::failure(&error))),
        }
        let sanitized = sanitized(compiler, standard, &sources, name, library);
        outcomes.push((format!("{title} under ASan and UBSan"), sanitized));
    }
    outcomes
}

/// Both headers by themselves, as strictly as each compiler can be asked for.
fn headers() -> Outcome {
    let (mut passed, mut failed, mut not_run) = (0, 0, Vec::new());
    for compiler in &COMPILERS {
        let headers: &[&str] = match compiler.language {
            "c" => &["include/mish.h"],
            _ => &["include/mish.h", "include/mish.hpp"],
        };
        for standard in compiler.standards {
            let flag = format!("-std={standard}");
            if let Err(missing) = need_flags(compiler.name, compiler.language, &[&flag]) {
                not_run.push(missing.to_string());
                continue;
            }
            for header in headers {
                let check = program(compiler.name)
                    .args(STRICT)
                    .arg(&flag)
                    .args(["-fsyntax-only", "-x", compiler.language])
                    // As the main file of a compilation, a header draws warnings of its own.
                    .args(["-include", header, "/dev/null"])
                    .check();
                match check {
                    Ok(()) => passed += 1,
                    Err(error) => {
                        println!("{error:#}");
                        failed += 1;
                    }
                }
            }
        }
    }
    // A compiler that is missing is so for every standard.
    not_run.dedup();
    Outcome::Ran {
        passed,
        failed,
        not_run,
    }
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
    let &(compiler, standard, _, sources) = found.with_context(|| name.to_owned())?;
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
) -> Outcome {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let name = format!("{name}-sanitized");
    let binary = need_flags(compiler, "c", &flags).and_then(|()| {
        let root = paths::root();
        compile_with(root, compiler, standard, sources, &name, library, &flags)
    });
    Outcome::count_if(binary.map(|binary| {
        linked(&binary, library)
            // Its allocator has no statistics: the leak checker is what watches.
            .env("ASAN_OPTIONS", "detect_leaks=1")
            .env("UBSAN_OPTIONS", "print_stacktrace=1")
    }))
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
    if let Err(missing) = need("valgrind").and_then(|()| need_baseline("Valgrind's run")) {
        return Outcome::failure(&missing);
    }
    let libraries = library.parent().unwrap_or(Path::new("."));
    Outcome::check(
        program("valgrind")
            .args(["--quiet", "--error-exitcode=9", "--leak-check=full"])
            // A thread's last message and the pool live as long as the process.
            .args([
                "--errors-for-leak-kinds=definite",
                "--show-leak-kinds=definite",
            ])
            .arg(binary)
            .args(arguments)
            .env("LD_LIBRARY_PATH", libraries),
    )
}
