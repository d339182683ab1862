//! Which context a call runs in, and the kernels loaded there.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::driver::{
    CAPTURE_RELAXED, Code, Context, DeviceAttribute, Driver, Function, LAZY_LOADING, Module,
    NOT_CAPTURING, Stream,
};
use super::launch::Failure;
use super::memory::{Kind, Memory};
use crate::gpu::geometry::Capacity;
use crate::gpu::image::{Image, images_for};
use crate::gpu::kernel::KernelTable;
use crate::hooks;
use crate::job::Job;
use crate::status::{Error, Result, Status, fail};

/// Driver with which loading during a capture is known to work.
const LOADS_IN_CAPTURE: i32 = 12_030;

/// A context that is current until this is dropped.
pub(super) struct Current<'a> {
    driver: &'a Driver,
    pushed: bool,
}

impl<'a> Current<'a> {
    /// Makes `context` current if it is not.
    pub fn enter(driver: &'a Driver, context: Context) -> Result<Self> {
        let pushed = current(driver)? != context;
        if pushed {
            // SAFETY: a context that the driver named; a stale one is reported.
            let code = unsafe { (driver.context_push)(context) };
            driver.check("cuCtxPushCurrent", code)?;
        }
        Ok(Current { driver, pushed })
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        if self.pushed {
            let mut popped = null_mut();
            // SAFETY: pops what `enter` pushed.
            let _ = unsafe { (self.driver.context_pop)(&mut popped) };
        }
    }
}

/// This thread's current context; NULL if there is none.
fn current(driver: &Driver) -> Result<Context> {
    let mut context = null_mut();
    // SAFETY: the address is valid for writing.
    let code = unsafe { (driver.context_current)(&mut context) };
    driver.check("cuCtxGetCurrent", code)?;
    Ok(context)
}

/// The current context, if it is on this device.
fn current_on(driver: &Driver, ordinal: i32) -> Result<Option<Context>> {
    let context = current(driver)?;
    if context.is_null() {
        return Ok(None);
    }
    let mut device = -1;
    // SAFETY: the address is valid for writing. A CUdevice is the device's ordinal.
    let code = unsafe { (driver.context_device)(&mut device) };
    driver.check("cuCtxGetDevice", code)?;
    Ok((device == ordinal).then_some(context))
}

/// Whether a stream handle stands for a default stream, which exists in every context: NULL,
/// `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`.
fn is_default_stream(stream: Stream) -> bool {
    const PER_THREAD: usize = 2;
    stream as usize <= PER_THREAD
}

/// The context a job runs in: the stream's, else that of the memory.
pub(super) fn resolve(
    driver: &Driver,
    job: &Job,
    home: &Memory,
    stream: Stream,
) -> Result<Context> {
    if !is_default_stream(stream) {
        let mut context = null_mut();
        // SAFETY: the caller promises a stream; the address is valid for writing.
        let code = unsafe { (driver.stream_context)(stream, &mut context) };
        match code {
            Code::SUCCESS => {}
            Code::INVALID_HANDLE | Code::INVALID_VALUE | Code::INVALID_CONTEXT => fail!(
                InvalidStream,
                "stream: {stream:p} is not a CUDA stream ({})",
                driver.name(code)
            ),
            _ => return Err(driver.error("stream: cuStreamGetCtx", code)),
        }
        let other = home.kind == Kind::Device
            && !home.context.is_null()
            && home.context != context
            && !is_green(driver, stream);
        if other {
            fail!(
                StreamMismatch,
                "stream: belongs to another context than the operands' memory (on device {})",
                home.ordinal
            );
        }
        return Ok(context);
    }
    if home.kind == Kind::Device {
        if !home.context.is_null() {
            return Ok(home.context);
        }
        return on_device(driver, home.ordinal);
    }
    // Pinned and managed memory is good on every device: the tensor's, else the current one.
    if let Some(ordinal) = job.device_id {
        check_ordinal(driver, "device_id", ordinal)?;
        return on_device(driver, ordinal);
    }
    match current(driver)? {
        context if !context.is_null() => Ok(context),
        _ if !home.context.is_null() => Ok(home.context),
        _ => on_device(driver, home.ordinal.max(0)),
    }
}

/// The current context if it is on the device, else the device's primary context.
pub(super) fn on_device(driver: &Driver, ordinal: i32) -> Result<Context> {
    match current_on(driver, ordinal)? {
        Some(context) => Ok(context),
        None => primary(driver, ordinal),
    }
}

/// Whether a stream belongs to a green context, which shares its device's primary context's
/// memory under a context handle of its own.
#[cold]
fn is_green(driver: &Driver, stream: Stream) -> bool {
    let Some(stream_green_context) = driver.stream_green_context else {
        return false;
    };
    let mut green = null_mut();
    // SAFETY: a valid stream, and an address valid for writing.
    let code = unsafe { stream_green_context(stream, &mut green) };
    code == Code::SUCCESS && !green.is_null()
}

/// Fails unless the ordinal names a device.
pub(super) fn check_ordinal(driver: &Driver, name: &str, ordinal: i32) -> Result<()> {
    let count = device_count(driver)?;
    if !(0..count).contains(&ordinal) {
        fail!(
            InvalidOrdinal,
            "{name}: {ordinal} names no device; the CUDA driver sees {count}"
        );
    }
    Ok(())
}

pub(super) fn device_count(driver: &Driver) -> Result<i32> {
    let mut count = 0;
    // SAFETY: the address is valid for writing.
    let code = unsafe { (driver.device_count)(&mut count) };
    driver.check("cuDeviceGetCount", code)?;
    Ok(count)
}

/// The device's primary context, retained once and kept, so that work queued in it goes on after
/// the call.
fn primary(driver: &Driver, ordinal: i32) -> Result<Context> {
    static RETAINED: Mutex<Vec<(i32, usize)>> = Mutex::new(Vec::new());
    let mut retained = RETAINED.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut flags, mut active) = (0, 0);
    // SAFETY: the addresses are valid for writing.
    let code = unsafe { (driver.primary_state)(ordinal, &mut flags, &mut active) };
    driver.check("cuDevicePrimaryCtxGetState", code)?;
    let known = retained.iter().position(|&(device, _)| device == ordinal);
    if let Some(i) = known {
        // Inactive after all means that somebody reset the device.
        if active != 0 {
            return Ok(retained[i].1 as Context);
        }
        retained.swap_remove(i);
    }
    let mut context = null_mut();
    let _relaxed = Relaxed::enter(driver)?;
    // SAFETY: the address is valid for writing.
    let code = unsafe { (driver.primary_retain)(&mut context, ordinal) };
    driver.check("cuDevicePrimaryCtxRetain", code)?;
    retained.push((ordinal, context as usize));
    if known.is_some() {
        // The kernels went with the reset; the id may have stayed.
        forget(id(driver, context)?);
    }
    Ok(context)
}

/// Lets this thread make calls that another stream's capture would otherwise forbid.
struct Relaxed<'a> {
    driver: &'a Driver,
    before: u32,
}

impl<'a> Relaxed<'a> {
    fn enter(driver: &'a Driver) -> Result<Self> {
        let mut before = CAPTURE_RELAXED;
        // SAFETY: the address is valid for reading and writing.
        let code = unsafe { (driver.exchange_capture_mode)(&mut before) };
        driver.check("cuThreadExchangeStreamCaptureMode", code)?;
        Ok(Relaxed { driver, before })
    }
}

impl Drop for Relaxed<'_> {
    fn drop(&mut self) {
        // SAFETY: gives back the mode that was found.
        let _ = unsafe { (self.driver.exchange_capture_mode)(&mut self.before) };
    }
}

/// The kernels of a context and what launching them needs to know.
pub(super) struct Kernels {
    /// The context's; [`FORGOTTEN`] once the driver no longer knows the kernels, which every thread
    /// that remembers them sees here.
    id: AtomicU64,
    pub ordinal: i32,
    pub capacity: Capacity,
    pub functions: KernelTable<Function>,
}

// SAFETY: driver handles, which every thread may use.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

/// No context's id: they are counted from the start of the process.
const FORGOTTEN: u64 = u64::MAX;

const SLOTS: usize = 8;
type Slot = Cell<Option<&'static Kernels>>;

thread_local! {
    /// The contexts this thread used last, so that the usual call takes no lock.
    static RECENT: [Slot; SLOTS] = const { [const { Cell::new(None) }; SLOTS] };
}

type Loaded = HashMap<u64, &'static Kernels>;

/// The kernels of every context, by the context's id: ids are never used again, addresses are.
/// Entries outlive their context, at a kilobyte each.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

fn lock_loaded() -> MutexGuard<'static, Option<Loaded>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The id of a context, unique in the process.
pub(super) fn id(driver: &Driver, context: Context) -> Result<u64> {
    let mut id = 0;
    // SAFETY: a context that the driver named, and an address valid for writing.
    let code = unsafe { (driver.context_id)(context, &mut id) };
    driver.check("cuCtxGetId", code)?;
    Ok(id)
}

/// The kernels of the context with this id, which must be current; loads them at the first use.
/// `stream` is what the caller is about to use: it may be capturing.
pub(super) fn kernels(driver: &Driver, id: u64, stream: Stream) -> Result<&'static Kernels> {
    let slot = id as usize % SLOTS;
    let recent = RECENT.try_with(|recent| recent[slot].get());
    if let Ok(Some(kernels)) = recent
        && kernels.id.load(Ordering::Relaxed) == id
    {
        return Ok(kernels);
    }
    let mut loaded = lock_loaded();
    let loaded = loaded.get_or_insert_default();
    let kernels = match loaded.get(&id) {
        Some(kernels) => kernels,
        None => {
            let (kernels, loading) = load(driver, id, stream)?;
            keep(loaded, kernels, loading)
        }
    };
    let _ = RECENT.try_with(|recent| recent[slot].set(Some(kernels)));
    Ok(kernels)
}

/// Launches again after a launch with `stale` failed as if the driver no longer knew these kernels,
/// which go with a device that is reset: with those that another thread has loaded since, else with
/// fresh ones. Fresh ones that fail as well show that the fault lay elsewhere, and are unloaded.
#[cold]
pub(super) fn launch_again(
    driver: &Driver,
    stale: &Kernels,
    id: u64,
    stream: Stream,
    launch: impl FnOnce(&Kernels) -> std::result::Result<(), Failure>,
) -> std::result::Result<(), Failure> {
    let mut loaded = lock_loaded();
    let loaded = loaded.get_or_insert_default();
    match loaded.get(&id) {
        Some(others) if !std::ptr::eq(*others, stale) => return launch(others),
        _ => {}
    }
    // For the unloading, too.
    let _relaxed = Relaxed::enter(driver)?;
    let (kernels, loading) = load(driver, id, stream)?;
    launch(&kernels)?;
    stale.id.store(FORGOTTEN, Ordering::Relaxed);
    keep(loaded, kernels, loading);
    Ok(())
}

/// Keeps a context's kernels for as long as the process lives.
fn keep(loaded: &mut Loaded, kernels: Kernels, loading: Loading<'_>) -> &'static Kernels {
    // The context owns the module from here on.
    std::mem::forget(loading);
    let id = kernels.id.load(Ordering::Relaxed);
    let kernels: &'static Kernels = Box::leak(Box::new(kernels));
    loaded.insert(id, kernels);
    kernels
}

/// Forgets a context's kernels, in every thread, because the driver no longer knows them.
fn forget(id: u64) {
    if let Some(kernels) = lock_loaded().get_or_insert_default().remove(&id) {
        kernels.id.store(FORGOTTEN, Ordering::Relaxed);
    }
}

/// A module that is unloaded again unless it is kept.
struct Loading<'a> {
    driver: &'a Driver,
    module: Module,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        // SAFETY: a module that was loaded and whose functions nobody holds.
        let _ = unsafe { (self.driver.module_unload)(self.module) };
    }
}

/// Loads the kernels into the current context, which has this id.
#[cold]
fn load(driver: &Driver, id: u64, stream: Stream) -> Result<(Kernels, Loading<'_>)> {
    let mut ordinal = 0;
    // SAFETY: the address is valid for writing. A CUdevice is the device's ordinal.
    let code = unsafe { (driver.context_device)(&mut ordinal) };
    driver.check("cuCtxGetDevice", code)?;

    let mut mode = 0;
    // SAFETY: the address is valid for writing.
    let code = unsafe { (driver.loading_mode)(&mut mode) };
    driver.check("cuModuleGetLoadingMode", code)?;
    let is_lazy = mode == LAZY_LOADING;

    let can_load =
        driver.version >= LOADS_IN_CAPTURE && (!is_lazy || driver.function_load.is_some());
    if !can_load && is_capturing(driver, stream)? {
        fail!(
            CaptureUnsupported,
            "stream: is being captured, and this driver ({}) cannot load kernels meanwhile; call \
             mish_warmup(MISH_DEVICE_CUDA, {ordinal}) before the capture",
            super::driver::Version(driver.version)
        );
    }
    // Also when this stream is not capturing: another one may be.
    let _relaxed = Relaxed::enter(driver)?;

    let (loading, image) = load_image(driver, ordinal)?;
    hooks::reach(hooks::Place::Loading);
    let find = |name: &CStr| find_function(driver, loading.module, name, is_lazy);
    let attribute =
        |attribute| Ok::<u64, Error>(driver.attribute(attribute, ordinal)?.max(1) as u64);
    let multiprocessors = attribute(DeviceAttribute::Multiprocessors)?;
    let threads = attribute(DeviceAttribute::ThreadsPerMultiprocessor)?;
    let kernels = Kernels {
        id: AtomicU64::new(id),
        ordinal,
        capacity: Capacity {
            multiprocessors,
            resident_threads: multiprocessors * threads,
        },
        functions: KernelTable::load(image.sm, find)?,
    };
    Ok((kernels, loading))
}

fn find_function(driver: &Driver, module: Module, name: &CStr, is_lazy: bool) -> Result<Function> {
    let mut function = null_mut();
    // SAFETY: a loaded module, a C string, and an address valid for writing.
    let code = unsafe { (driver.module_function)(&mut function, module, name.as_ptr()) };
    driver.check("cuModuleGetFunction", code)?;
    // A launch that has to load first would fail in a capture.
    if is_lazy && let Some(function_load) = driver.function_load {
        // SAFETY: a function of a loaded module.
        let code = unsafe { function_load(function) };
        driver.check("cuFuncLoad", code)?;
    }
    Ok(function)
}

/// Loads the best image that the driver takes.
fn load_image(driver: &Driver, ordinal: i32) -> Result<(Loading<'_>, &'static Image)> {
    let capability @ (major, minor) = driver.compute_capability(ordinal)?;
    let mut refused = Vec::new();
    for image in images_for(capability) {
        let bytes = image.inflate()?;
        let mut module = null_mut();
        // SAFETY: a whole image (PTX ends in NUL), and an address valid for writing.
        let code = unsafe { (driver.module_load)(&mut module, bytes.as_ptr().cast()) };
        match code {
            Code::SUCCESS => return Ok((Loading { driver, module }, image)),
            Code::NO_BINARY_FOR_GPU | Code::INVALID_PTX | Code::UNSUPPORTED_PTX_VERSION => {
                refused.push(format!("{}: {}", image.name(), driver.name(code)));
            }
            code => return Err(driver.error("cuModuleLoadData", code)),
        }
    }
    let why = match refused.is_empty() {
        true => "compute capability 6.0 or newer is needed".to_owned(),
        false => format!("the driver took none of {}", refused.join("; ")),
    };
    Err(Error::new(
        Status::NoKernelImage,
        format!(
            "device: no kernel for device {ordinal} (compute capability {major}.{minor}): {why}"
        ),
    ))
}

fn is_capturing(driver: &Driver, stream: Stream) -> Result<bool> {
    let mut status = NOT_CAPTURING;
    // SAFETY: the caller promises a stream; the address is valid for writing.
    let code = unsafe { (driver.stream_is_capturing)(stream, &mut status) };
    match code {
        Code::SUCCESS => Ok(status != NOT_CAPTURING),
        // The legacy stream while another one captures.
        Code::CAPTURE_IMPLICIT => Ok(true),
        code => Err(driver.error("stream: cuStreamIsCapturing", code)),
    }
}
