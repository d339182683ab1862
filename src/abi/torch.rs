//! Exports for PyTorch.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;

use super::mish_status;
use crate::adapters::torch;
use crate::guard::guard;
use crate::status::fail;

/// Registers the operators `mish::forward`, `mish::forward_`, `mish::forward.out`,
/// `mish::backward` and `mish::double_backward` with the PyTorch of this process, for the CPU
/// and, if it has CUDA, for GPUs. Does nothing the second time.
///
/// `libtorch_cpu`: path of `libtorch_cpu.so`. `libtorch_cuda`: path of `libtorch_cuda.so`, or
/// NULL for a PyTorch without CUDA. `define`: 1 also declares the operators' schemas, as a
/// program without Python needs; 0 expects them declared, as the Python package does to give them
/// tags. Autograd is not part of it: that is in the Python package and in `mish/torch.hpp`.
///
/// Returns `MISH_STATUS_MISSING_SYMBOL`, naming the functions, for a PyTorch older than 2.9.
///
/// # Safety
/// The paths must be NULL or C strings that name the libraries of a PyTorch that stays loaded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mish_torch_register(
    libtorch_cpu: *const c_char,
    libtorch_cuda: *const c_char,
    define: i32,
) -> mish_status {
    guard(|| {
        if libtorch_cpu.is_null() {
            fail!(NullPointer, "libtorch_cpu: is NULL");
        }
        // SAFETY: the caller's promise.
        unsafe {
            let cpu = path(libtorch_cpu);
            let cuda = (!libtorch_cuda.is_null()).then(|| path(libtorch_cuda));
            torch::register(cpu, cuda, define != 0)
        }
    })
}

/// With `on` = 1, puts the library's kernels in the place of PyTorch's own for `aten::mish`,
/// `aten::mish_` and `aten::mish_backward`, on the CPU and, if PyTorch has CUDA, on GPUs, for
/// the whole process; with `on` = 0 PyTorch's own are back. Repeating either does nothing.
/// PyTorch's own autograd rule stays.
///
/// No other thread may run these operators during the call.
#[unsafe(no_mangle)]
pub extern "C" fn mish_torch_replace(on: i32) -> mish_status {
    guard(|| torch::replace(on != 0))
}

/// # Safety
/// A C string that outlives the result.
unsafe fn path<'a>(pointer: *const c_char) -> &'a OsStr {
    // SAFETY: the caller's promise.
    OsStr::from_bytes(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}
