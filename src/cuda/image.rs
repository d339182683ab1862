//! The embedded kernels: one image of machine code per architecture, and PTX for the rest.

use std::borrow::Cow;

use crate::status::{Result, fail};

/// A compiled set of all kernels.
pub(super) struct Image {
    /// Compute capability, 10 · major + minor.
    pub sm: u32,
    /// Whether the driver has to compile it first.
    pub is_ptx: bool,
    /// Deflated; for PTX the text and a terminating NUL.
    deflated: &'static [u8],
    /// Bytes when inflated.
    size: usize,
}

macro_rules! image {
    ($sm:literal, $is_ptx:literal, $size:literal, $file:literal) => {
        Image {
            sm: $sm,
            is_ptx: $is_ptx,
            deflated: include_bytes!(concat!(env!("OUT_DIR"), "/kernels/", $file)),
            size: $size,
        }
    };
}

/// Every image, oldest architecture first, PTX last.
pub(super) static IMAGES: &[Image] = include!(concat!(env!("OUT_DIR"), "/kernels/images.rs"));

impl Image {
    /// `sm_90` or `compute_60`.
    pub fn name(&self) -> String {
        format!("{}_{}", if self.is_ptx { "compute" } else { "sm" }, self.sm)
    }

    /// The image as the driver takes it.
    pub fn inflate(&self) -> Result<Cow<'static, [u8]>> {
        match miniz_oxide::inflate::decompress_to_vec_with_limit(self.deflated, self.size) {
            Ok(bytes) if bytes.len() == self.size => Ok(Cow::Owned(bytes)),
            _ => fail!(
                Internal,
                "the embedded kernels for {} are damaged",
                self.name()
            ),
        }
    }

    /// Whether a device can run it: machine code within the major version, PTX on anything newer.
    fn runs_on(&self, sm: u32) -> bool {
        self.sm <= sm && (self.is_ptx || self.sm / 10 == sm / 10)
    }
}

/// The images for a compute capability, best first.
pub(super) fn images_for(sm: u32) -> impl Iterator<Item = &'static Image> {
    let runs = move |image: &&Image| image.runs_on(sm);
    let code = IMAGES.iter().rev().filter(|image| !image.is_ptx);
    let ptx = IMAGES.iter().filter(|image| image.is_ptx);
    code.filter(runs).take(1).chain(ptx.filter(runs))
}
