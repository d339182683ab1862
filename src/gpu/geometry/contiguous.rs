//! The contiguous kernels' span and grid: docs/architecture.md, "Grid sizing".

use std::mem::offset_of;

use super::{Capacity, Grid, threads_per_block};
use crate::gpu::tuning::Policy;
use crate::job::Job;

/// Up to so many elements per multiprocessor a thread does one element, not a vector: with so few
/// threads the time is that of one thread's work. Measured on an H200: to 0.15 µs less of 1.2 to
/// 1.9 µs at 1,024 to 16,384 elements, no gain at 65,536.
const SCALAR_ELEMENTS: u64 = 128;

/// How n elements divide: `Span` in kernels/loops/contiguous.cuh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Span {
    n: u64,
    vectors: u64,
    head: u32,
    tiles: u32,
}

const _: () = {
    assert!(size_of::<Span>() == 24);
    assert!(offset_of!(Span, vectors) == 8);
    assert!(offset_of!(Span, head) == 16);
    assert!(offset_of!(Span, tiles) == 20);
};

/// The span and grid of a contiguous job; `None` if no head aligns all operands at once.
pub(super) fn plan(job: &Job, policy: &Policy, capacity: Capacity) -> Option<(Span, Grid)> {
    if job.n <= capacity.multiprocessors * SCALAR_ELEMENTS {
        let threads = policy.threads;
        let span = Span {
            n: job.n,
            vectors: 0,
            head: 0,
            tiles: 0,
        };
        let blocks = job.n.div_ceil(threads.into());
        return Some((span, Grid { blocks, threads }));
    }
    let vector_bytes = u64::from(policy.vector_bytes);
    let element_bytes = job.dtype.size() as u64;
    let mut pointers = job.present().map(|(_, _, pointer)| pointer as u64);
    let misalignment = pointers.next()? % vector_bytes;
    if pointers.any(|pointer| pointer % vector_bytes != misalignment) {
        return None;
    }
    let per_vector = vector_bytes / element_bytes;
    let head = ((vector_bytes - misalignment) % vector_bytes / element_bytes).min(job.n);
    let vectors = (job.n - head) / per_vector;
    let head_and_tail = job.n - vectors * per_vector;

    let threads = threads_per_block(vectors, policy.threads, capacity);
    let per_thread = u64::from(policy.vectors);
    let per_tile = u64::from(threads) * per_thread;
    let is_large = vectors >= capacity.resident_threads * per_thread;
    let tiles = if is_large { vectors / per_tile } else { 0 };
    // A thread each: vectors that fill no tile, elements that fill no vector.
    let single = vectors - tiles * per_tile + head_and_tail;
    let blocks = tiles + single.div_ceil(threads.into());
    let span = Span {
        n: job.n,
        vectors,
        head: head as u32,
        // Too many are refused with their grid.
        tiles: tiles as u32,
    };
    Some((span, Grid { blocks, threads }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{H200, ONE_MULTIPROCESSOR, forward};
    use super::*;
    use crate::catalogue::{Dtype, Op};
    use crate::gpu::tuning::policy;

    #[test]
    fn every_element_is_in_exactly_one_part() {
        for sm in [60, 90, 120] {
            for dtype in Dtype::ALL {
                let policy = policy(sm, Op::Forward, dtype);
                let per_vector = u64::from(policy.vector_bytes) / dtype.size() as u64;
                // On a device with one multiprocessor few elements are a vector's matter.
                let few = (1..400).map(|n| (n, ONE_MULTIPROCESSOR));
                let many = [1, 4097, 16_896, 16_897, 1 << 20, (1 << 33) + 5].map(|n| (n, H200));
                for (n, capacity) in few.chain(many) {
                    for offset in 0..per_vector {
                        let at = 0x7f00_0000_0000 + offset * dtype.size() as u64;
                        let job = forward(dtype, n, at, at);
                        let (span, grid) = plan(&job, &policy, capacity).expect("aligned alike");
                        let head = u64::from(span.head);
                        let tail = span.n - head - span.vectors * per_vector;
                        if span.vectors > 0 {
                            assert!(head < per_vector && tail < per_vector);
                        }
                        let vector_bytes = u64::from(policy.vector_bytes);
                        let body = at + head * dtype.size() as u64;
                        assert!(span.vectors == 0 || body.is_multiple_of(vector_bytes));
                        let threads = u64::from(grid.threads);
                        let tiles = u64::from(span.tiles);
                        let tiled = tiles * threads * u64::from(policy.vectors);
                        assert!(tiled <= span.vectors);
                        let single = span.vectors - tiled + head + tail;
                        let spare = (grid.blocks - tiles) * threads - single;
                        assert!(spare < threads);
                        assert!(grid.threads <= policy.threads);
                        assert!(i32::try_from(grid.blocks).is_ok(), "{grid:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_small_tensor_uses_every_multiprocessor() {
        let policy = policy(90, Op::Forward, Dtype::F32);
        let wide = Policy {
            threads: 512,
            ..policy
        };
        let job = forward(Dtype::F32, 132 * 128 * 4, 0x1000, 0x1000);
        let (span, grid) = plan(&job, &wide, H200).expect("aligned");
        assert_eq!((span.tiles, grid.threads, grid.blocks), (0, 128, 132));
        let job = forward(Dtype::F32, 1 << 28, 0x1000, 0x1000);
        let (span, grid) = plan(&job, &policy, H200).expect("aligned");
        assert_eq!(grid.threads, policy.threads);
        let tile = policy.threads * policy.vectors;
        assert_eq!(u64::from(span.tiles), (1 << 26) / u64::from(tile));
    }

    #[test]
    fn few_elements_are_done_one_by_one() {
        let policy = policy(90, Op::Forward, Dtype::F16);
        let job = forward(Dtype::F16, 1000, 0x1_0002, 0x2_0004);
        let (span, grid) = plan(&job, &policy, H200).expect("any alignment");
        assert_eq!((span.vectors, span.head, span.tiles), (0, 0, 0));
        assert_eq!((grid.threads, grid.blocks), (128, 8));
    }

    #[test]
    fn no_head_aligns_different_misalignments() {
        let policy = policy(90, Op::Forward, Dtype::F16);
        let job = forward(Dtype::F16, 1000, 0x1_0002, 0x2_0004);
        assert_eq!(plan(&job, &policy, ONE_MULTIPROCESSOR), None);
    }
}
