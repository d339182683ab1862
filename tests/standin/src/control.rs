//! How a test steers the stand-in driver and looks into it.

use std::ffi::{CStr, c_char, c_int};

use crate::state::{Allocation, Fault, Kind, state};

/// Makes the nth call (1 is the next) of a function return `code` without doing its work.
///
/// # Safety
/// `function` must be a C string; empty means any function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_fail(
    function: *const c_char,
    nth: u32,
    code: u32,
    is_sticky: c_int,
) {
    // SAFETY: the caller's promise.
    let function = unsafe { CStr::from_ptr(function) };
    state().faults.push(Fault {
        function: function.to_string_lossy().into_owned(),
        countdown: nth,
        code,
        is_sticky: is_sticky != 0,
    });
}

/// Forgets all injected faults and errors.
#[unsafe(no_mangle)]
pub extern "C" fn standin_heal() {
    let mut state = state();
    state.faults.clear();
    for context in state.contexts.values_mut() {
        context.error = 0;
    }
}

/// How often a driver function was called; the sum of all for an empty name.
///
/// # Safety
/// `function` must be a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_calls(function: *const c_char) -> u64 {
    // SAFETY: the caller's promise.
    let function = unsafe { CStr::from_ptr(function) }.to_string_lossy();
    let state = state();
    match &*function {
        "" => state.calls.values().sum(),
        name => state.calls.get(name).copied().unwrap_or(0),
    }
}

/// The last launch: its geometry, stream and kernel. Returns how many launches there were.
///
/// # Safety
/// The pointers must be valid for writing, `name` for 64 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_last_launch(
    name: *mut c_char,
    blocks: *mut u32,
    threads: *mut u32,
    stream: *mut usize,
) -> usize {
    let state = state();
    if let Some(last) = &state.last_launch {
        let kernel = last.kernel.to_bytes();
        let length = kernel.len().min(63);
        // SAFETY: the caller's promise.
        unsafe {
            std::ptr::copy_nonoverlapping(kernel.as_ptr(), name.cast(), length);
            *name.add(length) = 0;
            *blocks = last.blocks;
            *threads = last.threads;
            *stream = last.stream;
        }
    }
    state.launches
}

/// Modules that are loaded now.
#[unsafe(no_mangle)]
pub extern "C" fn standin_modules() -> usize {
    state().modules.len()
}

/// Pretends an allocation of any size at an address: pointer queries know it, but a kernel that
/// touches it fails, unless the memory is there (the caller's) and `is_accessible` is not 0.
#[unsafe(no_mangle)]
pub extern "C" fn standin_pretend(
    address: u64,
    size: u64,
    context: usize,
    device: c_int,
    is_accessible: c_int,
) {
    let allocation = Allocation {
        size,
        kind: Kind::Device,
        context,
        device,
        memory: None,
        is_accessible: is_accessible != 0,
    };
    state().allocations.insert(address, allocation);
}

/// How many injected faults have hit, and into `name` (64 bytes) the function hit last.
///
/// # Safety
/// `name` must be valid for writing 64 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_hits(name: *mut c_char) -> u64 {
    let (function, hits) = state().hit;
    // SAFETY: the caller's promise; no driver function's name is as long.
    unsafe {
        std::ptr::copy_nonoverlapping(function.as_ptr(), name.cast(), function.len());
        *name.add(function.len()) = 0;
    }
    hits
}

/// Contexts that exist now.
#[unsafe(no_mangle)]
pub extern "C" fn standin_contexts() -> usize {
    state().contexts.len()
}

/// Gives a context a sticky error.
#[unsafe(no_mangle)]
pub extern "C" fn standin_poison(context: usize, code: u32) {
    if let Some(context) = state().contexts.get_mut(&context) {
        context.error = code;
    }
}

/// The architecture of the image loaded last; negative for PTX.
#[unsafe(no_mangle)]
pub extern "C" fn standin_last_image() -> c_int {
    state().last_image
}
