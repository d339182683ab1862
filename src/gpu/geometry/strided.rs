//! The strided kernels' parameters and grid: any layout, and contiguous operands with different
//! misalignments.

use std::ffi::c_void;
use std::mem::offset_of;

use super::{Capacity, Grid, threads_per_block};
use crate::catalogue::{Dtype, MAX_OPERANDS};
use crate::gpu::tuning::Policy;
use crate::job::{Job, Layout, MAX_DIMS};

/// A dimension: `Dim` in kernels/loops/strided.cuh, which explains the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Dim {
    size: u64,
    magic: u64,
    shift: u64,
}

/// The strided kernels' parameter: `Strided` in kernels/loops/strided.cuh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct StridedParams {
    pointers: [*mut c_void; MAX_OPERANDS],
    strides: [[i64; MAX_DIMS]; MAX_OPERANDS],
    dims: [Dim; MAX_DIMS],
    count: u64,
    ndim: u32,
    flags: u32,
}

const _: () = {
    assert!(size_of::<Dim>() == 24);
    assert!(size_of::<StridedParams>() == 568);
    assert!(offset_of!(StridedParams, strides) == 40);
    assert!(offset_of!(StridedParams, dims) == 360);
    assert!(offset_of!(StridedParams, count) == 552);
    assert!(offset_of!(StridedParams, ndim) == 560);
    assert!(offset_of!(StridedParams, flags) == 564);
};

/// Flags: `STRIDED_NARROW` and `STRIDED_VECTOR` in kernels/loops/strided.cuh.
const NARROW: u32 = 1;
const VECTOR: u32 = 2;

// The kernels take the upper half for a number that is zero.
const _: () = assert!((NARROW | VECTOR) >> 16 == 0);

/// Bits of indices and byte offsets: where all fit them, and elsewhere.
const NARROW_BITS: u32 = 31;
const WIDE_BITS: u32 = 63;

/// Bytes of a strided kernel's vector.
const VECTOR_BYTES: u64 = 16;

// A vector is whole elements of every type.
const _: () = {
    let mut i = 0;
    while i < Dtype::ALL.len() {
        assert!(VECTOR_BYTES.is_multiple_of(Dtype::ALL[i].size() as u64));
        i += 1;
    }
};

/// The parameters and grid of a job that the contiguous kernel does not cover.
pub(super) fn plan(job: &Job, policy: &Policy, capacity: Capacity) -> (StridedParams, Grid) {
    let element_bytes = job.dtype.size() as i64;
    let mut params = StridedParams {
        pointers: job.pointers,
        strides: [[0; MAX_DIMS]; MAX_OPERANDS],
        dims: [Dim::default(); MAX_DIMS],
        count: job.n,
        ndim: 1,
        flags: 0,
    };
    params.dims[0].size = job.n;
    for (i, _, _) in job.present() {
        params.strides[i][0] = element_bytes;
    }
    if let Layout::Strided(layout) = &job.layout {
        params.ndim = layout.ndim as u32;
        for d in 0..layout.ndim {
            params.dims[d].size = layout.shape[d];
            for (i, _, _) in job.present() {
                params.strides[i][d] = layout.strides[i][d] * element_bytes;
            }
        }
    }
    make_vectors(&mut params, job, element_bytes as u64);

    let limit = (1 << NARROW_BITS) - 1;
    let is_near = |i| {
        let (offset, bytes) = job.extent(i);
        offset.unsigned_abs() as u64 <= limit && bytes as u64 <= limit
    };
    let is_narrow = params.count <= limit && job.present().all(|(i, _, _)| is_near(i));
    let bits = if is_narrow { NARROW_BITS } else { WIDE_BITS };
    params.flags |= if is_narrow { NARROW } else { 0 };
    for dim in &mut params.dims[1..params.ndim as usize] {
        *dim = divisor(dim.size, bits);
    }

    let units = match params.flags & VECTOR {
        0 => u64::from(policy.strided_units),
        _ => 1,
    };
    let threads = threads_per_block(params.count.div_ceil(units), policy.threads, capacity);
    let blocks = params.count.div_ceil(units * u64::from(threads));
    (params, Grid { blocks, threads })
}

/// Counts in vectors instead of elements where every row is whole aligned vectors.
fn make_vectors(params: &mut StridedParams, job: &Job, element_bytes: u64) {
    let last = params.ndim as usize - 1;
    let per_vector = VECTOR_BYTES / element_bytes;
    let fits = params.dims[last].size.is_multiple_of(per_vector)
        && job.present().all(|(i, _, pointer)| {
            let (rows, step) = (&params.strides[i][..last], params.strides[i][last]);
            (pointer as u64).is_multiple_of(VECTOR_BYTES)
                && step == element_bytes as i64
                && rows.iter().all(|step| step % VECTOR_BYTES as i64 == 0)
        });
    if !fits {
        return;
    }
    params.flags |= VECTOR;
    params.count /= per_vector;
    params.dims[last].size /= per_vector;
    for strides in &mut params.strides {
        strides[last] *= per_vector as i64;
    }
    // A row of one vector is no dimension; a divisor of one has no magic number.
    if params.dims[last].size == 1 && last > 0 {
        params.ndim -= 1;
    }
}

/// The multiplier and shift that divide numbers below 2^bits by `size`, which is at least 2.
fn divisor(size: u64, bits: u32) -> Dim {
    let log2 = size.next_power_of_two().trailing_zeros();
    let power = bits + log2;
    // Dividing 128 bits takes several times as long.
    let magic = match 1_u64.checked_shl(power) {
        Some(dividend) => dividend.div_ceil(size),
        None => (1_u128 << power).div_ceil(size.into()) as u64,
    };
    Dim {
        size,
        magic,
        shift: u64::from(log2 - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{H200, ONE_MULTIPROCESSOR, forward, pointer};
    use super::*;
    use crate::catalogue::Op;
    use crate::gpu::tuning::policy;
    use crate::job::{Device, View};

    fn divide(dim: Dim, x: u64, bits: u32) -> u64 {
        let product = u128::from(x) * u128::from(dim.magic);
        (product >> (bits + 1)) as u64 >> dim.shift
    }

    #[test]
    fn division_is_exact() {
        for bits in [31, 63] {
            let limit = (1_u64 << bits) - 1;
            let mut sizes: Vec<u64> = (2..300).collect();
            for power in 1..bits {
                let power = 1_u64 << power;
                sizes.extend(
                    [power - 1, power, power + 1]
                        .into_iter()
                        .filter(|&s| s >= 2),
                );
            }
            sizes.extend([limit, limit - 1, limit / 3, 1_000_003, 99_999_989]);
            for size in sizes {
                let dim = divisor(size, bits);
                assert!(bits == 63 || dim.magic <= u64::from(u32::MAX));
                let mut numbers = vec![0, 1, limit, limit - 1, limit / 2, limit / 7];
                for quotient in [1, 2, 3, limit / size / 2, limit / size] {
                    let quotient = quotient.min(limit / size);
                    if quotient == 0 {
                        continue;
                    }
                    let multiple = quotient * size;
                    numbers.extend([multiple - 1, multiple]);
                    numbers.extend((multiple < limit).then_some(multiple + 1));
                }
                for x in numbers {
                    assert_eq!(divide(dim, x, bits), x / size, "{x} / {size}, {bits} bits");
                }
            }
        }
    }

    #[test]
    fn different_misalignments_are_one_dimension() {
        let policy = policy(90, Op::Forward, Dtype::F16);
        let job = forward(Dtype::F16, 1000, 0x1_0002, 0x2_0004);
        let (params, grid) = plan(&job, &policy, ONE_MULTIPROCESSOR);
        assert_eq!((params.ndim, params.count, params.flags), (1, 1000, NARROW));
        assert_eq!((params.strides[0][0], params.strides[1][0]), (2, 2));
        assert!(grid.blocks * u64::from(grid.threads * policy.strided_units) >= 1000);
    }

    fn strided_job(shape: &[i64], x: &[i64], y: &[i64], dtype: Dtype) -> Job {
        let view = |data, strides| {
            Some(View {
                data: pointer(data),
                dtype,
                device: Device::Cuda,
                device_id: 0,
                shape,
                strides: Some(strides),
            })
        };
        let views = [view(0x1_0000_0000, x), view(0x9_0000_0000, y)];
        Job::strided(Op::Forward, &views)
            .expect("valid")
            .1
            .expect("not empty")
    }

    fn params(job: &Job, policy: &Policy) -> StridedParams {
        plan(job, policy, H200).0
    }

    #[test]
    fn rows_of_whole_vectors_are_counted_in_vectors() {
        let policy = policy(90, Op::Forward, Dtype::F16);
        let rows = params(
            &strided_job(&[10, 64], &[128, 1], &[64, 1], Dtype::F16),
            &policy,
        );
        assert_eq!(
            (rows.count, rows.ndim, rows.flags),
            (80, 2, NARROW | VECTOR)
        );
        assert_eq!((rows.strides[0][0], rows.strides[0][1]), (256, 16));
        // One vector a row: the row is no dimension any more.
        let single = params(
            &strided_job(&[10, 8], &[16, 1], &[8, 1], Dtype::F16),
            &policy,
        );
        assert_eq!((single.count, single.ndim), (10, 1));
        assert_eq!((single.strides[0][0], single.strides[1][0]), (32, 16));
        // Rows that start off a vector, or are not whole ones.
        for (shape, step) in [([10, 64], 65), ([10, 63], 64)] {
            let job = strided_job(&shape, &[step, 1], &[64, 1], Dtype::F16);
            assert_eq!(params(&job, &policy).flags, NARROW, "{shape:?} {step}");
        }
        // A broadcast operand.
        let job = strided_job(&[10, 64], &[1, 0], &[64, 1], Dtype::F16);
        assert_eq!(params(&job, &policy).flags, NARROW);
    }

    #[test]
    fn large_tensors_use_wide_indices() {
        let policy = policy(90, Op::Forward, Dtype::F32);
        let far = params(
            &strided_job(&[2, 5], &[1 << 30, 1], &[5, 1], Dtype::F32),
            &policy,
        );
        assert_eq!(far.flags & NARROW, 0);
        let many = params(
            &strided_job(&[1 << 17, 1 << 16], &[0, 2], &[1 << 16, 1], Dtype::F32),
            &policy,
        );
        assert_eq!((many.flags & NARROW, many.count), (0, 1 << 33));
    }
}
