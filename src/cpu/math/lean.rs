//! The formulas with those lost bits carried along that show, for elements whose every
//! intermediate result is a normal number: float64, and forward and backward of float32.
//!
//! Quantities are unevaluated sums of two numbers (`a`, `a_low`) as in `paired`, but e is formed
//! at once, and only its own rounding is corrected, not the half unit that eʳ − 1 is off.
//! The formulas are those of `docs/derivation.md` for g = e/2: a quarter of δ = z² + 1 is
//! g² + g + 1/2, which saves the multiplications by 2 and 4.

use super::columns::{Columns, Parts, parts};
use super::paired::two_sum;
use super::real::Real;
use super::{Method, Quick};

/// Where the formulas here are right.
pub trait Limits: Real {
    /// Down to here x·eˣ and what rounding cuts off it are normal numbers.
    const FORWARD_MIN: Self;
    /// Down to here mish′ and mish″ are, with room for gradients.
    const DERIVATIVES_MIN: Self;
    /// From here on mish is x and mish′ 1. A multiple of ln 2, whose e is a power of two: so the
    /// quotient h·w comes out as 1, and serves all x beyond.
    const LIMIT: Self;
}

impl Limits for f32 {
    const FORWARD_MIN: f32 = -70.0;
    const DERIVATIVES_MIN: f32 = -60.0;
    const LIMIT: f32 = 22.0 * std::f32::consts::LN_2;
}

impl Limits for f64 {
    const FORWARD_MIN: f64 = -650.0;
    const DERIVATIVES_MIN: f64 = -300.0;
    const LIMIT: f64 = 37.0 * std::f64::consts::LN_2;
}

/// Up to here y² absorbs no bit of 1/4, so that the low parts are exact.
const SECOND_MAX: f64 = 18.0;

/// `a·b + c`, rounded once.
#[inline(always)]
fn fma<F: Real>(a: F, b: F, c: F) -> F {
    a.fused(b, c)
}

parts! {
    /// eˣ/2 = 2ᵏ⁻¹·(1 + q) of the clamped x, with k + [`Real::MAGIC_HALF`] and without the low
    /// part of k·ln 2.
    Exponential, 3 {
        x,
        k_biased,
        q,
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

/// A sum with what rounding cut off.
struct Sum<F> {
    high: F,
    low: F,
}

impl<F: Real> Sum<F> {
    /// a + b + `low`
    #[inline(always)]
    fn of(a: F, b: F, low: F) -> Self {
        let (high, cut) = two_sum(a, b);
        Sum {
            high,
            low: cut + low,
        }
    }
}

impl<F: Real> Exponential<F> {
    /// First step.
    #[inline(always)]
    fn of(x: F) -> Self {
        let k_biased = x.fused(F::LOG2_E, F::MAGIC_HALF);
        let k = k_biased - F::MAGIC_HALF;
        // Exact: what ln 2 lacks is made up for in `half`.
        let r = fma(k, F::MINUS_LN2_HIGH, x);
        let square = r * r;
        let q = fma(square, F::exp_tail(r, square), r);
        Exponential { x, k_biased, q }
    }

    /// Second step: g = eˣ/2 and what it lacks.
    #[inline(always)]
    fn half(&self) -> (F, F) {
        let scale = F::exp2_half(self.k_biased);
        let g = fma(scale, self.q, scale);
        let cut = fma(scale, self.q, scale - g);
        let k = self.k_biased - F::MAGIC_HALF;
        (g, fma(g, k * F::MINUS_LN2_LOW, cut))
    }
}

/// `mish(x)`: the second step.
#[inline(always)]
fn forward<F: Real>(x: F, exp: Exponential<F>) -> F {
    let (g, g_low) = exp.half();
    // h = g² + g = (δ − 2)/4 and d = h + 1/2 = δ/4
    let h = fma(g, g, g);
    let h_low = fma(g_low, fma(g, F::TWO, F::ONE), fma(g, g, g - h));
    let d = F::HALF + h;
    let d_low = (h - (d - F::HALF)) + h_low;
    // Fewer instructions than `reciprocal`; the rest takes longer than the divider does.
    let w = F::ONE / d;
    let ratio = h * w;
    let remainder = fma(-ratio, d_low, fma(-ratio, d, h)) + h_low;
    let y = fma(x, ratio, exp.x * (w * remainder));
    y.or_sign(x)
}

impl<F: Real> Denominator<F> {
    /// Second step of the derivatives.
    #[inline(always)]
    fn of(exp: Exponential<F>) -> Self {
        let (g, g_low) = exp.half();
        let y = F::HALF + g;
        let y_low = ((F::HALF - y) + g) + g_low;
        let d = fma(y, y, F::QUARTER);
        let d_low = fma(y + y, y_low, fma(y, y, F::QUARTER - d));
        let w = d.reciprocal::<true>();
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
}

/// mish′(x) = m·a with a = g·w and m = 1 + g + x·y·w, the sum that vanishes at the minimum: the
/// last step.
#[inline(always)]
fn first<F: Real>(c: Denominator<F>) -> F {
    let ratio = c.y * c.w;
    let ratio_low = fma(ratio, c.w_rel, fma(c.y_low, c.w, fma(c.y, c.w, -ratio)));
    let b = c.x * ratio;
    let b_low = fma(c.x, ratio_low, fma(c.x, ratio, -b));
    // Exact on the left, where the sum vanishes; on the right half a unit does not matter.
    let b_one = b + F::ONE;
    let a = c.g * c.w;
    let a_low = fma(a, c.w_rel, fma(c.g_low, c.w, fma(c.g, c.w, -a)));
    let low = fma(c.g + b_one, a_low, (c.g_low + b_low) * a);
    // The sum's own rounding does not come up: its terms are multiplied one by one.
    fma(c.g, a, fma(b_one, a, low))
}

/// mish″(x) = n·w²·g with n = 1 + x/2 + 2g·(1 − mish), the sum that vanishes at the inflections:
/// the last step.
#[inline(always)]
fn second(c: Denominator) -> f64 {
    let x = c.x;
    // 1 − mish = 1 − x + w·x/2
    let p = 1.0 - x;
    let p_low = (1.0 - p) - x;
    let x_half = 0.5 * x;
    let xw = x_half * c.w;
    let v = p + xw;
    let v_low = fma(x_half, c.w, p - v) + fma(xw, c.w_rel, p_low);
    let e = c.g + c.g;
    let t = e * v;
    let t_low = fma(e, v, -t) + fma(e, v_low, (c.g_low + c.g_low) * v);
    let b = 1.0 + x_half;
    let b_low = (1.0 - b) + x_half;
    let n = Sum::of(b, t, b_low + t_low);
    let w2 = c.w * c.w;
    let w2_low = fma(w2, c.w_rel + c.w_rel, fma(c.w, c.w, -w2));
    let h = n.high * w2;
    let h_low = fma(n.high, w2, -h) + fma(n.high, w2_low, n.low * w2);
    fma(h, c.g, fma(h, c.g_low, h_low * c.g))
}

/// The formulas in f64, partly in pairs.
pub struct Lean;

/// The results of the first steps for a block.
pub struct Scratch<F, const N: usize> {
    exponential: Columns<3, N, F>,
    denominator: Columns<7, N, F>,
}

impl<F: Real, const N: usize> Default for Scratch<F, N> {
    #[inline(always)]
    fn default() -> Self {
        Scratch {
            exponential: Columns::default(),
            denominator: Columns::default(),
        }
    }
}

impl<F: Limits, const N: usize> Scratch<F, N> {
    #[inline(always)]
    fn exponentials(&mut self, x: &[F; N]) {
        for i in 0..N {
            let x = x[i].at_most(F::LIMIT);
            self.exponential.set(i, Exponential::of(x));
        }
    }

    #[inline(always)]
    fn denominators(&mut self, x: &[F; N]) {
        self.exponentials(x);
        for i in 0..N {
            let exponential = self.exponential.get(i);
            self.denominator.set(i, Denominator::of(exponential));
        }
    }

    /// [`Method::forward`]
    #[inline(always)]
    pub fn forward(&mut self, x: &[F; N], y: &mut [F; N]) {
        self.exponentials(x);
        for i in 0..N {
            y[i] = forward(x[i], self.exponential.get(i));
        }
    }

    /// [`Method::backward`]
    #[inline(always)]
    pub fn backward(&mut self, grad_y: &[F; N], x: &[F; N], grad_x: &mut [F; N]) {
        self.denominators(x);
        for i in 0..N {
            grad_x[i] = grad_y[i] * first(self.denominator.get(i));
        }
    }
}

impl Method for Lean {
    type Number = f64;
    type Scratch<const N: usize> = Scratch<f64, N>;

    #[inline(always)]
    fn forward<const HW: bool, const N: usize>(
        scratch: &mut Scratch<f64, N>,
        x: &[f64; N],
        y: &mut [f64; N],
    ) {
        scratch.forward(x, y);
    }

    #[inline(always)]
    fn backward<const HW: bool, const N: usize>(
        scratch: &mut Scratch<f64, N>,
        grad_y: &[f64; N],
        x: &[f64; N],
        grad_x: &mut [f64; N],
    ) {
        scratch.backward(grad_y, x, grad_x);
    }

    #[inline(always)]
    fn double_backward<const HW: bool, const N: usize>(
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

impl Quick for Lean {
    #[inline(always)]
    fn covers_forward(x: f64) -> bool {
        !(x < f64::FORWARD_MIN)
    }

    #[inline(always)]
    fn covers_backward(_: f64, x: f64) -> bool {
        !(x < f64::DERIVATIVES_MIN)
    }

    #[inline(always)]
    fn covers_double_backward(grad_grad_x: f64, grad_y: f64, x: f64) -> bool {
        let moderate = |grad: f64| {
            let size = grad.abs();
            (!(size < power(-200)) | (size == 0.0)) & !(size > power(500))
        };
        !(x < f64::DERIVATIVES_MIN) & !(x > SECOND_MAX) & moderate(grad_grad_x) & moderate(grad_y)
    }
}
