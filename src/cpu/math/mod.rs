//! Mish and its first two derivatives for one element.
//!
//! With e = eˣ, z = 1 + e, δ = z² + 1 and w = 1/δ (`docs/derivation.md`):
//!
//! ```text
//! mish   = x·e·(z + 1)·w
//! mish′  = e·w·(z + 1 + 4x·z·w)
//! mish″  = 4e·w²·(2 + x + 2e·(1 − mish))       1 − mish = 1 − x + 2x·w
//! ```
//!
//! One exponential and one division serve all three. Whatever loses bits is carried as an
//! unevaluated sum of two numbers (`a`, `a_low`), and the power of two in e is kept apart and
//! applied last, so that nothing overflows and gradual underflow rounds once. Everything is
//! branch-free and generic, so that the loops around these functions vectorise;
//! `kernels/math.cuh` is the same algorithm for the GPU.

mod real;

pub use real::Real;

/// What the three functions share: the exponential and δ, in parts.
struct Core<F> {
    /// eˣ = 2ᵏ·(1 + q + q_low).
    q: F,
    q_low: F,
    /// 2ᵏ with k limited to `K_MIN..=K_MAX`, where the rest of the formula no longer notices.
    scale: F,
    /// k − limited k.
    k_rest: F,
    /// e, z and δ for the limited k, each with the part that rounding cut off.
    e: F,
    e_low: F,
    z: F,
    z_low: F,
    d: F,
    d_low: F,
    /// 1/d, rounded.
    w: F,
}

/// Evaluates the shared part. `WIDE` also keeps the low parts exact where e is so large that
/// `1 + e` or `1 + z²` absorbs the 1; only the second derivative is still non-zero there.
#[inline(always)]
fn core<F: Real, const HW: bool, const WIDE: bool>(x: F) -> Core<F> {
    let one = F::ONE;
    let fma = F::fma::<HW>;
    // x = k·ln 2 + r; r is exact but for the last term of ln 2, whose rounding r_low keeps.
    let k_biased = fma(x, F::LOG2_E, F::MAGIC);
    let k = k_biased - F::MAGIC;
    let r_exact = fma(k, -F::LN2_HIGH, x);
    let r = fma(k, -F::LN2_LOW, r_exact);
    let r_low = fma(k, -F::LN2_LOW, r_exact - r);
    // eʳ − 1 = r + r²·P(r)
    let tail = fma(r * r, F::exp_tail::<HW>(r), r_low);
    let q = r + tail;
    let q_low = (r - q) + tail;

    let limited = k.at_least(F::K_MIN).at_most(F::K_MAX);
    let scale = F::exp2(limited);
    let e = fma(scale, q, scale);
    let e_low = fma(scale, q_low, fma(scale, q, scale - e));
    let z = one + e;
    let z_low = if WIDE {
        ((e.at_least(one) - z) + e.at_most(one)) + e_low
    } else {
        ((one - z) + e) + e_low
    };
    let (d, d_cut) = if WIDE {
        let square = z * z;
        let d = square + one;
        (d, fma(z, z, -square) + ((square - d) + one))
    } else {
        let d = fma(z, z, one);
        (d, fma(z, z, one - d))
    };
    Core {
        q,
        q_low,
        scale,
        k_rest: k - limited,
        e,
        e_low,
        z,
        z_low,
        d,
        d_low: fma(z + z, z_low, d_cut),
        w: one / d,
    }
}

/// `mish(x)`.
#[inline(always)]
pub fn forward<F: Real, const HW: bool>(x: F) -> F {
    let fma = F::fma::<HW>;
    let clamped = x.at_least(F::FORWARD_MIN).at_most(F::FIRST_MAX);
    let c = core::<F, HW, false>(clamped);
    // (z + 1)/δ, corrected by its residual.
    let a = c.z + F::ONE;
    let a_low = (c.z - (a - F::ONE)) + c.z_low;
    let ratio = a * c.w;
    let ratio_low = c.w * (fma(-ratio, c.d, a) + fma(-ratio, c.d_low, a_low));
    // x·(1 + q)
    let u = fma(clamped, c.q, clamped);
    let u_low = fma(clamped, c.q_low, fma(clamped, c.q, clamped - u));
    let y = fma(u, ratio, fma(u, ratio_low, u_low * ratio));
    let y = y * c.scale * F::exp2(c.k_rest);
    // Far right mish = x − 2x/δ with a correction so small that it needs no second part.
    let right = x - (clamped + clamped) * c.w;
    let y = if x > F::FORWARD_RIGHT { right } else { y };
    y.with_sign_of(x)
}

/// `mish′(x)/2ᵏ`, rounded once.
#[inline(always)]
fn first<F: Real, const HW: bool>(x: F, c: &Core<F>) -> F {
    let fma = F::fma::<HW>;
    let ratio = c.z * c.w;
    let ratio_low = c.w * (fma(-ratio, c.d, c.z) + fma(-ratio, c.d_low, c.z_low));
    let x4 = x * F::FOUR;
    let b = x4 * ratio;
    let b_low = fma(x4, ratio_low, fma(x4, ratio, -b));
    // z + 1 + 4x·z·w: the sum that vanishes at the minimum.
    let a = c.z + F::ONE;
    let a_low = ((c.z - a) + F::ONE) + c.z_low;
    let (m, m_cut) = two_sum(a, b);
    let m_low = m_cut + (a_low + b_low);
    let g = m * c.w;
    let g_low = c.w * (fma(-g, c.d, m) + fma(-g, c.d_low, m_low));
    let v = fma(g, c.q, g);
    let v_low = fma(g, c.q, g - v) + fma(g_low, c.q, g_low);
    v + fma(g, c.q_low, v_low)
}

/// `grad · first · 2ᵏ` without intermediate overflow or a second rounding that matters.
#[inline(always)]
fn times_first<F: Real>(grad: F, first: F, c: &Core<F>) -> F {
    // Where k was limited from above, mish′ is 1 and the limited k is the right one.
    let rest = c.k_rest.at_most(F::ZERO);
    let near = rest.at_least(F::EXP2_MIN);
    grad * (first * c.scale) * F::exp2(near) * F::exp2(rest - near)
}

/// `grad_y · mish′(x)`.
#[inline(always)]
pub fn backward<F: Real, const HW: bool>(grad_y: F, x: F) -> F {
    let clamped = x.at_least(F::BACKWARD_MIN).at_most(F::FIRST_MAX);
    let c = core::<F, HW, false>(clamped);
    times_first(grad_y, first::<F, HW>(clamped, &c), &c)
}

/// `mish″(x)` for the limited k, rounded once: [`double_backward`] applies the rest of k.
#[inline(always)]
fn second<F: Real, const HW: bool>(x: F, c: &Core<F>) -> F {
    let fma = F::fma::<HW>;
    let one = F::ONE;
    // 1/δ = w·(1 + w_rel)
    let w_rel = fma(-c.d_low, c.w, fma(-c.d, c.w, one));
    // 1 − mish = 1 − x + 2x·w
    let x2 = x + x;
    let p = one - x;
    let p_low = (one - p) - x;
    let v = fma(x2, c.w, p);
    let v_low = fma(x2, c.w, p - v) + fma(x2 * c.w, w_rel, p_low);
    // 2e·(1 − mish)
    let e2 = c.e + c.e;
    let t = e2 * v;
    let t_low = fma(e2, v, -t) + fma(e2, v_low, (c.e_low + c.e_low) * v);
    let (b, b_low) = two_sum(F::TWO, x);
    let (n, n_cut) = two_sum(b, t);
    let n_low = n_cut + (b_low + t_low);
    // Times w·(w·2ᵏ)·(1 + q), each product with what its rounding cut off.
    let g = n * c.w;
    let g_low = fma(n, c.w, -g) + n_low * c.w;
    let ws = c.w * c.scale;
    let h = g * ws;
    let h_low = fma(g, ws, -h) + fma(h, w_rel + w_rel, g_low * ws);
    let s = fma(h, c.q, h);
    let s_low = fma(h, c.q, h - s) + fma(h_low, c.q, h_low);
    (s + fma(h, c.q_low, s_low)) * F::FOUR
}

/// `(grad_grad_x · mish′(x), grad_grad_x · grad_y · mish″(x))`.
#[inline(always)]
pub fn double_backward<F: Real, const HW: bool>(grad_grad_x: F, grad_y: F, x: F) -> (F, F) {
    let clamped = x.at_least(F::SECOND_MIN).at_most(F::SECOND_MAX);
    let c = core::<F, HW, true>(clamped);
    let grad_grad_y = times_first(grad_grad_x, first::<F, HW>(clamped, &c), &c);
    // mish″ ~ eˣ on the left and e⁻²ˣ on the right.
    let rest = c.k_rest.at_most(F::MINUS_TWO * c.k_rest);
    let (a, a_exponent) = grad_grad_x.split();
    let (b, b_exponent) = grad_y.split();
    let product = (a * second::<F, HW>(clamped, &c)) * b;
    // `product` is far from overflow and underflow: scale it in steps of which all but the last
    // are exact.
    let total = (a_exponent + b_exponent) + rest;
    let near = total.at_least(F::EXP2_MIN).at_most(F::EXP2_MAX);
    let total = total - near;
    let far = total.at_least(F::EXP2_MIN).at_most(F::EXP2_MAX);
    let total = total - far;
    let last = total.at_least(F::EXP2_MIN).at_most(F::EXP2_MAX);
    let grad_x = product * F::exp2(near) * F::exp2(far) * F::exp2(last);
    (grad_grad_y, grad_x)
}

/// The rounded sum and what rounding cut off (Knuth).
#[inline(always)]
fn two_sum<F: Real>(a: F, b: F) -> (F, F) {
    let sum = a + b;
    let b_seen = sum - a;
    (sum, (a - (sum - b_seen)) + (b - b_seen))
}
