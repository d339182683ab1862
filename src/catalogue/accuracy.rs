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
