//! Mish: `mish(x) = x · tanh(softplus(x))`, its gradient and its second derivative as single
//! fused passes over memory.
//!
//! The crate builds `libmish.so`, whose C ABI is documented in `include/mish.h`. Rust programs
//! use this API: safe functions on host slices, and [`run`] for strided views and for device
//! memory.
//!
//! ```
//! let x = [-1.0_f32, 0.0, 1.0];
//! let mut y = [0.0; 3];
//! mish::forward(&x, &mut y)?;
//! assert!((y[2] - 0.865_098_4).abs() < 1e-6);
//! # Ok::<(), mish::Error>(())
//! ```
//!
//! Derivatives follow from the output's gradient `grad_y` and the input `x` alone; nothing else
//! needs to be saved for the backward pass.

pub mod abi;
mod adapters;
mod call;
mod catalogue;
pub mod cpu;
mod fork;
mod gpu;
mod guard;
mod hooks;
mod host;
mod job;
mod status;

pub use call::{device_count, run, run_contiguous, warmup};
pub use catalogue::accuracy;
pub use catalogue::{Dtype, MAX_OPERANDS, Op, Operand, Role};
pub use host::{Element, backward, double_backward, forward, forward_in_place};
pub use job::{Device, MAX_DIMS, View};
pub use status::{Error, Result, Status};
