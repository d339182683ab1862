//! The library under test, through its C ABI.

#[rustfmt::skip]
#[path = "../../abi/declarations.rs"]
mod declarations;

use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

pub use crate::catalogue::{Dtype, Op};
pub use declarations::{
    Library, MISH_DEVICE_CPU as CPU, MISH_DEVICE_CUDA as CUDA, mish_dltype, mish_tensor as Tensor,
    status,
};

/// Pointers as the ABI takes them.
pub type Pointer = *mut c_void;

/// Opens the library; closing is the caller's business.
pub fn open() -> (libloading::Library, Library) {
    let path = std::env::var("MISH_LIBRARY").expect("MISH_LIBRARY");
    // SAFETY: its initialisers have no requirements, and it is this repository's.
    unsafe {
        let library = libloading::Library::new(path).expect("the library opens");
        let table = Library::of(&library).expect("every function");
        (library, table)
    }
}

/// The library, opened at the first use and kept.
pub fn mish() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let (library, table) = open();
        std::mem::forget(library);
        table
    })
}

/// Calls an operation on contiguous operands.
pub fn call(op: Op, device: i32, dtype: Dtype, p: &[Pointer], n: usize, stream: Pointer) -> i32 {
    call_raw(op, device, dtype as i32, p, n, stream)
}

/// The same with any number for the type.
pub fn call_raw(op: Op, device: i32, dtype: i32, p: &[Pointer], n: usize, stream: Pointer) -> i32 {
    // SAFETY: the tests pass memory that is valid, or that the library must refuse.
    unsafe { mish().call(op, device, dtype, p, n, stream) }
}

/// Calls an operation on tensors.
pub fn call_tensors(op: Op, t: &[*const Tensor], stream: Pointer) -> i32 {
    // SAFETY: as for `call_raw`.
    unsafe { mish().call_tensors(op, t, stream) }
}

/// An element type as a tensor has it.
pub fn dltype(dtype: Dtype) -> mish_dltype {
    let (code, bits) = dtype.dlpack();
    mish_dltype {
        code,
        bits,
        lanes: 1,
    }
}

/// What the last failure of this thread was.
pub fn last_error() -> String {
    // SAFETY: never NULL, ends in NUL.
    unsafe { CStr::from_ptr((mish().mish_last_error)()) }
        .to_string_lossy()
        .into_owned()
}

/// Asserts that a call succeeded.
#[track_caller]
pub fn succeeded(status: i32) {
    assert_eq!(status, status::OK, "{}", last_error());
}

/// Asserts that a call failed with a status and a message that contains `part`.
#[track_caller]
pub fn failed(got: i32, expected: i32, part: &str) {
    assert_eq!(got, expected, "{}", last_error());
    let message = last_error();
    assert!(message.contains(part), "{message:?} lacks {part:?}");
}
