//! The kernels that `kernels.cpp` compiles for the host.

use std::ffi::{CStr, c_char, c_void};

/// A piece of memory that a launch may touch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub start: u64,
    pub end: u64,
}

/// `Kernel` in kernels.cpp.
#[repr(C)]
pub struct Kernel {
    name: *const c_char,
    pub max_threads: u32,
    prepare: unsafe extern "C" fn(*mut *mut c_void) -> *mut c_void,
    run: unsafe extern "C" fn(*const c_void, u32, u32, u32, u32, *const Range, usize) -> u64,
    destroy: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: constant data and functions without state.
unsafe impl Sync for Kernel {}

include!(concat!(env!("OUT_DIR"), "/declarations.rs"));

/// The kernel of an image, by architecture and name.
pub fn find(sm: u32, name: &CStr) -> Option<&'static Kernel> {
    type Find = unsafe extern "C" fn(*const c_char) -> *const Kernel;
    let find: Option<Find> = include!(concat!(env!("OUT_DIR"), "/variants.rs"));
    // SAFETY: a C string; the answer is NULL or static.
    unsafe { find?(name.as_ptr()).as_ref() }
}

/// A launch with its parameters copied.
pub struct Launch {
    kernel: &'static Kernel,
    prepared: *mut c_void,
    pub blocks: u32,
    pub threads: u32,
}

// SAFETY: owns its copy of the parameters.
unsafe impl Send for Launch {}

impl Launch {
    /// # Safety
    /// `parameters` must point to the kernel's parameters.
    pub unsafe fn new(
        kernel: &'static Kernel,
        blocks: u32,
        threads: u32,
        parameters: *mut *mut c_void,
    ) -> Launch {
        // SAFETY: the caller's promise.
        let prepared = unsafe { (kernel.prepare)(parameters) };
        Launch {
            kernel,
            prepared,
            blocks,
            threads,
        }
    }

    /// The kernel's name.
    pub fn name(&self) -> &'static CStr {
        // SAFETY: a static C string.
        unsafe { CStr::from_ptr(self.kernel.name) }
    }

    /// Runs it; an address outside `ranges`, or one not aligned for its access, is the error.
    pub fn run(&self, blocks: std::ops::Range<u32>, ranges: &[Range]) -> Result<(), u64> {
        // SAFETY: a prepared launch; every access is checked against the ranges.
        let fault = unsafe {
            (self.kernel.run)(
                self.prepared,
                self.blocks,
                self.threads,
                blocks.start,
                blocks.end,
                ranges.as_ptr(),
                ranges.len(),
            )
        };
        if fault == 0 { Ok(()) } else { Err(fault) }
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        // SAFETY: made by `prepare`, dropped once.
        unsafe { (self.kernel.destroy)(self.prepared) }
    }
}
