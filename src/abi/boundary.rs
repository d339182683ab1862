//! Where Rust results become C statuses, and where panics stop.

use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::mish_status;
use crate::hooks;
use crate::status::{Error, Result, Status};

thread_local! {
    static LAST_ERROR: Slot = const { Slot(AtomicPtr::new(null_mut())) };
}

/// A thread's last message, which the slot owns; NULL for none. A signal handler that makes a
/// failing call may interrupt one at any instruction: so the slot is exchanged in one, never
/// borrowed.
struct Slot(AtomicPtr<c_char>);

impl Slot {
    fn replace(&self, message: Option<CString>) {
        let new = message.map_or(null_mut(), CString::into_raw);
        let old = self.0.swap(new, Ordering::Relaxed);
        hooks::reach(hooks::Place::Remembered);
        if !old.is_null() {
            // SAFETY: made by `into_raw` above, and out of the slot since.
            drop(unsafe { CString::from_raw(old) });
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.replace(None);
    }
}

/// Runs the body of an exported function. A panic, which would be a defect of the library,
/// becomes `MISH_STATUS_INTERNAL`.
pub(crate) fn guard(body: impl FnOnce() -> Result<()>) -> mish_status {
    let body = || {
        hooks::reach(hooks::Place::Entry);
        body()
    };
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("unknown panic");
        Err(Error::new(
            Status::Internal,
            format!("internal error, please report it: {what}"),
        ))
    });
    match outcome {
        Ok(()) => Status::Ok as mish_status,
        Err(error) => {
            remember(&error);
            error.status() as mish_status
        }
    }
}

fn remember(error: &Error) {
    let message = CString::new(error.message().replace('\0', " ")).unwrap_or_default();
    hooks::reach(hooks::Place::Remembering);
    // A thread that is ending may have lost its slot already; the status still tells.
    let _ = LAST_ERROR.try_with(|slot| slot.replace(Some(message)));
}

/// This thread's last failure in words, naming the argument: what was passed, what is expected.
///
/// Never NULL; empty before the first failure. A success leaves it as it was. The string is UTF-8
/// and valid until the next failing call on the same thread or the end of that thread; do not
/// free it.
#[unsafe(no_mangle)]
pub extern "C" fn mish_last_error() -> *const c_char {
    match LAST_ERROR.try_with(|slot| slot.0.load(Ordering::Relaxed)) {
        Ok(message) if !message.is_null() => message,
        _ => c"".as_ptr(),
    }
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
