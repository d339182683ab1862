//! The CUDA backend: the driver found at run time, the kernels embedded.
//!
//! A call checks its operands' memory (`memory`), finds the context it runs in and the kernels
//! there (`context`) and submits what the job takes of them (`launch`). It never waits for the
//! device, allocates nothing on it, and leaves the caller's current context as it was.

mod context;
mod driver;
mod launch;
mod memory;

use std::ffi::c_void;

use context::{Current, Kernels};
use driver::{Code, Driver, Stream, Version, driver};
use launch::Failure;
use memory::{Kind, Memory};

use super::{Backend, DeviceInfo, Info, geometry, image};
use crate::hooks;
use crate::job::Job;
use crate::status::{Result, Status, fail};

/// The backend of CUDA devices.
pub(crate) struct Cuda;

impl Backend for Cuda {
    unsafe fn run(job: &Job, stream: *mut c_void) -> Result<()> {
        let driver = driver()?;
        let stream: Stream = stream.cast();
        let home = memory::check(driver, job)?;
        let context = context::resolve(driver, job, &home, stream)?;
        let _current = Current::enter(driver, context)?;
        hooks::reach(hooks::Place::DeviceCall);
        let id = context::id(driver, context)?;
        let kernels = context::kernels(driver, id, stream)?;
        // SAFETY: the caller's promise.
        let launch = |kernels: &Kernels| unsafe { launch(driver, kernels, job, &home, stream) };
        let launched = match launch(kernels) {
            Ok(()) => return Ok(()),
            // The kernels may have gone with a device that was reset.
            Err(Failure::Driver(Code::INVALID_HANDLE | Code::CONTEXT_IS_DESTROYED)) => {
                context::launch_again(driver, kernels, id, stream, launch)
            }
            failure => failure,
        };
        launched.map_err(|failure| failure.error(driver))
    }

    fn check_host_pointers(job: &Job) -> Result<()> {
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
                    "{}: {pointer:p} was passed with MISH_DEVICE_CPU but is memory of CUDA device \
                     {}",
                    operand.name,
                    memory.ordinal
                );
            }
        }
        Ok(())
    }

    fn device_count() -> Result<i32> {
        match driver() {
            Ok(driver) => context::device_count(driver),
            Err(error) if error.status() == Status::NoDevice => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Into the context that a first call on the device would use: the current one if it is on that
    /// device, else the primary one.
    fn warmup(ordinal: i32) -> Result<()> {
        let driver = driver()?;
        context::check_ordinal(driver, "ordinal", ordinal)?;
        let context = context::on_device(driver, ordinal)?;
        let _current = Current::enter(driver, context)?;
        let id = context::id(driver, context)?;
        context::kernels(driver, id, std::ptr::null_mut()).map(|_| ())
    }

    fn info() -> Option<Info> {
        let driver = driver();
        let devices = driver.as_ref().map_or_else(
            |_| Vec::new(),
            |driver| {
                let count = context::device_count(driver).unwrap_or(0);
                let devices = (0..count).map(|ordinal| device_info(driver, ordinal));
                devices.filter_map(Result::ok).collect()
            },
        );
        Some(Info {
            images: image::IMAGES.iter().map(image::Image::name).collect(),
            driver: driver.map(|driver| Version(driver.version).number()),
            devices,
        })
    }
}

/// Launches what a job takes of these kernels, whose context must be current.
///
/// # Safety
/// As for [`Backend::run`].
unsafe fn launch(
    driver: &Driver,
    kernels: &Kernels,
    job: &Job,
    home: &Memory,
    stream: Stream,
) -> std::result::Result<(), Failure> {
    check_device(kernels, job, home)?;
    geometry::launch(
        job,
        &kernels.functions,
        kernels.capacity,
        |function, grid, parameters| {
            // SAFETY: the function's own parameters, of operands whose memory was checked and stays
            // valid by the caller's promise.
            unsafe { launch::submit(driver, function, grid, stream, parameters) }
        },
    )
}

/// Fails if a stream is of another device than the operands.
fn check_device(kernels: &Kernels, job: &Job, home: &Memory) -> Result<()> {
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
    Ok(())
}

fn device_info(driver: &Driver, ordinal: i32) -> Result<DeviceInfo> {
    /// Longer names are cut off.
    const NAME_BYTES: usize = 256;
    let mut device = 0;
    // SAFETY: the address is valid for writing.
    let code = unsafe { (driver.device_get)(&mut device, ordinal) };
    driver.check("cuDeviceGet", code)?;
    let mut name = [0_u8; NAME_BYTES];
    // SAFETY: the buffer is as long as stated.
    let code = unsafe { (driver.device_name)(name.as_mut_ptr().cast(), NAME_BYTES as i32, device) };
    driver.check("cuDeviceGetName", code)?;
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    let capability = driver.compute_capability(device)?;
    Ok(DeviceInfo {
        ordinal,
        name: String::from_utf8_lossy(&name[..end]).into_owned(),
        compute_capability: capability,
        image: image::images_for(capability).next().map(image::Image::name),
    })
}
