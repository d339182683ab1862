//! Builds the kernels and sets the link arguments.
fn main() {}
