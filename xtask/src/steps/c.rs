//! The C and C++ tests against the header.
//!
//! By hand: four commands of a compiler need no build system.

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

/// A program of `tests/c`.
struct Source {
    name: &'static str,
    /// What it tests.
    what: &'static str,
    files: &'static [&'static str],
    /// How Valgrind is to run it, if it is: its float arithmetic is not the machine's.
    watched: Option<&'static [&'static str]>,
}

#[rustfmt::skip]
const PROGRAMS: [Source; 5] = [
    Source { name: "header", what: "C: header by itself, layouts", files: &["header.c", "header_again.c"], watched: Some(&[]) },
    Source { name: "bad_input", what: "C: bad input is refused", files: &["bad_input.c"], watched: Some(&[]) },
    Source { name: "good_input", what: "C: unusual input works", files: &["good_input.c"], watched: None },
    Source { name: "endurance", what: "C: memory over a million calls", files: &["endurance.c"], watched: Some(&["5000"]) },
    Source { name: "layer", what: "C++: types, containers, exceptions", files: &["layer.cpp"], watched: Some(&[]) },
];

/// Compiles and runs them.
pub fn all(library: &Path) -> Outcomes {
    let mut outcomes = vec![("C, C++: headers under every standard".to_owned(), headers())];
    for source in &PROGRAMS {
        let binary = source.compile(paths::root(), "", library, &[]);
        if let (Ok(binary), Some(arguments)) = (&binary, source.watched) {
            let outcome = valgrind(binary, library, arguments);
            outcomes.push((format!("{} under Valgrind", source.what), outcome));
        }
        let plain = binary.map(|binary| linked(&binary, library));
        outcomes.push((source.what.to_owned(), Outcome::reported(plain)));
        let sanitized = Outcome::reported(source.sanitized(library));
        outcomes.push((format!("{} under ASan and UBSan", source.what), sanitized));
    }
    outcomes
}

impl Source {
    fn compile(
        &self,
        root: &Path,
        suffix: &str,
        library: &Path,
        flags: &[&str],
    ) -> Result<PathBuf> {
        let files: Vec<_> = (self.files.iter())
            .map(|file| Path::new("tests/c").join(file))
            .collect();
        compile_with(
            root,
            &files,
            &format!("{}{suffix}", self.name),
            library,
            flags,
        )
    }

    /// The same, run under the compiler's sanitizers, leaks included.
    fn sanitized(&self, library: &Path) -> Result<Program> {
        let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
        need_flags("gcc", "c", &flags)?;
        let binary = self.compile(paths::root(), "-sanitized", library, &flags)?;
        Ok(linked(&binary, library)
            // Its allocator has no statistics: the leak checker is what watches.
            .env("ASAN_OPTIONS", "detect_leaks=1")
            .env("UBSAN_OPTIONS", "print_stacktrace=1"))
    }
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
pub fn compile(source: &str, name: &str, library: &Path) -> Result<PathBuf> {
    compile_with(paths::root(), &[source.into()], name, library, &[])
}

/// Compiles one of the programs of a copy of the repository.
pub fn compile_in(root: &Path, name: &str, library: &Path) -> Result<PathBuf> {
    let source = PROGRAMS.iter().find(|source| source.name == name);
    let source = source.with_context(|| name.to_owned())?;
    source.compile(root, "-copy", library, &[])
}

/// As the oldest standard that the headers support.
fn compile_with(
    root: &Path,
    files: &[PathBuf],
    name: &str,
    library: &Path,
    flags: &[&str],
) -> Result<PathBuf> {
    let is_c = files[0]
        .extension()
        .is_some_and(|extension| extension == "c");
    let (compiler, standard) = if is_c {
        ("gcc", "-std=c99")
    } else {
        ("g++", "-std=c++11")
    };
    need(compiler)?;
    let binary = paths::target().join("c").join(name);
    fs::create_dir_all(binary.with_file_name(""))?;
    program(compiler)
        .args(STRICT)
        .args(["-Itests/c", "-g", "-O1", "-D_GNU_SOURCE", standard])
        .args(flags)
        .args(files)
        .arg("-o")
        .arg(&binary)
        .arg("-L")
        .arg(library.with_file_name(""))
        .words("-lmish -lm -ldl -lpthread")
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
        .words("--quiet --error-exitcode=9 --leak-check=full")
        // A thread's last message and the pool live as long as the process.
        .words("--errors-for-leak-kinds=definite --show-leak-kinds=definite")
        .arg(binary)
        .args(arguments);
    Outcome::reported(needed.map(|()| watched))
}
