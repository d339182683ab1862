//! Error-free transforms: a rounded sum or product and exactly what rounding cut off, for float32
//! and float64 alike; `docs/derivation.md`, "Double words".
//!
//! Exact while nothing overflows and what a product's rounding cuts off is a normal number.

use super::Real;

/// FastTwoSum (Dekker): the sum, and what rounding it cut off, wherever a − sum is exact: for
/// |a| ≥ |b|, and, of a 1 or 1/2 below a larger b, as long as the sum has a place for its bit.
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
