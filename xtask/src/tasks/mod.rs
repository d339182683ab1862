//! The tasks that are no tests, and the one that runs them all.

pub mod bench;
pub mod build;
pub mod demo;
pub mod overhead;
pub mod test;
