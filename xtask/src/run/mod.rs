//! Running programs, and what came of it.

pub mod command;
pub mod disk;
pub mod outcome;
pub mod record;
pub mod report;
pub mod skips;
pub mod summary;
