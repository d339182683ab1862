//! Error-free transforms: a rounded sum or product and exactly what rounding cut off, for float32
//! and float64 alike; `docs/derivation.md`, "Double words".
//!
//! Exact while nothing overflows and what is cut off is no subnormal number's fraction. None may be
//! simplified by algebra, which Rust's compiler never does.

use super::Real;

/// FastTwoSum (Dekker): the sum, and what rounding it cut off, for |a| ≥ |b| or a = 0.
#[inline(always)]
pub fn fast_two_sum<F: Real>(a: F, b: F) -> (F, F) {
    let sum = a + b;
    (sum, (a - sum) + b)
}

/// TwoSum (Knuth): the same for any order of magnitude.
#[inline(always)]
pub fn two_sum<F: Real>(a: F, b: F) -> (F, F) {
    let sum = a + b;
    let b_seen = sum - a;
    (sum, (a - (sum - b_seen)) + (b - b_seen))
}

/// TwoProduct (Ogita, Rump and Oishi) with a fused multiply-add: the product, and what rounding it
/// cut off.
#[inline(always)]
pub fn two_product<F: Real>(a: F, b: F) -> (F, F) {
    let product = a * b;
    (product, a.fused(b, -product))
}
