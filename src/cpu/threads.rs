//! When a call is split, and over how many threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::element::SIZES;
use super::kernel::BLOCK;
use super::{float_mode, pool};
use crate::catalogue::{Dtype, Op};
use crate::hooks;

/// What `mish_set_num_threads` asked for; 0 is the default.
static REQUESTED: AtomicU32 = AtomicU32::new(0);

/// About what one thread takes for an element, in picoseconds: between an EPYC 7003, which has
/// AVX2, and processors with AVX-512. Without vectors it is a multiple of that.
const fn picoseconds(op: Op, dtype: Dtype) -> u64 {
    // In the order of `Op::ALL`.
    const BY_OP: [[u64; SIZES.len()]; Op::ALL.len()] =
        [[450, 600, 1500], [500, 900, 2200], [900, 1400, 3500]];
    let [narrow, single, double] = BY_OP[op as usize];
    match dtype.size() {
        2 => narrow,
        4 => single,
        _ => double,
    }
}

/// The least that a thread is given, in nanoseconds: a helper that is awake begins after a few
/// tenths of a microsecond.
const PART: u64 = 3_000;

/// What a thread of a framework must save to be worth it, in nanoseconds, and for each of them: all
/// take part, however short the parts. A region costs 2 µs where they are awake; where they sleep,
/// which nobody can see from here, ten to a hundred. PyTorch's own operators begin at 2¹⁵ elements.
const REGION: (u64, u64) = (7_500, 100);

/// Chunks begin at multiples of this many elements: whole blocks and cache lines.
const STEP: usize = 512;
const _: () = assert!(STEP.is_multiple_of(BLOCK) && (STEP * SIZES[0]).is_multiple_of(64));

/// Elements per chunk at most: a chunk's operands stay within a core's L2 cache.
const CHUNK: usize = 16 * 1024;
const _: () = assert!(CHUNK.is_multiple_of(STEP));

/// Chunks per thread, if they do not get too large: they even out interruptions and a helper's
/// late start.
const CHUNKS: usize = 4;

/// Ranges at most; more threads share them.
const RANGES: usize = 32;

/// Where a range's next chunk begins, on a cache line of its own.
#[repr(align(64))]
struct Cursor(AtomicUsize);

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
/// number of CPUs this process may use; the last two as they are when they are first needed.
pub fn num_threads() -> usize {
    match REQUESTED.load(Ordering::Relaxed) {
        0 => default_threads(),
        n => n as usize,
    }
}

/// Sets the most threads a call uses, the calling one included; 0 restores the default.
/// Takes effect with the next call.
pub fn set_num_threads(threads: u32) {
    REQUESTED.store(threads, Ordering::Relaxed);
}

/// Asks the environment and the system once: the C library lets nobody read the environment while
/// another thread changes it, and the system's answer takes opening files.
fn default_threads() -> usize {
    /// 0 until it is known. No lock, which a fork could leave locked: at worst two threads ask.
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    let known = KNOWN.load(Ordering::Relaxed);
    if known > 0 {
        return known;
    }
    let found = std::env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|n| n.parse().ok())
        .filter(|&n| n > 0)
        .or_else(|| std::thread::available_parallelism().map(usize::from).ok())
        .unwrap_or(1);
    KNOWN.store(found, Ordering::Relaxed);
    found
}

/// Calls `work(start, len)` so that the calls cover `0..n`, on one or more threads, each in the
/// default floating-point mode.
pub(super) fn for_each_chunk(n: usize, op: Op, dtype: Dtype, work: impl Fn(usize, usize) + Sync) {
    let work = |start, len| {
        hooks::reach(hooks::Place::HostWork);
        float_mode::with_default(|| work(start, len));
    };
    let nanoseconds = (n as u64).saturating_mul(picoseconds(op, dtype)) / 1000;
    if nanoseconds < 2 * PART {
        return work(0, n);
    }
    let threads = num_threads();
    if let Some(split) = SPLIT.get() {
        let (region, each) = REGION;
        if threads == 1 || nanoseconds < 2 * (region + each * threads as u64) {
            return work(0, n);
        }
        // In whole steps, so that no two threads write to one cache line.
        let steps = n.div_ceil(STEP);
        return split(steps, steps.div_ceil(threads), &|start, end| {
            let end = (end * STEP).min(n);
            work(start * STEP, end - start * STEP);
        });
    }
    let threads = threads.min((nanoseconds / PART) as usize);
    if threads == 1 {
        return work(0, n);
    }
    // Each thread begins in a range of its own, the same in every call of this length, so that it
    // finds in its caches what it left there, and goes on to what is left of the others'.
    let ranges = threads.min(RANGES);
    let length = n.div_ceil(ranges).next_multiple_of(STEP);
    let chunk = length.div_ceil(CHUNKS).next_multiple_of(STEP).min(CHUNK);
    let cursors = [const { Cursor(AtomicUsize::new(0)) }; RANGES];
    pool::run(threads - 1, nanoseconds, &|thread| {
        for range in (0..ranges).map(|i| (thread + i) % ranges) {
            let end = ((range + 1) * length).min(n);
            loop {
                let start = range * length + cursors[range].0.fetch_add(chunk, Ordering::Relaxed);
                if start >= end {
                    break;
                }
                work(start, chunk.min(end - start));
            }
        }
    });
}
