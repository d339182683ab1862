//! The formulas as they stand, in a type with bits to spare: 16-bit elements in `f32`, within 0.501
//! ULP; wider ones, and bfloat16's smallest results, in `f64`, whose last rounding decides.
//! `docs/derivation.md`, "Four ways to evaluate the formulas".

use std::marker::PhantomData;

use super::real::{Real, multiply_add};
use super::{Method, Range, Restricted};

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
    fn fill<const HAS_FMA: bool>(&mut self, x: &[F; N], range: Range<F>) {
        for i in 0..N {
            self.x[i] = range.clamp(x[i]);
            self.g[i] = half_exp::<HAS_FMA, F>(self.x[i]);
        }
    }

    #[inline(always)]
    fn reciprocals<const HAS_FMA: bool>(&mut self) {
        for i in 0..N {
            self.w[i] = Shared::of::<HAS_FMA>(self.g[i]).w;
        }
    }

    #[inline(always)]
    fn shared(&self, i: usize) -> Shared<F> {
        Shared {
            g: self.g[i],
            w: self.w[i],
        }
    }
}

/// eˣ/2 for x in one of the ranges, where it is a normal number.
#[inline(always)]
fn half_exp<const HAS_FMA: bool, F: Real>(x: F) -> F {
    let k_biased = multiply_add::<HAS_FMA, F>(x, F::LOG2_E, F::MAGIC_HALF);
    let k = k_biased - F::MAGIC_HALF;
    let r = F::cody_waite::<HAS_FMA>(x, k);
    F::exp_reduced::<HAS_FMA>(r) * F::exp2_half(k_biased)
}

impl<F: Real> Method for Plain<F> {
    type Number = F;
    type Scratch<const N: usize> = Exponentials<F, N>;

    #[inline(always)]
    fn forward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Exponentials<F, N>,
        [x]: [&[F; N]; 1],
        [y]: [&mut [F; N]; 1],
    ) {
        scratch.fill::<HAS_FMA>(x, Range(F::FIRST_MIN, F::FIRST_MAX));
        for i in 0..N {
            y[i] = forward::<HAS_FMA, F>(x[i], scratch.g[i]);
        }
    }

    #[inline(always)]
    fn backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Exponentials<F, N>,
        [grad_y, x]: [&[F; N]; 2],
        [grad_x]: [&mut [F; N]; 1],
    ) {
        scratch.fill::<HAS_FMA>(x, Range(F::FIRST_MIN, F::FIRST_MAX));
        for i in 0..N {
            let first = Shared::of::<HAS_FMA>(scratch.g[i]).first::<HAS_FMA>(scratch.x[i]);
            grad_x[i] = grad_y[i] * first;
        }
    }

    #[inline(always)]
    fn double_backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Exponentials<F, N>,
        [grad_grad_x, grad_y, x]: [&[F; N]; 3],
        [grad_grad_y, grad_x]: [&mut [F; N]; 2],
    ) {
        scratch.fill::<HAS_FMA>(x, Range(F::SECOND_MIN, F::SECOND_MAX));
        scratch.reciprocals::<HAS_FMA>();
        for i in 0..N {
            let first = scratch.shared(i).first::<HAS_FMA>(scratch.x[i]);
            grad_grad_y[i] = grad_grad_x[i] * first;
        }
        for i in 0..N {
            let second = scratch.shared(i).second::<HAS_FMA>(scratch.x[i]);
            grad_x[i] = (grad_grad_x[i] * grad_y[i]) * second;
        }
    }
}

impl<const N: usize> Exponentials<f64, N> {
    /// mish′ and mish″, rounded, for x that need no clamping.
    #[inline(always)]
    pub fn derivatives<const HAS_FMA: bool>(
        &mut self,
        x: &[f32; N],
        [first, second]: [&mut [f32; N]; 2],
    ) {
        for i in 0..N {
            self.x[i] = f64::from(x[i]);
            self.g[i] = half_exp::<HAS_FMA, f64>(self.x[i]);
        }
        self.reciprocals::<HAS_FMA>();
        for i in 0..N {
            let shared = self.shared(i);
            first[i] = shared.first::<HAS_FMA>(self.x[i]) as f32;
            second[i] = shared.second::<HAS_FMA>(self.x[i]) as f32;
        }
    }
}

/// mish(x)
#[inline(always)]
fn forward<const HAS_FMA: bool, F: Real>(x: F, g: F) -> F {
    // (δ − 2)/4
    let h = multiply_add::<HAS_FMA, F>(g, g, g);
    // Not clamped from above: there the quotient is 1.
    x.at_least(F::FIRST_MIN) * (h / (h + F::HALF))
}

/// `power·b + c` for a power of two: the product is exact, so nothing needs emulation.
#[inline(always)]
fn scaled_add<const HAS_FMA: bool, F: Real>(power: F, b: F, c: F) -> F {
    if HAS_FMA {
        power.fused(b, c)
    } else {
        power * b + c
    }
}

/// What the derivatives share: g and w = 4/δ.
struct Shared<F> {
    g: F,
    w: F,
}

impl<F: Real> Shared<F> {
    #[inline(always)]
    fn of<const HAS_FMA: bool>(g: F) -> Self {
        // g² + g + 1/2 = δ/4
        let d = multiply_add::<HAS_FMA, F>(g, F::ONE + g, F::HALF);
        Shared { g, w: F::ONE / d }
    }

    /// mish′(x) = g·w·(1 + g + x·y·w)
    #[inline(always)]
    fn first<const HAS_FMA: bool>(&self, x: F) -> F {
        let a = self.g * self.w;
        let ratio = scaled_add::<HAS_FMA, F>(F::HALF, self.w, a);
        let m = multiply_add::<HAS_FMA, F>(x, ratio, F::ONE + self.g);
        m * a
    }

    /// mish″(x) = g·w²·(1 + x/2 + 2g·(1 − x) + x·g·w)
    #[inline(always)]
    fn second<const HAS_FMA: bool>(&self, x: F) -> F {
        let a = self.g * self.w;
        let constant = scaled_add::<HAS_FMA, F>(F::HALF, x, F::ONE);
        let slope = scaled_add::<HAS_FMA, F>(-F::TWO, x, F::TWO);
        let sum = multiply_add::<HAS_FMA, F>(self.g, slope, constant);
        let n = multiply_add::<HAS_FMA, F>(x, a, sum);
        n * (a * self.w)
    }
}

/// grad_grad_x · grad_y · `second` = mish″(x), a normal number. As that is below 1, the larger
/// gradient times it does not overflow, and where it becomes subnormal, the smaller gradient is
/// below 1 as well and cannot make the lost bits show.
#[inline(always)]
pub fn ordered_product(grad_grad_x: f32, grad_y: f32, second: f32) -> f32 {
    let (larger, smaller) = if grad_grad_x.abs() < grad_y.abs() {
        (grad_y, grad_grad_x)
    } else {
        (grad_grad_x, grad_y)
    };
    (larger * second) * smaller
}

/// `Plain<f32>` for bfloat16, whose gradients have all exponents of `f32`.
pub struct Ordered;

impl Method for Ordered {
    type Number = f32;
    type Scratch<const N: usize> = Exponentials<f32, N>;

    #[inline(always)]
    fn forward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Exponentials<f32, N>,
        arguments: [&[f32; N]; 1],
        results: [&mut [f32; N]; 1],
    ) {
        Plain::<f32>::forward::<HAS_FMA, N>(scratch, arguments, results);
    }

    #[inline(always)]
    fn backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Exponentials<f32, N>,
        arguments: [&[f32; N]; 2],
        results: [&mut [f32; N]; 1],
    ) {
        Plain::<f32>::backward::<HAS_FMA, N>(scratch, arguments, results);
    }

    #[inline(always)]
    fn double_backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Exponentials<f32, N>,
        [grad_grad_x, grad_y, x]: [&[f32; N]; 3],
        [grad_grad_y, grad_x]: [&mut [f32; N]; 2],
    ) {
        // No clamping: what `covers_double_backward` leaves out is thrown away.
        for i in 0..N {
            scratch.g[i] = half_exp::<HAS_FMA, f32>(x[i]);
        }
        scratch.reciprocals::<HAS_FMA>();
        for i in 0..N {
            let first = scratch.shared(i).first::<HAS_FMA>(x[i]);
            grad_grad_y[i] = grad_grad_x[i] * first;
        }
        for i in 0..N {
            let second = scratch.shared(i).second::<HAS_FMA>(x[i]);
            grad_x[i] = ordered_product(grad_grad_x[i], grad_y[i], second);
        }
    }
}

/// The x for which every step but the multiplications by gradients stays among the normal numbers.
/// A result that is subnormal is rounded to `f32` before it is to bfloat16, which has 16 bits less.
impl Restricted for Ordered {
    const FORWARD_MIN: f32 = f32::FIRST_MIN;
    const BACKWARD_MIN: f32 = f32::FIRST_MIN;

    #[inline(always)]
    fn covers_double_backward(_: f32, x: f32) -> bool {
        !(x < f32::SECOND_MIN) & !(x > f32::SECOND_MAX)
    }
}
