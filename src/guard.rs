//! Where results become statuses and panics stop: whatever foreign code calls, an export or a
//! framework's kernel, runs its body in [`guard`].

use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

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

/// Runs the body of a function that foreign code calls; returns its [`Status`]'s number and keeps
/// an error's message. A panic, which would be a defect of the library, becomes
/// [`Status::Internal`].
pub(crate) fn guard(body: impl FnOnce() -> Result<()>) -> i32 {
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
        Ok(()) => Status::Ok as i32,
        Err(error) => {
            remember(&error);
            error.status() as i32
        }
    }
}

fn remember(error: &Error) {
    let message = CString::new(error.message().replace('\0', " ")).unwrap_or_default();
    hooks::reach(hooks::Place::Remembering);
    // A thread that is ending may have lost its slot already; the status still tells.
    let _ = LAST_ERROR.try_with(|slot| slot.replace(Some(message)));
}

/// This thread's last message: a C string that lasts until the thread's next failure or its end,
/// empty before the first.
pub(crate) fn last_error() -> *const c_char {
    match LAST_ERROR.try_with(|slot| slot.0.load(Ordering::Relaxed)) {
        Ok(message) if !message.is_null() => message,
        _ => c"".as_ptr(),
    }
}
