//! Submitting a kernel.

use std::ffi::c_void;

use super::driver::{Code, Driver, Function, Stream};
use crate::gpu::geometry::Grid;
use crate::status::{Error, Result, Status, fail};

/// The hardware's limit on blocks in a grid's first dimension.
const MAX_BLOCKS: u64 = i32::MAX as u64;

/// Why nothing was launched.
pub(super) enum Failure {
    /// The driver refused.
    Driver(Code),
    /// The call did not come to it.
    Call(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Call(error)
    }
}

impl Failure {
    /// What it means to the caller.
    pub fn error(self, driver: &Driver) -> Error {
        match self {
            Failure::Call(error) => error,
            Failure::Driver(code @ Code::INVALID_HANDLE) => Error::new(
                Status::InvalidStream,
                format!("stream: is not a CUDA stream ({})", driver.name(code)),
            ),
            Failure::Driver(code) => driver.error("cuLaunchKernel", code),
        }
    }
}

/// Queues a kernel on a stream of the current context.
///
/// # Safety
/// `parameters` must be the addresses of exactly the parameters that the function takes, and memory
/// that these name must be valid on the device until the stream has done the work.
pub(super) unsafe fn submit(
    driver: &Driver,
    function: Function,
    grid: Grid,
    stream: Stream,
    parameters: &mut [*mut c_void],
) -> std::result::Result<(), Failure> {
    check(grid)?;
    // SAFETY: the caller's promise; the driver copies the parameters before it returns.
    let code = unsafe {
        (driver.launch)(
            function,
            grid.blocks as u32,
            1,
            1,
            grid.threads,
            1,
            1,
            0,
            stream,
            parameters.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    match code {
        Code::SUCCESS => Ok(()),
        code => Err(Failure::Driver(code)),
    }
}

fn check(grid: Grid) -> Result<()> {
    if grid.blocks > MAX_BLOCKS {
        fail!(
            TooLarge,
            "n: needs {} blocks of {} threads; CUDA allows {MAX_BLOCKS}",
            grid.blocks,
            grid.threads
        );
    }
    Ok(())
}
