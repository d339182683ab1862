//! The calls on strided tensors in DLPack's layout.

use std::ffi::c_void;

use safer_ffi::derive_ReprC;

use super::mish_status;
use crate::catalogue::{Dtype, Op};
use crate::guard::guard;
use crate::job::{Device, MAX_DIMS, View};
use crate::status::{Error, Result, Status, fail};

/// An element type as DLPack describes it (layout of `DLDataType`).
#[derive_ReprC]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct mish_dltype {
    /// 2 for IEEE floating point, 4 for bfloat16.
    pub code: u8,
    /// Bits per element: 16, 32 or 64.
    pub bits: u8,
    /// Vector lanes per element: 1.
    pub lanes: u16,
}

/// A strided tensor in memory. The layout is exactly that of DLPack's `DLTensor`, so a
/// `DLTensor *` can be passed by a cast.
#[derive_ReprC]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct mish_tensor {
    /// Start of the memory; the first element is `byte_offset` bytes further.
    pub data: *mut c_void,
    /// `MISH_DEVICE_CPU` or `MISH_DEVICE_CUDA`; DLPack's codes for pinned (3) and managed (13)
    /// memory count as CUDA.
    pub device_type: i32,
    /// The device's ordinal.
    pub device_id: i32,
    /// The number of dimensions, 0 to 8.
    pub ndim: i32,
    /// The element type.
    pub dtype: mish_dltype,
    /// `ndim` sizes. May be NULL if `ndim` is 0.
    pub shape: *mut i64,
    /// `ndim` steps in elements, of any sign; NULL means C-contiguous.
    pub strides: *mut i64,
    /// Offset in bytes of the first element from `data`.
    pub byte_offset: u64,
}

/// Strided `mish_forward`: `y = mish(x)` for tensors of one shape, data type and device.
///
/// `x` may have any strides (zero, negative, overlapping); no two elements of `y` may share
/// memory. `y` may be the same view as `x` (same address and strides); any other overlap is an
/// error. A tensor with a dimension of size 0 is a success that touches nothing.
/// `stream`: as for `mish_forward`.
///
/// # Safety
/// `x` and `y` must be NULL or point to tensors whose `shape` and `strides` hold `ndim` values
/// and whose elements are valid until the work is done. The `mish_tensor` structs themselves are
/// only read during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mish_tensor_forward(
    x: *const mish_tensor,
    y: *const mish_tensor,
    stream: *mut c_void,
) -> mish_status {
    // SAFETY: the caller's promise.
    unsafe { call(Op::Forward, [x, y], stream) }
}

/// Strided `mish_backward`: `grad_x = grad_y * mish'(x)`. Rules as for `mish_tensor_forward`.
///
/// # Safety
/// As for `mish_tensor_forward`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mish_tensor_backward(
    grad_y: *const mish_tensor,
    x: *const mish_tensor,
    grad_x: *const mish_tensor,
    stream: *mut c_void,
) -> mish_status {
    // SAFETY: the caller's promise.
    unsafe { call(Op::Backward, [grad_y, x, grad_x], stream) }
}

/// Strided `mish_double_backward`: `grad_grad_y = grad_grad_x * mish'(x)` and
/// `grad_x = grad_grad_x * grad_y * mish''(x)`. Either output may be NULL and is then skipped.
/// Rules as for `mish_tensor_forward`.
///
/// # Safety
/// As for `mish_tensor_forward`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mish_tensor_double_backward(
    grad_grad_x: *const mish_tensor,
    grad_y: *const mish_tensor,
    x: *const mish_tensor,
    grad_grad_y: *const mish_tensor,
    grad_x: *const mish_tensor,
    stream: *mut c_void,
) -> mish_status {
    let tensors = [grad_grad_x, grad_y, x, grad_grad_y, grad_x];
    // SAFETY: the caller's promise.
    unsafe { call(Op::DoubleBackward, tensors, stream) }
}

unsafe fn call<const N: usize>(
    op: Op,
    tensors: [*const mish_tensor; N],
    stream: *mut c_void,
) -> mish_status {
    guard(|| {
        let mut views = [None; N];
        for ((view, operand), tensor) in views.iter_mut().zip(op.operands()).zip(tensors) {
            // SAFETY: the caller's promise.
            if let Some(tensor) = unsafe { tensor.as_ref() } {
                // SAFETY: the caller's promise.
                *view = Some(unsafe { tensor.view(operand.name) }?);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { crate::call::run(op, &views, stream) }
    })
}

impl mish_tensor {
    /// Checks everything about the tensor that needs no other tensor.
    ///
    /// # Safety
    /// `shape` and `strides` must hold `ndim` values where they are not NULL.
    unsafe fn view(&self, name: &str) -> Result<View<'_>> {
        let device = match self.device_type {
            1 => Device::Cpu,
            // kDLCUDA, kDLCUDAHost, kDLCUDAManaged
            2 | 3 | 13 => Device::Cuda,
            other => fail!(
                UnsupportedDevice,
                "{name}: device_type {other} is neither CPU (1) nor CUDA (2, pinned 3, managed 13)"
            ),
        };
        let dtype = self.dtype.decode(name)?;
        if self.ndim < 0 || self.ndim as usize > MAX_DIMS {
            fail!(
                InvalidShape,
                "{name}: ndim is {}; 0 to {MAX_DIMS} are supported",
                self.ndim
            );
        }
        let ndim = self.ndim as usize;
        if ndim > 0 && self.shape.is_null() {
            fail!(NullPointer, "{name}: shape is NULL, but ndim is {ndim}");
        }
        // SAFETY: the caller's promise; a NULL shape has no dimensions here.
        let slice = |pointer: *mut i64| unsafe {
            if ndim == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(pointer.cast_const(), ndim)
            }
        };
        let shape = slice(self.shape);
        let strides = (!self.strides.is_null()).then(|| slice(self.strides));
        let data = if self.data.is_null() {
            self.data
        } else {
            match (self.data as usize).checked_add(self.byte_offset as usize) {
                Some(_) => self.data.wrapping_byte_add(self.byte_offset as usize),
                None => fail!(
                    TooLarge,
                    "{name}: byte_offset {} reaches past the end of the address space",
                    self.byte_offset
                ),
            }
        };
        Ok(View {
            data,
            dtype,
            device,
            device_id: self.device_id,
            shape,
            strides,
        })
    }
}

impl mish_dltype {
    fn decode(self, name: &str) -> Result<Dtype> {
        if self.lanes != 1 {
            fail!(
                UnsupportedLanes,
                "{name}: dtype has {} lanes; 1 is supported",
                self.lanes
            );
        }
        let is_it = |d: &Dtype| d.dlpack_code() == self.code && d.bits() == u32::from(self.bits);
        match Dtype::ALL.into_iter().find(is_it) {
            Some(dtype) => Ok(dtype),
            None => Err(self.unsupported(name)),
        }
    }

    /// Out of the way of every call.
    #[cold]
    fn unsupported(self, name: &str) -> Error {
        let known = Dtype::ALL.map(|d| format!("{} (code {})", d.full_name(), d.dlpack_code()));
        Error::new(
            Status::UnsupportedDtype,
            format!(
                "{name}: dtype code {} with {} bits is none of {}",
                self.code,
                self.bits,
                known.join(", ")
            ),
        )
    }
}
