//! Tests of libmish's GPU path through the stand-in driver, of faults, threads, processes and
//! lifetimes; a fuzzer of the C ABI; the stability check. `cargo xtask test`, `fuzz`, `stability`
//! and `mutate` call it.
//!
//! Every scenario runs in a process of its own, with the environment it needs: the driver and the
//! library keep state for as long as a process lives.

mod abi;
#[path = "../../../src/catalogue/mod.rs"]
mod catalogue;
mod driver;
mod random;
mod runner;
mod scenarios;
mod values;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", names @ ..] => runner::run(names),
        ["child", name] => {
            scenarios::find(name).expect("a scenario").call();
            println!("done");
            ExitCode::SUCCESS
        }
        ["fuzz", calls, seed] => {
            scenarios::fuzz::fuzz(calls.parse().expect("calls"), seed.parse().expect("a seed"));
            runner::closing(1, 0);
            ExitCode::SUCCESS
        }
        ["stability", iterations] => {
            scenarios::stability::run(iterations.parse().expect("iterations"));
            runner::closing(1, 0);
            ExitCode::SUCCESS
        }
        ["race"] => {
            race();
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("mish-reliability run [NAME...] | fuzz CALLS SEED | stability ITERATIONS");
            ExitCode::FAILURE
        }
    }
}

/// Two threads write to one place, which ThreadSanitizer must report.
fn race() {
    static mut PLACE: u32 = 0;
    let write = |value| {
        // SAFETY: none; it is what is to be seen.
        move || unsafe { std::ptr::write_volatile(&raw mut PLACE, value) }
    };
    let other = std::thread::spawn(write(1));
    write(2)();
    other.join().expect("ends well");
}
