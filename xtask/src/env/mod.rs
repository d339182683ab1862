//! What the tasks need of a machine: where things are, which tools it has, what is fetched for it.

pub mod cross;
pub mod debian;
pub mod deps;
pub mod interpreters;
pub mod paths;
pub mod python;
pub mod toolchain;
pub mod tools;
pub mod tree;
