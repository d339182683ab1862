//! Versions, devices, settings.

use std::ffi::{CString, c_char};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{MISH_ABI_VERSION, mish_device, mish_status};
use crate::cpu::Simd;
use crate::gpu::{Backend, Cuda};
use crate::guard::guard;
use crate::job::Device;
use crate::status::fail;

/// Loads what the first call on a device would load (for CUDA: the kernels), so that later calls
/// start at once, for instance before a CUDA graph capture. Does nothing for the CPU.
///
/// `device`: `MISH_DEVICE_CPU` or `MISH_DEVICE_CUDA`. `ordinal`: which device of that kind,
/// from 0. For CUDA the kernels go into the context that a first call on the device would run in:
/// the calling thread's current one if it is on the device, else the device's primary context.
/// Each context needs its own.
#[unsafe(no_mangle)]
pub extern "C" fn mish_warmup(device: mish_device, ordinal: i32) -> mish_status {
    guard(|| crate::call::warmup(Device::from_code(device)?, ordinal))
}

/// Writes the number of devices of a kind to `*count`: 1 for the CPU; for CUDA what the driver
/// reports, which may be 0.
///
/// Returns `MISH_STATUS_NO_DRIVER` on a machine without the CUDA driver; `*count` is then left
/// as it was.
///
/// `device`: `MISH_DEVICE_CPU` or `MISH_DEVICE_CUDA`. `count`: where to write the number.
///
/// # Safety
/// `count` must be NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mish_device_count(device: mish_device, count: *mut i32) -> mish_status {
    guard(|| {
        let device = Device::from_code(device)?;
        if count.is_null() {
            fail!(NullPointer, "count: is NULL");
        }
        let found = crate::call::device_count(device)?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { count.write(found) };
        Ok(())
    })
}

/// Sets the most threads that a call on the CPU uses, the calling one included; 0 restores the
/// default (`RAYON_NUM_THREADS`, else the CPUs this process may use, either as it was when first
/// needed). Small calls stay on the calling thread, and no call uses more threads than its work
/// feeds. Holds for the whole process from the next call on.
///
/// `threads`: how many, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn mish_set_num_threads(threads: u32) -> mish_status {
    guard(|| {
        crate::cpu::set_num_threads(threads);
        Ok(())
    })
}

/// The library's version, such as `"0.1.0"`. The string is static.
#[unsafe(no_mangle)]
pub extern "C" fn mish_version() -> *const c_char {
    const { concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast() }
}

/// The ABI's version: equal to `MISH_ABI_VERSION` of the header that a program was compiled with
/// if the two fit together.
#[unsafe(no_mangle)]
pub extern "C" fn mish_abi_version() -> u32 {
    MISH_ABI_VERSION
}

/// What this library is and what it runs on, as a JSON object: version, instruction set and
/// threads of the CPU backend, and for CUDA the embedded kernel images, the driver and the
/// devices it sees. The string is static: written at the first call.
#[unsafe(no_mangle)]
pub extern "C" fn mish_build_info() -> *const c_char {
    /// No lock, which a fork could leave locked: at worst two threads write it, and one's stays.
    static INFO: AtomicPtr<c_char> = AtomicPtr::new(null_mut());
    let known = INFO.load(Ordering::Acquire);
    if !known.is_null() {
        return known;
    }
    let text = format!(
        r#"{{"version": "{}", "abi": {MISH_ABI_VERSION}, "simd": "{}", "threads": {}, "cuda": {}}}"#,
        env!("CARGO_PKG_VERSION"),
        Simd::active().name(),
        crate::cpu::num_threads(),
        cuda(),
    );
    let new = CString::new(text).unwrap_or_default().into_raw();
    match INFO.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => new,
        Err(others) => {
            // SAFETY: made above and seen by nobody.
            drop(unsafe { CString::from_raw(new) });
            others
        }
    }
}

/// The CUDA part: the embedded images, the driver's CUDA version or why there is none, and the
/// devices; `null` if this build has none.
fn cuda() -> String {
    fn list(items: impl Iterator<Item = String>) -> String {
        format!("[{}]", items.collect::<Vec<_>>().join(", "))
    }
    let quote = |text: Option<&str>| text.map_or_else(|| "null".into(), quoted);
    let Some(info) = Cuda::info() else {
        return "null".into();
    };
    let devices = list(info.devices.iter().map(|device| {
        let (major, minor) = device.compute_capability;
        format!(
            r#"{{"ordinal": {}, "name": {}, "compute_capability": "{major}.{minor}", "image": {}}}"#,
            device.ordinal,
            quoted(&device.name),
            quote(device.image.as_deref()),
        )
    }));
    format!(
        r#"{{"images": {}, "driver": {}, "error": {}, "devices": {devices}}}"#,
        list(info.images.iter().map(|image| quoted(image))),
        quote(info.driver.as_deref().ok()),
        quote(info.driver.as_ref().err().map(crate::Error::message)),
    )
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut json = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => json.push(' '),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}
