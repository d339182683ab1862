//! The C and C++ tests against the header.

use std::path::Path;

use crate::outcome::Outcome;

/// Compiles and runs them.
pub fn all(_library: &Path) -> Vec<(String, Outcome)> {
    Vec::new()
}
