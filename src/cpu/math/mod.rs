//! Mish and its first two derivatives on blocks of numbers, for every element type, within the
//! bounds of `catalogue::accuracy` (`docs/accuracy.md`); derived in `docs/derivation.md`,
//! "Identities".
//!
//! With e = eˣ, z = 1 + e, δ = z² + 1 and w = 1/δ:
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
//! backward. Or the lost bits that show are carried along: by [`Compensated`] in `f64`, by
//! [`Single`] in `f32`. Where the arithmetic has the same exponents as the element, those near the
//! ends of the range, where it would overflow or lose bits on the way, are left by [`Guarded`] to a
//! second method, `Plain<f64>` or [`DoubleWord`]. Everything else is branch-free, so that the loops
//! vectorise, and cut into steps that run one after the other over a block, so that the dependency
//! chain of an element within a step is short enough for a CPU to overlap many elements.

mod columns;
mod compensated;
mod constants;
mod double_word;
mod error_free;
mod guarded;
mod plain;
mod real;
mod single;

pub use compensated::Compensated;
pub use double_word::DoubleWord;
pub use guarded::{Guarded, Restricted};
pub use plain::{Ordered, Plain};
pub use real::Real;
pub use single::{Single, Widened};

use crate::catalogue::Op;

/// The numbers of a block of `N` elements.
pub type Block<M, const N: usize> = [<M as Method>::Number; N];

/// A way to evaluate the formulas for a block of `N` elements. `HAS_FMA` says that the code is
/// compiled for a machine with a fused multiply-add. Arguments and results are in the order of the
/// catalogue's operands.
pub trait Method {
    /// The type of the arithmetic.
    type Number: Copy + Default;
    /// Intermediate results of a block.
    type Scratch<const N: usize>: Default;

    /// y = `mish(x)`.
    fn forward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Self::Scratch<N>,
        arguments: [&Block<Self, N>; 1],
        results: [&mut Block<Self, N>; 1],
    );
    /// grad_x = `grad_y · mish′(x)`.
    fn backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Self::Scratch<N>,
        arguments: [&Block<Self, N>; 2],
        results: [&mut Block<Self, N>; 1],
    );
    /// (grad_grad_y, grad_x) = `(grad_grad_x · mish′(x), grad_grad_x · grad_y · mish″(x))`.
    fn double_backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Self::Scratch<N>,
        arguments: [&Block<Self, N>; 3],
        results: [&mut Block<Self, N>; 2],
    );
}

/// Which of a [`Method`]'s functions, as a type: what calls it is written once for all of them.
pub trait Core<const ARGUMENTS: usize, const RESULTS: usize> {
    /// The operation that is this function and nothing around it.
    const OP: Op;

    /// Evaluates it for a block.
    fn evaluate<M: Method, const HAS_FMA: bool, const N: usize>(
        scratch: &mut M::Scratch<N>,
        arguments: [&Block<M, N>; ARGUMENTS],
        results: [&mut Block<M, N>; RESULTS],
    );
}

macro_rules! cores {
    ($($name:ident = $function:ident: $arguments:literal -> $results:literal;)*) => {$(
        #[doc = concat!("[`Method::", stringify!($function), "`].")]
        pub struct $name;

        impl Core<$arguments, $results> for $name {
            const OP: Op = Op::$name;

            #[inline(always)]
            fn evaluate<M: Method, const HAS_FMA: bool, const N: usize>(
                scratch: &mut M::Scratch<N>,
                arguments: [&Block<M, N>; $arguments],
                results: [&mut Block<M, N>; $results],
            ) {
                M::$function::<HAS_FMA, N>(scratch, arguments, results);
            }
        }
    )*};
}
cores! {
    Forward = forward: 1 -> 1;
    Backward = backward: 2 -> 1;
    DoubleBackward = double_backward: 3 -> 2;
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
