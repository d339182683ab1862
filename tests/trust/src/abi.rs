//! The library under test, through its C ABI.

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

pub use crate::catalogue::{Dtype, Op};

/// Pointers as the ABI takes them.
pub type Pointer = *mut c_void;

/// `mish_tensor`, which is DLPack's `DLTensor`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tensor {
    pub data: Pointer,
    pub device_type: i32,
    pub device_id: i32,
    pub ndim: i32,
    pub code: u8,
    pub bits: u8,
    pub lanes: u16,
    pub shape: *const i64,
    pub strides: *const i64,
    pub byte_offset: u64,
}

macro_rules! functions {
    ($($field:ident($($type:ty),*) -> $result:ty;)*) => {
        /// The library's functions.
        #[allow(dead_code)]
        pub struct Library { $(pub $field: unsafe extern "C" fn($($type),*) -> $result,)* }

        impl Library {
            /// Opens it; closing is the caller's business.
            pub fn open() -> (libloading::Library, Library) {
                let path = std::env::var("MISH_LIBRARY").expect("MISH_LIBRARY");
                // SAFETY: its initialisers have no requirements, and the signatures are mish.h's.
                unsafe {
                    let library = libloading::Library::new(path).expect("the library opens");
                    let table = Library {
                        $($field: *library
                            .get(concat!(stringify!($field), "\0").as_bytes())
                            .expect(stringify!($field)),)*
                    };
                    (library, table)
                }
            }
        }
    };
}

functions! {
    mish_forward(i32, i32, Pointer, Pointer, usize, Pointer) -> i32;
    mish_backward(i32, i32, Pointer, Pointer, Pointer, usize, Pointer) -> i32;
    mish_double_backward(i32, i32, Pointer, Pointer, Pointer, Pointer, Pointer, usize, Pointer) -> i32;
    mish_tensor_forward(*const Tensor, *const Tensor, Pointer) -> i32;
    mish_tensor_backward(*const Tensor, *const Tensor, *const Tensor, Pointer) -> i32;
    mish_tensor_double_backward(
        *const Tensor, *const Tensor, *const Tensor, *const Tensor, *const Tensor, Pointer
    ) -> i32;
    mish_warmup(i32, i32) -> i32;
    mish_device_count(i32, *mut i32) -> i32;
    mish_set_num_threads(u32) -> i32;
    mish_status_name(i32) -> *const c_char;
    mish_last_error() -> *const c_char;
    mish_version() -> *const c_char;
    mish_abi_version() -> u32;
    mish_build_info() -> *const c_char;
    mish_torch_register(*const c_char, *const c_char, i32) -> i32;
    mish_torch_replace(i32) -> i32;
}

/// The library, opened at the first use and kept.
pub fn mish() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let (library, table) = Library::open();
        std::mem::forget(library);
        table
    })
}

pub const CPU: i32 = 1;
pub const CUDA: i32 = 2;

pub mod status {
    pub const OK: i32 = 0;
    pub const NULL_POINTER: i32 = 1;
    pub const INVALID_STREAM: i32 = 7;
    pub const TOO_LARGE: i32 = 6;
    pub const INVALID_ORDINAL: i32 = 8;
    pub const DEVICE_MISMATCH: i32 = 40;
    pub const NOT_DEVICE_POINTER: i32 = 41;
    pub const NOT_HOST_POINTER: i32 = 42;
    pub const OUT_OF_BOUNDS: i32 = 43;
    pub const STREAM_MISMATCH: i32 = 44;
    pub const NO_DRIVER: i32 = 61;
    pub const DRIVER_TOO_OLD: i32 = 62;
    pub const NO_DEVICE: i32 = 63;
    pub const NO_KERNEL_IMAGE: i32 = 64;
    pub const CAPTURE_UNSUPPORTED: i32 = 65;
    pub const OUT_OF_MEMORY: i32 = 66;
    pub const DRIVER_ERROR: i32 = 67;
    pub const INTERNAL: i32 = 90;
}

/// Calls an operation on contiguous operands.
pub fn call(op: Op, device: i32, dtype: Dtype, p: &[Pointer], n: usize, stream: Pointer) -> i32 {
    call_raw(op, device, dtype as i32, p, n, stream)
}

/// The same with any number for the type.
pub fn call_raw(op: Op, device: i32, dtype: i32, p: &[Pointer], n: usize, stream: Pointer) -> i32 {
    let m = mish();
    // SAFETY: the tests pass memory that is valid, or that the library must refuse.
    unsafe {
        match op {
            Op::Forward => (m.mish_forward)(device, dtype, p[0], p[1], n, stream),
            Op::Backward => (m.mish_backward)(device, dtype, p[0], p[1], p[2], n, stream),
            Op::DoubleBackward => {
                (m.mish_double_backward)(device, dtype, p[0], p[1], p[2], p[3], p[4], n, stream)
            }
        }
    }
}

/// Calls an operation on tensors.
pub fn call_tensors(op: Op, t: &[*const Tensor], stream: Pointer) -> i32 {
    let m = mish();
    // SAFETY: as for `call_raw`.
    unsafe {
        match op {
            Op::Forward => (m.mish_tensor_forward)(t[0], t[1], stream),
            Op::Backward => (m.mish_tensor_backward)(t[0], t[1], t[2], stream),
            Op::DoubleBackward => {
                (m.mish_tensor_double_backward)(t[0], t[1], t[2], t[3], t[4], stream)
            }
        }
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
