//! What there is: operations, operators, element types, GPU architectures, error bounds. Plain
//! data, the one place where each kind of thing is listed.
//!
//! It depends on nothing, so that build scripts, `xtask` and the programs under `tests` can include
//! it by path beside the library; each uses a part. What is not Rust reads it generated: kernels
//! from `catalogue.cuh` (rendered by `kernels/header.rs`), bindings, tests and benchmarks from
//! `bindings/mish.abi.json` (by `cargo xtask bindings`).
#![allow(dead_code, unused_imports)]

pub mod accuracy;
mod arch;
mod dtype;
mod op;
pub mod operator;

pub use arch::{ARCHITECTURES, Arch, PTX, arch};
pub use dtype::Dtype;
pub use op::{MAX_OPERANDS, Op, Operand, Role};
pub use operator::{Operator, Variant};
