//! When a call is split, and over how many threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::catalogue::Op;
use crate::hooks;

/// What `mish_set_num_threads` asked for; 0 is the default.
static REQUESTED: AtomicU32 = AtomicU32::new(0);

/// The pool for that number, with the process that started its threads: they do not survive a
/// fork, so a child makes its own.
static POOL: Mutex<Option<Pool>> = Mutex::new(None);

struct Pool {
    threads: usize,
    process: u32,
    pool: Arc<ThreadPool>,
}

/// Elements below which a call stays on its thread. Waking a sleeping thread costs some 10 µs, the
/// time of 10,000 elements in `f64` and 30,000 in a 16-bit type, and on a busy machine the end of
/// its part may come milliseconds late: up to here it is not worth it.
const fn serial_limit(op: Op) -> usize {
    match op {
        Op::Forward => 128 * 1024,
        Op::Backward => 96 * 1024,
        Op::DoubleBackward => 64 * 1024,
    }
}

/// Elements per chunk: a few chunks per thread even out interruptions, and a chunk's operands
/// stay within a core's L2 cache. A multiple of every vector and cache line.
const CHUNK: usize = 16 * 1024;

/// Splits `0..n` into one part of at least `grain` for each of its threads, or fewer, and calls
/// the function with start and end of each; a call from within a part does not split again.
pub(crate) type Split = fn(n: usize, grain: usize, part: &(dyn Fn(usize, usize) + Sync));

thread_local! {
    /// Whose threads this thread's calls use, if not the library's own.
    static SPLIT: Cell<Option<Split>> = const { Cell::new(None) };
}

/// Calls `call`, whose work is done on the threads behind `split`: those of a framework that
/// would compete with this library's for the same cores.
pub(crate) fn with_split<R>(split: Option<Split>, call: impl FnOnce() -> R) -> R {
    struct Restore(Option<Split>);
    impl Drop for Restore {
        fn drop(&mut self) {
            SPLIT.set(self.0);
        }
    }
    let _restore = Restore(SPLIT.replace(split));
    call()
}

/// The most threads a call uses, the calling one included.
///
/// What [`set_num_threads`] set, else the environment variable `RAYON_NUM_THREADS`, else the
/// number of CPUs this process may use.
pub fn num_threads() -> usize {
    match REQUESTED.load(Ordering::Relaxed) {
        0 => rayon_default(),
        n => n as usize,
    }
}

/// Sets the most threads a call uses, the calling one included; 0 restores the default.
/// Takes effect with the next call.
pub fn set_num_threads(threads: u32) {
    REQUESTED.store(threads, Ordering::Relaxed);
}

fn rayon_default() -> usize {
    std::env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|n| n.parse().ok())
        .filter(|&n| n > 0)
        .or_else(|| std::thread::available_parallelism().map(usize::from).ok())
        .unwrap_or(1)
}

/// The helpers for `threads` threads, or none if they cannot be started.
fn helpers(threads: usize) -> Option<Arc<ThreadPool>> {
    let mut slot = lock_pool()?;
    let process = std::process::id();
    if let Some(pool) = &*slot
        && pool.threads == threads
        && pool.process == process
    {
        return Some(pool.pool.clone());
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads - 1)
        .thread_name(|i| format!("mish-{i}"))
        .build()
        .ok()
        .map(Arc::new)?;
    let old = slot.replace(Pool {
        threads,
        process,
        pool: pool.clone(),
    });
    if let Some(old) = old
        && old.process != process
    {
        // Its threads exist in the parent only; ending the pool would wait for them.
        std::mem::forget(old);
    }
    Some(pool)
}

/// The pool's lock, or none if it cannot be had: held for microseconds as a rule, but for ever in
/// the child of a fork that came while another thread held it.
fn lock_pool() -> Option<MutexGuard<'static, Option<Pool>>> {
    // Few: on a busy machine each may cost a time slice.
    for _ in 0..100 {
        match POOL.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poison)) => return Some(poison.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

/// Calls `work(start, len)` so that the calls cover `0..n`, on one or more threads.
pub(super) fn for_each_chunk(n: usize, op: Op, work: impl Fn(usize, usize) + Sync) {
    let work = |start, len| {
        hooks::reach(hooks::Place::HostWork);
        work(start, len);
    };
    if n < serial_limit(op) {
        return work(0, n);
    }
    let threads = num_threads().min(n.div_ceil(CHUNK));
    if let Some(split) = SPLIT.get() {
        // In whole chunks, which begin where the operands' vectors do.
        let chunks = n.div_ceil(CHUNK);
        return split(chunks, chunks.div_ceil(threads), &|start, end| {
            let end = (end * CHUNK).min(n);
            work(start * CHUNK, end - start * CHUNK);
        });
    }
    let pool = if threads > 1 { helpers(threads) } else { None };
    let Some(pool) = pool else {
        return work(0, n);
    };
    let next = AtomicUsize::new(0);
    let drain = || {
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= n {
                return;
            }
            work(start, CHUNK.min(n - start));
        }
    };
    pool.in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| drain());
        }
        drain();
    });
}
