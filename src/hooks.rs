//! Test hooks: places where a test makes the library panic, as a defect of it would, or a signal
//! interrupt it. Built only with the `test-hooks` feature; otherwise nothing is left of them.

/// A place where something can be forced. The numbers are those of `mish_test_panic_at` and
/// `mish_test_raise_at`.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
#[allow(dead_code, reason = "some are in backends, which may not be built")]
pub(crate) enum Place {
    /// In the body of every exported function.
    Entry = 1,
    /// In the host backend, on whichever thread does a part of the work.
    HostWork = 2,
    /// In a call on the GPU, with its context current.
    DeviceCall = 3,
    /// While kernels are being loaded, with the lock on them held.
    Loading = 4,
    /// In a failing call that has made its message and not kept it yet. No panic is caught here.
    Remembering = 5,
    /// In a failing call that has kept its message and not freed the one before.
    Remembered = 6,
}

/// Panics, or raises a signal, if this is the place that was armed.
#[cfg(feature = "test-hooks")]
pub(crate) fn reach(place: Place) {
    use std::sync::atomic::Ordering::Relaxed;
    let armed = armed::PLACE.compare_exchange(place as u32, 0, Relaxed, Relaxed);
    if armed.is_ok() {
        let signal = armed::SIGNAL.swap(0, Relaxed);
        assert!(signal != 0, "forced by a test at {place:?}");
        // SAFETY: the test that armed it handles the signal.
        unsafe { libc::raise(signal) };
    }
}

#[cfg(not(feature = "test-hooks"))]
#[inline(always)]
pub(crate) fn reach(_: Place) {}

#[cfg(feature = "test-hooks")]
mod armed {
    use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

    pub static PLACE: AtomicU32 = AtomicU32::new(0);
    /// What is raised; 0: a panic.
    pub static SIGNAL: AtomicI32 = AtomicI32::new(0);

    /// Arms one panic at a place; 0 disarms.
    #[unsafe(no_mangle)]
    pub extern "C" fn mish_test_panic_at(place: u32) {
        mish_test_raise_at(place, 0);
    }

    /// Arms one signal, raised on the thread that reaches a place.
    #[unsafe(no_mangle)]
    pub extern "C" fn mish_test_raise_at(place: u32, signal: i32) {
        SIGNAL.store(signal, Ordering::Relaxed);
        PLACE.store(place, Ordering::Relaxed);
    }
}
