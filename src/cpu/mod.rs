//! The host backend: the three operations on host memory, vectorised and threaded.

mod element;
mod float_mode;
mod kernel;
pub mod math;
mod operation;
mod pages;
mod pool;
mod simd;
mod strided;
mod threads;

use std::ffi::c_void;

use crate::job::{Job, Layout};
use crate::status::{Result, fail};

pub use simd::Simd;
pub(crate) use threads::{Split, with_split};
pub use threads::{num_threads, set_num_threads};

/// Runs a job on the calling thread and, when it is large, on the pool's.
///
/// # Safety
/// The job's pointers must be host memory, valid for its extents and not written by others.
pub(crate) unsafe fn run(job: &Job, stream: *mut c_void) -> Result<()> {
    if !stream.is_null() {
        fail!(
            InvalidStream,
            "stream: {stream:p} passed with MISH_DEVICE_CPU, which takes no stream: pass NULL"
        );
    }
    let kernel = kernel::select(job.op, job.dtype, Simd::active());
    match &job.layout {
        Layout::Contiguous => {
            let pointers = kernel::Pointers(job.pointers);
            let (n, size) = (job.n as usize, job.dtype.size());
            let outputs = || job.present().filter(|(_, operand, _)| operand.is_output());
            let is_fresh = outputs().any(|(_, _, output)| pages::is_fresh(output, n * size));
            let step = if is_fresh { pages::STEP / size } else { n };
            threads::for_each_chunk(n, job.op, job.dtype, |start, len| {
                let end = start + len;
                for start in (start..end).step_by(step) {
                    let len = step.min(end - start);
                    if is_fresh {
                        for (_, _, output) in outputs() {
                            let address = output as usize + start * size;
                            pages::populate(address..address + len * size);
                        }
                    }
                    // SAFETY: chunks are disjoint parts of the job's extents.
                    unsafe { kernel(pointers.offset_by(start * size), len) }
                }
            });
        }
        Layout::Strided(layout) => {
            threads::for_each_chunk(job.n as usize, job.op, job.dtype, |start, len| {
                // SAFETY: as above; the layout addresses only what the job's extents cover.
                unsafe { strided::run(job, layout, kernel, start, len) }
            });
        }
    }
    Ok(())
}
