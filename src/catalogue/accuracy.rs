//! How accurate results are: the bounds that tests hold the library to and documents state.

use super::Dtype;

/// Where mish, mish′ and mish″ are zero, by the order of the derivative. Mish's own zero, at 0, is
/// left out: results there keep all their digits.
pub const ZEROS: [&[f64]; 3] = [
    &[],
    &[-1.192_431_214_515_495_2],
    &[-2.256_376_396_360_793, 1.490_571_179_485_428_5],
];

/// How near a zero of the derivative counts as near: there the unit of the error is the last place
/// of 1/16, or of the result, whichever is larger.
pub const NEAR_ZERO: f64 = 0.35;

/// Whether the unit at `x` of a derivative of some order is at least that of 1/16.
pub fn is_near_zero(order: usize, x: f64) -> bool {
    let mut zeros = ZEROS[order].iter();
    zeros.any(|zero| (x - zero).abs() < NEAR_ZERO)
}

/// The largest error of a derivative of mish of some order, in units of the last place.
pub const fn bound(dtype: Dtype, order: usize) -> f64 {
    match (dtype, order) {
        (Dtype::F16 | Dtype::BF16, _) => 0.501,
        (Dtype::F32, 0) => 1.0,
        (Dtype::F32, _) => 2.0,
        (Dtype::F64, 0) => 2.0,
        (Dtype::F64, _) => 3.0,
    }
}

/// The same when it is multiplied by gradients, which mish itself is not. It follows from the
/// function's (`docs/derivation.md`): in the 16-bit types, which are rounded once, what that exceeds
/// 1/2 by may count twice; in the others all of it may, and what products are rounded by comes to 1.
pub const fn product_bound(dtype: Dtype, order: usize) -> f64 {
    match (dtype, order) {
        (_, 0) => bound(dtype, 0),
        (Dtype::F16 | Dtype::BF16, _) => 0.502,
        (Dtype::F32 | Dtype::F64, _) => 2.0 * bound(dtype, order) + 1.0,
    }
}
