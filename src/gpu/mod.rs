//! GPUs, in two layers.
//!
//! What holds for any vendor's lies here and asks no driver: which kernels there are (`kernel`),
//! how they are tuned (`tuning`), the images they are embedded in and which of these a device takes
//! (`image`), and how a job becomes launches, with their grids and parameters (`geometry`). The
//! layer below is one folder per vendor: its driver, contexts, memory, and how a kernel is
//! submitted. That layer imports this one, never the other way round; all that is known here of a
//! vendor is that it is a [`Backend`].
//!
//! A build says with the features of the crate which backends it has. Here is the only place that
//! asks: who calls a backend need not know whether it is there.

// Without a backend nobody uses what backends share; it is compiled and tested all the same.
#![cfg_attr(not(feature = "cuda"), allow(dead_code))]

#[cfg(feature = "cuda")]
mod cuda;
mod geometry;
#[cfg(feature = "cuda")]
mod image;
mod kernel;
#[cfg(not(feature = "cuda"))]
mod not_built;
mod tuning;

#[cfg(feature = "cuda")]
pub(crate) use cuda::Cuda;
#[cfg(not(feature = "cuda"))]
pub(crate) use not_built::Cuda;

use std::ffi::c_void;

use crate::job::Job;
use crate::status::{Error, Result};

/// What a call needs of a vendor's GPUs.
pub(crate) trait Backend {
    /// Runs a job on a stream, asynchronously.
    ///
    /// # Safety
    /// The operands must stay valid until the stream has done the work; `stream` must be NULL, a
    /// stream, or one of the driver's special handles.
    unsafe fn run(job: &Job, stream: *mut c_void) -> Result<()>;

    /// Fails if a job for the CPU has operands in a device's own memory. Makes no call that would
    /// load or initialise a driver.
    fn check_host_pointers(job: &Job) -> Result<()>;

    /// The devices that the driver sees.
    fn device_count() -> Result<i32>;

    /// Loads what the first call on a device would load.
    fn warmup(ordinal: i32) -> Result<()>;

    /// What the backend consists of and finds; `None` if this build does not have it. Creates no
    /// context.
    fn info() -> Option<Info>;
}

/// What a backend consists of and finds.
#[derive(Debug)]
pub(crate) struct Info {
    /// The embedded images, such as `sm_90` and `compute_60`.
    pub images: Vec<String>,
    /// The version of its interface that the driver supports, such as `12.8`; or why there is none.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The files below a folder of `src/` in which a text is found.
    fn files_with(text: &str, folder: &str) -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Vec::new();
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder of the sources") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if fs::read_to_string(&path).expect("a source").contains(text) {
                    let path = path.strip_prefix(&root).expect("below src");
                    found.push(path.display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn one_place_asks_which_backends_are_built() {
        let question = concat!("feature = ", "\"cuda\"");
        assert_eq!(files_with(question, ""), ["gpu/mod.rs"]);
    }

    #[test]
    fn what_holds_for_any_vendor_imports_none() {
        assert_eq!(files_with(concat!("cuda", "::"), ""), ["gpu/mod.rs"]);
    }
}
