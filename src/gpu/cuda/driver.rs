//! The CUDA driver: found at run time, and called without trusting it.
//!
//! cudarc supplies the types. Its bindings are not called: they panic where libcuda or a symbol is
//! missing, and return a Rust enum, for which an error code newer than the enum would be undefined
//! behaviour. Nor is its lookup, which takes a toolkit's stub before the driver. Here every
//! function is resolved once, returns a plain number, and an absent library or symbol is an
//! [`Error`].

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use cudarc::driver::sys;
use libloading::os::unix::{Library, RTLD_LAZY};

use crate::fork::fork_generation;
use crate::status::{Error, Result, Status, fail};

pub(super) use sys::{
    CUcontext as Context, CUfunction as Function, CUmodule as Module, CUstream as Stream,
};

/// The oldest driver that loads the images: 12.0 (R525).
const MINIMUM_VERSION: i32 = 12_000;

/// What a driver function returned; 0 is success.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
#[must_use]
pub(super) struct Code(pub u32);

/// The codes that are told apart, by the numbers in the driver's documentation.
impl Code {
    pub const SUCCESS: Code = Code(0);
    pub const INVALID_VALUE: Code = Code(1);
    pub const OUT_OF_MEMORY: Code = Code(2);
    pub const NOT_INITIALIZED: Code = Code(3);
    pub const STUB_LIBRARY: Code = Code(34);
    pub const NO_DEVICE: Code = Code(100);
    pub const INVALID_CONTEXT: Code = Code(201);
    pub const NO_BINARY_FOR_GPU: Code = Code(209);
    pub const INVALID_PTX: Code = Code(218);
    pub const UNSUPPORTED_PTX_VERSION: Code = Code(222);
    pub const INVALID_HANDLE: Code = Code(400);
    pub const CONTEXT_IS_DESTROYED: Code = Code(709);
    pub const CAPTURE_IMPLICIT: Code = Code(906);
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Declares the table of function pointers: a field, the symbol, the parameters.
macro_rules! functions {
    (
        required { $($field:ident = $symbol:literal ($($parameter:ty),*);)* }
        optional { $($option:ident = $option_symbol:literal ($($option_parameter:ty),*);)* }
    ) => {
        /// The driver's functions.
        pub(super) struct Driver {
            $(pub $field: unsafe extern "C" fn($($parameter),*) -> Code,)*
            $(pub $option: Option<unsafe extern "C" fn($($option_parameter),*) -> Code>,)*
            /// What the driver supports: 1000 · major + 10 · minor.
            pub version: i32,
        }

        impl Driver {
            /// # Safety
            /// `get` must return addresses of the CUDA driver's functions.
            unsafe fn resolve(
                version: i32,
                get: impl Fn(&'static CStr) -> Option<*mut c_void>,
            ) -> Result<Driver> {
                Ok(Driver {
                    $($field: {
                        let Some(address) = get($symbol) else { return Err(missing($symbol, version)) };
                        // SAFETY: the symbol has this signature in every driver, and all of its
                        // result codes are 32-bit numbers.
                        unsafe {
                            std::mem::transmute::<
                                *mut c_void,
                                unsafe extern "C" fn($($parameter),*) -> Code,
                            >(address)
                        }
                    },)*
                    // SAFETY: as above.
                    $($option: get($option_symbol).map(|address| unsafe {
                        std::mem::transmute::<
                            *mut c_void,
                            unsafe extern "C" fn($($option_parameter),*) -> Code,
                        >(address)
                    }),)*
                    version,
                })
            }
        }
    };
}

functions! {
    required {
        init = c"cuInit" (c_uint);
        get_error_name = c"cuGetErrorName" (Code, *mut *const c_char);
        device_count = c"cuDeviceGetCount" (*mut c_int);
        device_get = c"cuDeviceGet" (*mut c_int, c_int);
        device_name = c"cuDeviceGetName" (*mut c_char, c_int, c_int);
        device_attribute = c"cuDeviceGetAttribute" (*mut c_int, c_uint, c_int);
        primary_retain = c"cuDevicePrimaryCtxRetain" (*mut Context, c_int);
        primary_state = c"cuDevicePrimaryCtxGetState" (c_int, *mut c_uint, *mut c_int);
        context_push = c"cuCtxPushCurrent_v2" (Context);
        context_pop = c"cuCtxPopCurrent_v2" (*mut Context);
        context_current = c"cuCtxGetCurrent" (*mut Context);
        context_device = c"cuCtxGetDevice" (*mut c_int);
        context_id = c"cuCtxGetId" (Context, *mut u64);
        stream_context = c"cuStreamGetCtx" (Stream, *mut Context);
        stream_is_capturing = c"cuStreamIsCapturing" (Stream, *mut c_uint);
        exchange_capture_mode = c"cuThreadExchangeStreamCaptureMode" (*mut c_uint);
        pointer_attributes = c"cuPointerGetAttributes"
            (c_uint, *const c_uint, *const *mut c_void, u64);
        module_load = c"cuModuleLoadData" (*mut Module, *const c_void);
        module_unload = c"cuModuleUnload" (Module);
        module_function = c"cuModuleGetFunction" (*mut Function, Module, *const c_char);
        loading_mode = c"cuModuleGetLoadingMode" (*mut c_uint);
        launch = c"cuLaunchKernel" (
            Function, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Stream,
            *mut *mut c_void, *mut *mut c_void
        );
    }
    optional {
        // From 12.4 on.
        function_load = c"cuFuncLoad" (Function);
        // From 12.4 on.
        stream_green_context = c"cuStreamGetGreenCtx" (Stream, *mut *mut c_void);
    }
}

fn missing(symbol: &CStr, version: i32) -> Error {
    Error::new(
        Status::DriverTooOld,
        format!(
            "device: the CUDA driver ({}) lacks {}; driver 525 (CUDA 12.0) or newer is needed",
            Version(version),
            symbol.to_string_lossy()
        ),
    )
}

/// A CUDA version as the driver encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(pub i32);

impl Version {
    /// Such as `12.8`.
    pub fn number(self) -> String {
        format!("{}.{}", self.0 / 1000, self.0 % 1000 / 10)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CUDA {}", self.number())
    }
}

/// The only name that is opened: the driver's own name for itself, by which the loader also finds
/// one that is loaded already, from wherever. A toolkit's `libcuda.so` is a stub to link with.
const LIBRARY: &str = "libcuda.so.1";

/// In which process the driver was first used: twice the fork generation, plus 1 once it is known
/// to be initialised; 0 before.
static USED: AtomicU64 = AtomicU64::new(0);

/// What [`USED`] is where the driver can be called.
fn initialised() -> u64 {
    2 * fork_generation() + 1
}

/// Whether the driver was in use when this process was forked: it cannot use it, and a lock that
/// another thread held in the driver at the fork stays locked. A driver that was only loaded is as
/// good here as there.
fn is_left_behind() -> bool {
    let used = USED.load(Ordering::Relaxed);
    used != 0 && used / 2 != fork_generation()
}

/// Notes that the driver answers as one that somebody has initialised.
pub(super) fn answered() {
    let now = initialised();
    if USED.load(Ordering::Relaxed) != now {
        USED.store(now, Ordering::Release);
    }
}

/// The functions of libcuda, once they are found. No lock, which a fork in another thread would
/// leave locked in its child.
static TABLE: AtomicPtr<Driver> = AtomicPtr::new(std::ptr::null_mut());

/// The driver, loaded and initialised.
#[inline]
pub(super) fn driver() -> Result<&'static Driver> {
    let table = TABLE.load(Ordering::Acquire);
    if !table.is_null() && USED.load(Ordering::Acquire) == initialised() {
        // SAFETY: a table is never freed or changed once it is there.
        return Ok(unsafe { &*table });
    }
    prepare()
}

#[cold]
fn prepare() -> Result<&'static Driver> {
    if is_left_behind() {
        fail!(
            DriverError,
            "device: this process was forked after CUDA was initialised and cannot use it; \
             start it with exec (Python: the \"spawn\" start method)"
        );
    }
    let driver = find()?;
    initialise(driver)?;
    Ok(driver)
}

/// Opens libcuda; it stays open.
fn open(flags: c_int) -> std::result::Result<Library, libloading::Error> {
    // SAFETY: libcuda's initialisers have no requirements.
    unsafe { Library::open(Some(LIBRARY), RTLD_LAZY | flags) }
}

/// The functions of libcuda, found at the first success; a failure may be mended until the next
/// call.
fn find() -> Result<&'static Driver> {
    let mut table = TABLE.load(Ordering::Acquire);
    if table.is_null() {
        let library = match open(0) {
            // The addresses must stay good: never closed.
            Ok(library) => ManuallyDrop::new(library),
            Err(error) => fail!(
                NoDriver,
                "device: MISH_DEVICE_CUDA needs the NVIDIA driver, but its library {LIBRARY} cannot \
                 be opened ({error}); install the driver, or make it visible in this container"
            ),
        };
        let get = |symbol: &'static CStr| {
            // SAFETY: only the address is taken.
            let address = unsafe { library.get::<*mut c_void>(symbol.to_bytes_with_nul()) };
            address.ok().map(|address| *address)
        };
        // SAFETY: the symbols are libcuda's.
        let found = Box::into_raw(Box::new(unsafe { resolve(get) }?));
        table = found;
        let none = std::ptr::null_mut();
        let stored = TABLE.compare_exchange(none, found, Ordering::AcqRel, Ordering::Acquire);
        if let Err(other) = stored {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(found) });
            table = other;
        }
    }
    // SAFETY: a table is never freed or changed once it is there.
    Ok(unsafe { &*table })
}

/// # Safety
/// `get` must return addresses of the CUDA driver's functions.
unsafe fn resolve(get: impl Fn(&'static CStr) -> Option<*mut c_void>) -> Result<Driver> {
    let Some(address) = get(c"cuDriverGetVersion") else {
        return Err(missing(c"cuDriverGetVersion", 0));
    };
    // SAFETY: the symbol's signature.
    let get_version = unsafe {
        std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_int) -> Code>(address)
    };
    let mut version = 0;
    // SAFETY: the address is valid for writing. Works before cuInit.
    let code = unsafe { get_version(&mut version) };
    match code {
        Code::SUCCESS => {}
        Code::STUB_LIBRARY => return Err(stub()),
        _ => fail!(
            NoDriver,
            "device: the CUDA driver does not tell its version (error {code:?})"
        ),
    }
    if version < MINIMUM_VERSION {
        fail!(
            DriverTooOld,
            "device: the CUDA driver supports {}; driver 525 ({}) or newer is needed",
            Version(version),
            Version(MINIMUM_VERSION)
        );
    }
    // SAFETY: the caller's promise.
    unsafe { Driver::resolve(version, get) }
}

/// A toolkit's stub goes by the driver's name, too.
fn stub() -> Error {
    Error::new(
        Status::NoDriver,
        format!(
            "device: the {LIBRARY} that was found or loaded before is a CUDA toolkit's stub, not \
             the NVIDIA driver; take its folder off the library path"
        ),
    )
}

fn initialise(driver: &'static Driver) -> Result<()> {
    if USED.load(Ordering::Acquire) == initialised() {
        return Ok(());
    }
    // Before the call: a fork in the middle of it leaves the child a driver half made.
    let begun = 2 * fork_generation();
    let _ = USED.compare_exchange(0, begun, Ordering::AcqRel, Ordering::Relaxed);
    // SAFETY: 0 is the only flag there is; initialising twice is harmless.
    let code = unsafe { (driver.init)(0) };
    if code == Code::SUCCESS {
        answered();
        return Ok(());
    }
    let _ = USED.compare_exchange(begun, 0, Ordering::AcqRel, Ordering::Relaxed);
    match code {
        Code::NO_DEVICE => fail!(
            NoDevice,
            "device: the CUDA driver sees no GPU ({}); is one visible here, and is \
             CUDA_VISIBLE_DEVICES right?",
            driver.name(code)
        ),
        Code::STUB_LIBRARY => Err(stub()),
        Code::OUT_OF_MEMORY => Err(driver.error("cuInit", code)),
        Code::NOT_INITIALIZED => fail!(
            NoDriver,
            "device: the CUDA driver cannot be initialised ({}); a process that was forked after \
             CUDA was initialised cannot use it",
            driver.name(code)
        ),
        _ => fail!(
            NoDriver,
            "device: the CUDA driver cannot be initialised ({})",
            driver.name(code)
        ),
    }
}

impl Driver {
    /// `CUDA_ERROR_…` and the number.
    pub fn name(&self, code: Code) -> String {
        let mut name = std::ptr::null();
        // SAFETY: the address is valid for writing; the driver returns static strings.
        let known = unsafe { (self.get_error_name)(code, &mut name) } == Code::SUCCESS;
        if known && !name.is_null() {
            // SAFETY: not NULL, and the driver's string ends in NUL.
            let name = unsafe { CStr::from_ptr(name) };
            format!("{}, {}", name.to_string_lossy(), code.0)
        } else {
            format!("CUDA error {}", code.0)
        }
    }

    /// What a failing driver call means to the caller.
    pub fn error(&self, what: &str, code: Code) -> Error {
        let status = match code {
            Code::OUT_OF_MEMORY => Status::OutOfMemory,
            Code::NO_DEVICE => Status::NoDevice,
            Code::NO_BINARY_FOR_GPU | Code::INVALID_PTX | Code::UNSUPPORTED_PTX_VERSION => {
                Status::NoKernelImage
            }
            _ => Status::DriverError,
        };
        Error::new(status, format!("{what} failed: {}", self.name(code)))
    }

    /// `Ok` for success, else the error of call `what`.
    pub fn check(&self, what: &str, code: Code) -> Result<()> {
        match code {
            Code::SUCCESS => Ok(()),
            code => Err(self.error(what, code)),
        }
    }

    /// A device's compute capability, major and minor.
    pub fn compute_capability(&self, ordinal: i32) -> Result<(i32, i32)> {
        let major = self.attribute(DeviceAttribute::Major, ordinal)?;
        let minor = self.attribute(DeviceAttribute::Minor, ordinal)?;
        Ok((major, minor))
    }

    /// A device's attribute.
    pub fn attribute(&self, attribute: DeviceAttribute, ordinal: i32) -> Result<i32> {
        let mut value = 0;
        // SAFETY: the address is valid for writing; bad numbers are reported.
        let code = unsafe { (self.device_attribute)(&mut value, attribute as u32, ordinal) };
        self.check("cuDeviceGetAttribute", code)?;
        Ok(value)
    }
}

/// The device attributes that are asked for.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum DeviceAttribute {
    Multiprocessors = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as u32,
    ThreadsPerMultiprocessor =
        sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR as u32,
    Major = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as u32,
    Minor = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as u32,
}

/// The pointer attributes that are asked for.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum PointerAttribute {
    Context = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_CONTEXT as u32,
    MemoryType = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE as u32,
    IsManaged = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_IS_MANAGED as u32,
    Ordinal = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL as u32,
    RangeStart = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR as u32,
    RangeSize = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_RANGE_SIZE as u32,
}

/// `CU_MEMORYTYPE_HOST`: page-locked host memory.
pub(super) const MEMORY_TYPE_HOST: u32 = sys::CUmemorytype::CU_MEMORYTYPE_HOST as u32;
/// `CU_STREAM_CAPTURE_MODE_RELAXED`.
pub(super) const CAPTURE_RELAXED: u32 =
    sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED as u32;
/// `CU_STREAM_CAPTURE_STATUS_NONE`.
pub(super) const NOT_CAPTURING: u32 =
    sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE as u32;
/// `CU_MODULE_LAZY_LOADING`.
pub(super) const LAZY_LOADING: u32 = sys::CUmoduleLoadingMode::CU_MODULE_LAZY_LOADING as u32;

/// The type of `cuPointerGetAttributes`.
pub(super) type PointerQuery =
    unsafe extern "C" fn(c_uint, *const c_uint, *const *mut c_void, u64) -> Code;

/// `cuPointerGetAttributes` of a libcuda that this process has loaded, if any. Never loads it.
///
/// The child of a fork finds what its parent had found or what it uses through this library itself,
/// and looks no further: the loader's lock, which the C library leaves as it was, may be one that
/// another thread of the parent held.
pub(super) fn loaded_pointer_query() -> Option<PointerQuery> {
    static QUERY: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    /// How many objects the process had loaded when the search last failed, plus one.
    static SEARCHED_AT: AtomicU64 = AtomicU64::new(0);
    /// The process that first searched.
    static SEARCHED_IN: AtomicU64 = AtomicU64::new(0);

    if is_left_behind() {
        return None;
    }
    // Acquire: what the address points to was mapped by the thread that stored it.
    let mut address = QUERY.load(Ordering::Acquire);
    if address.is_null() {
        // SAFETY: a table is never freed or changed once it is there.
        if let Some(driver) = unsafe { TABLE.load(Ordering::Acquire).as_ref() } {
            return Some(driver.pointer_attributes);
        }
        let process = fork_generation();
        match SEARCHED_IN.compare_exchange(0, process, Ordering::Relaxed, Ordering::Relaxed) {
            Err(searched) if searched != process => return None,
            _ => {}
        }
        // Asking the loader by name costs microseconds, its counter nanoseconds.
        let objects = objects_loaded() + 1;
        if SEARCHED_AT.load(Ordering::Relaxed) == objects {
            return None;
        }
        let Ok(library) = open(libc::RTLD_NOLOAD) else {
            // Only now: until then other threads have to search for themselves.
            SEARCHED_AT.store(objects, Ordering::Relaxed);
            return None;
        };
        // The address must stay good: never closed.
        let library = ManuallyDrop::new(library);
        // SAFETY: only the address is taken.
        address = unsafe {
            *library
                .get::<*mut c_void>(b"cuPointerGetAttributes\0")
                .ok()?
        };
        QUERY.store(address, Ordering::Release);
    }
    // SAFETY: the symbol's signature.
    Some(unsafe { std::mem::transmute::<*mut c_void, PointerQuery>(address) })
}

/// How many shared objects were ever loaded into this process.
fn objects_loaded() -> u64 {
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        adds: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes a valid entry, and `adds` is the caller's variable.
        unsafe { *adds.cast::<u64>() = (*info).dlpi_adds };
        1
    }
    let mut adds = 0_u64;
    // SAFETY: the callback matches and only writes `adds`.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut adds).cast()) };
    adds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_without_a_needed_symbol_is_too_old() {
        unsafe extern "C" fn version(version: *mut c_int) -> Code {
            // SAFETY: the caller's variable.
            unsafe { *version = 12_080 };
            Code::SUCCESS
        }
        // SAFETY: nothing but the version function is called.
        let result = unsafe {
            resolve(|symbol| (symbol != c"cuCtxGetId").then_some(version as *mut c_void))
        };
        let error = result.err().expect("a symbol is missing");
        assert_eq!(error.status(), Status::DriverTooOld);
        assert!(error.message().contains("cuCtxGetId"), "{error}");
        assert!(error.message().contains("CUDA 12.8"), "{error}");
    }

    #[test]
    fn an_old_driver_is_too_old() {
        unsafe extern "C" fn version(version: *mut c_int) -> Code {
            // SAFETY: the caller's variable.
            unsafe { *version = 11_080 };
            Code::SUCCESS
        }
        // SAFETY: nothing but the version function is called.
        let result = unsafe { resolve(|_| Some(version as *mut c_void)) };
        let error = result.err().expect("11.8 is too old");
        assert_eq!(error.status(), Status::DriverTooOld);
        assert!(error.message().contains("CUDA 11.8"), "{error}");
    }

    #[test]
    fn objects_are_counted() {
        assert!(objects_loaded() > 0);
    }
}
