//! Compensated formulas: those lost bits carried along that show, for elements whose every
//! intermediate result is a normal number: mish of float64 within 2 ULP, its derivatives within 3;
//! mish and mish′ of float32 within 1 and 2. `docs/derivation.md`, "Double words".
//!
//! Quantities are unevaluated sums of two numbers (`a`, `a_low`) as in `double_word.rs`, but e is
//! formed at once, and only its own rounding is corrected, not the half unit that eʳ − 1 is off.
//! The formulas are those of the derivation for g = e/2: a quarter of δ = z² + 1 is g² + g + 1/2,
//! which saves the multiplications by 2 and 4.

use super::columns::{Columns, Parts, parts};
use super::error_free::{fast_two_sum, two_product};
use super::real::Real;
use super::{Method, Restricted};

/// Where the formulas here are right.
pub trait Limits: Real {
    /// Down to here x·eˣ and what rounding cuts off it are normal numbers.
    const FORWARD_MIN: Self;
    /// Down to here mish′ and mish″ are, with room for gradients.
    const DERIVATIVES_MIN: Self;
    /// From here on mish is x and mish′ 1. A multiple of ln 2, whose e is a power of two: so the
    /// quotient g²/d of mish′ comes out as 1, and serves all x beyond.
    const LIMIT: Self;
    /// Whether the rounding of r, a quarter of a unit at most, is too much for mish.
    const EXACT_REDUCTION: bool;
}

impl Limits for f32 {
    const FORWARD_MIN: f32 = -70.0;
    const DERIVATIVES_MIN: f32 = -60.0;
    const LIMIT: f32 = 22.0 * std::f32::consts::LN_2;
    const EXACT_REDUCTION: bool = true;
}

impl Limits for f64 {
    const FORWARD_MIN: f64 = -650.0;
    const DERIVATIVES_MIN: f64 = -300.0;
    const LIMIT: f64 = 37.0 * std::f64::consts::LN_2;
    const EXACT_REDUCTION: bool = false;
}

/// Up to here y² absorbs no bit of 1/4, so that the low parts are exact.
const SECOND_MAX: f64 = 18.0;

/// `a·b + c`, rounded once.
#[inline(always)]
fn fma<F: Real>(a: F, b: F, c: F) -> F {
    a.fused(b, c)
}

parts! {
    /// eˣ/2 = 2ᵏ⁻¹·(1 + q) of the clamped x, with k + [`Real::MAGIC_HALF`].
    Exponential, 3 {
        x,
        k_biased,
        q,
    }
}
parts! {
    /// h = g² + g = (δ − 2)/4 for g = e/2 and d = h + 1/2 = δ/4, each with what it lacks; w is a
    /// little less than 1/d.
    Quotient, 5 {
        h,
        h_low,
        d,
        d_low,
        w,
    }
}
parts! {
    /// g = e/2, y = z/2 = g + 1/2 and d = δ/4 = y² + 1/4, each with what it lacks;
    /// 1/d = w·(1 + w_rel). And the clamped x.
    Denominator, 7 {
        x,
        g,
        g_low,
        y,
        y_low,
        w,
        w_rel,
    }
}

impl<F: Real> Exponential<F> {
    /// The first step: Cody and Waite's reduction and eʳ − 1. What ln 2 lacks goes into r, or, for
    /// an `exact` r, into [`Self::lacking`].
    #[inline(always)]
    fn of(x: F, exact: bool) -> Self {
        let k_biased = x.fused(F::LOG2_E, F::MAGIC_HALF);
        let k = k_biased - F::MAGIC_HALF;
        let near = fma(k, F::MINUS_LN2_HIGH, x);
        let r = if exact {
            near
        } else {
            fma(k, F::MINUS_LN2_LOW, near)
        };
        let square = r * r;
        let q = fma(square, F::exp_tail(near, r, square), r);
        Exponential { x, k_biased, q }
    }

    /// g = eˣ/2.
    #[inline(always)]
    fn half(&self) -> F {
        let scale = F::exp2_half(self.k_biased);
        fma(scale, self.q, scale)
    }

    /// What g lacks beyond `other`, a number near g.
    #[inline(always)]
    fn half_beyond(&self, other: F) -> F {
        let scale = F::exp2_half(self.k_biased);
        fma(scale, self.q, scale - other)
    }

    /// What g lacks because ln 2 has more digits than one number, with `low` added.
    #[inline(always)]
    fn lacking(&self, g: F, low: F) -> F {
        let k = self.k_biased - F::MAGIC_HALF;
        fma(g, k * F::MINUS_LN2_LOW, low)
    }
}

impl<F: Limits> Quotient<F> {
    /// The second step of the forward pass.
    #[inline(always)]
    fn of(exp: Exponential<F>) -> Self {
        let g = exp.half();
        let h = fma(g, g, g);
        // g² is of the rounded g, g itself is not rounded: 2g·g_low would not show.
        let h_low = fma(g, g, exp.half_beyond(h));
        let h_low = if F::EXACT_REDUCTION {
            exp.lacking(g, h_low)
        } else {
            h_low
        };
        let (d, d_cut) = fast_two_sum(F::HALF, h);
        let d_low = d_cut + h_low;
        let w = F::BELOW_ONE / d;
        Quotient {
            h,
            h_low,
            d,
            d_low,
            w,
        }
    }
}

/// `mish(x)`: the last step.
#[inline(always)]
fn forward<F: Real>(x: F, c: Quotient<F>) -> F {
    let ratio = c.h * c.w;
    // Positive at 0 and at the limit, as w is too small: so −0 stays −0 and infinity infinity.
    let remainder = fma(-ratio, c.d, c.h) + fma(-ratio, c.d_low, c.h_low);
    fma(x, ratio, (x * c.w) * remainder)
}

impl<F: Real> Denominator<F> {
    /// The second step of the derivatives.
    #[inline(always)]
    fn of(exp: Exponential<F>) -> Self {
        let g = exp.half();
        let g_low = exp.half_beyond(g);
        let (y, y_cut) = fast_two_sum(F::HALF, g);
        let y_low = y_cut + g_low;
        let d = fma(y, y, F::QUARTER);
        let d_low = fma(y + y, y_low, fma(y, y, F::QUARTER - d));
        let w = F::ONE / d;
        let w_rel = fma(-d_low, w, fma(-d, w, F::ONE));
        Denominator {
            x: exp.x,
            g,
            g_low,
            y,
            y_low,
            w,
            w_rel,
        }
    }

    /// a = g/d and what it lacks.
    #[inline(always)]
    fn slope(&self) -> (F, F) {
        let (a, a_cut) = two_product(self.g, self.w);
        (a, fma(a, self.w_rel, fma(self.g_low, self.w, a_cut)))
    }
}

/// mish′(x) = m·a with m = 1 + g + x·y·w, the sum that vanishes at the minimum: the last step.
#[inline(always)]
fn first<F: Real>(c: Denominator<F>) -> F {
    let (ratio, ratio_cut) = two_product(c.y, c.w);
    let ratio_low = fma(ratio, c.w_rel, fma(c.y_low, c.w, ratio_cut));
    let (b, b_cut) = two_product(c.x, ratio);
    let b_low = fma(c.x, ratio_low, b_cut);
    // Exact on the left, where the sum vanishes; on the right half a unit does not matter.
    let b_one = b + F::ONE;
    let (a, a_low) = c.slope();
    let low = fma(c.g + b_one, a_low, (c.g_low + b_low) * a);
    // The sum's own rounding does not come up: its terms are multiplied one by one.
    fma(c.g, a, fma(b_one, a, low))
}

/// mish″(x) = n·w·a with n = 1 + x/2 + g·v, the sum that vanishes at the inflections, and
/// v = 2·(1 − mish) = 2 − 2x + x·w: the last step. The half unit of 2 − 2x does not matter.
#[inline(always)]
fn second(c: Denominator) -> f64 {
    let x = c.x;
    let p = fma(-2.0, x, 2.0);
    let v = fma(x, c.w, p);
    let v_low = fma(x * c.w, c.w_rel, fma(x, c.w, p - v));
    let b = fma(0.5, x, 1.0);
    let n = fma(c.g, v, b);
    let cut = fma(c.g, v, b - n) + fma(0.5, x, 1.0 - b);
    let n_low = fma(c.g_low, v, fma(c.g, v_low, cut));
    let (a, a_low) = c.slope();
    let (h, h_cut) = two_product(n, c.w);
    let h_low = fma(n_low, c.w, h_cut);
    fma(h, a, fma(h, fma(a, c.w_rel, a_low), h_low * a))
}

/// The compensated formulas in f64.
pub struct Compensated;

/// The results of the first steps for a block.
pub struct Scratch<F, const N: usize> {
    exponential: Columns<3, N, F>,
    quotient: Columns<5, N, F>,
    denominator: Columns<7, N, F>,
}

impl<F: Real, const N: usize> Default for Scratch<F, N> {
    #[inline(always)]
    fn default() -> Self {
        Scratch {
            exponential: Columns::default(),
            quotient: Columns::default(),
            denominator: Columns::default(),
        }
    }
}

impl<F: Limits, const N: usize> Scratch<F, N> {
    #[inline(always)]
    fn exponentials(&mut self, x: &[F; N], exact: bool) {
        for i in 0..N {
            let x = x[i].at_most(F::LIMIT);
            self.exponential.set(i, Exponential::of(x, exact));
        }
    }

    #[inline(always)]
    fn denominators(&mut self, x: &[F; N]) {
        self.exponentials(x, false);
        for i in 0..N {
            let exponential = self.exponential.get(i);
            self.denominator.set(i, Denominator::of(exponential));
        }
    }

    /// [`Method::forward`]
    #[inline(always)]
    pub fn forward(&mut self, [x]: [&[F; N]; 1], [y]: [&mut [F; N]; 1]) {
        self.exponentials(x, F::EXACT_REDUCTION);
        for i in 0..N {
            let exponential = self.exponential.get(i);
            self.quotient.set(i, Quotient::of(exponential));
        }
        for i in 0..N {
            y[i] = forward(x[i], self.quotient.get(i));
        }
    }

    /// [`Method::backward`]
    #[inline(always)]
    pub fn backward(&mut self, [grad_y, x]: [&[F; N]; 2], [grad_x]: [&mut [F; N]; 1]) {
        self.denominators(x);
        for i in 0..N {
            grad_x[i] = grad_y[i] * first(self.denominator.get(i));
        }
    }
}

impl Method for Compensated {
    type Number = f64;
    type Scratch<const N: usize> = Scratch<f64, N>;

    #[inline(always)]
    fn forward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Scratch<f64, N>,
        arguments: [&[f64; N]; 1],
        results: [&mut [f64; N]; 1],
    ) {
        scratch.forward(arguments, results);
    }

    #[inline(always)]
    fn backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Scratch<f64, N>,
        arguments: [&[f64; N]; 2],
        results: [&mut [f64; N]; 1],
    ) {
        scratch.backward(arguments, results);
    }

    #[inline(always)]
    fn double_backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Scratch<f64, N>,
        [grad_grad_x, grad_y, x]: [&[f64; N]; 3],
        [grad_grad_y, grad_x]: [&mut [f64; N]; 2],
    ) {
        scratch.denominators(x);
        for i in 0..N {
            grad_grad_y[i] = grad_grad_x[i] * first(scratch.denominator.get(i));
        }
        for i in 0..N {
            let second = second(scratch.denominator.get(i));
            grad_x[i] = (grad_grad_x[i] * second) * grad_y[i];
        }
    }
}

/// 2^`exponent`
const fn power(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

impl Restricted for Compensated {
    const FORWARD_MIN: f64 = <f64 as Limits>::FORWARD_MIN;
    const BACKWARD_MIN: f64 = f64::DERIVATIVES_MIN;

    /// With mish″ > 2⁻⁵⁰⁰ the product with the first gradient is a normal number or 0, and rounded
    /// only once more by the second, whatever that is.
    #[inline(always)]
    fn covers_double_backward(grad_grad_x: f64, x: f64) -> bool {
        let size = grad_grad_x.abs();
        !(x < f64::DERIVATIVES_MIN) & !(x > SECOND_MAX) & (!(size < power(-200)) | (size == 0.0))
    }
}
