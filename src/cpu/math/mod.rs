//! Mish and its first two derivatives.
//!
//! With e = eˣ, z = 1 + e, δ = z² + 1 and w = 1/δ (`docs/derivation.md`):
//!
//! ```text
//! mish   = x·e·(z + 1)·w
//! mish′  = e·w·(z + 1 + 4x·z·w)
//! mish″  = 4e·w²·(2 + x + 2e·(1 − mish))       1 − mish = 1 − x + 2x·w
//! ```
//!
//! One exponential and one division serve all three. An element is computed in a type with bits
//! to spare, so that only the final rounding shows: [`Plain`] evaluates the formulas as they
//! stand, in `f32` for float16 and in `f64` for bfloat16 and float32; [`Paired`] carries the lost
//! bits of `f64` along. Everything is branch-free, so that the loops vectorise, and cut into
//! steps that run one after the other over a block, so that the dependency chain of an element
//! within a step is short enough for a CPU to overlap many elements.

mod columns;
mod constants;
mod paired;
mod plain;
mod real;

pub use columns::BLOCK;
pub use paired::Paired;
pub use plain::Plain;
pub use real::Real;

/// A way to evaluate the formulas for a block. `HW` says that the code is compiled for a machine
/// with a fused multiply-add.
pub trait Method {
    /// The type of the arithmetic.
    type Number: Copy + Default;
    /// What the last step starts from, for a block.
    type Prepared: Default;

    /// All steps but the last for the first `lanes` elements of a block.
    fn prepare_forward<const HW: bool>(
        to: &mut Self::Prepared,
        x: &[Self::Number; BLOCK],
        lanes: usize,
    );
    /// See [`Method::prepare_forward`].
    fn prepare_backward<const HW: bool>(
        to: &mut Self::Prepared,
        x: &[Self::Number; BLOCK],
        lanes: usize,
    );
    /// See [`Method::prepare_forward`].
    fn prepare_double_backward<const HW: bool>(
        to: &mut Self::Prepared,
        x: &[Self::Number; BLOCK],
        lanes: usize,
    );

    /// `mish(x)` for element `i`, whose x is passed again.
    fn forward<const HW: bool>(at: &Self::Prepared, i: usize, x: Self::Number) -> Self::Number;
    /// `grad_y · mish′(x)`.
    fn backward<const HW: bool>(
        at: &Self::Prepared,
        i: usize,
        grad_y: Self::Number,
        x: Self::Number,
    ) -> Self::Number;
    /// `(grad_grad_x · mish′(x), grad_grad_x · grad_y · mish″(x))`.
    fn double_backward<const HW: bool>(
        at: &Self::Prepared,
        i: usize,
        grad_grad_x: Self::Number,
        grad_y: Self::Number,
        x: Self::Number,
    ) -> (Self::Number, Self::Number);
}

/// The values of x that an operation tells apart.
#[derive(Clone, Copy)]
pub struct Range<F>(F, F);

impl<F: Real> Range<F> {
    #[inline(always)]
    fn clamp(self, x: F) -> F {
        x.at_least(self.0).at_most(self.1)
    }
}
