//! From a job to a kernel, its geometry and its parameters.

use std::ffi::c_void;
use std::mem::offset_of;

use super::context::Kernels;
use super::driver::{Code, Driver, Stream};
use crate::call::{Job, Layout, MAX_DIMS};
use crate::catalogue::MAX_OPERANDS;
use crate::gpu::tuning::Policy;
use crate::status::{Result, fail};

/// Fewest threads of a block: enough for a head and a tail. Measured on an H200: blocks of 64 are
/// slower as soon as there are two for a multiprocessor.
const MIN_THREADS: u32 = 128;
/// Up to so many elements per multiprocessor a thread does one element, not a vector: with so few
/// threads the time is that of one thread's work. Measured on an H200: to 0.15 µs less of 1.2 to
/// 1.9 µs at 1,024 to 16,384 elements, no gain at 65,536.
const SCALAR: u64 = 128;
/// The hardware's limit on blocks.
const MAX_BLOCKS: u64 = i32::MAX as u64;

/// How n elements divide: `Span` in kernels/loops/contiguous.cuh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Span {
    n: u64,
    vectors: u64,
    head: u32,
    tiles: u32,
}

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
struct StridedParams {
    pointers: [*mut c_void; MAX_OPERANDS],
    strides: [[i64; MAX_DIMS]; MAX_OPERANDS],
    dims: [Dim; MAX_DIMS],
    count: u64,
    ndim: u32,
    flags: u32,
}

const NARROW: u32 = 1;
const VECTOR: u32 = 2;
/// Bytes of a strided kernel's vector.
const STRIDED_VECTOR_BYTES: u64 = 16;

const _: () = {
    assert!(size_of::<Span>() == 24);
    assert!(offset_of!(Span, vectors) == 8);
    assert!(offset_of!(Span, head) == 16);
    assert!(offset_of!(Span, tiles) == 20);
    assert!(size_of::<Dim>() == 24);
    assert!(size_of::<StridedParams>() == 568);
    assert!(offset_of!(StridedParams, strides) == 40);
    assert!(offset_of!(StridedParams, dims) == 360);
    assert!(offset_of!(StridedParams, count) == 552);
    assert!(offset_of!(StridedParams, ndim) == 560);
    assert!(offset_of!(StridedParams, flags) == 564);
};

/// Blocks and threads per block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grid {
    blocks: u64,
    threads: u32,
}

/// What of a device decides a grid.
#[derive(Clone, Copy, Debug)]
struct Size {
    multiprocessors: u64,
    threads: u64,
}

/// Launches a job's kernel; the context of `kernels` must be current.
///
/// # Safety
/// The job's operands must be valid device memory.
pub(super) unsafe fn launch(
    driver: &Driver,
    kernels: &Kernels,
    job: &Job,
    stream: Stream,
) -> Result<Code> {
    let kernel = kernels.get(job.op, job.dtype);
    let size = Size {
        multiprocessors: kernels.multiprocessors.into(),
        threads: u64::from(kernels.multiprocessors) * u64::from(kernels.threads_per_multiprocessor),
    };
    if matches!(job.layout, Layout::Contiguous)
        && let Some((span, grid)) = contiguous(job, &kernel.policy, size)
    {
        // Of the pointers the driver copies as many as the operation has: `Pointers` in
        // kernels/operations/operation.cuh.
        let mut parameters = [
            (&raw const job.pointers).cast_mut().cast(),
            (&raw const span).cast_mut().cast(),
        ];
        // SAFETY: the kernel takes exactly these parameters.
        return unsafe { submit(driver, kernel.contiguous, grid, stream, &mut parameters) };
    }
    let (params, grid) = strided(job, &kernel.policy, size);
    let mut parameters = [(&raw const params).cast_mut().cast()];
    // SAFETY: the kernel takes exactly this parameter.
    unsafe { submit(driver, kernel.strided, grid, stream, &mut parameters) }
}

unsafe fn submit(
    driver: &Driver,
    function: super::driver::Function,
    grid: Grid,
    stream: Stream,
    parameters: &mut [*mut c_void],
) -> Result<Code> {
    if grid.blocks > MAX_BLOCKS {
        fail!(
            TooLarge,
            "n: needs {} blocks of {} threads; CUDA allows {MAX_BLOCKS}",
            grid.blocks,
            grid.threads
        );
    }
    // SAFETY: the caller's promise; the driver copies the parameters before it returns.
    Ok(unsafe {
        (driver.launch)(
            function,
            grid.blocks as u32,
            1,
            1,
            grid.threads,
            1,
            1,
            0,
            stream,
            parameters.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    })
}

/// The span and grid of a contiguous job; `None` if no head aligns all operands at once.
fn contiguous(job: &Job, policy: &Policy, size: Size) -> Option<(Span, Grid)> {
    if job.n <= size.multiprocessors * SCALAR {
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
    let bytes = u64::from(policy.vector_bytes);
    let element = job.dtype.size() as u64;
    let mut pointers = job.present().map(|(_, _, pointer)| pointer as u64);
    let misalignment = pointers.next()? % bytes;
    if pointers.any(|pointer| pointer % bytes != misalignment) {
        return None;
    }
    let head = ((bytes - misalignment) % bytes / element).min(job.n);
    let vectors = (job.n - head) / (bytes / element);
    let edges = job.n - vectors * (bytes / element);

    let threads = spread(vectors, policy.threads, size);
    let unrolled = u64::from(policy.vectors);
    let tile = u64::from(threads) * unrolled;
    let is_large = vectors >= size.threads * unrolled;
    let tiles = if is_large { vectors / tile } else { 0 };
    let rest = vectors - tiles * tile + edges;
    let blocks = tiles + rest.div_ceil(threads.into());
    let span = Span {
        n: job.n,
        vectors,
        head: head as u32,
        // Too many are refused with their grid.
        tiles: tiles as u32,
    };
    Some((span, Grid { blocks, threads }))
}

/// Threads per block: fewer than the policy's if that gives every multiprocessor a block.
fn spread(threads_needed: u64, most: u32, size: Size) -> u32 {
    let mut threads = most;
    while threads > MIN_THREADS && threads_needed.div_ceil(threads.into()) < size.multiprocessors {
        threads /= 2;
    }
    threads
}

/// The parameters and grid of a job that the contiguous kernel does not cover.
fn strided(job: &Job, policy: &Policy, size: Size) -> (StridedParams, Grid) {
    let element = job.dtype.size() as i64;
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
        params.strides[i][0] = element;
    }
    if let Layout::Strided(layout) = &job.layout {
        params.ndim = layout.ndim as u32;
        for d in 0..layout.ndim {
            params.dims[d].size = layout.shape[d];
            for (i, _, _) in job.present() {
                params.strides[i][d] = layout.strides[i][d] * element;
            }
        }
    }
    make_vectors(&mut params, job, element as u64);

    let limit = i32::MAX as u64;
    let is_near = |i| {
        let (offset, bytes) = job.extent(i);
        offset.unsigned_abs() as u64 <= limit && bytes as u64 <= limit
    };
    let is_narrow = params.count <= limit && job.present().all(|(i, _, _)| is_near(i));
    let bits = if is_narrow { 31 } else { 63 };
    params.flags |= if is_narrow { NARROW } else { 0 };
    for dim in &mut params.dims[1..params.ndim as usize] {
        *dim = divisor(dim.size, bits);
    }

    let units = match params.flags & VECTOR {
        0 => u64::from(policy.strided_units),
        _ => 1,
    };
    let threads = spread(params.count.div_ceil(units), policy.threads, size);
    let blocks = params.count.div_ceil(units * u64::from(threads));
    (params, Grid { blocks, threads })
}

/// Counts in vectors instead of elements where every row is whole aligned vectors.
fn make_vectors(params: &mut StridedParams, job: &Job, element: u64) {
    let last = params.ndim as usize - 1;
    let per_vector = STRIDED_VECTOR_BYTES / element;
    let fits = params.dims[last].size.is_multiple_of(per_vector)
        && job.present().all(|(i, _, pointer)| {
            let (rows, step) = (&params.strides[i][..last], params.strides[i][last]);
            (pointer as u64).is_multiple_of(STRIDED_VECTOR_BYTES)
                && step == element as i64
                && rows
                    .iter()
                    .all(|step| step % STRIDED_VECTOR_BYTES as i64 == 0)
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
    use super::*;
    use crate::call::{Device, View};
    use crate::catalogue::Dtype;
    use crate::catalogue::Op;
    use crate::gpu::tuning::{Policy, policy};

    /// An H200's.
    const SIZE: Size = Size {
        multiprocessors: 132,
        threads: 132 * 2048,
    };

    const ONE: Size = Size {
        multiprocessors: 1,
        threads: 2048,
    };

    fn address(a: u64) -> *mut c_void {
        a as usize as *mut c_void
    }

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

    fn forward(dtype: Dtype, n: usize, x: u64, y: u64) -> Job {
        Job::contiguous(Op::Forward, dtype, &[address(x), address(y)], n)
            .expect("valid")
            .expect("not empty")
    }

    #[test]
    fn every_element_is_in_exactly_one_part() {
        for sm in [60, 90, 120] {
            for dtype in Dtype::ALL {
                let policy = policy(sm, Op::Forward, dtype);
                let per_vector = u64::from(policy.vector_bytes) / dtype.size() as u64;
                // On a device with one multiprocessor few elements are a vector's matter.
                for (n, size) in (1..400)
                    .map(|n| (n, ONE))
                    .chain([1, 4097, 16_896, 16_897, 1 << 20, (1 << 33) + 5].map(|n| (n, SIZE)))
                {
                    for offset in 0..per_vector {
                        let at = 0x7f00_0000_0000 + offset * dtype.size() as u64;
                        let job = forward(dtype, n, at, at);
                        let (span, grid) = contiguous(&job, &policy, size).expect("aligned alike");
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
                        let rest = span.vectors - tiled + head + tail;
                        let spare = (grid.blocks - tiles) * threads - rest;
                        assert!(spare < threads);
                        assert!(grid.threads <= policy.threads && grid.blocks <= MAX_BLOCKS);
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
        let (span, grid) = contiguous(&job, &wide, SIZE).expect("aligned");
        assert_eq!((span.tiles, grid.threads, grid.blocks), (0, 128, 132));
        let job = forward(Dtype::F32, 1 << 28, 0x1000, 0x1000);
        let (span, grid) = contiguous(&job, &policy, SIZE).expect("aligned");
        assert_eq!(grid.threads, policy.threads);
        let tile = policy.threads * policy.vectors;
        assert_eq!(u64::from(span.tiles), (1 << 26) / u64::from(tile));
    }

    #[test]
    fn few_elements_are_done_one_by_one() {
        let policy = policy(90, Op::Forward, Dtype::F16);
        let job = forward(Dtype::F16, 1000, 0x1_0002, 0x2_0004);
        let (span, grid) = contiguous(&job, &policy, SIZE).expect("any alignment");
        assert_eq!((span.vectors, span.head, span.tiles), (0, 0, 0));
        assert_eq!((grid.threads, grid.blocks), (128, 8));
    }

    #[test]
    fn different_misalignments_take_the_strided_kernel() {
        let policy = policy(90, Op::Forward, Dtype::F16);
        let job = forward(Dtype::F16, 1000, 0x1_0002, 0x2_0004);
        assert_eq!(contiguous(&job, &policy, ONE), None);
        let (params, grid) = strided(&job, &policy, ONE);
        assert_eq!((params.ndim, params.count, params.flags), (1, 1000, NARROW));
        assert_eq!((params.strides[0][0], params.strides[1][0]), (2, 2));
        assert!(grid.blocks * u64::from(grid.threads * policy.strided_units) >= 1000);
    }

    fn strided_job(shape: &[i64], x: &[i64], y: &[i64], dtype: Dtype) -> Job {
        let view = |data, strides| {
            Some(View {
                data: address(data),
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

    fn plan(job: &Job, policy: &Policy) -> StridedParams {
        strided(job, policy, SIZE).0
    }

    #[test]
    fn rows_of_whole_vectors_are_counted_in_vectors() {
        let policy = policy(90, Op::Forward, Dtype::F16);
        let rows = plan(
            &strided_job(&[10, 64], &[128, 1], &[64, 1], Dtype::F16),
            &policy,
        );
        assert_eq!(
            (rows.count, rows.ndim, rows.flags),
            (80, 2, NARROW | VECTOR)
        );
        assert_eq!((rows.strides[0][0], rows.strides[0][1]), (256, 16));
        // One vector a row: the row is no dimension any more.
        let single = plan(
            &strided_job(&[10, 8], &[16, 1], &[8, 1], Dtype::F16),
            &policy,
        );
        assert_eq!((single.count, single.ndim), (10, 1));
        assert_eq!((single.strides[0][0], single.strides[1][0]), (32, 16));
        // Rows that start off a vector, or are not whole ones.
        for (shape, step) in [([10, 64], 65), ([10, 63], 64)] {
            let job = strided_job(&shape, &[step, 1], &[64, 1], Dtype::F16);
            assert_eq!(plan(&job, &policy).flags, NARROW, "{shape:?} {step}");
        }
        // A broadcast operand.
        let job = strided_job(&[10, 64], &[1, 0], &[64, 1], Dtype::F16);
        assert_eq!(plan(&job, &policy).flags, NARROW);
    }

    #[test]
    fn large_tensors_use_wide_indices() {
        let policy = policy(90, Op::Forward, Dtype::F32);
        let far = plan(
            &strided_job(&[2, 5], &[1 << 30, 1], &[5, 1], Dtype::F32),
            &policy,
        );
        assert_eq!(far.flags & NARROW, 0);
        let many = plan(
            &strided_job(&[1 << 17, 1 << 16], &[0, 2], &[1 << 16, 1], Dtype::F32),
            &policy,
        );
        assert_eq!((many.flags & NARROW, many.count), (0, 1 << 33));
    }
}
