//! The tests in Python.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::reliability;
use crate::env::paths;
use crate::run::command::{Program, program};
use crate::run::outcome::{Outcome, Outcomes};
use crate::tasks::test::Context;

/// Where they are.
pub const TESTS: &str = "tests/python";
/// How the names of the files begin whose tests need PyTorch.
const TORCH_TESTS: [&str; 2] = ["test_torch", "test_mish_cuda"];

/// Those without PyTorch; where there is no GPU, those that want one with the stand-in driver.
pub fn core(context: &Context) -> Outcomes {
    let pytest = || pytest(&context.python, &context.library);
    let through_standin = reliability::standin().map(|standin| {
        pytest()
            .env("LD_LIBRARY_PATH", standin)
            .args(["tests/python/test_cuda_arrays.py"])
            .args(["tests/python/test_cuda_driver.py"])
    });
    vec![
        (
            "pytest: core".into(),
            Outcome::pytest(Ok(pytest().args(core_tests()))),
        ),
        (
            "pytest: GPU tests through the stand-in".into(),
            Outcome::pytest(through_standin),
        ),
    ]
}

/// pytest's arguments that leave out what needs PyTorch.
pub fn core_tests() -> Vec<String> {
    let ignored = TORCH_TESTS.map(|start| format!("--ignore-glob=*/{start}*"));
    ignored.into_iter().chain([TESTS.to_owned()]).collect()
}

/// Those with PyTorch.
pub fn torch(context: &Context) -> Outcomes {
    let python = context.torch.as_deref().unwrap_or(&context.python);
    let tests = torch_tests().map(|files| pytest(python, &context.library).args(files));
    vec![("pytest: PyTorch".into(), Outcome::pytest(tests))]
}

fn torch_tests() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(paths::root().join(TESTS))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if TORCH_TESTS.iter().any(|start| name.starts_with(start)) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn pytest(python: &Path, library: &Path) -> Program {
    let cache = paths::target().join("cache/pytest");
    program(python)
        .words("-m pytest -o")
        .arg(format!("cache_dir={}", cache.display()))
        .env("MISH_LIBRARY", library)
        .env("PYTHONPATH", paths::root().join("bindings/python"))
}
