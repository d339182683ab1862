//! How far a sweep is, on standard error.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts points and says so from time to time.
pub struct Progress {
    name: &'static str,
    total: u64,
    /// Done by an earlier run.
    before: u64,
    done: AtomicU64,
    start: Instant,
    shown: Mutex<Instant>,
    on_terminal: bool,
}

impl Progress {
    /// Of so many points, so many are done.
    pub fn new(name: &'static str, total: u64, before: u64) -> Self {
        if before > 0 {
            eprintln!("{name}: resumed at {} of {total} points", before);
        }
        Progress {
            name,
            total,
            before,
            done: AtomicU64::new(0),
            start: Instant::now(),
            shown: Mutex::new(Instant::now()),
            on_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Adds points.
    pub fn advance(&self, points: u64) {
        let done = self.done.fetch_add(points, Ordering::Relaxed) + points;
        let every = Duration::from_secs(if self.on_terminal { 1 } else { 10 });
        let Ok(mut shown) = self.shown.try_lock() else {
            return;
        };
        if shown.elapsed() < every {
            return;
        }
        *shown = Instant::now();
        let rate = done as f64 / self.start.elapsed().as_secs_f64();
        let all = self.before + done;
        let line = format!(
            "{}: {:.1} % of {} points, {:.1} million a second, {:.0} s left",
            self.name,
            100.0 * all as f64 / self.total as f64,
            self.total,
            rate / 1e6,
            (self.total - all.min(self.total)) as f64 / rate,
        );
        if self.on_terminal {
            eprint!("\r{line}   ");
        } else {
            eprintln!("{line}");
        }
    }

    /// Ends the line.
    pub fn finish(&self) {
        if self.on_terminal {
            eprint!("\r{:78}\r", "");
        }
    }
}
