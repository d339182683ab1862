//! Gradients that make the most of a function's error.
//!
//! An error of R units of 2^(1 − digits), relative to the function, is R last places where the
//! function's significand is 1 and 2R where the product's is just below 2; there, too, a product
//! that comes out as 2 or more is rounded in units twice as large. Where two gradients follow, the
//! first product's rounding counts most just above a power of two, before the second takes it to
//! the next. So from the inputs whose error is worst, the gradients are those around these places.
//! The same significands with the largest exponents are the edge of the range. The 16-bit types
//! are rounded once, from a number of more digits: there, products beside the middle between two
//! numbers are looked for.

use crate::catalogue::Dtype;
use crate::catalogue::accuracy::ZEROS;
use crate::format::Element;
use crate::measure::Tallies;
use crate::oracle::{Pair, evaluate, exp2, split};
use crate::points::{neighbour, random, unit};
use crate::quantity::QUANTITIES;

/// How thoroughly.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Around the functions' worst inputs, or all of a 16-bit type.
    First,
    /// Around the inputs whose products were the worst of the first round.
    Second,
}

/// Points once found by others to be worse than what was claimed then, as the bits of float64:
/// products of the largest errors known, and infinities just below the end of the range.
#[rustfmt::skip]
const KNOWN: [(Dtype, [u64; 3]); 6] = [
    (Dtype::F32, [0xc01a_2f76_6000_0000, 0x3fff_73dd_4000_0000, 0x3ff0_0000_0000_0000]),
    (Dtype::F32, [0x401c_9389_8000_0000, 0x3f9f_c1a9_4000_0000, 0x4130_1e72_e000_0000]),
    (Dtype::F64, [0xbffd_a113_205d_51a3, 0x402f_dd49_ff50_ad52, 0x3ff0_03ef_19eb_e337]),
    (Dtype::F16, [0x4021_6000_0000_0000, 0x40bf_a800_0000_0000, 0x40a1_6800_0000_0000]),
    (Dtype::F16, [0x4016_ac00_0000_0000, 0xc0ef_fc00_0000_0000, 0x3ff0_0000_0000_0000]),
    (Dtype::F64, [0x3ff7_d961_2a44_0040, 0xe020_0000_0000_0000, 0x6338_e0c2_fd82_aa2c]),
];

/// Inputs among which the functions' worst are looked for, beside those of the sweep: where the
/// formulas' errors are not yet those of a single term, and a sample of all numbers is thin.
pub fn candidates<E: Element>(count: u64) -> Vec<Point<E>> {
    let one = E::nearest(1.0);
    let x = |i| E::nearest(-16.0 + 24.0 * unit(random(i ^ 0xd1ec_7ed0)));
    (0..count).map(|i| [x(i), one, one]).collect()
}

/// An input with its gradients: `[x, grad_y, grad_grad_x]`.
pub type Point<E> = [E; 3];

/// The points to try after what is known of the errors.
pub fn points<E: Element>(tallies: &Tallies, round: Round) -> Vec<Point<E>> {
    let known = KNOWN.iter().filter(|(dtype, _)| *dtype == E::DTYPE);
    let mut points: Vec<Point<E>> = known
        .map(|(_, bits)| bits.map(|bits| E::nearest(f64::from_bits(bits))))
        .collect();
    for order in [1, 2] {
        for x in inputs::<E>(tallies, order, round) {
            let exact = evaluate::<Pair>(x)[order];
            if exact.high == 0.0 {
                continue;
            }
            let (significand, exponent) = split(exact.high.abs());
            let mut search = Search {
                x: E::nearest(x),
                significand,
                exponent: exact.exponent + exponent,
                round,
                points: &mut points,
            };
            match (E::BITS, order) {
                (16, 1) => search.middles_of_one(),
                (16, _) => search.middles_of_two(),
                (_, 1) => search.powers_of_one(),
                _ => search.powers_of_two(),
            }
        }
    }
    points
}

/// Inputs and gradients of which one at least is infinite or NaN, beside zeros and ordinary ones.
pub fn special<E: Element>() -> Vec<Point<E>> {
    let inf = f64::INFINITY;
    let largest =
        E::from_bits((((1 << (E::BITS - 1 - E::FRACTION_BITS)) - 1) << E::FRACTION_BITS) - 1);
    let gradients = [inf, -inf, f64::NAN, 0.0, -0.0, 1.5, -1e-4, largest.widen()];
    let mut inputs = vec![inf, -inf, f64::NAN, 0.0, largest.widen(), -largest.widen()];
    inputs.extend(ZEROS.concat());
    // Across every threshold.
    inputs.extend((-300..150).map(|step| f64::from(step) * 0.5));
    inputs.extend((-120..80).map(|step| f64::from(step) * 20.5));
    let mut points = Vec::new();
    for x in inputs {
        for a in gradients {
            for b in gradients {
                if [x, a, b].iter().any(|n| !n.is_finite()) {
                    points.push([x, a, b].map(E::nearest));
                }
            }
        }
    }
    points
}

/// The inputs to find gradients for.
fn inputs<E: Element>(tallies: &Tallies, order: usize, round: Round) -> Vec<f64> {
    let mut inputs: Vec<f64> = QUANTITIES
        .iter()
        .zip(tallies)
        .filter(|(quantity, _)| quantity.order == order)
        .filter(|(quantity, _)| quantity.is_product() == (round == Round::Second))
        .flat_map(|(_, tally)| tally.suspects.inputs())
        .collect();
    if round == Round::First {
        if E::BITS == 16 {
            inputs = (0..1 << 16)
                .map(|bits| E::from_bits(bits).widen())
                .collect();
        } else {
            // Where mish′ > 1, and so a product may overflow; and the nearest to the zeros.
            inputs.extend((0..64).map(|i| 0.75 + f64::from(i) * 0.0877));
            let unit = 1i64 << (53 - E::FORMAT.digits as i64);
            for &zero in ZEROS[order] {
                inputs.extend((-8..=8).map(|places| neighbour(zero, places * unit)));
            }
        }
    }
    let mut inputs: Vec<f64> = inputs.into_iter().map(|x| E::nearest(x).widen()).collect();
    inputs.retain(|x| x.is_finite());
    inputs.sort_by(f64::total_cmp);
    inputs.dedup();
    inputs
}

/// The search of gradients for one input.
struct Search<'a, E> {
    x: E,
    /// Those of |mish′| or |mish″|.
    significand: f64,
    exponent: f64,
    round: Round,
    points: &'a mut Vec<Point<E>>,
}

impl<E: Element> Search<'_, E> {
    /// A last place of a number from 1 to 2.
    const UNIT: f64 = f64::EPSILON * (1u64 << (53 - E::FORMAT.digits as u64)) as f64;

    fn is_beside_zero(&self) -> bool {
        let x = self.x.widen();
        ZEROS.concat().iter().any(|zero| (x - zero).abs() < 1e-5)
    }

    fn depth(&self, first: i64, second: i64) -> i64 {
        match self.round {
            Round::First => first,
            Round::Second => second,
        }
    }

    /// Adds significands with all choices of exponents that leave a normal product, or one at the
    /// edge of the range.
    fn push(&mut self, a: f64, b: Option<f64>) {
        let format = E::FORMAT;
        let (low, high) = (format.smallest, format.largest);
        // The exponent that the gradients' add up to, from the product's.
        let product = self.significand * a * b.unwrap_or(1.0);
        let inner = self.exponent + f64::from(product.log2().floor() as i32);
        let noise = random(a.to_bits() ^ random(b.unwrap_or(1.0).to_bits()));
        let sign = |bit: u32| if noise >> bit & 1 == 1 { -1.0 } else { 1.0 };
        let number = |m: f64, e: f64| E::nearest(m * exp2(e));
        let ordinary = (-inner).max(low - inner).min(2.0 * high);
        let is_edge = b.is_none() || noise >> 16 & 3 == 0;
        let totals = [Some(ordinary), is_edge.then_some(high - inner)];
        for total in totals.into_iter().flatten() {
            let Some(b) = b else {
                if total >= low && total <= high {
                    let a = number(a * sign(0), total);
                    self.points.push([self.x, a, a]);
                }
                continue;
            };
            // Either gradient may be the larger one, and come first or second.
            let first = (total * 0.5).floor() + ((noise >> 8 & 7) as f64 + 1.0) * sign(2);
            let second = total - first;
            if [first, second].iter().all(|e| (low..=high).contains(e)) {
                let (a, b) = (number(a * sign(0), first), number(b * sign(1), second));
                self.points.push([self.x, a, b]);
                self.points.push([self.x, b, a]);
            }
        }
    }

    /// The significands around a number from 1 to 2, more of them below than above.
    fn around(centre: f64, below: i64, above: i64) -> impl Iterator<Item = f64> {
        let centre = E::nearest(centre).widen();
        (-below..=above)
            .map(move |step| centre + step as f64 * Self::UNIT)
            .filter(|m| (1.0..2.0).contains(m))
    }

    /// Products with one gradient around a power of two.
    fn powers_of_one(&mut self) {
        let below = self.depth(64, 2048);
        for a in Self::around(2.0 / self.significand, below, 16) {
            self.push(a, None);
        }
    }

    /// Products with the first of two gradients just above a power of two, with both around one.
    fn powers_of_two(&mut self) {
        let (first, second) = (self.depth(12, 24), self.depth(12, 48));
        for a in Self::around(2.0 / self.significand, 4, first) {
            let product = self.significand * a;
            let product = product * if product < 2.0 { 1.0 } else { 0.5 };
            for b in Self::around(2.0 / product, second, 4) {
                self.push(a, Some(b));
            }
            // Beside a zero the error is no number of last places but a share of the result: how
            // far below the largest number does it become infinite?
            for share in 1..if self.is_beside_zero() { 32 } else { 1 } {
                let b = 2.0 / product * (1.0 - f64::from(share) / 64.0);
                self.push(a, Some(E::nearest(b).widen()));
            }
        }
    }

    /// Whether a product lies beside the middle between two numbers, or beside a power of two.
    fn is_beside_a_middle(&self, product: f64) -> bool {
        let (m, _) = split(product);
        let places = m / Self::UNIT;
        let off = (places - places.floor() - 0.5).abs();
        off < 0.002 && (self.round == Round::First || m > 1.5)
    }

    /// A significand of the type.
    fn gradient(step: u64) -> f64 {
        1.0 + (step % (1 << E::FRACTION_BITS)) as f64 * Self::UNIT
    }

    fn middles_of_one(&mut self) {
        for step in 0..1 << E::FRACTION_BITS {
            let a = Self::gradient(step);
            if self.is_beside_a_middle(self.significand * a) {
                self.push(a, None);
            }
        }
        // The edge of the range, if no middle was there.
        for a in Self::around(2.0 / self.significand, 2, 0) {
            self.push(a, None);
        }
    }

    fn middles_of_two(&mut self) {
        let all = 1u64 << (2 * E::FRACTION_BITS);
        let tried = (self.depth(1 << 9, 1 << 20) as u64).min(all);
        for i in 0..tried {
            // All pairs, or some at random.
            let step = if tried == all {
                i
            } else {
                random(i ^ self.x.widen().to_bits())
            };
            let (a, b) = (
                Self::gradient(step),
                Self::gradient(step >> E::FRACTION_BITS),
            );
            if self.is_beside_a_middle(self.significand * a * b) {
                self.push(a, Some(b));
            }
        }
    }
}
