//! Mish and its derivatives, to far more digits than what is measured, by formulas and arithmetic
//! that the library does not use.
//!
//! With t = e^−|x| everything is a ratio of polynomials in t whose coefficients are linear in x
//! (the derivatives' numerators multiplied out; the library uses factored forms in eˣ):
//!
//! ```text
//!                 x < 0                                     x ≥ 0
//! D       2 + 2t + t²                               1 + 2t + 2t²
//! mish    x·t·(2 + t)/D                             x·(1 + 2t)/D
//! mish′   t·(4x+4 + (4x+6)t + 4t² + t³)/D²          (1 + 4t + (4x+6)t² + (4x+4)t³)/D²
//! mish″   4t·(4+2x + (8+2x)t + (6−3x)t² + (2−2x)t³)/D³
//!                                                   4t²·(2−2x + (6−3x)t + (8+2x)t² + (4+2x)t³)/D³
//! ```
//!
//! [`evaluate`] does so in [`Double`], whose error is below 2⁻⁴⁶ of a result that is not near a
//! zero of the function: 2⁻²² of float32's last place; or in [`Pair`], whose error is below 2⁻⁸⁵.
//! [`precise`] does so with 256 bits, and from the definition. Each is checked against the next.

mod number;
pub mod precise;

pub use number::{Double, Number, Pair, exp2, exponent_of, split};

/// `(high + low)·2^exponent`, with `high` far from overflow and underflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Value {
    /// The leading part.
    pub high: f64,
    /// The rest.
    pub low: f64,
    /// An integer.
    pub exponent: f64,
}

impl Value {
    /// A number as it is.
    #[inline(always)]
    pub fn of(x: f64) -> Value {
        let (high, exponent) = split(x);
        Value {
            high,
            low: 0.0,
            exponent,
        }
    }

    /// The product.
    #[inline(always)]
    pub fn times<N: Number>(self, other: Value) -> Value {
        let product = N::new(self.high, self.low) * N::new(other.high, other.low);
        Value {
            high: product.high(),
            low: product.low(),
            exponent: self.exponent + other.exponent,
        }
    }
}

/// Beyond this |x| every function is at its limit, whatever it is multiplied by.
const LIMIT: f64 = 5000.0;
/// Smaller powers of t than this do not count beside 1.
const T_MIN: f64 = -300.0;

/// `[mish(x), mish′(x), mish″(x)]` for a finite x.
#[inline(always)]
pub fn evaluate<N: Number>(x: f64) -> [Value; 3] {
    let left = x < 0.0;
    let c = if x > LIMIT { LIMIT } else { x };
    let c = if c < -LIMIT { -LIMIT } else { c };
    let (m, k) = N::exp_of_negative(-c.abs());
    let t = m.scale(exp2(if k < T_MIN { T_MIN } else { k }));
    let number = |x: f64| N::new(x, 0.0);
    let choose = |l: N, r: N| N::choose(left, l, r);

    let two_t = t.scale(2.0);
    let d = choose(
        number(2.0) + two_t + t * t,
        number(1.0) + two_t + (t * t).scale(2.0),
    );
    let w = d.reciprocal();
    let w2 = w * w;

    let (xm, xk) = split(x);
    let ratio = choose(m * (number(2.0) + t), number(1.0) + two_t) * w;
    let value = number(xm) * ratio;

    let x4 = 4.0 * c;
    let (p, q) = (N::sum(x4, 4.0), N::sum(x4, 6.0));
    let first = choose(p, number(1.0))
        + t * (choose(q, number(4.0)) + t * (choose(number(4.0), q) + t * choose(number(1.0), p)));
    let first = choose(m, number(1.0)) * first * w2;

    let x2 = 2.0 * c;
    let (p, q) = (N::sum(x2, 4.0), N::sum(x2, 8.0));
    let (r, s) = (number(6.0) + N::product(-3.0, c), N::sum(-x2, 2.0));
    let second = choose(p, s) + t * (choose(q, r) + t * (choose(r, q) + t * choose(s, p)));
    let second = (choose(m, m * m) * second * (w2 * w)).scale(4.0);

    let k_left = if left { k } else { 0.0 };
    let result = |n: N, exponent| Value {
        high: n.high(),
        low: n.low(),
        exponent,
    };
    [
        result(value, k_left + xk),
        result(first, k_left),
        result(second, if left { k } else { k + k }),
    ]
}
