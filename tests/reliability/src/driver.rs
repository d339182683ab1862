//! The stand-in driver, as an application uses it.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use crate::abi::Pointer;

macro_rules! functions {
    ($($field:ident($($type:ty),*) -> $result:ty;)*) => {
        #[allow(non_snake_case, dead_code)]
        pub struct Driver { $(pub $field: unsafe extern "C" fn($($type),*) -> $result,)* }

        fn open() -> Driver {
            // SAFETY: the stand-in has no initialisers; the signatures are its own.
            unsafe {
                let library = libloading::Library::new("libcuda.so.1").expect("the stand-in opens");
                let driver = Driver {
                    $($field: *library
                        .get(concat!(stringify!($field), "\0").as_bytes())
                        .expect(stringify!($field)),)*
                };
                std::mem::forget(library);
                driver
            }
        }
    };
}

functions! {
    cuInit(c_uint) -> u32;
    cuDevicePrimaryCtxRetain(*mut usize, c_int) -> u32;
    cuDevicePrimaryCtxReset_v2(c_int) -> u32;
    cuCtxCreate_v2(*mut usize, c_uint, c_int) -> u32;
    cuCtxDestroy_v2(usize) -> u32;
    cuCtxSetCurrent(usize) -> u32;
    cuCtxGetCurrent(*mut usize) -> u32;
    cuCtxPushCurrent_v2(usize) -> u32;
    cuCtxPopCurrent_v2(*mut usize) -> u32;
    cuStreamCreate(*mut usize, c_uint) -> u32;
    cuStreamDestroy_v2(usize) -> u32;
    cuStreamSynchronize(usize) -> u32;
    cuStreamBeginCapture_v2(usize, c_uint) -> u32;
    cuStreamEndCapture(usize, *mut usize) -> u32;
    cuGraphInstantiateWithFlags(*mut usize, usize, u64) -> u32;
    cuGraphLaunch(usize, usize) -> u32;
    cuThreadExchangeStreamCaptureMode(*mut c_uint) -> u32;
    cuMemAlloc_v2(*mut u64, usize) -> u32;
    cuMemAllocAsync(*mut u64, usize, usize) -> u32;
    cuMemAllocManaged(*mut u64, usize, c_uint) -> u32;
    cuMemAllocHost_v2(*mut u64, usize) -> u32;
    cuMemFree_v2(u64) -> u32;
    standin_fail(*const c_char, u32, u32, c_int) -> ();
    standin_heal() -> ();
    standin_calls(*const c_char) -> u64;
    standin_last_launch(*mut c_char, *mut u32, *mut u32, *mut usize) -> usize;
    standin_modules() -> usize;
    standin_contexts() -> usize;
    standin_last_image() -> c_int;
    standin_pretend(u64, u64, usize, c_int, c_int) -> ();
    standin_hits(*mut c_char) -> u64;
    standin_poison(usize, u32) -> ();
    standin_tensor(Pointer, usize, *const i64, *const i64, i32, i32, i32) -> Pointer;
    standin_tensors() -> usize;
    standin_use_stream(i32, usize) -> ();
    standin_operator(*const c_char, *mut u64, u64, u64) -> i32;
    standin_thrown() -> *const c_char;
    aoti_torch_delete_tensor_object(Pointer) -> i32;
    aoti_torch_get_data_ptr(Pointer, *mut Pointer) -> i32;
    aoti_torch_get_strides(Pointer, *mut *const i64) -> i32;
}

/// The driver, opened at the first use.
pub fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(open)
}

/// Asserts that a driver call succeeded.
#[track_caller]
pub fn ok(code: u32) {
    assert_eq!(code, 0, "a driver call failed");
}

/// Fetches one value that a driver call writes.
#[track_caller]
pub fn get<T: Default>(call: impl FnOnce(*mut T) -> u32) -> T {
    let mut value = T::default();
    ok(call(&mut value));
    value
}

pub fn init() {
    // SAFETY: plain values.
    ok(unsafe { (driver().cuInit)(0) });
}

/// A new context, current on this thread.
pub fn create_context(device: i32) -> usize {
    // SAFETY: the pointer is valid for writing, here and below.
    get(|to| unsafe { (driver().cuCtxCreate_v2)(to, 0, device) })
}

pub fn destroy_context(context: usize) {
    // SAFETY: a plain value, here and below.
    ok(unsafe { (driver().cuCtxDestroy_v2)(context) });
}

/// Makes a context this thread's only one; 0 leaves it without any.
pub fn set_current(context: usize) {
    while current() != 0 {
        // SAFETY: NULL pops one context, as the driver documents.
        ok(unsafe { (driver().cuCtxSetCurrent)(0) });
    }
    // SAFETY: as above.
    ok(unsafe { (driver().cuCtxSetCurrent)(context) });
}

pub fn current() -> usize {
    // SAFETY: as above.
    get(|to| unsafe { (driver().cuCtxGetCurrent)(to) })
}

pub fn create_stream() -> Pointer {
    // SAFETY: as above.
    get::<usize>(|to| unsafe { (driver().cuStreamCreate)(to, 0) }) as Pointer
}

/// Makes the nth driver call from now (of a function, or of any) return a code.
pub fn fail(function: &str, nth: u32, code: u32, is_sticky: bool) {
    let function = CString::new(function).expect("no NUL");
    // SAFETY: a C string.
    unsafe { (driver().standin_fail)(function.as_ptr(), nth, code, is_sticky.into()) };
}

/// Takes all faults back.
pub fn heal() {
    // SAFETY: no arguments.
    unsafe { (driver().standin_heal)() };
}

/// How many faults have hit, and the function hit last.
pub fn hits() -> (u64, String) {
    let mut name = [0_u8; 64];
    // SAFETY: 64 bytes.
    let count = unsafe { (driver().standin_hits)(name.as_mut_ptr().cast()) };
    (count, text(&name))
}

fn text(name: &[u8]) -> String {
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

pub fn calls(function: &str) -> u64 {
    let function = CString::new(function).expect("no NUL");
    // SAFETY: a C string.
    unsafe { (driver().standin_calls)(function.as_ptr()) }
}

pub fn contexts() -> usize {
    // SAFETY: no arguments.
    unsafe { (driver().standin_contexts)() }
}

pub fn modules() -> usize {
    // SAFETY: no arguments.
    unsafe { (driver().standin_modules)() }
}

/// What the last launch was.
#[derive(Debug, Default)]
pub struct Launch {
    pub count: usize,
    pub kernel: String,
    pub blocks: u32,
    pub threads: u32,
    pub stream: usize,
}

pub fn last_launch() -> Launch {
    let mut name = [0_u8; 64];
    let mut launch = Launch::default();
    // SAFETY: valid for writing.
    launch.count = unsafe {
        (driver().standin_last_launch)(
            name.as_mut_ptr().cast(),
            &mut launch.blocks,
            &mut launch.threads,
            &mut launch.stream,
        )
    };
    launch.kernel = text(&name);
    launch
}

/// Where memory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Host,
    /// The current context's.
    Device,
    Pool,
    Managed,
    Pinned,
}

/// A buffer with a guard on either side, filled with a pattern.
pub struct Buffer {
    base: u64,
    size: usize,
    place: Place,
    host: Vec<u128>,
}

/// Guard bytes on either side, a multiple of every alignment.
const GUARD: usize = 128;
const PATTERN: u8 = 0xa5;

impl Buffer {
    pub fn new(place: Place, size: usize) -> Buffer {
        let whole = size + 2 * GUARD;
        let mut host = Vec::new();
        let d = driver_if(place);
        // SAFETY: valid for writing.
        let base = unsafe {
            match place {
                Place::Host => {
                    host = vec![0_u128; whole.div_ceil(16) + 16];
                    (host.as_ptr() as u64).next_multiple_of(256)
                }
                Place::Device => get(|to| (d.unwrap().cuMemAlloc_v2)(to, whole)),
                Place::Pool => get(|to| (d.unwrap().cuMemAllocAsync)(to, whole, 0)),
                Place::Managed => get(|to| (d.unwrap().cuMemAllocManaged)(to, whole, 1)),
                Place::Pinned => get(|to| (d.unwrap().cuMemAllocHost_v2)(to, whole)),
            }
        };
        let buffer = Buffer {
            base,
            size,
            place,
            host,
        };
        buffer.reset();
        buffer
    }

    /// Fills everything with the pattern.
    pub fn reset(&self) {
        // SAFETY: the buffer's own memory.
        unsafe { std::ptr::write_bytes(self.base as *mut u8, PATTERN, self.size + 2 * GUARD) };
    }

    /// The start of the usable part.
    pub fn pointer(&self) -> Pointer {
        (self.base + GUARD as u64) as usize as Pointer
    }

    /// Bytes into the usable part.
    pub fn at(&self, bytes: usize) -> Pointer {
        assert!(bytes <= self.size);
        self.pointer().wrapping_byte_add(bytes)
    }

    /// The usable part.
    #[allow(clippy::mut_from_ref)]
    pub fn bytes(&self) -> &mut [u8] {
        // SAFETY: the buffer's own memory; the tests hold one such slice at a time.
        unsafe { std::slice::from_raw_parts_mut(self.pointer().cast(), self.size) }
    }

    /// Asserts that nothing outside `from..to` of the usable part was written.
    #[track_caller]
    pub fn only_written(&self, from: usize, to: usize) {
        // SAFETY: the buffer's own memory.
        let all =
            unsafe { std::slice::from_raw_parts(self.base as *const u8, self.size + 2 * GUARD) };
        let is_clean = |part: &[u8]| part.iter().all(|&byte| byte == PATTERN);
        assert!(is_clean(&all[..GUARD + from]), "written before the output");
        assert!(is_clean(&all[GUARD + to..]), "written after the output");
    }

    /// Asserts that nothing was written at all.
    #[track_caller]
    pub fn untouched(&self) {
        self.only_written(self.size, self.size);
    }
}

fn driver_if(place: Place) -> Option<&'static Driver> {
    (place != Place::Host).then(driver)
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.place != Place::Host {
            // The context may have gone first. SAFETY: a plain value.
            let _ = unsafe { (driver().cuMemFree_v2)(self.base) };
        }
        let _ = &self.host;
    }
}

/// Address space that costs no memory until it is touched.
pub struct Reserved {
    pub address: *mut c_void,
    size: usize,
}

impl Reserved {
    pub fn new(size: usize) -> Reserved {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
        assert_ne!(address, libc::MAP_FAILED, "address space");
        Reserved { address, size }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: made by `new`.
        unsafe { libc::munmap(self.address, self.size) };
    }
}

/// The image of the module loaded last, such as `sm_90` or `compute_60`.
pub fn last_image() -> String {
    // SAFETY: no arguments.
    let image = unsafe { (driver().standin_last_image)() };
    match image {
        0.. => format!("sm_{image}"),
        _ => format!("compute_{}", -image),
    }
}
