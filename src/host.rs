//! The safe API on host slices.

use std::ffi::c_void;

use half::{bf16, f16};

use crate::call::run_contiguous;
use crate::catalogue::{Dtype, Op};
use crate::job::Device;
use crate::status::{Result, fail};

/// The element types of the library.
pub trait Element: Copy + sealed::Sealed {
    /// The matching data type.
    const DTYPE: Dtype;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! element {
    ($($type:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;
        }
    )*};
}
element!(f16 => F16, bf16 => BF16, f32 => F32, f64 => F64);

/// `y = mish(x)`.
///
/// # Errors
/// Slices of different length.
pub fn forward<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    same_length("y", y.len(), "x", x.len())?;
    run::<T>(Op::Forward, &[input(x), output(y)], x.len())
}

/// `x = mish(x)`.
///
/// # Errors
/// None that a caller can cause.
pub fn forward_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    let pointer = output(x);
    run::<T>(Op::Forward, &[pointer, pointer], x.len())
}

/// `grad_x = grad_y · mish′(x)`.
///
/// # Errors
/// Slices of different length.
pub fn backward<T: Element>(grad_y: &[T], x: &[T], grad_x: &mut [T]) -> Result<()> {
    same_length("grad_y", grad_y.len(), "x", x.len())?;
    same_length("grad_x", grad_x.len(), "x", x.len())?;
    run::<T>(
        Op::Backward,
        &[input(grad_y), input(x), output(grad_x)],
        x.len(),
    )
}

/// The gradient of [`backward`]: `grad_grad_y = grad_grad_x · mish′(x)` and
/// `grad_x = grad_grad_x · grad_y · mish″(x)`; an output of `None` is skipped.
///
/// # Errors
/// Slices of different length; no output at all.
pub fn double_backward<T: Element>(
    grad_grad_x: &[T],
    grad_y: &[T],
    x: &[T],
    grad_grad_y: Option<&mut [T]>,
    grad_x: Option<&mut [T]>,
) -> Result<()> {
    same_length("grad_grad_x", grad_grad_x.len(), "x", x.len())?;
    same_length("grad_y", grad_y.len(), "x", x.len())?;
    let mut pointers = [
        input(grad_grad_x),
        input(grad_y),
        input(x),
        std::ptr::null_mut(),
        std::ptr::null_mut(),
    ];
    if let Some(out) = grad_grad_y {
        same_length("grad_grad_y", out.len(), "x", x.len())?;
        pointers[3] = output(out);
    }
    if let Some(out) = grad_x {
        same_length("grad_x", out.len(), "x", x.len())?;
        pointers[4] = output(out);
    }
    run::<T>(Op::DoubleBackward, &pointers, x.len())
}

fn input<T>(slice: &[T]) -> *mut c_void {
    slice.as_ptr().cast_mut().cast()
}

fn output<T>(slice: &mut [T]) -> *mut c_void {
    slice.as_mut_ptr().cast()
}

fn same_length(name: &str, len: usize, with: &str, expected: usize) -> Result<()> {
    if len != expected {
        fail!(
            ShapeMismatch,
            "{name}: has {len} elements, but {with} has {expected}"
        );
    }
    Ok(())
}

fn run<T: Element>(op: Op, pointers: &[*mut c_void], n: usize) -> Result<()> {
    // SAFETY: borrowed slices of `n` elements; the borrows outlive this synchronous call.
    unsafe { run_contiguous(Device::Cpu, op, T::DTYPE, pointers, n, std::ptr::null_mut()) }
}
