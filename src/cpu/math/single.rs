//! float32: mish and mish′ with the bits that rounding loses carried along in `f32`, whose vectors
//! hold twice as many as `f64`'s; mish′ and mish″ of the double backward by the plain formulas in
//! `f64`. mish within 1 ULP, its derivatives within 2. `docs/derivation.md`, "Four ways to evaluate
//! the formulas".

use super::compensated::{self, Limits};
use super::plain::ordered_product;
use super::{Backward, Block, Core, DoubleBackward, Forward, Method, Plain, Restricted};

/// The plain formulas in f64, rounded to f32 at the end.
pub struct Widened;

/// The scratch of [`Widened`].
#[repr(align(64))]
pub struct Wide<const N: usize> {
    scratch: <Plain<f64> as Method>::Scratch<N>,
    arguments: [[f64; N]; 3],
    results: [[f64; N]; 2],
}

impl<const N: usize> Default for Wide<N> {
    #[inline(always)]
    fn default() -> Self {
        Wide {
            scratch: Default::default(),
            arguments: [[0.0; N]; 3],
            results: [[0.0; N]; 2],
        }
    }
}

impl<const N: usize> Wide<N> {
    /// Evaluates the core `C`.
    #[inline(always)]
    fn evaluate<C, const HAS_FMA: bool, const A: usize, const R: usize>(
        &mut self,
        arguments: [&[f32; N]; A],
        results: [&mut [f32; N]; R],
    ) where
        C: Core<A, R>,
    {
        const { assert!(A <= 3 && R <= 2) }
        for (wide, argument) in self.arguments.iter_mut().zip(arguments) {
            for i in 0..N {
                wide[i] = f64::from(argument[i]);
            }
        }
        C::evaluate::<Plain<f64>, HAS_FMA, N>(
            &mut self.scratch,
            self.arguments.first_chunk().unwrap().each_ref(),
            self.results.first_chunk_mut().unwrap().each_mut(),
        );
        for (wide, result) in self.results.iter().zip(results) {
            for i in 0..N {
                result[i] = wide[i] as f32;
            }
        }
    }
}

impl Method for Widened {
    type Number = f32;
    type Scratch<const N: usize> = Wide<N>;

    #[inline(always)]
    fn forward<const HAS_FMA: bool, const N: usize>(
        wide: &mut Wide<N>,
        arguments: [&[f32; N]; 1],
        results: [&mut [f32; N]; 1],
    ) {
        wide.evaluate::<Forward, HAS_FMA, _, _>(arguments, results);
    }

    #[inline(always)]
    fn backward<const HAS_FMA: bool, const N: usize>(
        wide: &mut Wide<N>,
        arguments: [&[f32; N]; 2],
        results: [&mut [f32; N]; 1],
    ) {
        wide.evaluate::<Backward, HAS_FMA, _, _>(arguments, results);
    }

    #[inline(always)]
    fn double_backward<const HAS_FMA: bool, const N: usize>(
        wide: &mut Wide<N>,
        arguments: [&[f32; N]; 3],
        results: [&mut [f32; N]; 2],
    ) {
        wide.evaluate::<DoubleBackward, HAS_FMA, _, _>(arguments, results);
    }
}

/// Where the machine has a fused multiply-add: forward and backward as [`super::Compensated`] does
/// them, mish′ and mish″ of the double backward in f64, rounded before the gradients. Else as
/// [`Widened`].
pub struct Single;

/// The scratch of [`Single`].
#[repr(align(64))]
pub struct Scratch<const N: usize> {
    derivatives: [[f32; N]; 2],
    compensated: compensated::Scratch<f32, N>,
    wide: Wide<N>,
}

impl<const N: usize> Default for Scratch<N> {
    #[inline(always)]
    fn default() -> Self {
        Scratch {
            derivatives: [[0.0; N]; 2],
            compensated: Default::default(),
            wide: Default::default(),
        }
    }
}

impl Method for Single {
    type Number = f32;
    type Scratch<const N: usize> = Scratch<N>;

    #[inline(always)]
    fn forward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        arguments: [&[f32; N]; 1],
        results: [&mut [f32; N]; 1],
    ) {
        if HAS_FMA {
            scratch.compensated.forward(arguments, results);
        } else {
            Widened::forward::<HAS_FMA, N>(&mut scratch.wide, arguments, results);
        }
    }

    #[inline(always)]
    fn backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        arguments: [&[f32; N]; 2],
        results: [&mut [f32; N]; 1],
    ) {
        if HAS_FMA {
            scratch.compensated.backward(arguments, results);
        } else {
            Widened::backward::<HAS_FMA, N>(&mut scratch.wide, arguments, results);
        }
    }

    #[inline(always)]
    fn double_backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        arguments: [&Block<Self, N>; 3],
        results: [&mut Block<Self, N>; 2],
    ) {
        if !HAS_FMA {
            return Widened::double_backward::<HAS_FMA, N>(&mut scratch.wide, arguments, results);
        }
        let ([grad_grad_x, grad_y, x], [grad_grad_y, grad_x]) = (arguments, results);
        let [first, second] = &mut scratch.derivatives;
        scratch
            .wide
            .scratch
            .derivatives::<HAS_FMA>(x, [first, second]);
        for i in 0..N {
            grad_grad_y[i] = grad_grad_x[i] * first[i];
        }
        for i in 0..N {
            grad_x[i] = ordered_product(grad_grad_x[i], grad_y[i], second[i]);
        }
    }
}

impl Restricted for Single {
    const FORWARD_MIN: f32 = <f32 as Limits>::FORWARD_MIN;
    const BACKWARD_MIN: f32 = f32::DERIVATIVES_MIN;

    #[inline(always)]
    fn covers_double_backward(_: f32, x: f32) -> bool {
        // Where mish′ and mish″ are normal numbers.
        !(x < -80.0) & !(x > 40.0)
    }
}
