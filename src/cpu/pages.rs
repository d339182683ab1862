//! Fresh memory: pages that the system has not handed out yet.
//!
//! A large allocation has none until it is written, and the interrupt for each page of 4 KiB takes
//! longer than computing it does. Where an output is such memory, a thread asks for many pages at
//! once, just before it writes them: in f64, two threads then take two thirds of the time.

use std::ffi::c_void;
use std::ops::Range;

use super::element::SIZES;

/// Bytes of an output below which nothing is asked: an allocator hands out small blocks again.
const LARGE: usize = 1 << 20;

/// Bytes asked for at once: the system zeroes them, and they should still be in a core's cache
/// when they are written.
pub(super) const STEP: usize = 256 * 1024;

const _: () = assert!(STEP.is_multiple_of(SIZES[2]), "an element in two steps");

/// Whether an output's pages are missing, judged by the one in the middle.
pub(super) fn is_fresh(output: *mut c_void, bytes: usize) -> bool {
    bytes >= LARGE && is_missing(output as usize + bytes / 2)
}

#[cfg(target_os = "linux")]
mod system {
    use std::ffi::c_void;

    use super::Range;

    /// Where pages are larger, these calls fail and change nothing.
    const PAGE: usize = 4096;
    /// As in `linux/mman.h`, since Linux 5.14.
    const MADV_POPULATE_WRITE: i32 = 23;

    pub fn is_missing(address: usize) -> bool {
        let mut resident = 1;
        // SAFETY: one byte for one page; asks only.
        let code =
            unsafe { libc::mincore((address & !(PAGE - 1)) as *mut c_void, 1, &raw mut resident) };
        code == 0 && resident & 1 == 0
    }

    /// Asks for the pages that lie in the range as a whole.
    pub fn populate(range: Range<usize>) {
        let (start, end) = (range.start.next_multiple_of(PAGE), range.end & !(PAGE - 1));
        if start < end {
            // The result does not matter: without it the pages come one by one.
            // SAFETY: changes no contents; what is no memory of the process is an error.
            unsafe { libc::madvise(start as *mut c_void, end - start, MADV_POPULATE_WRITE) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub fn is_missing(_: usize) -> bool {
        false
    }
    pub fn populate(_: super::Range<usize>) {}
}

use system::is_missing;
pub(super) use system::populate;
