//! Test hooks: places where a test makes the library panic, as a defect of it would. Built only
//! with the `test-hooks` feature; otherwise nothing is left of them.

/// A place where a panic can be forced. The numbers are those of `mish_test_panic_at`.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub(crate) enum Place {
    /// In the body of every exported function.
    Entry = 1,
    /// In the host backend, on whichever thread does a part of the work.
    HostWork = 2,
    /// In a call on the GPU, with its context current.
    DeviceCall = 3,
    /// While kernels are being loaded, with the lock on them held.
    Loading = 4,
}

/// Panics if this is the place that was armed.
#[cfg(feature = "test-hooks")]
pub(crate) fn reach(place: Place) {
    use std::sync::atomic::Ordering::Relaxed;
    let armed = armed::PLACE.compare_exchange(place as u32, 0, Relaxed, Relaxed);
    assert!(armed.is_err(), "forced by a test at {place:?}");
}

#[cfg(not(feature = "test-hooks"))]
#[inline(always)]
pub(crate) fn reach(_: Place) {}

#[cfg(feature = "test-hooks")]
mod armed {
    use std::sync::atomic::{AtomicU32, Ordering};

    pub static PLACE: AtomicU32 = AtomicU32::new(0);

    /// Arms one panic at a place; 0 disarms.
    #[unsafe(no_mangle)]
    pub extern "C" fn mish_test_panic_at(place: u32) {
        PLACE.store(place, Ordering::Relaxed);
    }
}
