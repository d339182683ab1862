//! In place of a backend that this build does not have.

use std::ffi::c_void;

use super::{Backend, Info};
use crate::job::Job;
use crate::status::{Result, fail};

/// The backend of CUDA devices, which is not built.
pub(crate) struct Cuda;

impl Backend for Cuda {
    unsafe fn run(_: &Job, _: *mut c_void) -> Result<()> {
        not_built()
    }

    /// Nothing knows of device memory here.
    fn check_host_pointers(_: &Job) -> Result<()> {
        Ok(())
    }

    fn device_count() -> Result<i32> {
        not_built()
    }

    fn warmup(_: i32) -> Result<()> {
        not_built()
    }

    fn info() -> Option<Info> {
        None
    }
}

fn not_built<T>() -> Result<T> {
    fail!(
        NotBuilt,
        "device: MISH_DEVICE_CUDA passed to a library built without the cuda feature"
    )
}

#[cfg(test)]
mod tests {
    use std::ptr::null_mut;

    use super::*;
    use crate::abi::mish_build_info;
    use crate::call::{device_count, run_contiguous, warmup};
    use crate::catalogue::{Dtype, Op};
    use crate::job::Device;
    use crate::status::Status;

    #[test]
    fn every_call_says_that_the_backend_is_not_built() {
        let mut x = [1.0_f32; 4];
        let pointers = [x.as_mut_ptr().cast::<c_void>(); 2];
        let run = |device| {
            let (op, dtype, n) = (Op::Forward, Dtype::F32, x.len());
            // SAFETY: the elements of `x`, in place.
            unsafe { run_contiguous(device, op, dtype, &pointers, n, null_mut()) }
        };
        let failures = [
            run(Device::Cuda),
            device_count(Device::Cuda).map(drop),
            warmup(Device::Cuda, 0),
        ];
        for failure in failures {
            let error = failure.expect_err("not built");
            assert_eq!(error.status(), Status::NotBuilt);
            assert!(error.message().contains("cuda feature"), "{error}");
        }
        run(Device::Cpu).expect("the CPU serves all the same");
        // SAFETY: a static string that ends in NUL.
        let info = unsafe { std::ffi::CStr::from_ptr(mish_build_info()) };
        assert!(
            info.to_string_lossy().contains(r#""cuda": null"#),
            "{info:?}"
        );
    }
}
