//! The same functions with a library of arbitrary precision, to check the fast evaluations and to
//! decide what they cannot.
//!
//! 256 bits are enough: the only sums that cancel are the numerators near a zero, and a number
//! with 53 bits is at least 2⁻⁵⁴ away from a zero (which is irrational), so that at most 60 bits
//! are lost; 190 are left where a pair of doubles holds 106.

use astro_float::{BigFloat, Consts, RoundingMode, Sign};

use super::number::{Number, Pair, split};
use super::{LIMIT, Value};

const BITS: usize = 256;
const ROUNDING: RoundingMode = RoundingMode::ToEven;

/// Numbers of a precision, and constants computed once.
pub struct Precise {
    bits: usize,
    constants: Consts,
}

impl Precise {
    /// With enough bits for [`Precise::evaluate`].
    pub fn new() -> Self {
        Precise {
            bits: BITS,
            constants: Consts::new().expect("memory for constants"),
        }
    }

    fn number(&self, x: f64) -> BigFloat {
        // By parts: the conversion takes subnormal numbers wrongly.
        let (m, k) = split(x);
        let mut number = BigFloat::from_f64(m, self.bits);
        if let Some(exponent) = number.exponent()
            && x != 0.0
        {
            number.set_exponent(exponent + k as i32);
        }
        number
    }
    fn add(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.add(b, self.bits, ROUNDING)
    }
    fn mul(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.mul(b, self.bits, ROUNDING)
    }
    fn div(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.div(b, self.bits, ROUNDING)
    }
    /// a·x + b with small a and b.
    fn line(&self, a: f64, x: &BigFloat, b: f64) -> BigFloat {
        self.add(&self.mul(&self.number(a), x), &self.number(b))
    }
    /// The polynomial in t with these coefficients, constant first.
    fn polynomial(&self, t: &BigFloat, coefficients: &[BigFloat; 4]) -> BigFloat {
        let [a, b, c, d] = coefficients;
        let sum = self.add(&self.mul(d, t), c);
        let sum = self.add(&self.mul(&sum, t), b);
        self.add(&self.mul(&sum, t), a)
    }

    /// `[mish(x), mish′(x), mish″(x)]` for a finite x.
    pub fn evaluate(&mut self, x: f64) -> [Value; 3] {
        let left = x < 0.0;
        let clamped = x.clamp(-LIMIT, LIMIT);
        let t = self
            .number(-clamped.abs())
            .exp(self.bits, ROUNDING, &mut self.constants);
        let factor = self.number(x);
        let x = self.number(clamped);
        let constant = |c: f64| self.number(c);
        let ordered = |mut list: [BigFloat; 4]| {
            if !left {
                list.reverse();
            }
            list
        };
        let d = [2.0, 2.0, 1.0].map(constant);
        let d = if left {
            self.polynomial(
                &t,
                &[d[0].clone(), d[1].clone(), d[2].clone(), constant(0.0)],
            )
        } else {
            self.polynomial(
                &t,
                &[d[2].clone(), d[1].clone(), d[0].clone(), constant(0.0)],
            )
        };
        let ratio = if left {
            self.mul(&t, &self.line(1.0, &t, 2.0))
        } else {
            self.line(2.0, &t, 1.0)
        };
        let value = self.mul(&factor, &self.div(&ratio, &d));

        let first = ordered([
            self.line(4.0, &x, 4.0),
            self.line(4.0, &x, 6.0),
            constant(4.0),
            constant(1.0),
        ]);
        let first = self.polynomial(&t, &first);
        let first = if left { self.mul(&t, &first) } else { first };
        let first = self.div(&first, &self.mul(&d, &d));

        let second = ordered([
            self.line(2.0, &x, 4.0),
            self.line(2.0, &x, 8.0),
            self.line(-3.0, &x, 6.0),
            self.line(-2.0, &x, 2.0),
        ]);
        let second = self.mul(&t, &self.polynomial(&t, &second));
        let second = if left { second } else { self.mul(&t, &second) };
        let second = self.mul(&constant(4.0), &second);
        let second = self.div(&second, &self.mul(&d, &self.mul(&d, &d)));
        [value, first, second].map(|n| value_of(&n))
    }

    /// The same from the definition, x·tanh(ln(1 + eˣ)), differentiated by the chain rule. It
    /// loses bits in proportion to |x| and takes that many more; slow.
    pub fn by_definition(x: f64) -> [Value; 3] {
        let mut p = Precise::new();
        p.bits += (x.abs() * 8.0) as usize;
        let (bits, x) = (p.bits, p.number(x));
        let one = p.number(1.0);
        let e = x.exp(bits, ROUNDING, &mut p.constants);
        let z = p.add(&one, &e);
        let softplus = z.ln(bits, ROUNDING, &mut p.constants);
        let t = softplus.tanh(bits, ROUNDING, &mut p.constants);
        let s = p.div(&e, &z);
        // t′ = (1 − t²)·s and t″ = −2t·t′·s + (1 − t²)·s·(1 − s)
        let c = one.sub(&p.mul(&t, &t), bits, ROUNDING);
        let t1 = p.mul(&c, &s);
        let t2 = p.add(
            &p.mul(&p.mul(&p.number(-2.0), &t), &p.mul(&t1, &s)),
            &p.mul(&t1, &one.sub(&s, bits, ROUNDING)),
        );
        let value = p.mul(&x, &t);
        let first = p.add(&t, &p.mul(&x, &t1));
        let second = p.add(&p.add(&t1, &t1), &p.mul(&x, &t2));
        [value, first, second].map(|n| value_of(&n))
    }
}

/// The leading 106 bits.
fn value_of(x: &BigFloat) -> Value {
    let Some((words, _, sign, exponent, _)) = x.as_raw_parts() else {
        return Value::default();
    };
    if x.is_zero() {
        return Value {
            high: if sign == Sign::Neg { -0.0 } else { 0.0 },
            ..Value::default()
        };
    }
    // A fraction from 1/2 to 1, the most significant word last.
    let top = words[words.len() - 1];
    let next = words[words.len() - 2];
    let unit = 2f64.powi(-52);
    let high = (top >> 11) as f64 * unit;
    let low = ((top & 0x7ff) << 42 | next >> 22) as f64 * (unit * unit * 0.5);
    let sign = if sign == Sign::Neg { -1.0 } else { 1.0 };
    let sum = Pair::sum(high, low);
    Value {
        high: sign * sum.high(),
        low: sign * sum.low(),
        exponent: f64::from(exponent) - 1.0,
    }
}

/// |a − b| relative to b.
pub fn difference(a: Value, b: Value) -> f64 {
    let scale = 2f64.powi((a.exponent - b.exponent).clamp(-1000.0, 1000.0) as i32);
    let difference = Pair::new(a.high * scale, a.low * scale) + Pair::new(-b.high, -b.low);
    if b.high == 0.0 {
        return difference.high().abs();
    }
    (difference.high() / b.high).abs()
}

#[cfg(test)]
mod tests {
    use super::super::{Double, evaluate};
    use super::*;
    use crate::catalogue::accuracy::{ZEROS, is_near_zero};

    /// Inputs of all sizes, and around the zeros.
    fn inputs() -> Vec<f64> {
        let mut inputs = vec![0.0, -0.0, 1e-320, -1e-310, 1e300, -1e300];
        for step in -380..=190 {
            let x = f64::from(step) * 2.0 + 0.123_456_789;
            inputs.extend([x, x * 0.01, x * 1e-7]);
        }
        for zero in ZEROS.concat() {
            for bits in -2..=2 {
                inputs.push(f64::from_bits(zero.to_bits().wrapping_add_signed(bits)));
            }
        }
        inputs
    }

    #[test]
    fn pairs_are_precise() {
        let mut precise = Precise::new();
        for x in inputs() {
            let (got, wanted) = (evaluate::<Pair>(x), precise.evaluate(x));
            for (order, (got, wanted)) in got.into_iter().zip(wanted).enumerate() {
                // Within a few last places of a zero, 55 bits are lost.
                let near = ZEROS.concat().iter().any(|z| (x - z).abs() < 1e-4);
                let allowed = 2f64.powi(if near && order > 0 { -32 } else { -85 });
                let off = difference(got, wanted);
                assert!(off < allowed, "order {order} at {x:e}: 2^{}", off.log2());
            }
        }
    }

    #[test]
    fn doubles_are_precise_away_from_the_zeros() {
        for x in inputs() {
            let (got, wanted) = (evaluate::<Double>(x), evaluate::<Pair>(x));
            for (order, (got, wanted)) in got.into_iter().zip(wanted).enumerate() {
                let off = difference(got, wanted);
                assert!(
                    off < 2f64.powi(-46) || is_near_zero(order, x),
                    "order {order} at {x:e}: 2^{}",
                    off.log2()
                );
            }
        }
    }

    #[test]
    fn the_definition_gives_the_same() {
        let mut precise = Precise::new();
        for x in inputs().into_iter().step_by(41).filter(|x| x.abs() < 800.0) {
            for (a, b) in precise
                .evaluate(x)
                .into_iter()
                .zip(Precise::by_definition(x))
            {
                assert!(difference(a, b) < 2f64.powi(-100), "{x:e}: {a:?} {b:?}");
            }
        }
    }
}
