//! The formulas as they stand, in a type with bits to spare.

use std::marker::PhantomData;

use super::real::{Real, multiply_add};
use super::{Method, Quick, Range};

/// The formulas in `F`, for elements with fewer bits and a smaller range of exponents.
pub struct Plain<F>(PhantomData<F>);

/// g = eˣ/2 for a block, and the x it is of.
#[repr(align(64))]
pub struct Exponentials<F, const N: usize> {
    x: [F; N],
    g: [F; N],
    w: [F; N],
}

impl<F: Real, const N: usize> Default for Exponentials<F, N> {
    #[inline(always)]
    fn default() -> Self {
        Exponentials {
            x: [F::ZERO; N],
            g: [F::ZERO; N],
            w: [F::ZERO; N],
        }
    }
}

impl<F: Real, const N: usize> Exponentials<F, N> {
    #[inline(always)]
    fn fill<const HW: bool>(&mut self, x: &[F; N], range: Range<F>) {
        for i in 0..N {
            self.x[i] = range.clamp(x[i]);
            self.g[i] = half_exp::<HW, F>(self.x[i]);
        }
    }
}

impl<F: Real, const N: usize> Exponentials<F, N> {
    #[inline(always)]
    fn shared(&self, i: usize) -> Shared<F> {
        Shared {
            g: self.g[i],
            y: F::HALF + self.g[i],
            w: self.w[i],
        }
    }
}

/// eˣ/2 for x in one of the ranges, where it is a normal number.
#[inline(always)]
fn half_exp<const HW: bool, F: Real>(x: F) -> F {
    let k_biased = multiply_add::<HW, F>(x, F::LOG2_E, F::MAGIC_HALF);
    let k = k_biased - F::MAGIC_HALF;
    let r = F::reduce::<HW>(x, k);
    F::exp_reduced::<HW>(r) * F::exp2_half(k_biased)
}

impl<F: Real> Method for Plain<F> {
    type Number = F;
    type Scratch<const N: usize> = Exponentials<F, N>;

    #[inline(always)]
    fn forward<const HW: bool, const N: usize>(
        scratch: &mut Exponentials<F, N>,
        x: &[F; N],
        y: &mut [F; N],
    ) {
        scratch.fill::<HW>(x, Range(F::FIRST_MIN, F::FIRST_MAX));
        for i in 0..N {
            y[i] = forward::<HW, F>(x[i], scratch.g[i]);
        }
    }

    #[inline(always)]
    fn backward<const HW: bool, const N: usize>(
        scratch: &mut Exponentials<F, N>,
        grad_y: &[F; N],
        x: &[F; N],
        grad_x: &mut [F; N],
    ) {
        scratch.fill::<HW>(x, Range(F::FIRST_MIN, F::FIRST_MAX));
        for i in 0..N {
            let first = Shared::of::<HW, true>(scratch.g[i]).first::<HW>(scratch.x[i]);
            grad_x[i] = grad_y[i] * first;
        }
    }

    #[inline(always)]
    fn double_backward<const HW: bool, const N: usize>(
        scratch: &mut Exponentials<F, N>,
        [grad_grad_x, grad_y, x]: [&[F; N]; 3],
        [grad_grad_y, grad_x]: [&mut [F; N]; 2],
    ) {
        scratch.fill::<HW>(x, Range(F::SECOND_MIN, F::SECOND_MAX));
        for i in 0..N {
            scratch.w[i] = Shared::of::<HW, false>(scratch.g[i]).w;
        }
        for i in 0..N {
            let first = scratch.shared(i).first::<HW>(scratch.x[i]);
            grad_grad_y[i] = grad_grad_x[i] * first;
        }
        for i in 0..N {
            let second = scratch.shared(i).second::<HW>(scratch.x[i]);
            grad_x[i] = (grad_grad_x[i] * grad_y[i]) * second;
        }
    }
}

/// mish(x)
#[inline(always)]
fn forward<const HW: bool, F: Real>(x: F, g: F) -> F {
    // (δ − 2)/4
    let h = multiply_add::<HW, F>(g, g, g);
    // Not clamped from above: there the quotient is 1.
    x.at_least(F::FIRST_MIN) * (h / (h + F::HALF))
}

/// What the derivatives share.
struct Shared<F> {
    g: F,
    /// z/2
    y: F,
    /// 4/δ
    w: F,
}

impl<F: Real> Shared<F> {
    /// `MODERATE` says that x is not above [`Real::FIRST_MAX`], and so z² + 1 in the range of
    /// [`Real::reciprocal`].
    #[inline(always)]
    fn of<const HW: bool, const MODERATE: bool>(g: F) -> Self {
        let y = F::HALF + g;
        let d = multiply_add::<HW, F>(y, y, F::QUARTER);
        let w = if MODERATE {
            d.reciprocal::<HW>()
        } else {
            F::ONE / d
        };
        Shared { g, y, w }
    }

    /// mish′(x)
    #[inline(always)]
    fn first<const HW: bool>(&self, x: F) -> F {
        let m = multiply_add::<HW, F>(x, self.y * self.w, self.y) + F::HALF;
        m * (self.g * self.w)
    }

    /// mish″(x)
    #[inline(always)]
    fn second<const HW: bool>(&self, x: F) -> F {
        let Shared { g, w, .. } = *self;
        // 1 − mish
        let x_half = F::HALF * x;
        let v = multiply_add::<HW, F>(x_half, w, F::ONE - x);
        let n = multiply_add::<HW, F>(g + g, v, F::ONE + x_half);
        (n * w) * (g * w)
    }
}

/// For bfloat16: the x and gradients for which every step stays among the normal numbers.
impl Quick for Plain<f32> {
    #[inline(always)]
    fn covers_forward(x: f32) -> bool {
        !(x < f32::FIRST_MIN)
    }

    #[inline(always)]
    fn covers_backward(grad_y: f32, x: f32) -> bool {
        const SMALL: f32 = 1.0 / (1u64 << 60) as f32;
        !(x < -40.0) & (!(grad_y.abs() < SMALL) | (grad_y == 0.0))
    }

    #[inline(always)]
    fn covers_double_backward(grad_grad_x: f32, grad_y: f32, x: f32) -> bool {
        const LARGE: f32 = (1u64 << 40) as f32;
        const SMALL: f32 = 1.0 / LARGE;
        let moderate = |grad: f32| {
            let size = grad.abs();
            (!(size < SMALL) | (size == 0.0)) & !(size > LARGE)
        };
        !(x < -25.0) & !(x > f32::FIRST_MAX) & moderate(grad_grad_x) & moderate(grad_y)
    }
}
