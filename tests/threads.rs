//! The host backend's threads, seen from a program that has threads, a pool and a floating-point
//! mode of its own. One test: what is read once, and which helpers exist, belongs to the process.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Elements of a call that is split.
const LARGE: usize = 60_000;

fn forward(x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    mish::forward(x, &mut y).unwrap();
    y
}

#[test]
fn threads() {
    variable_is_read_once();
    foreign_jobs_are_left_alone();
    concurrent_calls();
}

/// The C library's environment must not be read while another thread changes it, so no call but
/// the first may look.
fn variable_is_read_once() {
    let before = mish::cpu::num_threads();
    // SAFETY: no other thread is running.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", (before + 3).to_string()) };
    assert_eq!(mish::cpu::num_threads(), before);
}

/// A call in a task of the caller's own pool does not run that pool's other tasks meanwhile: they
/// may need a lock that the caller holds.
fn foreign_jobs_are_left_alone() {
    thread_local! {
        static IN_CALL: Cell<bool> = const { Cell::new(false) };
    }
    mish::cpu::set_num_threads(3);
    let x = vec![1.0_f32; LARGE];
    let stolen = AtomicUsize::new(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.unwrap().scope(|scope| {
        // On the pool's only thread: the tasks wait in its queue during the calls.
        scope.spawn(|scope| {
            for _ in 0..50 {
                scope.spawn(|_| {
                    stolen.fetch_add(usize::from(IN_CALL.get()), Ordering::Relaxed);
                });
                IN_CALL.set(true);
                forward(&x);
                IN_CALL.set(false);
            }
        });
    });
    assert_eq!(stolen.into_inner(), 0, "tasks of another pool were run");
}

/// Many threads' calls at once, with fewer helpers than they would like, and each one's limit
/// changing: every result is right.
fn concurrent_calls() {
    let x: Vec<f32> = (0..LARGE)
        .map(|i| (i % 1000) as f32 / 100.0 - 5.0)
        .collect();
    mish::cpu::set_num_threads(1);
    let expected = forward(&x);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (x, expected) = (&x, &expected);
            scope.spawn(move || {
                for round in 0..20_usize {
                    mish::cpu::set_num_threads((1 + (thread + round) % 5) as u32);
                    let n = [LARGE, LARGE - 17, 20_000, 40_001][round % 4];
                    assert!(forward(&x[..n]) == expected[..n], "round {round}");
                }
            });
        }
    });
    mish::cpu::set_num_threads(0);
}
