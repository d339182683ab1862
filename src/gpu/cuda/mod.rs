//! The CUDA backend: the driver found at run time, the kernels embedded.
//!
//! A call checks its operands' memory (`memory`), finds the context it runs in and the kernels
//! there (`context`) and launches one of them (`launch`). It never waits for the device, allocates
//! nothing on it, and leaves the caller's current context as it was.

pub(in crate::gpu) mod context;
mod driver;
mod launch;
mod memory;

use std::ffi::c_void;

use context::{Current, Kernels};
use driver::{Code, Driver, Stream, driver};
use memory::{Kind, Memory};

use crate::gpu::image;
use crate::hooks;
use crate::job::Job;
use crate::status::{Error, Result, Status, fail};

/// Runs a job on a stream, asynchronously.
///
/// # Safety
/// The operands must stay valid until the stream has done the work; `stream` must be NULL, a
/// stream, or one of the driver's special handles.
pub(crate) unsafe fn run(job: &Job, stream: *mut c_void) -> Result<()> {
    let driver = driver()?;
    let stream: Stream = stream.cast();
    let home = memory::check(driver, job)?;
    let context = context::resolve(driver, job, &home, stream)?;
    let _current = Current::enter(driver, context)?;
    hooks::reach(hooks::Place::DeviceCall);
    let id = context::id(driver, context)?;
    let kernels = context::kernels(driver, id, stream)?;
    // SAFETY: the caller's promise.
    let submit = |kernels: &Kernels| unsafe { submit(driver, kernels, job, &home, stream) };
    let code = match submit(kernels)? {
        Code::SUCCESS => return Ok(()),
        // The kernels may have gone with a device that was reset.
        Code::INVALID_HANDLE | Code::CONTEXT_IS_DESTROYED => {
            context::launch_again(driver, kernels, id, stream, submit)?
        }
        code => code,
    };
    launched(driver, code)
}

unsafe fn submit(
    driver: &Driver,
    kernels: &Kernels,
    job: &Job,
    home: &Memory,
    stream: Stream,
) -> Result<Code> {
    if home.kind == Kind::Device && home.ordinal != kernels.ordinal {
        fail!(
            StreamMismatch,
            "stream: is of device {}, but the operands are memory of device {}",
            kernels.ordinal,
            home.ordinal
        );
    }
    if let Some(expected) = job.device_id
        && expected != kernels.ordinal
    {
        fail!(
            StreamMismatch,
            "stream: is of device {}, but the tensors say device {expected}",
            kernels.ordinal
        );
    }
    // SAFETY: the caller's promise, and the memory was checked.
    unsafe { launch::launch(driver, kernels, job, stream) }
}

fn launched(driver: &Driver, code: Code) -> Result<()> {
    match code {
        Code::SUCCESS => Ok(()),
        Code::INVALID_HANDLE => fail!(
            InvalidStream,
            "stream: is not a CUDA stream ({})",
            driver.name(code)
        ),
        code => Err(driver.error("cuLaunchKernel", code)),
    }
}

/// Loads the kernels into the context that a first call on the device would use: the current one
/// if it is on that device, else the primary one.
pub(crate) fn warmup(ordinal: i32) -> Result<()> {
    let driver = driver()?;
    context::check_ordinal(driver, "ordinal", ordinal)?;
    let context = context::on_device(driver, ordinal)?;
    let _current = Current::enter(driver, context)?;
    let id = context::id(driver, context)?;
    context::kernels(driver, id, std::ptr::null_mut()).map(|_| ())
}

/// The devices that the driver sees.
pub(crate) fn device_count() -> Result<i32> {
    match driver() {
        Ok(driver) => context::device_count(driver),
        Err(error) if error.status() == Status::NoDevice => Ok(0),
        Err(error) => Err(error),
    }
}

/// Fails for device memory passed as host memory. Asks only a driver that this process has
/// already loaded and initialised.
pub(crate) fn check_host_pointers(job: &Job) -> Result<()> {
    let Some(query) = driver::loaded_pointer_query() else {
        return Ok(());
    };
    for (_, operand, pointer) in job.present() {
        let Ok(memory) = Memory::at(query, pointer) else {
            continue;
        };
        driver::answered();
        if memory.kind == Kind::Device {
            fail!(
                NotHostPointer,
                "{}: {pointer:p} was passed with MISH_DEVICE_CPU but is memory of CUDA device {}",
                operand.name,
                memory.ordinal
            );
        }
    }
    Ok(())
}

/// What the backend consists of and finds.
#[derive(Debug)]
pub(crate) struct Info {
    /// The embedded images, such as `sm_90` and `compute_60`.
    pub images: Vec<String>,
    /// What the driver supports, such as `12.8`; or why there is none.
    pub driver: std::result::Result<String, Error>,
    /// The devices that the driver sees.
    pub devices: Vec<DeviceInfo>,
}

/// One device.
#[derive(Debug)]
pub(crate) struct DeviceInfo {
    pub ordinal: i32,
    pub name: String,
    /// Major and minor.
    pub compute_capability: (i32, i32),
    /// The image that fits best, if one does.
    pub image: Option<String>,
}

/// Looks at the driver and its devices; creates no context.
pub(crate) fn info() -> Info {
    let images = image::IMAGES.iter().map(image::Image::name).collect();
    let driver = match driver() {
        Ok(driver) => driver,
        Err(error) => {
            return Info {
                images,
                driver: Err(error),
                devices: Vec::new(),
            };
        }
    };
    let count = context::device_count(driver).unwrap_or(0);
    let devices = (0..count).filter_map(|ordinal| device_info(driver, ordinal).ok());
    Info {
        images,
        driver: Ok(format!(
            "{}.{}",
            driver.version / 1000,
            driver.version % 1000 / 10
        )),
        devices: devices.collect(),
    }
}

fn device_info(driver: &Driver, ordinal: i32) -> Result<DeviceInfo> {
    let mut device = 0;
    // SAFETY: the address is valid for writing.
    let code = unsafe { (driver.device_get)(&mut device, ordinal) };
    driver.check("cuDeviceGet", code)?;
    let mut name = [0_u8; 256];
    // SAFETY: the buffer is as long as stated.
    let code = unsafe { (driver.device_name)(name.as_mut_ptr().cast(), 256, device) };
    driver.check("cuDeviceGetName", code)?;
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    let major = driver.attribute(driver::DeviceAttribute::Major, device)?;
    let minor = driver.attribute(driver::DeviceAttribute::Minor, device)?;
    Ok(DeviceInfo {
        ordinal,
        name: String::from_utf8_lossy(&name[..end]).into_owned(),
        compute_capability: (major, minor),
        image: image::images_for((major * 10 + minor).max(0) as u32)
            .next()
            .map(image::Image::name),
    })
}
