//! From a job to launches: which kernels, on how many blocks and threads, with which parameters.
//! Numbers alone; no driver is asked.

mod contiguous;
mod strided;

use std::ffi::c_void;

use super::kernel::{KernelTable, Loop};
use crate::job::{Job, Layout};

/// Threads of a warp, which run together on any GPU there is an image for.
const WARP: u32 = 32;
/// Fewest threads of a block: enough for a head and a tail. Measured on an H200: blocks of 64 are
/// slower as soon as there are two for a multiprocessor.
pub(super) const MIN_THREADS: u32 = 128;

const _: () = assert!(MIN_THREADS.is_multiple_of(WARP));

/// Blocks and threads per block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// May be more than the hardware takes.
    pub blocks: u64,
    pub threads: u32,
}

/// What of a device decides a grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub multiprocessors: u64,
    /// Threads that all multiprocessors together have room for.
    pub resident_threads: u64,
}

/// Calls `submit` with each kernel that a job takes: the function, its grid, and the addresses of
/// its parameters, in their order and exactly those it takes. Ends at the first that fails.
///
/// Whatever an operation passes to its kernels is made here and in the modules below, and lives
/// until `submit` returns; who submits sees nothing but addresses.
pub(super) fn launch<F: Copy, E>(
    job: &Job,
    kernels: &KernelTable<F>,
    capacity: Capacity,
    mut submit: impl FnMut(F, Grid, &mut [*mut c_void]) -> Result<(), E>,
) -> Result<(), E> {
    let kernel = kernels.get(job.op, job.dtype);
    if matches!(job.layout, Layout::Contiguous)
        && let Some((span, grid)) = contiguous::plan(job, &kernel.policy, capacity)
    {
        // Of the pointers the driver copies as many as the operation has: `Pointers` in
        // kernels/operations/operation.cuh.
        let mut parameters = [address(&job.pointers), address(&span)];
        return submit(kernel.function(Loop::Contiguous), grid, &mut parameters);
    }
    let (strided, grid) = strided::plan(job, &kernel.policy, capacity);
    submit(
        kernel.function(Loop::Strided),
        grid,
        &mut [address(&strided)],
    )
}

/// A parameter's address, as drivers want it: they only read.
fn address<T>(parameter: &T) -> *mut c_void {
    (&raw const *parameter).cast_mut().cast()
}

/// Threads per block: fewer than `most` if that gives every multiprocessor a block.
fn threads_per_block(threads_needed: u64, most: u32, capacity: Capacity) -> u32 {
    let mut threads = most;
    while threads > MIN_THREADS
        && threads_needed.div_ceil(threads.into()) < capacity.multiprocessors
    {
        threads /= 2;
    }
    threads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Dtype, Op};

    pub(super) const H200: Capacity = Capacity {
        multiprocessors: 132,
        resident_threads: 132 * 2048,
    };

    pub(super) const ONE_MULTIPROCESSOR: Capacity = Capacity {
        multiprocessors: 1,
        resident_threads: 2048,
    };

    pub(super) fn pointer(address: u64) -> *mut c_void {
        address as usize as *mut c_void
    }

    pub(super) fn forward(dtype: Dtype, n: usize, x: u64, y: u64) -> Job {
        Job::contiguous(Op::Forward, dtype, &[pointer(x), pointer(y)], n)
            .expect("valid")
            .expect("not empty")
    }

    /// What is submitted for a job: by name and number of parameters.
    fn submitted(job: &Job, capacity: Capacity) -> Vec<(String, usize)> {
        let mut names = Vec::new();
        let kernels = KernelTable::load(90, |name| {
            names.push(name.to_string_lossy().into_owned());
            Ok(names.len() - 1)
        });
        let kernels = kernels.expect("every name is found");
        let mut launches = Vec::new();
        let result = launch(job, &kernels, capacity, |function, _, parameters| {
            launches.push((names[function].clone(), parameters.len()));
            Err(())
        });
        assert_eq!(result, Err(()), "what fails is reported");
        launches
    }

    #[test]
    fn a_job_takes_the_kernel_of_its_operation_type_and_loop() {
        let aligned = forward(Dtype::F16, 1000, 0x1_0002, 0x2_0002);
        let contiguous = [("mish_forward_f16".to_owned(), 2)];
        assert_eq!(submitted(&aligned, ONE_MULTIPROCESSOR), contiguous);
        let apart = forward(Dtype::F16, 1000, 0x1_0002, 0x2_0004);
        let strided = [("mish_forward_f16_strided".to_owned(), 1)];
        assert_eq!(submitted(&apart, ONE_MULTIPROCESSOR), strided);
        // So few that every thread does one element.
        assert_eq!(submitted(&apart, H200), contiguous);
    }
}
