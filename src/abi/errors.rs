//! Failures in words.

use std::ffi::c_char;

use super::mish_status;
use crate::guard;
use crate::status::Status;

/// This thread's last failure in words, naming the argument: what was passed, what is expected.
///
/// Never NULL; empty before the first failure. A success leaves it as it was. The string is UTF-8
/// and valid until the next failing call on the same thread or the end of that thread; do not
/// free it.
#[unsafe(no_mangle)]
pub extern "C" fn mish_last_error() -> *const c_char {
    guard::last_error()
}

/// The name of a status, such as `"MISH_STATUS_NULL_POINTER"`, or `"MISH_STATUS_UNKNOWN"` for a
/// number that is none. Never NULL; the string is static.
///
/// `status`: what a call returned.
#[unsafe(no_mangle)]
pub extern "C" fn mish_status_name(status: mish_status) -> *const c_char {
    match Status::from_code(status) {
        Some(status) => status.c_name().as_ptr(),
        None => c"MISH_STATUS_UNKNOWN".as_ptr(),
    }
}
