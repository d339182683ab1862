//! What may cross the boundary, checked by the compiler: every type that an export takes or
//! returns is one that safer-ffi accepts (`ReprC`), through every pointer and into every field.
//!
//! It asks more than `improper_ctypes_definitions` does: a struct must say itself that it is
//! `#[repr(C)]`, and its fields, and what a pointer leads to, are held to the same. The exports
//! themselves stay plain functions, so that nothing is added to a call (see `docs/ffi.md`).
//!
//! ```
//! # use safer_ffi::layout::ReprC;
//! const fn accepted<F: ReprC + Copy>(_: F) {}
//! extern "C" fn takes(_: *const u16) {}
//! const _: () = accepted(takes as unsafe extern "C" fn(_) -> _);
//! ```
//! ```compile_fail,E0277
//! # use safer_ffi::layout::ReprC;
//! const fn accepted<F: ReprC + Copy>(_: F) {}
//! #[repr(C)]
//! struct Undeclared(u16);
//! extern "C" fn takes(_: *const Undeclared) {}
//! const _: () = accepted(takes as unsafe extern "C" fn(_) -> _);
//! ```

use safer_ffi::layout::ReprC;

use super::*;

const fn accepted<F: ReprC + Copy>(_: F) {}

/// Each export with a `_` for each parameter. `cargo xtask bindings` fails if one is not here.
macro_rules! exports {
    ($($name:ident($($parameter:tt),*);)*) => {
        $(const _: () = accepted($name as unsafe extern "C" fn($($parameter),*) -> _);)*
    };
}

exports! {
    mish_last_error();
    mish_status_name(_);
    mish_warmup(_, _);
    mish_device_count(_, _);
    mish_set_num_threads(_);
    mish_version();
    mish_abi_version();
    mish_build_info();
    mish_forward(_, _, _, _, _, _);
    mish_backward(_, _, _, _, _, _, _);
    mish_double_backward(_, _, _, _, _, _, _, _, _);
    mish_tensor_forward(_, _, _);
    mish_tensor_backward(_, _, _, _);
    mish_tensor_double_backward(_, _, _, _, _, _);
    mish_torch_register(_, _, _);
    mish_torch_replace(_);
}
