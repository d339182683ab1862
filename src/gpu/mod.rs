//! The GPU backend: kernels compiled ahead and how they are tuned; below it the vendor's driver.

pub(crate) mod cuda;
mod image;
mod tuning;
