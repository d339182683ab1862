//! A call, from what an interface layer decoded to a backend: made a job, and dispatched.

use std::ffi::c_void;

use crate::catalogue::{Dtype, Op};
use crate::gpu::{Backend, Cuda};
use crate::job::{Device, Job, View};
use crate::status::{Result, fail};

/// Runs an operation on `n` contiguous elements per operand.
///
/// `pointers` are the operands in the order of [`Op::operands`]; an optional output may be NULL.
/// `stream` is a `cudaStream_t` for [`Device::Cuda`] (NULL is the legacy default stream, and the
/// call is asynchronous on it) and NULL for [`Device::Cpu`].
///
/// # Errors
/// Every invalid argument has its own [`Status`](crate::Status); nothing is written then.
///
/// # Panics
/// Unless there is one pointer per operand.
///
/// # Safety
/// Every non-NULL pointer must be valid for `n` elements, which nothing else may write (or, for
/// outputs, read) until the call (on a GPU: the work on the stream) is done. An output may be
/// exactly one of the inputs.
#[inline]
pub unsafe fn run_contiguous(
    device: Device,
    op: Op,
    dtype: Dtype,
    pointers: &[*mut c_void],
    n: usize,
    stream: *mut c_void,
) -> Result<()> {
    assert_eq!(
        pointers.len(),
        op.operands().len(),
        "one pointer per operand"
    );
    match Job::contiguous(op, dtype, pointers, n)? {
        // SAFETY: the caller's promise.
        Some(job) => unsafe { dispatch(device, &job, stream) },
        None => Ok(()),
    }
}

/// Runs an operation on strided views of one shape, data type and device.
///
/// `views` are the operands in the order of [`Op::operands`]; `None` skips an optional output.
/// Inputs may have any strides (zero, negative, overlapping); no two elements of an output may
/// share memory. `stream` is as for [`run_contiguous`].
///
/// # Errors
/// Every invalid argument has its own [`Status`](crate::Status); nothing is written then.
///
/// # Panics
/// Unless there is one view per operand.
///
/// # Safety
/// As for [`run_contiguous`], for every element that a view addresses.
pub unsafe fn run(op: Op, views: &[Option<View<'_>>], stream: *mut c_void) -> Result<()> {
    assert_eq!(views.len(), op.operands().len(), "one view per operand");
    let (device, job) = Job::strided(op, views)?;
    match job {
        // SAFETY: the caller's promise.
        Some(job) => unsafe { dispatch(device, &job, stream) },
        None => Ok(()),
    }
}

unsafe fn dispatch(device: Device, job: &Job, stream: *mut c_void) -> Result<()> {
    match device {
        // SAFETY: the caller's promise.
        Device::Cpu => unsafe { on_cpu(job, stream) },
        // SAFETY: the caller's promise.
        Device::Cuda => unsafe { Cuda::run(job, stream) },
    }
}

/// Apart, so that a call on a GPU saves no registers for it.
#[inline(never)]
unsafe fn on_cpu(job: &Job, stream: *mut c_void) -> Result<()> {
    Cuda::check_host_pointers(job)?;
    // SAFETY: the caller's promise.
    unsafe { crate::cpu::run(job, stream) }
}

/// The number of devices of a kind; the CPU counts as one.
///
/// # Errors
/// For [`Device::Cuda`]: no driver, or one that is too old or fails. A driver without any device
/// is not an error: the count is 0.
pub fn device_count(device: Device) -> Result<i32> {
    match device {
        Device::Cpu => Ok(1),
        Device::Cuda => Cuda::device_count(),
    }
}

/// Loads everything a first call would load: the kernels of a GPU, for instance before a stream
/// capture. Does nothing for the CPU.
///
/// # Errors
/// An ordinal that names no device; for [`Device::Cuda`] what the driver reports.
pub fn warmup(device: Device, ordinal: i32) -> Result<()> {
    match device {
        Device::Cpu if ordinal == 0 => Ok(()),
        Device::Cpu => fail!(
            InvalidOrdinal,
            "ordinal: {ordinal} passed with MISH_DEVICE_CPU, whose only ordinal is 0"
        ),
        Device::Cuda => Cuda::warmup(ordinal),
    }
}
