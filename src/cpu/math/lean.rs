//! f64: the formulas with those lost bits carried along that show, for elements whose every
//! intermediate result is a normal number.
//!
//! Quantities are unevaluated sums of two numbers (`a`, `a_low`) as in `paired`, but e is formed
//! at once, and only its own rounding is corrected, not the half unit that eʳ − 1 is off.
//! `Exact` in `kernels/math.cuh` evaluates the same expressions.

use super::columns::{Columns, Parts, parts};
use super::constants::{EXP_TAIL_PAIRED, LN2_HIGH_F64, LN2_LOW_F64};
use super::paired::{fma, two_sum};
use super::real::Real;
use super::{Method, Quick};

/// Above this x, mish is x and mish′ is 1.
const FIRST_MAX: f64 = 25.0;
/// Down to here x·eˣ and what rounding cuts off it are normal numbers.
const FORWARD_MIN: f64 = -650.0;
/// Down to here mish′ and mish″ leave room for the gradients below.
const DERIVATIVES_MIN: f64 = -300.0;
/// Up to here z² absorbs no bit of 1, so that the low parts are exact.
const SECOND_MAX: f64 = 18.0;

parts! {
    /// eˣ = 2ᵏ·(1 + q), with MAGIC + k.
    Exponential, 2 {
        k_biased,
        q,
    }
}
parts! {
    /// n = e·(e + 2) and w = 1/(n + 2), with what rounding cut off.
    Quotient, 4 {
        n,
        n_low,
        d_low,
        w,
    }
}
parts! {
    /// z = 1 + e with what rounding cut off, and 1/(z² + 1) = w·(1 + w_rel).
    Denominator, 4 {
        z,
        z_low,
        w,
        w_rel,
    }
}

parts! {
    /// A sum with what rounding cut off.
    Sum, 2 {
        high,
        low,
    }
}

impl Sum {
    /// a + b + `low`
    #[inline(always)]
    fn of(a: f64, b: f64, low: f64) -> Self {
        let (high, cut) = two_sum(a, b);
        Sum {
            high,
            low: cut + low,
        }
    }
}

impl Exponential {
    /// First step.
    #[inline(always)]
    fn of(x: f64) -> Self {
        let k_biased = fma(x, f64::LOG2_E, f64::MAGIC);
        let k = k_biased - f64::MAGIC;
        let r = fma(k, -LN2_LOW_F64, fma(k, -LN2_HIGH_F64, x));
        let square = r * r;
        let q = fma(square, exp_tail(r, square), r);
        Exponential { k_biased, q }
    }

    #[inline(always)]
    fn scale(&self) -> f64 {
        f64::exp2_biased(self.k_biased)
    }

    /// eˣ and what rounding cut off.
    #[inline(always)]
    fn value(&self) -> (f64, f64) {
        let scale = self.scale();
        let e = fma(scale, self.q, scale);
        (e, fma(scale, self.q, scale - e))
    }
}

/// (eʳ − 1 − r)/r² for |r| ≤ ln 2/2; the even and the odd powers apart, which halves the chain.
#[inline(always)]
fn exp_tail(r: f64, square: f64) -> f64 {
    let mut sums = [EXP_TAIL_PAIRED[0], EXP_TAIL_PAIRED[1]];
    for pair in EXP_TAIL_PAIRED[2..].chunks_exact(2) {
        sums = [fma(sums[0], square, pair[0]), fma(sums[1], square, pair[1])];
    }
    fma(sums[0], r, sums[1])
}

/// a + b less `sum`, for numbers above zero of which the smaller is no multiple of a bit that the
/// sum cuts off on the larger's side.
#[inline(always)]
fn cut_off(a: f64, b: f64, sum: f64) -> f64 {
    (a.at_least(b) - sum) + a.at_most(b)
}

impl Quotient {
    /// Second step of `forward`.
    #[inline(always)]
    fn of(exp: Exponential) -> Self {
        let two = 2.0_f64;
        let (e, e_low) = exp.value();
        let a = e + two;
        let a_low = (two - a) + e;
        let n = e * a;
        let n_low = fma(e_low, a + e, fma(e, a_low, fma(e, a, -n)));
        let d = n + two;
        let d_low = cut_off(n, two, d) + n_low;
        let w = 1.0 / d;
        Quotient { n, n_low, d_low, w }
    }
}

/// `mish(x)`: the last step.
#[inline(always)]
fn forward(x: f64, c: Quotient) -> f64 {
    let d = c.n + 2.0;
    let ratio = c.n * c.w;
    let remainder = fma(-ratio, d, c.n) + fma(-ratio, c.d_low, c.n_low);
    let y = fma(x, ratio, x * (c.w * remainder));
    let y = if x > FIRST_MAX { x } else { y };
    // The sum above turns −0 into 0.
    f64::from_bits(y.to_bits() | (x.to_bits() & (1 << 63)))
}

impl Denominator {
    /// Second step of the derivatives.
    #[inline(always)]
    fn of(exp: Exponential) -> Self {
        let one = 1.0_f64;
        let (e, e_low) = exp.value();
        let z = one + e;
        let z_low = ((one - z) + e) + e_low;
        let d = fma(z, z, one);
        let d_low = fma(z + z, z_low, fma(z, z, one - d));
        let w = one / d;
        let w_rel = fma(-d_low, w, fma(-d, w, one));
        Denominator { z, z_low, w, w_rel }
    }
}

/// m = z + 1 + 4x·z·w, the sum that vanishes at the minimum: the third step of mish′.
#[inline(always)]
fn first_sum(x: f64, c: Denominator) -> Sum {
    let ratio = c.z * c.w;
    let ratio_low = fma(ratio, c.w_rel, fma(c.z_low, c.w, fma(c.z, c.w, -ratio)));
    let x4 = x * 4.0;
    let b = x4 * ratio;
    let b_low = fma(x4, ratio_low, fma(x4, ratio, -b));
    let a = c.z + 1.0;
    let a_low = ((c.z - a) + 1.0) + c.z_low;
    Sum::of(a, b, a_low + b_low)
}

/// mish′(x) = m·w·eˣ: the last step.
#[inline(always)]
fn first(exp: Exponential, c: Denominator, m: Sum) -> f64 {
    let g = m.high * c.w;
    let g_low = fma(g, c.w_rel, fma(m.low, c.w, fma(m.high, c.w, -g)));
    (fma(g, exp.q, fma(g_low, exp.q, g_low)) + g) * exp.scale()
}

/// n = 1 + x/2 + e·(1 − mish): the third step of mish″.
#[inline(always)]
fn second_sum(x: f64, exp: Exponential, c: Denominator) -> Sum {
    let one = 1.0_f64;
    let (e, e_low) = exp.value();
    // 1 − mish = 1 − x + 2x·w
    let x2 = x + x;
    let p = one - x;
    let p_low = (one - p) - x;
    let v = fma(x2, c.w, p);
    let v_low = fma(x2, c.w, p - v) + fma(x2 * c.w, c.w_rel, p_low);
    let t = e * v;
    let t_low = fma(e, v, -t) + fma(e, v_low, e_low * v);
    let b = fma(0.5, x, one);
    let b_low = fma(0.5, x, one - b);
    Sum::of(b, t, b_low + t_low)
}

/// mish″(x) = 8·n·w²·eˣ: the last step.
#[inline(always)]
fn second(exp: Exponential, c: Denominator, n: Sum) -> f64 {
    let w2 = c.w * c.w;
    let w2_low = fma(c.w, c.w, -w2);
    let h = n.high * w2;
    let h_low = fma(n.high, w2, -h) + fma(n.high, w2_low, n.low * w2);
    let w_rel2 = c.w_rel + c.w_rel;
    let factor = exp.q + fma(w_rel2, exp.q, w_rel2);
    let sum = fma(h, factor, fma(h_low, exp.q, h_low)) + h;
    sum * (exp.scale() * 8.0)
}

/// The formulas in f64, partly in pairs.
pub struct Lean;

/// The results of all steps but the last for a block.
#[derive(Default)]
pub struct Scratch<const N: usize> {
    exponential: Columns<2, N>,
    rest: Columns<4, N>,
    sum: Columns<2, N>,
}

impl<const N: usize> Scratch<N> {
    #[inline(always)]
    fn exponentials(&mut self, x: &[f64; N]) {
        for i in 0..N {
            self.exponential
                .set(i, Exponential::of(x[i].at_most(FIRST_MAX)));
        }
    }

    #[inline(always)]
    fn derivatives(&mut self, x: &[f64; N]) {
        self.exponentials(x);
        for i in 0..N {
            self.rest.set(i, Denominator::of(self.exponential.get(i)));
        }
    }

    /// `mish′(x)` of element `i`.
    #[inline(always)]
    fn first(&self, i: usize) -> f64 {
        first(self.exponential.get(i), self.rest.get(i), self.sum.get(i))
    }
}

impl Method for Lean {
    type Number = f64;
    type Scratch<const N: usize> = Scratch<N>;

    #[inline(always)]
    fn forward<const HW: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        x: &[f64; N],
        y: &mut [f64; N],
    ) {
        scratch.exponentials(x);
        for i in 0..N {
            scratch
                .rest
                .set(i, Quotient::of(scratch.exponential.get(i)));
        }
        for i in 0..N {
            y[i] = forward(x[i], scratch.rest.get(i));
        }
    }

    #[inline(always)]
    fn backward<const HW: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        grad_y: &[f64; N],
        x: &[f64; N],
        grad_x: &mut [f64; N],
    ) {
        scratch.derivatives(x);
        for i in 0..N {
            let x = x[i].at_most(FIRST_MAX);
            scratch.sum.set(i, first_sum(x, scratch.rest.get(i)));
        }
        for i in 0..N {
            grad_x[i] = grad_y[i] * scratch.first(i);
        }
    }

    #[inline(always)]
    fn double_backward<const HW: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        [grad_grad_x, grad_y, x]: [&[f64; N]; 3],
        [grad_grad_y, grad_x]: [&mut [f64; N]; 2],
    ) {
        scratch.derivatives(x);
        for i in 0..N {
            scratch.sum.set(i, first_sum(x[i], scratch.rest.get(i)));
        }
        for i in 0..N {
            grad_grad_y[i] = grad_grad_x[i] * scratch.first(i);
        }
        for i in 0..N {
            let (exponential, denominator) = (scratch.exponential.get(i), scratch.rest.get(i));
            scratch
                .sum
                .set(i, second_sum(x[i], exponential, denominator));
        }
        for i in 0..N {
            let (exponential, denominator) = (scratch.exponential.get(i), scratch.rest.get(i));
            let second = second(exponential, denominator, scratch.sum.get(i));
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
        !(x < FORWARD_MIN)
    }

    #[inline(always)]
    fn covers_backward(grad_y: f64, x: f64) -> bool {
        !(x < DERIVATIVES_MIN) & (!(grad_y.abs() < power(-400)) | (grad_y == 0.0))
    }

    #[inline(always)]
    fn covers_double_backward(grad_grad_x: f64, grad_y: f64, x: f64) -> bool {
        let moderate = |grad: f64| {
            let size = grad.abs();
            (!(size < power(-200)) | (size == 0.0)) & !(size > power(500))
        };
        !(x < DERIVATIVES_MIN) & !(x > SECOND_MAX) & moderate(grad_grad_x) & moderate(grad_y)
    }
}
