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
//! One exponential and one division serve all three. Either an element is computed in a type with
//! bits to spare, so that only the final rounding shows: [`Plain`] evaluates the formulas as they
//! stand, in `f32` for the 16-bit types and in `f64` for mish′ and mish″ of float32's double
//! backward. Or the lost bits that show are carried along: by [`Lean`] in `f64`, by [`Single`] in
//! `f32`. Where the arithmetic has the same exponents as the element, those near the ends of the
//! range, where it would overflow or lose bits on the way, are left by [`Guarded`] to a second
//! method, `Plain<f64>` or [`Paired`]. Everything else is branch-free, so that the loops vectorise,
//! and cut into steps that run one after the other over a block, so that the dependency chain of an
//! element within a step is short enough for a CPU to overlap many elements.

mod columns;
mod constants;
mod guarded;
mod lean;
mod paired;
mod plain;
mod real;
mod single;

pub use guarded::{Guarded, Quick};
pub use lean::Lean;
pub use paired::Paired;
pub use plain::{Ordered, Plain};
pub use real::Real;
pub use single::{Single, Widened};

/// The numbers of a block of `N` elements.
pub type Block<M, const N: usize> = [<M as Method>::Number; N];

/// A way to evaluate the formulas for a block of `N` elements. `HW` says that the
/// code is compiled for a machine with a fused multiply-add.
pub trait Method {
    /// The type of the arithmetic.
    type Number: Copy + Default;
    /// Intermediate results of a block.
    type Scratch<const N: usize>: Default;

    /// y = `mish(x)`.
    fn forward<const HW: bool, const N: usize>(
        scratch: &mut Self::Scratch<N>,
        x: &Block<Self, N>,
        y: &mut Block<Self, N>,
    );
    /// grad_x = `grad_y · mish′(x)`.
    fn backward<const HW: bool, const N: usize>(
        scratch: &mut Self::Scratch<N>,
        grad_y: &Block<Self, N>,
        x: &Block<Self, N>,
        grad_x: &mut Block<Self, N>,
    );
    /// (grad_grad_y, grad_x) = `(grad_grad_x · mish′(x), grad_grad_x · grad_y · mish″(x))`;
    /// `inputs` are (grad_grad_x, grad_y, x).
    fn double_backward<const HW: bool, const N: usize>(
        scratch: &mut Self::Scratch<N>,
        inputs: [&Block<Self, N>; 3],
        outputs: [&mut Block<Self, N>; 2],
    );
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
