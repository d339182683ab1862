//! float32: forward and backward in pairs of f32, whose vectors hold twice as many; the rest in
//! f64.

use super::guarded::Quick;
use super::lean::{self, Limits};
use super::plain::ordered_product;
use super::{Block, Method, Plain};

/// A block's numbers in f64, rounded to f32 at the end.
pub struct Widened;

/// The scratch of [`Widened`].
#[repr(align(64))]
pub struct Wide<const N: usize> {
    scratch: <Plain<f64> as Method>::Scratch<N>,
    inputs: [[f64; N]; 3],
    outputs: [[f64; N]; 2],
}

impl<const N: usize> Default for Wide<N> {
    #[inline(always)]
    fn default() -> Self {
        Wide {
            scratch: Default::default(),
            inputs: [[0.0; N]; 3],
            outputs: [[0.0; N]; 2],
        }
    }
}

#[inline(always)]
fn widen<const N: usize>(from: &[f32; N], to: &mut [f64; N]) {
    for i in 0..N {
        to[i] = f64::from(from[i]);
    }
}

#[inline(always)]
fn round<const N: usize>(from: &[f64; N], to: &mut [f32; N]) {
    for i in 0..N {
        to[i] = from[i] as f32;
    }
}

impl Method for Widened {
    type Number = f32;
    type Scratch<const N: usize> = Wide<N>;

    #[inline(always)]
    fn forward<const HW: bool, const N: usize>(wide: &mut Wide<N>, x: &[f32; N], y: &mut [f32; N]) {
        let ([wide_x, ..], [wide_y, ..]) = (&mut wide.inputs, &mut wide.outputs);
        widen(x, wide_x);
        Plain::<f64>::forward::<HW, N>(&mut wide.scratch, wide_x, wide_y);
        round(wide_y, y);
    }

    #[inline(always)]
    fn backward<const HW: bool, const N: usize>(
        wide: &mut Wide<N>,
        grad_y: &[f32; N],
        x: &[f32; N],
        grad_x: &mut [f32; N],
    ) {
        let ([wide_grad_y, wide_x, _], [wide_grad_x, _]) = (&mut wide.inputs, &mut wide.outputs);
        widen(grad_y, wide_grad_y);
        widen(x, wide_x);
        Plain::<f64>::backward::<HW, N>(&mut wide.scratch, wide_grad_y, wide_x, wide_grad_x);
        round(wide_grad_x, grad_x);
    }

    #[inline(always)]
    fn double_backward<const HW: bool, const N: usize>(
        wide: &mut Wide<N>,
        inputs: [&[f32; N]; 3],
        [grad_grad_y, grad_x]: [&mut [f32; N]; 2],
    ) {
        for (from, to) in inputs.into_iter().zip(&mut wide.inputs) {
            widen(from, to);
        }
        let ([a, b, c], [first, second]) = (&wide.inputs, &mut wide.outputs);
        Plain::<f64>::double_backward::<HW, N>(&mut wide.scratch, [a, b, c], [first, second]);
        round(first, grad_grad_y);
        round(second, grad_x);
    }
}

/// Where the machine has a fused multiply-add: forward and backward in pairs, mish′ and mish″ of
/// the double backward in f64, rounded before the gradients. Else as [`Widened`].
pub struct Single;

/// The scratch of [`Single`].
#[repr(align(64))]
pub struct Scratch<const N: usize> {
    derivatives: [[f32; N]; 2],
    pairs: lean::Scratch<f32, N>,
    wide: Wide<N>,
}

impl<const N: usize> Default for Scratch<N> {
    #[inline(always)]
    fn default() -> Self {
        Scratch {
            derivatives: [[0.0; N]; 2],
            pairs: Default::default(),
            wide: Default::default(),
        }
    }
}

impl Method for Single {
    type Number = f32;
    type Scratch<const N: usize> = Scratch<N>;

    #[inline(always)]
    fn forward<const HW: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        x: &[f32; N],
        y: &mut [f32; N],
    ) {
        if HW {
            scratch.pairs.forward(x, y);
        } else {
            Widened::forward::<HW, N>(&mut scratch.wide, x, y);
        }
    }

    #[inline(always)]
    fn backward<const HW: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        grad_y: &[f32; N],
        x: &[f32; N],
        grad_x: &mut [f32; N],
    ) {
        if HW {
            scratch.pairs.backward(grad_y, x, grad_x);
        } else {
            Widened::backward::<HW, N>(&mut scratch.wide, grad_y, x, grad_x);
        }
    }

    #[inline(always)]
    fn double_backward<const HW: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        inputs: [&Block<Self, N>; 3],
        outputs: [&mut Block<Self, N>; 2],
    ) {
        if !HW {
            return Widened::double_backward::<HW, N>(&mut scratch.wide, inputs, outputs);
        }
        let ([grad_grad_x, grad_y, x], [grad_grad_y, grad_x]) = (inputs, outputs);
        let [first, second] = &mut scratch.derivatives;
        scratch.wide.scratch.derivatives::<HW>(x, [first, second]);
        for i in 0..N {
            grad_grad_y[i] = grad_grad_x[i] * first[i];
        }
        for i in 0..N {
            grad_x[i] = ordered_product(grad_grad_x[i], grad_y[i], second[i]);
        }
    }
}

impl Quick for Single {
    const FORWARD_MIN: f32 = <f32 as Limits>::FORWARD_MIN;
    const BACKWARD_MIN: f32 = f32::DERIVATIVES_MIN;

    #[inline(always)]
    fn covers_double_backward(_: f32, x: f32) -> bool {
        // Where mish′ and mish″ are normal numbers.
        !(x < -80.0) & !(x > 40.0)
    }
}
