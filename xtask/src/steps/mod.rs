//! The steps of `cargo xtask test`, one file each; some are tasks of their own, too.

pub mod aarch64;
pub mod c;
pub mod examples;
pub mod fresh;
pub mod gate;
pub mod kernel_math;
pub mod libtorch;
pub mod mutants;
pub mod neon;
pub mod oldest_rust;
pub mod pytest;
pub mod reliability;
pub mod rust;
pub mod setup;
pub mod supply;
pub mod sweep;
pub mod wheel;
