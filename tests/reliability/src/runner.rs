//! Runs every scenario in a process of its own, for a bounded time.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::scenarios::{ALL, Driver, Scenario};

/// No scenario may take longer.
const LIMIT: Duration = Duration::from_secs(1200);

/// The driver's file in a folder where it has another name than its own.
pub const ELSEWHERE: &str = "driver-of-another-name";

/// Names the runtimes of the sanitizers, where they are in use.
const RUNTIME: &str = "MISH_SANITIZER_RUNTIME";

/// Says what became of a scenario, as libtest's JSON does. Names and reasons need no escapes.
pub fn say(name: &str, event: &str, more: &str) {
    println!("{{ \"type\": \"test\", \"event\": \"{event}\", \"name\": \"{name}\"{more} }}");
}

/// That something did not run, and why.
pub fn skipped(name: &str, reason: &str) {
    say(name, "ignored", &format!(", \"message\": {reason:?}"));
}

/// The line that ends a run.
pub fn closing(passed: usize, failed: usize) {
    let event = if failed == 0 { "ok" } else { "failed" };
    println!(
        "{{ \"type\": \"suite\", \"event\": \"{event}\", \"passed\": {passed}, \"failed\": {failed} }}"
    );
}

/// Runs the scenarios whose names contain one of `names` (all of them for none), and reports as
/// libtest does.
pub fn run(names: &[&str]) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    let fails_fast = std::env::var_os("MISH_FAIL_FAST").is_some();
    for scenario in ALL {
        if !names.is_empty() && !names.iter().any(|name| scenario.name.contains(name)) {
            continue;
        }
        if let Some(reason) = scenario.not_sanitized
            && std::env::var_os(RUNTIME).is_some()
        {
            skipped(scenario.name, reason);
            continue;
        }
        say(scenario.name, "started", "");
        match child(scenario) {
            Ok(()) => {
                say(scenario.name, "ok", "");
                passed += 1;
            }
            Err(output) => {
                println!("{output}");
                say(scenario.name, "failed", "");
                failed += 1;
                if fails_fast {
                    break;
                }
            }
        }
    }
    closing(passed, failed);
    match failed == 0 && passed > 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The folder with the stand-in, which the caller names.
pub fn driver_folder() -> PathBuf {
    std::env::var_os("MISH_STANDIN_FOLDER")
        .expect("MISH_STANDIN_FOLDER")
        .into()
}

/// A new folder for a driver.
fn folder(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("mish-reliability-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

/// The stand-in without a symbol: its name is overwritten in the string table.
fn without(symbol: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(driver_folder().join("libcuda.so.1")).expect("the stand-in");
    let needle: Vec<u8> = [b"\0", symbol.as_bytes(), b"\0"].concat();
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{symbol} is not in the stand-in");
    for at in places {
        bytes[at + 1] = b'X';
    }
    bytes
}

/// A folder whose `libcuda.so.1` is this.
fn with_driver(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = folder(name);
    std::fs::write(folder.join("libcuda.so.1"), bytes).expect("writable");
    folder
}

/// A folder with a stub, which cannot be initialised, as `libcuda.so`, and a driver.
fn beside_a_stub(driver: &str) -> PathBuf {
    let folder = folder("beside");
    std::fs::write(folder.join("libcuda.so"), without("cuInit")).expect("writable");
    let standin = driver_folder().join("libcuda.so.1");
    std::fs::copy(standin, folder.join(driver)).expect("writable");
    folder
}

fn child(scenario: &Scenario) -> Result<(), String> {
    let run = |folder: PathBuf| {
        let result = spawn(scenario, &folder);
        let _ = std::fs::remove_dir_all(folder);
        result
    };
    match scenario.driver {
        Driver::StandIn => spawn(scenario, &driver_folder()),
        Driver::Broken => run(with_driver("broken", b"no library")),
        Driver::Without(symbols) => symbols.iter().try_for_each(|symbol| {
            run(with_driver(symbol, &without(symbol)))
                .map_err(|output| format!("without {symbol}: {output}"))
        }),
        Driver::BesideStub => run(beside_a_stub("libcuda.so.1")),
        Driver::Elsewhere => {
            let folder = beside_a_stub(ELSEWHERE);
            std::fs::write(folder.join("libcuda.so.1"), without("cuInit")).expect("writable");
            run(folder)
        }
    }
}

fn spawn(scenario: &Scenario, folder: &Path) -> Result<(), String> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["child", scenario.name])
        .env("LD_LIBRARY_PATH", folder)
        .env("MISH_STANDIN", scenario.settings)
        .env("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(runtime) = std::env::var_os(RUNTIME) {
        command.env("LD_PRELOAD", runtime);
    }
    if let Some(library) = std::env::var_os("MISH_LIBRARY_WITH_HOOKS")
        && scenario.needs_hooks
    {
        command.env("MISH_LIBRARY", library);
    }
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.as_mut().map(|pipe| pipe.read_to_string(&mut text));
        text
    });
    let other = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.as_mut().map(|pipe| pipe.read_to_string(&mut text));
        text
    });
    let start = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break Some(status),
            None if start.elapsed() > LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let output = other.join().unwrap_or_default() + &reader.join().unwrap_or_default();
    match status {
        // A process that ends early by itself has not done its work.
        Some(status) if status.success() && output.contains("done\n") => {
            // What a scenario could not do here.
            for line in output.lines().filter(|line| line.contains("\"ignored\"")) {
                println!("{line}");
            }
            Ok(())
        }
        Some(status) => Err(format!("{status}\n{output}")),
        None => Err(format!("still running after {LIMIT:?}\n{output}")),
    }
}
