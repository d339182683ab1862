//! The calls on contiguous memory.

use std::ffi::c_void;

use super::{mish_device, mish_dtype, mish_status};
use crate::call::run_contiguous;
use crate::catalogue::{Dtype, Op};
use crate::guard::guard;
use crate::job::Device;

/// Computes `y[i] = mish(x[i])` for `i` in `0 .. n`, with `mish(x) = x * tanh(softplus(x))`.
///
/// `device`: where the memory lies, `MISH_DEVICE_CPU` or `MISH_DEVICE_CUDA`.
/// `dtype`: the element type of `x` and `y`.
/// `x`: `n` elements to read. `y`: `n` elements to write; may be equal to `x`.
/// `n`: the number of elements; 0 is a success that touches nothing.
/// `stream`: a `cudaStream_t` (NULL: the legacy default stream), on which the call is
/// asynchronous; NULL for the CPU, where the call is done on return.
///
/// # Safety
/// `x` and `y` must be valid for `n` elements until the work is done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mish_forward(
    device: mish_device,
    dtype: mish_dtype,
    x: *const c_void,
    y: *mut c_void,
    n: usize,
    stream: *mut c_void,
) -> mish_status {
    // SAFETY: the caller's promise.
    unsafe { call(Op::Forward, device, dtype, &[x.cast_mut(), y], n, stream) }
}

/// Computes the gradient: `grad_x[i] = grad_y[i] * mish'(x[i])` for `i` in `0 .. n`.
///
/// `device`, `dtype`, `n`, `stream`: as for `mish_forward`.
/// `grad_y`: the gradient with respect to the output, `n` elements to read.
/// `x`: the input of the forward pass, `n` elements to read.
/// `grad_x`: `n` elements to write; may be equal to `grad_y` or to `x`.
///
/// # Safety
/// The pointers must be valid for `n` elements until the work is done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mish_backward(
    device: mish_device,
    dtype: mish_dtype,
    grad_y: *const c_void,
    x: *const c_void,
    grad_x: *mut c_void,
    n: usize,
    stream: *mut c_void,
) -> mish_status {
    let pointers = [grad_y.cast_mut(), x.cast_mut(), grad_x];
    // SAFETY: the caller's promise.
    unsafe { call(Op::Backward, device, dtype, &pointers, n, stream) }
}

/// Computes the gradient of `mish_backward`, for `i` in `0 .. n`:
/// `grad_grad_y[i] = grad_grad_x[i] * mish'(x[i])` and
/// `grad_x[i] = grad_grad_x[i] * grad_y[i] * mish''(x[i])`.
///
/// `device`, `dtype`, `n`, `stream`: as for `mish_forward`.
/// `grad_grad_x`: the gradient with respect to `mish_backward`'s output, `n` elements to read.
/// `grad_y`, `x`: what `mish_backward` was given, `n` elements each to read.
/// `grad_grad_y`, `grad_x`: `n` elements each to write; either may be NULL and is then skipped;
/// each may be equal to one of the inputs, not both to the same.
///
/// # Safety
/// The pointers that are not NULL must be valid for `n` elements until the work is done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mish_double_backward(
    device: mish_device,
    dtype: mish_dtype,
    grad_grad_x: *const c_void,
    grad_y: *const c_void,
    x: *const c_void,
    grad_grad_y: *mut c_void,
    grad_x: *mut c_void,
    n: usize,
    stream: *mut c_void,
) -> mish_status {
    let pointers = [
        grad_grad_x.cast_mut(),
        grad_y.cast_mut(),
        x.cast_mut(),
        grad_grad_y,
        grad_x,
    ];
    // SAFETY: the caller's promise.
    unsafe { call(Op::DoubleBackward, device, dtype, &pointers, n, stream) }
}

unsafe fn call(
    op: Op,
    device: mish_device,
    dtype: mish_dtype,
    pointers: &[*mut c_void],
    n: usize,
    stream: *mut c_void,
) -> mish_status {
    guard(|| {
        let device = Device::from_code(device)?;
        let dtype = Dtype::from_code(dtype)?;
        // SAFETY: the caller's promise.
        unsafe { run_contiguous(device, op, dtype, pointers, n, stream) }
    })
}
