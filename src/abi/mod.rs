//! Every symbol the library exports, and nothing else.
//!
//! The functions decode and check what crosses the boundary, call the safe layers and turn the
//! outcome into a status and this thread's last error. Their documentation becomes
//! `include/mish.h`.
#![allow(non_camel_case_types)]
#![deny(improper_ctypes_definitions)]

mod accepted;
mod errors;
mod info;
mod pointwise;
mod tensor;
mod torch;

pub use errors::{mish_last_error, mish_status_name};
pub use info::{
    mish_abi_version, mish_build_info, mish_device_count, mish_set_num_threads, mish_version,
    mish_warmup,
};
pub use pointwise::{mish_backward, mish_double_backward, mish_forward};
pub use tensor::{
    mish_dltype, mish_tensor, mish_tensor_backward, mish_tensor_double_backward,
    mish_tensor_forward,
};
pub use torch::{mish_torch_register, mish_torch_replace};

/// The ABI's number: grows when a function, constant or struct changes meaning or goes away.
pub const MISH_ABI_VERSION: u32 = 1;

/// The outcome of a call: `MISH_STATUS_OK` (0) or one of the other `MISH_STATUS_*` constants.
pub type mish_status = i32;

/// A kind of device: `MISH_DEVICE_CPU` or `MISH_DEVICE_CUDA`, with DLPack's numbers.
pub type mish_device = i32;

/// An element type: one of the `MISH_DTYPE_*` constants.
pub type mish_dtype = i32;

/// Host memory.
pub const MISH_DEVICE_CPU: mish_device = 1;
/// Memory of an NVIDIA GPU, or pinned or managed memory.
pub const MISH_DEVICE_CUDA: mish_device = 2;

/// IEEE 754 binary16.
pub const MISH_DTYPE_F16: mish_dtype = 1;
/// bfloat16: the upper half of a binary32.
pub const MISH_DTYPE_BF16: mish_dtype = 2;
/// IEEE 754 binary32.
pub const MISH_DTYPE_F32: mish_dtype = 3;
/// IEEE 754 binary64.
pub const MISH_DTYPE_F64: mish_dtype = 4;
