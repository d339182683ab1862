//! The CUDA backend.

use std::ffi::c_void;

use crate::status::{Result, fail};
use crate::tensor::Job;

pub(crate) unsafe fn run(_job: &Job, _stream: *mut c_void) -> Result<()> {
    fail!(NoDriver, "device: not yet")
}
pub(crate) fn warmup(_ordinal: i32) -> Result<()> {
    fail!(NoDriver, "device: not yet")
}
pub(crate) fn device_count() -> Result<i32> {
    fail!(NoDriver, "device: not yet")
}
pub(crate) fn check_host_pointer(_name: &str, _pointer: *const c_void) -> Result<()> {
    Ok(())
}
