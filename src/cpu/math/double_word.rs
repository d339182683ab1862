//! float64 in double-word arithmetic: the formulas with what rounding loses carried along, for any
//! x and gradient; mish within 2 ULP, its derivatives within 3. `docs/derivation.md`, "Double
//! words" and "Powers of two".
//!
//! Nothing wider is at hand, so every quantity whose rounding would show is an unevaluated sum of
//! two numbers (`a`, `a_low`), and the power of two in e is kept apart and applied last, so that
//! nothing overflows and gradual underflow rounds once. [`super::Compensated`] is faster where that
//! cannot happen.

use super::columns::{Columns, Parts, parts};
use super::constants::{EXP_TAIL_F64, LN2_HIGH_F64, LN2_LOW_F64};
use super::error_free::{fast_two_sum, two_product, two_sum};
use super::real::Real;
use super::{Method, Range};

/// Below this k, e no longer changes z = 1 + e in any part that counts.
const K_MIN: f64 = -200.0;
/// Above this k, 1 and x no longer count beside e.
const K_MAX: f64 = 60.0;
/// The least exponent of a normal power of two; that has a normal inverse.
const EXP2_MIN: f64 = -1022.0;
/// Above this x, mish is x − 2x/δ with 2x/δ far below x.
const FORWARD_RIGHT: f64 = 4.0;
/// Below −760 mish rounds to −0; above 25 it is x and mish′ is 1.
const FORWARD: Range<f64> = Range(-760.0, 25.0);
/// Below −1480 even the largest gradient times mish′ rounds to zero.
const BACKWARD: Range<f64> = Range(-1480.0, 25.0);
/// Outside, even the largest gradients times mish″ round to zero.
const DOUBLE_BACKWARD: Range<f64> = Range(-2200.0, 1120.0);

// The work up to here is cut into steps, so that a loop over a block can run each step for all
// elements before the next: then the dependency chain of an element is short enough for a CPU to
// overlap many elements.
parts! {
    /// x = k·ln 2 + r, by Cody and Waite's reduction.
    Reduced, 3 {
        /// k + [`Real::MAGIC`]: the integer stands in the low bits.
        k_biased,
        r,
        r_low,
    }
}
parts! {
    /// eˣ = 2ᵏ·(1 + q + q_low).
    Exponential, 3 {
        k_biased,
        q,
        q_low,
    }
}
parts! {
    /// z = 1 + eˣ and d = z² + 1 for k limited to `K_MIN..=K_MAX` (beyond, the rest of the
    /// formulas no longer notices), each with the part that rounding cut off; w = 1/d, rounded.
    Denominator, 5 {
        z,
        z_low,
        d,
        d_low,
        w,
    }
}

impl Reduced {
    /// First step.
    #[inline(always)]
    fn of(x: f64, range: Range<f64>) -> Self {
        let x = range.clamp(x);
        let k_biased = fma(x, f64::LOG2_E, f64::MAGIC);
        let k = k_biased - f64::MAGIC;
        // Exact but for the last term of ln 2, whose rounding r_low keeps.
        let r_exact = fma(k, -LN2_HIGH_F64, x);
        let r = fma(k, -LN2_LOW_F64, r_exact);
        let r_low = fma(k, -LN2_LOW_F64, r_exact - r);
        Reduced { k_biased, r, r_low }
    }
}

impl Exponential {
    /// Second step: eʳ − 1 = r + r²·P(r).
    #[inline(always)]
    fn of(reduced: Reduced) -> Self {
        let Reduced { k_biased, r, r_low } = reduced;
        let tail = fma(r * r, exp_tail(r), r_low);
        let (q, q_low) = fast_two_sum(r, tail);
        Exponential { k_biased, q, q_low }
    }

    /// k + MAGIC for the limited k.
    #[inline(always)]
    fn limited<const WIDE: bool>(&self) -> f64 {
        let limited = self.k_biased.at_least(f64::MAGIC + K_MIN);
        if WIDE {
            limited.at_most(f64::MAGIC + K_MAX)
        } else {
            limited
        }
    }

    /// eˣ for the limited k, 2ᵏ = `scale`, and the part that rounding cut off.
    #[inline(always)]
    fn value(&self, scale: f64) -> (f64, f64) {
        let e = fma(scale, self.q, scale);
        (e, fma(scale, self.q_low, fma(scale, self.q, scale - e)))
    }
}

impl Denominator {
    /// Third step. `WIDE` also keeps the low parts exact where e is so large that `1 + e` or
    /// `1 + z²` absorbs the 1; only the second derivative is still non-zero there.
    #[inline(always)]
    fn of<const WIDE: bool>(exp: Exponential) -> Self {
        let one = 1.0_f64;
        let (e, e_low) = exp.value(f64::exp2_biased(exp.limited::<WIDE>()));
        let (z, z_cut) = if WIDE {
            fast_two_sum(e.at_least(one), e.at_most(one))
        } else {
            fast_two_sum(one, e)
        };
        let z_low = z_cut + e_low;
        let (d, d_cut) = if WIDE {
            let (square, square_cut) = two_product(z, z);
            let (d, d_cut) = fast_two_sum(square, one);
            (d, square_cut + d_cut)
        } else {
            let d = fma(z, z, one);
            (d, fma(z, z, one - d))
        };
        let d_low = fma(z + z, z_low, d_cut);
        let w = one / d;
        Denominator {
            z,
            z_low,
            d,
            d_low,
            w,
        }
    }
}

/// `mish(x)`: the last step.
#[inline(always)]
fn forward(x: f64, exp: Exponential, c: Denominator) -> f64 {
    let clamped = FORWARD.clamp(x);
    // (z + 1)/δ, corrected by its residual.
    let (a, a_cut) = fast_two_sum(c.z, 1.0);
    let a_low = a_cut + c.z_low;
    let ratio = a * c.w;
    let ratio_low = c.w * (fma(-ratio, c.d, a) + fma(-ratio, c.d_low, a_low));
    // x·(1 + q)
    let u = fma(clamped, exp.q, clamped);
    let u_low = fma(clamped, exp.q_low, fma(clamped, exp.q, clamped - u));
    let y = fma(u, ratio, fma(u, ratio_low, u_low * ratio));
    let limited = exp.limited::<false>();
    let y = y * f64::exp2_biased(limited) * exp2_difference(exp.k_biased, limited);
    // Far right mish = x − 2x/δ with a correction so small that it needs no second part.
    let right = x - (clamped + clamped) * c.w;
    let y = if x > FORWARD_RIGHT { right } else { y };
    y.copysign(x)
}

/// `mish′(x)/2ᵏ`, rounded once.
#[inline(always)]
fn first(x: f64, exp: Exponential, c: Denominator) -> f64 {
    let ratio = c.z * c.w;
    let ratio_low = c.w * (fma(-ratio, c.d, c.z) + fma(-ratio, c.d_low, c.z_low));
    let x4 = x * 4.0;
    let (b, b_cut) = two_product(x4, ratio);
    let b_low = fma(x4, ratio_low, b_cut);
    // z + 1 + 4x·z·w: the sum that vanishes at the minimum.
    let (a, a_cut) = fast_two_sum(c.z, 1.0);
    let a_low = a_cut + c.z_low;
    let (m, m_cut) = two_sum(a, b);
    let m_low = m_cut + (a_low + b_low);
    let g = m * c.w;
    let g_low = c.w * (fma(-g, c.d, m) + fma(-g, c.d_low, m_low));
    let v = fma(g, exp.q, g);
    let v_low = fma(g, exp.q, g - v) + fma(g_low, exp.q, g_low);
    v + fma(g, exp.q_low, v_low)
}

/// `value·2^exponent · first · 2ᵏ`, the first two a gradient's: rounded to the element type once,
/// however small.
#[inline(always)]
fn times_first((value, exponent): (f64, f64), first: f64, k_biased: f64, limited: f64) -> f64 {
    // Where k was limited from above, mish′ is 1 and the limited k is the right one.
    let k = k_biased.at_most(limited) - f64::MAGIC;
    scale(value * first, exponent + k)
}

/// `grad_y · mish′(x)`: the last step.
#[inline(always)]
fn backward(grad_y: f64, x: f64, exp: Exponential, c: Denominator) -> f64 {
    let first = first(BACKWARD.clamp(x), exp, c);
    times_first(split(grad_y), first, exp.k_biased, exp.limited::<false>())
}

/// `mish″(x)` for the limited k, rounded once: [`double_backward`] applies what is left of it.
#[inline(always)]
fn second(x: f64, exp: Exponential, c: Denominator, scale: f64) -> f64 {
    let one = 1.0_f64;
    let (e, e_low) = exp.value(scale);
    // 1/δ = w·(1 + w_rel)
    let w_rel = fma(-c.d_low, c.w, fma(-c.d, c.w, one));
    // 1 − mish = 1 − x + 2x·w
    let x2 = x + x;
    let (p, p_low) = fast_two_sum(one, -x);
    let v = fma(x2, c.w, p);
    let v_low = fma(x2, c.w, p - v) + fma(x2 * c.w, w_rel, p_low);
    // 2e·(1 − mish)
    let e2 = e + e;
    let (t, t_cut) = two_product(e2, v);
    let t_low = t_cut + fma(e2, v_low, (e_low + e_low) * v);
    let (b, b_low) = two_sum(2.0, x);
    let (n, n_cut) = two_sum(b, t);
    let n_low = n_cut + (b_low + t_low);
    // Times w·(w·2ᵏ)·(1 + q), each product with what its rounding cut off.
    let (g, g_cut) = two_product(n, c.w);
    let g_low = g_cut + n_low * c.w;
    let ws = c.w * scale;
    let (h, h_cut) = two_product(g, ws);
    let h_low = h_cut + fma(h, w_rel + w_rel, g_low * ws);
    let s = fma(h, exp.q, h);
    let s_low = fma(h, exp.q, h - s) + fma(h_low, exp.q, h_low);
    (s + fma(h, exp.q_low, s_low)) * 4.0
}

/// `(grad_grad_x · mish′(x), grad_grad_x · grad_y · mish″(x))`: the last step.
#[inline(always)]
fn double_backward(
    grad_grad_x: f64,
    grad_y: f64,
    x: f64,
    exp: Exponential,
    c: Denominator,
) -> (f64, f64) {
    let clamped = DOUBLE_BACKWARD.clamp(x);
    let limited = exp.limited::<true>();
    let first = first(clamped, exp, c);
    let (a, a_exponent) = split(grad_grad_x);
    let (b, b_exponent) = split(grad_y);
    let grad_grad_y = times_first((a, a_exponent), first, exp.k_biased, limited);
    // What is left of k once it is limited; mish″ ~ eˣ on the left and e⁻²ˣ on the right.
    let remaining = exp.k_biased - limited;
    let remaining = remaining.at_most(-2.0 * remaining);
    let product = (a * second(clamped, exp, c, f64::exp2_biased(limited))) * b;
    let grad_x = scale(product, (a_exponent + b_exponent) + remaining);
    (grad_grad_y, grad_x)
}

/// `a·b + c`, rounded once: the low parts rely on it. Without the instruction the C library
/// computes it, slowly.
#[inline(always)]
fn fma(a: f64, b: f64, c: f64) -> f64 {
    a.mul_add(b, c)
}

/// (eʳ − 1 − r)/r² for |r| ≤ ln 2/2.
#[inline(always)]
fn exp_tail(r: f64) -> f64 {
    let mut sum = EXP_TAIL_F64[0];
    for &coefficient in &EXP_TAIL_F64[1..] {
        sum = fma(sum, r, coefficient);
    }
    sum
}

/// 2ᵏ for an integer k from `EXP2_MIN` to −`EXP2_MIN`.
#[inline(always)]
fn exp2(k: f64) -> f64 {
    f64::exp2_biased(k + f64::MAGIC)
}

/// product·2^exponent for a product far from overflow and underflow, in two halves, of which only
/// the last rounds. What the limits cut off is past every finite result.
#[inline(always)]
fn scale(product: f64, exponent: f64) -> f64 {
    let exponent = exponent.at_least(2.0 * EXP2_MIN).at_most(-2.0 * EXP2_MIN);
    let half = fma(exponent, 0.5, f64::MAGIC);
    product * f64::exp2_biased(half) * exp2(exponent - (half - f64::MAGIC))
}

/// [`exp2`] of a − b, both given with [`Real::MAGIC`] added.
#[inline(always)]
fn exp2_difference(a: f64, b: f64) -> f64 {
    let k = a.to_bits().wrapping_sub(b.to_bits());
    f64::from_bits(k.wrapping_add(1023) << 52)
}

/// A value and an exponent with `x = value·2^exponent`, the value between 1 and 4 in magnitude
/// (smaller for a subnormal; zero, infinity and NaN stay themselves).
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    const FIELD: u64 = 2047 << 52;
    const LARGEST: f64 = f64::from_bits(2045 << 52);
    // 2^exponent, or 0 for a subnormal, which then is scaled up as far as possible.
    let power = f64::from_bits(x.to_bits() & FIELD).at_most(LARGEST);
    let inverse = f64::from_bits((2046 << 52) - power.to_bits());
    // The exponent field as a number, through the bits of MAGIC.
    let field = f64::from_bits(f64::MAGIC.to_bits() + (power.to_bits() >> 52)) - f64::MAGIC;
    (x * inverse, field - 1023.0)
}

/// The results of all steps but the last for a block.
#[derive(Default)]
pub struct Scratch<const N: usize> {
    reduced: Columns<3, N>,
    exponential: Columns<3, N>,
    denominator: Columns<5, N>,
}

impl<const N: usize> Scratch<N> {
    #[inline(always)]
    fn fill<const WIDE: bool>(&mut self, x: &[f64; N], range: Range<f64>) {
        for i in 0..N {
            self.reduced.set(i, Reduced::of(x[i], range));
        }
        for i in 0..N {
            let reduced = self.reduced.get(i);
            self.exponential.set(i, Exponential::of(reduced));
        }
        for i in 0..N {
            let exponential = self.exponential.get(i);
            self.denominator
                .set(i, Denominator::of::<WIDE>(exponential));
        }
    }
}

/// The formulas in double-word arithmetic.
pub struct DoubleWord;

impl Method for DoubleWord {
    type Number = f64;
    type Scratch<const N: usize> = Scratch<N>;

    #[inline(always)]
    fn forward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        [x]: [&[f64; N]; 1],
        [y]: [&mut [f64; N]; 1],
    ) {
        scratch.fill::<false>(x, FORWARD);
        for i in 0..N {
            let (exponential, denominator) =
                (scratch.exponential.get(i), scratch.denominator.get(i));
            y[i] = forward(x[i], exponential, denominator);
        }
    }

    #[inline(always)]
    fn backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        [grad_y, x]: [&[f64; N]; 2],
        [grad_x]: [&mut [f64; N]; 1],
    ) {
        scratch.fill::<false>(x, BACKWARD);
        for i in 0..N {
            let (exponential, denominator) =
                (scratch.exponential.get(i), scratch.denominator.get(i));
            grad_x[i] = backward(grad_y[i], x[i], exponential, denominator);
        }
    }

    #[inline(always)]
    fn double_backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Scratch<N>,
        [grad_grad_x, grad_y, x]: [&[f64; N]; 3],
        [grad_grad_y, grad_x]: [&mut [f64; N]; 2],
    ) {
        scratch.fill::<true>(x, DOUBLE_BACKWARD);
        for i in 0..N {
            let (exponential, denominator) =
                (scratch.exponential.get(i), scratch.denominator.get(i));
            (grad_grad_y[i], grad_x[i]) =
                double_backward(grad_grad_x[i], grad_y[i], x[i], exponential, denominator);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both outputs for one element.
    fn first_derivatives(grad: f64, x: f64) -> (f64, f64) {
        let mut scratch = Scratch::default();
        let (x, grad) = ([x], [grad]);
        let mut out = [[0.0]; 3];
        let [expected, first, second] = &mut out;
        DoubleWord::backward::<true, 1>(&mut scratch, [&grad, &x], [expected]);
        let inputs = [&grad, &[1.0], &x];
        DoubleWord::double_backward::<true, 1>(&mut scratch, inputs, [first, second]);
        (first[0], expected[0])
    }

    /// On the wider range of x of `double_backward` the powers of two must not wrap around.
    #[test]
    fn both_first_derivatives_agree() {
        for step in -26_000..4_000 {
            let x = f64::from(step) * 0.1;
            for grad in [1.0, -1.6e308, 1e-308] {
                let (first, expected) = first_derivatives(grad, x);
                assert!(
                    (first - expected).abs() <= expected.abs() * 1e-15 + 1e-323,
                    "{grad} at {x}: {first} and {expected}"
                );
            }
        }
    }
}
