//! The error of results in units of the last place, and what is kept of it.
//!
//! Loops over blocks, so that the compiler turns them into vector code; what is rare (a new worst
//! case, a result too close to a boundary to judge) is done for one element at a time, with as
//! many digits as it takes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::catalogue::Dtype;
use crate::catalogue::accuracy::{ZEROS, is_near_zero};
use crate::format::Format;
use crate::oracle::precise::Precise;
use crate::oracle::{Double, Number, Pair, Value, evaluate, exp2, exponent_of};
use crate::quantity::{COUNT, Gradients, QUANTITIES};

/// Elements of a block.
pub const BLOCK: usize = 256;
type Lanes = [f64; BLOCK];

/// A block: inputs, gradients and what the library made of them.
pub struct Block {
    /// How many elements are in use.
    pub used: usize,
    /// x.
    pub x: Lanes,
    /// `grad_y`, where it is not 1.
    pub grad: Lanes,
    /// `grad_grad_x`, where it is not 1.
    pub grad_grad: Lanes,
    /// The results, in the order of [`QUANTITIES`].
    pub got: [Lanes; COUNT],
}

impl Default for Block {
    fn default() -> Self {
        Block {
            used: 0,
            x: [0.0; BLOCK],
            grad: [1.0; BLOCK],
            grad_grad: [1.0; BLOCK],
            got: [[0.0; BLOCK]; COUNT],
        }
    }
}

/// An input and what came of it.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize, PartialEq)]
pub struct Case {
    /// The bits, as a float64, of x.
    pub x: u64,
    /// Of `grad_y`.
    pub grad: u64,
    /// Of `grad_grad_x`.
    pub grad_grad: u64,
    /// Of the result.
    pub got: u64,
}

/// A largest error and where it was.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize, PartialEq)]
pub struct Worst {
    /// The bits of a float64 that is not negative: these order like numbers, and infinity is one
    /// of them.
    size: i64,
    /// Where.
    pub case: Case,
}

impl Worst {
    /// The error.
    pub fn size(&self) -> f64 {
        f64::from_bits(self.size as u64)
    }

    /// The worse of two; of equals the one with the smaller x, so that order does not matter.
    fn merge(&mut self, other: &Worst) {
        let key = |w: &Worst| (w.size, std::cmp::Reverse((w.case.x, w.case.grad)));
        if key(other) > key(self) {
            *self = *other;
        }
    }
}

/// The inputs with the largest errors, from which the directed search begins.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Suspects(Vec<(i64, u64)>);

impl Suspects {
    const MOST: usize = 64;

    /// The bits of the least error that would still be kept.
    fn least(&self) -> i64 {
        match self.0.len() {
            Self::MOST => self.0[Self::MOST - 1].0,
            _ => 0,
        }
    }

    fn add(&mut self, new: impl IntoIterator<Item = (i64, u64)>) {
        self.0.extend(new);
        self.0.sort_unstable_by(|a, b| b.cmp(a));
        // Of one input the worst error alone.
        let mut seen = HashSet::new();
        self.0.retain(|&(_, x)| seen.insert(x));
        self.0.truncate(Self::MOST);
    }

    /// The largest error that a product with one gradient can come to, if the function is rounded
    /// to the element type before: twice the relative error where the product's significand is
    /// nearly 2, and half a last place, or a whole one in the units above a power of two.
    pub fn product(&self) -> f64 {
        2.0 * self
            .0
            .first()
            .map_or(0.0, |&(error, _)| f64::from_bits(error as u64))
            + 0.5
    }

    /// Each x.
    pub fn inputs(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|&(_, x)| f64::from_bits(x))
    }
}

/// What is kept of a quantity.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// Finite inputs.
    pub points: u64,
    /// Results that are the number nearest to the exact result.
    pub correctly_rounded: u64,
    /// Results that are NaN or infinite and should not be.
    pub non_finite: u64,
    /// Zeros of the wrong sign (mish only).
    pub wrong_sign: u64,
    /// Results of the sign opposite to the exact one's.
    pub opposite: u64,
    /// Infinite results where the exact one rounds to a finite number.
    pub early: u64,
    /// How many last places before the exact result would be infinite, away from the zeros.
    pub earliest: Worst,
    /// The same near a zero, as a share of the largest number.
    pub earliest_near_zero: Worst,
    /// Results outside of the bound.
    pub failed: u64,
    /// Special values (infinities, NaN) with a wrong result.
    pub special_failed: u64,
    /// Special values tried.
    pub special: u64,
    /// The results (bits of a float64) for x = −∞ and ∞, with gradients of 1.
    pub at_infinity: [Option<u64>; 2],
    /// The worst error in last places, near a zero of the derivative in those of 1/16 where these
    /// are larger.
    pub worst: Worst,
    /// The same for each of [`BINS`] ranges of x (the bits of a float64), with gradients of 1.
    pub profile: Vec<i64>,
    /// The worst error near a zero, in last places of the exact result.
    pub near_zero: Worst,
    /// The inputs whose error is the largest relative to the result, or to 1/16 near a zero.
    pub suspects: Suspects,
    /// The largest step between neighbours in the direction opposite to the function's.
    pub jump: Worst,
    /// The inputs (bits) that are not correctly rounded, for 16-bit types with gradients of 1.
    pub not_correctly_rounded: Vec<u64>,
}

impl Tally {
    /// Adds another's counts.
    pub fn merge(&mut self, other: &Tally) {
        self.points += other.points;
        self.correctly_rounded += other.correctly_rounded;
        self.non_finite += other.non_finite;
        self.wrong_sign += other.wrong_sign;
        self.opposite += other.opposite;
        self.early += other.early;
        self.earliest.merge(&other.earliest);
        self.earliest_near_zero.merge(&other.earliest_near_zero);
        self.failed += other.failed;
        self.special_failed += other.special_failed;
        self.special += other.special;
        for (to, from) in self.at_infinity.iter_mut().zip(other.at_infinity) {
            *to = from.or(*to);
        }
        self.profile
            .resize(BINS.min(self.profile.len().max(other.profile.len())), 0);
        for (to, from) in self.profile.iter_mut().zip(&other.profile) {
            *to = (*to).max(*from);
        }
        self.worst.merge(&other.worst);
        self.near_zero.merge(&other.near_zero);
        self.jump.merge(&other.jump);
        self.suspects.add(other.suspects.0.iter().copied());
        self.not_correctly_rounded
            .extend(&other.not_correctly_rounded);
    }
}

/// Ranges of x in [`Tally::profile`].
pub const BINS: usize = 220;

/// Where the first of them begins; the last ends at the opposite.
pub fn profile_start(dtype: Dtype) -> f64 {
    match dtype.min_exponent() {
        -14 => -20.0,
        -126 => -110.0,
        _ => -760.0,
    }
}

/// The range that x lies in.
fn bin(dtype: Dtype, x: f64) -> Option<usize> {
    let start = profile_start(dtype);
    let bin = ((x - start) * (BINS as f64 / (-2.0 * start))).floor();
    (bin >= 0.0 && bin < BINS as f64).then_some(bin as usize)
}

/// By how much more than half a last place one rounding may be off that is preceded by another, of
/// far smaller numbers.
const ONCE: f64 = 1.0 / 65536.0;

/// All tallies of an element type.
pub type Tallies = [Tally; COUNT];

/// The error of a result.
#[derive(Clone, Copy)]
struct Error {
    /// In last places of the exact one.
    raw: f64,
    /// Near a zero of the derivative in those of 1/16 where these are larger.
    score: f64,
    /// By how much `raw` exceeds what is allowed.
    excess: f64,
    /// In units of 2^(1 − digits), relative to the result, or near a zero to 1/16 if larger.
    relative: f64,
}

/// The power of two that turns the last place of a number with this exponent into 1, in two
/// factors, and the exponent of the last place.
#[inline(always)]
fn last_place(format: &Format, exact: Value) -> (f64, f64, f64) {
    let exponent = exponent_of(exact.high) + exact.exponent;
    let exponent = if exponent < format.smallest {
        format.smallest
    } else {
        exponent
    };
    let exponent = if exponent > format.largest {
        format.largest
    } else {
        exponent
    };
    let unit = exponent - (format.digits - 1.0);
    let half = (unit * -0.5).floor();
    (exp2(half), exp2(-unit - half), unit)
}

#[inline(always)]
fn clamped(exponent: f64) -> f64 {
    let e = if exponent < -1000.0 {
        -1000.0
    } else {
        exponent
    };
    if e > 1000.0 { 1000.0 } else { e }
}

/// One last place of 1/16, times the gradients, in units of 2^unit.
#[inline(always)]
fn floor_near_zero(format: &Format, factor: Value, unit: f64) -> f64 {
    factor.high.abs()
        * exp2(clamped(
            factor.exponent - 4.0 - (format.digits - 1.0) - unit,
        ))
}

/// The bound where the result is subnormal by some bits, `lost`: the errors on the way fade with
/// them, and what is left is one rounding.
#[inline(always)]
fn gradual(format: &Format, bound: f64, exact: Value, near: bool) -> f64 {
    let lost = format.smallest - (exponent_of(exact.high) + exact.exponent);
    let once = 0.5 + ONCE + bound * exp2(clamped(-lost));
    // Near a zero of the function the errors are not relative to it.
    if (lost > 0.0) & !near & (once < bound) {
        once
    } else {
        bound
    }
}

#[inline(always)]
fn error(format: &Format, bound: f64, near: bool, got: f64, exact: Value, factor: Value) -> Error {
    let (a, b, unit) = last_place(format, exact);
    let power = exp2(clamped(exact.exponent - unit));
    let (high, low) = (exact.high * power, exact.low * power);
    // What rounds to infinity, counted as the number after the largest.
    let limit = exp2(clamped(format.largest + 1.0 - unit));
    let infinite = got.abs() == f64::INFINITY;
    let scaled = if infinite {
        limit.copysign(got)
    } else {
        got * a * b
    };
    let raw = ((scaled - high) - low).abs();
    // No short circuits: these would be branches.
    let overflows = infinite & (high.abs() >= limit) & ((high > 0.0) == (got > 0.0));
    let raw = if overflows { 0.0 } else { raw };
    // A NaN fails any comparison.
    let raw = if raw <= f64::MAX { raw } else { f64::INFINITY };
    let floor = floor_near_zero(format, factor, unit);
    let floor = if near { floor } else { 0.0 };
    let places = if floor > 1.0 { floor } else { 1.0 };
    let allowed = gradual(format, bound, exact, near) * places;
    // Of a subnormal number all of 1 to 2 would be too large a share.
    let significand = high.abs() * exp2(1.0 - format.digits);
    let size = if significand > floor {
        significand
    } else {
        floor
    };
    // What is too large may be rounded up from below a power of two: half a last place there, and
    // a quarter in units from above it.
    let outward = if scaled.abs() > high.abs() { 0.25 } else { 0.0 };
    Error {
        raw,
        score: raw / places,
        excess: raw - allowed,
        relative: if significand < 1.0 {
            0.0
        } else {
            raw / size + outward
        },
    }
}

/// The step between two results where it is opposite to the exact step, in last places of the
/// first (near a zero of the function, of 1/16 where that is more).
#[inline(always)]
fn jump(format: &Format, near: bool, got: [f64; 2], exact: [Value; 2]) -> f64 {
    let (a, b, unit) = last_place(format, exact[0]);
    let power = exact.map(|e| exp2(clamped(e.exponent - unit)));
    let step = (exact[1].high * power[1] - exact[0].high * power[0])
        + (exact[1].low * power[1] - exact[0].low * power[0]);
    let taken = (got[1] - got[0]) * a * b;
    let along = ((step > 0.0) & (taken > 0.0)) | ((step < 0.0) & (taken < 0.0));
    // One last place of 1/16 is this many powers of two larger.
    let floor = -4.0 - (format.digits - 1.0) - unit;
    let floor = if floor < 0.0 { 0.0 } else { floor };
    let floor = if near { floor } else { 0.0 };
    // Results that are not finite are counted as such.
    let size = taken.abs() * exp2(clamped(-floor));
    let is_counted = !along & size.is_finite();
    if is_counted { size } else { 0.0 }
}

/// What the function is multiplied by.
#[inline(always)]
fn factor<N: Number>(gradients: Gradients, grad: f64, grad_grad: f64) -> Value {
    match gradients {
        Gradients::One => Value::of(1.0),
        Gradients::Grad => Value::of(grad),
        Gradients::GradGrad => Value::of(grad_grad),
        Gradients::Both => Value::of(grad).times::<N>(Value::of(grad_grad)),
    }
}

/// The exact values of a block: `[order][part][lane]`.
struct Exact([[Lanes; 3]; 3]);

impl Exact {
    #[inline(always)]
    fn get(&self, order: usize, i: usize) -> Value {
        let [high, low, exponent] = &self.0[order];
        Value {
            high: high[i],
            low: low[i],
            exponent: exponent[i],
        }
    }
}

/// The last element of the block before.
#[derive(Clone, Copy, Default)]
struct Last {
    is_there: bool,
    got: [f64; COUNT],
    exact: [Value; 3],
}

/// Measures one block after the other.
pub struct Meter {
    dtype: Dtype,
    format: Format,
    measured: [bool; COUNT],
    /// Whether results at the bound are decided with all digits. There are many where the error
    /// is a whole number of last places, but none of the library.
    is_strict: bool,
    exact: Exact,
    /// Whether the x of a block lie between the first and the last.
    is_ordered: bool,
    /// Whether x is near a zero of mish, mish′, mish″.
    near: [[bool; BLOCK]; 3],
    raw: Lanes,
    score: Lanes,
    excess: Lanes,
    relative: Lanes,
    last: Last,
    precise: Precise,
    /// The result.
    pub tallies: Tallies,
}

impl Meter {
    /// For an element type and the quantities of some operations.
    pub fn new(dtype: Dtype, format: Format, measured: [bool; COUNT], is_strict: bool) -> Self {
        Meter {
            dtype,
            format,
            measured,
            is_strict,
            exact: Exact([[[0.0; BLOCK]; 3]; 3]),
            is_ordered: dtype != Dtype::F64,
            near: [[false; BLOCK]; 3],
            raw: [0.0; BLOCK],
            score: [0.0; BLOCK],
            excess: [0.0; BLOCK],
            relative: [0.0; BLOCK],
            last: Last::default(),
            precise: Precise::new(),
            tallies: Tallies::default(),
        }
    }

    /// Forgets the element before: the next block is not its continuation.
    pub fn restart(&mut self) {
        self.last.is_there = false;
    }

    /// Measures a block. Elements whose x is not finite are left to [`Meter::special`].
    pub fn add(&mut self, block: &Block) {
        for (order, near) in self.near.iter_mut().enumerate() {
            for (near, &x) in near.iter_mut().zip(&block.x) {
                *near = is_near_zero(order, x);
            }
        }
        let doubles_do = self.dtype == Dtype::F32 && !self.near.as_flattened().contains(&true);
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            // SAFETY: the processor has these instructions.
            return unsafe {
                if doubles_do {
                    self.add_avx2::<Double>(block)
                } else {
                    self.add_avx2::<Pair>(block)
                }
            };
        }
        if doubles_do {
            self.add_inline::<Double>(block)
        } else {
            self.add_inline::<Pair>(block)
        }
    }

    /// # Safety
    ///
    /// The processor has AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn add_avx2<N: Number>(&mut self, block: &Block) {
        self.add_inline::<N>(block)
    }

    #[inline(always)]
    fn add_inline<N: Number>(&mut self, block: &Block) {
        for i in 0..BLOCK {
            let values = evaluate::<N>(block.x[i]);
            for order in 0..3 {
                let to = &mut self.exact.0[order];
                to[0][i] = values[order].high;
                to[1][i] = values[order].low;
                to[2][i] = values[order].exponent;
            }
        }
        for (index, quantity) in QUANTITIES.iter().enumerate() {
            if !self.measured[index] {
                continue;
            }
            match quantity.gradients {
                Gradients::One => self.errors::<N>(block, index, Gradients::One),
                Gradients::Grad => self.errors::<N>(block, index, Gradients::Grad),
                Gradients::GradGrad => self.errors::<N>(block, index, Gradients::GradGrad),
                Gradients::Both => self.errors::<N>(block, index, Gradients::Both),
            }
            self.summarise(block, index, N::ERROR_BITS);
            if quantity.is_checked_for_jumps() {
                self.jumps(block, index);
            }
        }
        let end = block.used - 1;
        self.last = Last {
            is_there: block.x[end].is_finite(),
            got: std::array::from_fn(|q| block.got[q][end]),
            exact: std::array::from_fn(|order| self.exact.get(order, end)),
        };
    }

    /// Fills `raw`, `score` and `excess`.
    #[inline(always)]
    fn errors<N: Number>(&mut self, block: &Block, index: usize, gradients: Gradients) {
        let quantity = &QUANTITIES[index];
        let bound = quantity.bound(self.dtype);
        let (order, format, got) = (quantity.order, self.format, &block.got[index]);
        let mut opposite = 0;
        for i in 0..BLOCK {
            let factor = factor::<N>(gradients, block.grad[i], block.grad_grad[i]);
            let exact = self.exact.get(order, i);
            let exact = if gradients == Gradients::One {
                exact
            } else {
                exact.times::<N>(factor)
            };
            let near = self.near[order][i];
            let error = error(&format, bound, near, got[i], exact, factor);
            self.raw[i] = error.raw;
            self.score[i] = error.score;
            self.excess[i] = error.excess;
            self.relative[i] = error.relative;
            // By the signs, because a product may vanish.
            opposite += i64::from(is_opposite(got[i], exact.high) & takes_part(block, i));
        }
        self.tallies[index].opposite += opposite as u64;
        // What does not take part.
        for i in 0..BLOCK {
            let is_in = takes_part(block, i);
            self.score[i] = if is_in { self.score[i] } else { 0.0 };
            self.excess[i] = if is_in { self.excess[i] } else { -1.0 };
            self.raw[i] = if is_in { self.raw[i] } else { -1.0 };
            self.relative[i] = if is_in { self.relative[i] } else { 0.0 };
        }
    }

    /// Adds a block's errors to the tally.
    #[inline(always)]
    fn summarise(&mut self, block: &Block, index: usize, error_bits: i32) {
        let quantity = &QUANTITIES[index];
        // The second is the rounding of the measuring itself.
        let slack = 2f64.powi((self.format.digits as i32 - error_bits).max(-48));
        let at_bound = if self.is_strict { slack } else { 0.0 };
        let (mut worst, mut rounded, mut doubtful, mut out) = (0, 0, 0, 0);
        let (mut infinite, mut wrong_sign, mut failed) = (0, 0, 0);
        for i in 0..BLOCK {
            let (raw, score) = (self.raw[i], self.score[i]);
            worst = worst.max(score.to_bits() as i64);
            rounded += i64::from(raw < 0.5);
            out += i64::from(raw < 0.0);
            let excess = self.excess[i];
            doubtful += i64::from((raw - 0.5).abs() < slack || excess.abs() < at_bound);
            failed += i64::from(excess >= at_bound && excess > 0.0);
            let (got, x) = (block.got[index][i], block.x[i]);
            infinite += i64::from(excess > 0.0 && !got.is_finite());
            wrong_sign +=
                i64::from(raw >= 0.0 && got == 0.0 && (got.to_bits() ^ x.to_bits()) >> 63 == 1);
        }
        let tally = &mut self.tallies[index];
        tally.points += (BLOCK as i64 - out) as u64;
        tally.correctly_rounded += (rounded - out) as u64;
        tally.non_finite += infinite as u64;
        tally.failed += failed as u64;
        if quantity.order == 0 {
            tally.wrong_sign += wrong_sign as u64;
        }
        if worst > tally.worst.size {
            let lane = self.score.iter().position(|s| s.to_bits() as i64 == worst);
            tally.worst = Worst {
                size: worst,
                case: case(block, index, lane.unwrap_or(0)),
            };
        }
        if quantity.gradients == Gradients::One {
            self.profile(block, index, worst);
        }
        if quantity.is_product() && !block.got[index].iter().all(|got| got.is_finite()) {
            self.early(block, index);
        }
        if doubtful > 0 {
            self.decide(block, index, slack, at_bound);
        }
        if quantity.order > 0 {
            self.suspect(block, index);
        }
        let is_list = self.format.digits < 12.0 && quantity.gradients == Gradients::One;
        if is_list && rounded < BLOCK as i64 {
            for i in 0..BLOCK {
                if self.raw[i] >= 0.5 {
                    let bits = block.x[i].to_bits();
                    self.tallies[index].not_correctly_rounded.push(bits);
                }
            }
        }
        if self.near[quantity.order].contains(&true) {
            for i in 0..block.used {
                let size = self.raw[i].to_bits() as i64;
                if self.near[quantity.order][i] && size > self.tallies[index].near_zero.size {
                    self.tallies[index].near_zero = Worst {
                        size,
                        case: case(block, index, i),
                    };
                }
            }
        }
    }

    /// Counts the infinities whose exact result rounds to a finite number, and how far it is from
    /// not doing so: only the bound's own width is within the bound.
    #[cold]
    #[inline(never)]
    fn early(&mut self, block: &Block, index: usize) {
        let quantity = &QUANTITIES[index];
        for i in (0..block.used).filter(|&i| takes_part(block, i)) {
            if block.got[index][i].abs() != f64::INFINITY {
                continue;
            }
            let (grad, grad_grad) = (block.grad[i], block.grad_grad[i]);
            let factor = factor::<Pair>(quantity.gradients, grad, grad_grad);
            let exact = self.exact.get(quantity.order, i).times::<Pair>(factor);
            let (_, _, unit) = last_place(&self.format, exact);
            let power = exp2(clamped(exact.exponent - unit));
            let next = exp2(self.format.digits);
            // From where on numbers round to infinity.
            let off =
                ((next - 0.5) - exact.high.abs() * power) - exact.low * exact.high.signum() * power;
            if off <= 0.0 {
                continue;
            }
            let tally = &mut self.tallies[index];
            tally.early += 1;
            let worst = |size: f64| Worst {
                size: size.to_bits() as i64,
                case: case(block, index, i),
            };
            if self.near[quantity.order][i] {
                tally.earliest_near_zero.merge(&worst(off / next));
            } else {
                tally.earliest.merge(&worst(off));
            }
        }
    }

    /// Keeps the largest relative errors.
    #[inline(always)]
    fn suspect(&mut self, block: &Block, index: usize) {
        let largest = self.relative.iter().map(|r| r.to_bits() as i64).max();
        let suspects = &mut self.tallies[index].suspects;
        let least = suspects.least();
        if largest > Some(least) {
            let new = self.relative.iter().zip(&block.x);
            let new = new.map(|(r, x)| (r.to_bits() as i64, x.to_bits()));
            suspects.add(new.filter(|&(relative, _)| relative > least));
        }
    }

    /// Decides with more digits what lies too close to a boundary: half a last place, which
    /// separates correctly rounded results from others, or the bound.
    #[cold]
    #[inline(never)]
    fn decide(&mut self, block: &Block, index: usize, slack: f64, at_bound: f64) {
        for i in 0..BLOCK {
            let (raw, excess) = (self.raw[i], self.excess[i]);
            if (raw - 0.5).abs() >= slack && excess.abs() >= at_bound {
                continue;
            }
            let error = precise_error(
                &mut self.precise,
                self.dtype,
                &self.format,
                index,
                &case(block, index, i),
            );
            let tally = &mut self.tallies[index];
            tally.failed += u64::from(excess.abs() < at_bound && error.excess > 0.0);
            let (was, is) = (raw < 0.5, error.raw < 0.5);
            if was && !is {
                tally.correctly_rounded -= 1;
            }
            if is && !was {
                tally.correctly_rounded += 1;
            }
            self.raw[i] = error.raw;
        }
    }

    /// Adds a block's errors to the ranges of x; `worst` is the largest (bits).
    #[inline(always)]
    fn profile(&mut self, block: &Block, index: usize, worst: i64) {
        let dtype = self.dtype;
        let profile = &mut self.tallies[index].profile;
        profile.resize(BINS, 0);
        // Neighbours mostly lie in one range.
        let (from, to) = (block.x[0], block.x[block.used - 1]);
        let one = bin(dtype, from).filter(|&one| Some(one) == bin(dtype, to));
        if let Some(one) = one.filter(|_| self.is_ordered) {
            profile[one] = profile[one].max(worst);
            return;
        }
        for i in 0..block.used {
            if let Some(bin) = bin(dtype, block.x[i]) {
                profile[bin] = profile[bin].max(self.score[i].to_bits() as i64);
            }
        }
    }

    #[inline(always)]
    fn jumps(&mut self, block: &Block, index: usize) {
        let quantity = &QUANTITIES[index];
        let (order, format, got) = (quantity.order, self.format, &block.got[index]);
        let mut worst = 0;
        for i in 0..BLOCK - 1 {
            let near = self.near[order][i];
            let exact = [self.exact.get(order, i), self.exact.get(order, i + 1)];
            let size = jump(&format, near, [got[i], got[i + 1]], exact);
            let is_out =
                i + 1 >= block.used || !block.x[i].is_finite() || !block.x[i + 1].is_finite();
            let size = if is_out { 0.0 } else { size };
            self.score[i] = size;
            worst = worst.max(size.to_bits() as i64);
        }
        let tally = &mut self.tallies[index];
        if worst > tally.jump.size {
            let lane = self.score[..BLOCK - 1]
                .iter()
                .position(|s| s.to_bits() as i64 == worst);
            tally.jump = Worst {
                size: worst,
                case: case(block, index, lane.unwrap_or(0)),
            };
        }
        if self.last.is_there && block.x[0].is_finite() {
            let near = self.near[order][0];
            let exact = [self.last.exact[order], self.exact.get(order, 0)];
            let size = jump(&format, near, [self.last.got[index], got[0]], exact);
            if size.to_bits() as i64 > tally.jump.size {
                tally.jump = Worst {
                    size: size.to_bits() as i64,
                    case: case(block, index, 0),
                };
            }
        }
    }

    /// Checks the elements of a block whose x or gradient is infinite or NaN; [`is_special`] says
    /// what they should be.
    pub fn special(&mut self, block: &Block) {
        for i in 0..block.used {
            let x = block.x[i];
            for (index, quantity) in QUANTITIES.iter().enumerate() {
                let gradients = match quantity.gradients {
                    Gradients::One => [1.0, 1.0],
                    Gradients::Grad => [block.grad[i], 1.0],
                    Gradients::GradGrad => [block.grad_grad[i], 1.0],
                    Gradients::Both => [block.grad[i], block.grad_grad[i]],
                };
                if !self.measured[index]
                    || [x, gradients[0], gradients[1]]
                        .iter()
                        .all(|n| n.is_finite())
                {
                    continue;
                }
                let got = block.got[index][i];
                let tally = &mut self.tallies[index];
                tally.special += 1;
                tally.special_failed += u64::from(!is_special(quantity.order, x, gradients, got));
                if x.is_infinite() && quantity.gradients == Gradients::One {
                    tally.at_infinity[usize::from(x > 0.0)] = Some(got.to_bits());
                }
            }
        }
    }
}

/// Whether a result is right for an x or gradients of which one at least is infinite or NaN.
/// mish(−∞) = −0, mish(∞) = ∞; the derivatives are 0 and 1, the second ones 0, times finite
/// gradients. An infinite gradient gives an infinity of the sign that the derivative has there, or
/// on the way there: no derivative is 0 at a finite x. NaN, and a gradient of 0 beside an infinite
/// one, give NaN.
fn is_special(order: usize, x: f64, gradients: [f64; 2], got: f64) -> bool {
    let factor = gradients[0] * gradients[1];
    let beside_zero = gradients.contains(&0.0) && gradients.iter().any(|g| g.is_infinite());
    if x.is_nan() || gradients.iter().any(|g| g.is_nan()) || beside_zero {
        return got.is_nan();
    }
    if gradients.iter().any(|g| g.is_infinite()) {
        let sign = match order {
            1 if x == f64::INFINITY => 1.0,
            _ if x.is_infinite() => -1.0,
            // So close to a zero a result may be 0 or have the other sign.
            _ if ZEROS[order].iter().any(|zero| (x - zero).abs() < 1e-6) => {
                return !got.is_finite();
            }
            _ => evaluate::<Pair>(x)[order].high,
        };
        return got == f64::INFINITY.copysign(factor * sign);
    }
    match (order, x > 0.0) {
        (0, true) => got == f64::INFINITY,
        (0, false) => got == 0.0 && got.is_sign_negative(),
        (1, true) => got == factor,
        _ => got == 0.0,
    }
}

/// Whether an element is measured.
#[inline(always)]
fn takes_part(block: &Block, i: usize) -> bool {
    (i < block.used) & (block.x[i].abs() <= f64::MAX)
}

/// Whether two numbers other than zero have different signs.
#[inline(always)]
fn is_opposite(a: f64, b: f64) -> bool {
    ((a > 0.0) & (b < 0.0)) | ((a < 0.0) & (b > 0.0))
}

fn case(block: &Block, index: usize, i: usize) -> Case {
    let gradients = QUANTITIES[index].gradients;
    let uses = |gradient: &[Gradients]| gradient.contains(&gradients);
    let one = 1f64;
    Case {
        x: block.x[i].to_bits(),
        grad: if uses(&[Gradients::Grad, Gradients::Both]) {
            block.grad[i]
        } else {
            one
        }
        .to_bits(),
        grad_grad: if uses(&[Gradients::GradGrad, Gradients::Both]) {
            block.grad_grad[i]
        } else {
            one
        }
        .to_bits(),
        got: block.got[index][i].to_bits(),
    }
}

fn precise_error(
    precise: &mut Precise,
    dtype: Dtype,
    format: &Format,
    index: usize,
    case: &Case,
) -> Error {
    let quantity = &QUANTITIES[index];
    let x = f64::from_bits(case.x);
    let exact = precise.evaluate(x)[quantity.order];
    let (grad, grad_grad) = (f64::from_bits(case.grad), f64::from_bits(case.grad_grad));
    let factor = factor::<Pair>(quantity.gradients, grad, grad_grad);
    error(
        format,
        quantity.bound(dtype),
        is_near_zero(quantity.order, x),
        f64::from_bits(case.got),
        exact.times::<Pair>(factor),
        factor,
    )
}

/// The error of a case, `(in last places, near a zero in those of 1/16 if larger)`, with the most
/// precise reference.
pub fn verified(dtype: Dtype, format: &Format, index: usize, case: &Case) -> (f64, f64) {
    let error = precise_error(&mut Precise::new(), dtype, format, index, case);
    (error.raw, error.score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Element;

    /// The error of a result that is off by a known amount.
    fn error_of(x: f32, got: f32) -> f64 {
        let exact = evaluate::<Pair>(f64::from(x))[0];
        let one = Value::of(1.0);
        error(&f32::FORMAT, 1.0, false, got.into(), exact, one).raw
    }

    #[test]
    fn a_step_is_one_unit() {
        for x in [1.0_f32, 100.0, -1e-3, -30.0, -95.0, -103.0, 1e-40, 3e38] {
            let value = evaluate::<Pair>(f64::from(x))[0];
            let exact = (value.high * 2f64.powi(value.exponent as i32)) as f32;
            assert!(error_of(x, exact) <= 0.5, "{x}");
            let above = f32::from_bits(exact.to_bits() + 3);
            assert!((error_of(x, above) - 3.0).abs() <= 0.5, "{x}");
        }
        assert_eq!(error_of(1.0, f32::NAN), f64::INFINITY);
        assert!(error_of(1.0, f32::INFINITY) > 1e30);
    }

    #[test]
    fn overflow_is_right_where_it_is_due() {
        let exact = evaluate::<Pair>(30.0)[1];
        let of = |grad: f64, got: f64| {
            let factor = Value::of(grad);
            let exact = exact.times::<Pair>(Value::of(4.0)).times::<Pair>(factor);
            error(&f64::FORMAT, 4.0, false, got, exact, factor).raw
        };
        assert_eq!(of(f64::MAX, f64::INFINITY), 0.0);
        assert_eq!(
            of(f64::MAX, f64::NEG_INFINITY),
            of(-f64::MAX, f64::INFINITY)
        );
        assert!(of(f64::MAX, f64::NEG_INFINITY) > 1e15);
        assert!(of(1e300, f64::INFINITY) > 1e6);
    }

    #[test]
    fn an_infinity_is_the_number_after_the_largest() {
        // mish′(30) is 1 and 2⁻⁸⁰.
        let one = evaluate::<Pair>(30.0)[1];
        let of = |grad: f64| {
            let factor = Value::of(grad);
            error(
                &f32::FORMAT,
                4.0,
                false,
                f64::INFINITY,
                one.times::<Pair>(factor),
                factor,
            )
        };
        let places = |n: f64| 2f64.powi(128) - n * 2f64.powi(104);
        assert_eq!(of(places(3.0)).raw.round(), 3.0);
        assert!(of(places(3.9)).excess < 0.0 && of(places(4.1)).excess > 0.0);
    }

    #[test]
    fn early_infinities_are_counted() {
        let mut block = Block {
            used: 2,
            ..Block::default()
        };
        (block.x[0], block.x[1]) = (30.0, 30.0);
        (block.grad[0], block.grad[1]) = (f64::from(f32::MAX), 2f64.powi(128));
        (block.got[4][0], block.got[4][1]) = (f64::INFINITY, f64::INFINITY);
        let only_backward = std::array::from_fn(|q| q == 4);
        let mut meter = Meter::new(Dtype::F32, f32::FORMAT, only_backward, true);
        meter.add(&block);
        let tally = &meter.tallies[4];
        assert_eq!((tally.early, tally.failed), (1, 0));
        assert!((tally.earliest.size() - 0.5).abs() < 1e-6);
    }

    #[test]
    fn underflow_rounds_once() {
        let exact = evaluate::<Pair>(-1.0)[1];
        let of = |power: i32, off: f64| {
            let factor = Value::of(2f64.powi(power));
            let exact = exact.times::<Pair>(factor);
            let size = exact.high * 2f64.powi(exact.exponent as i32);
            let unit = 2f64.powi(-149);
            let got = (size / unit + off).round() * unit;
            error(&f32::FORMAT, 4.0, false, got, exact, factor).excess
        };
        assert!(of(-120, 3.0) < 0.0);
        assert!(of(-140, 0.0) < 0.0 && of(-140, 1.0) > 0.0);
    }

    #[test]
    fn infinite_gradients() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        assert!(is_special(1, -1000.0, [inf, 1.0], -inf));
        assert!(!is_special(1, -1000.0, [inf, 1.0], nan));
        assert!(is_special(1, -inf, [-inf, 1.0], inf));
        assert!(is_special(2, inf, [2.0, inf], -inf));
        assert!(is_special(2, 0.0, [2.0, inf], inf));
        assert!(is_special(2, 0.0, [0.0, inf], nan));
        assert!(is_special(2, -inf, [2.0, 3.0], 0.0) && !is_special(2, -inf, [2.0, nan], 0.0));
    }

    /// A block of float32 forward results, all correctly rounded.
    fn block_of_forward() -> Block {
        let mut block = Block {
            used: BLOCK,
            ..Block::default()
        };
        for i in 0..BLOCK {
            block.x[i] = f64::from(f32::from_bits(0xc2a0_0000 + i as u32));
            let value = evaluate::<Pair>(block.x[i])[0];
            block.got[0][i] = f64::from((value.high * 2f64.powi(value.exponent as i32)) as f32);
        }
        block
    }

    #[test]
    fn wrong_results_are_found() {
        let tally = |block: &Block| {
            let only_forward = std::array::from_fn(|q| q == 0);
            let mut meter = Meter::new(Dtype::F32, f32::FORMAT, only_forward, true);
            meter.add(block);
            meter.tallies[0].clone()
        };
        let right = tally(&block_of_forward());
        assert_eq!((right.points, right.correctly_rounded), (256, 256));
        assert_eq!((right.failed, right.jump.size()), (0, 0.0));

        let mut block = block_of_forward();
        block.got[0][7] = f64::from(f32::from_bits((block.got[0][7] as f32).to_bits() + 300));
        let wrong = tally(&block);
        assert_eq!((wrong.failed, wrong.correctly_rounded), (1, 255));
        assert!(wrong.worst.size() > 299.0 && wrong.worst.case.x == block.x[7].to_bits());
        assert!(wrong.jump.size() >= 1.0);

        block.got[0][9] = f64::NAN;
        block.got[0][10] = f64::INFINITY;
        let wrong = tally(&block);
        assert_eq!((wrong.failed, wrong.non_finite), (3, 2));
    }

    #[test]
    fn worst_cases_merge_in_any_order() {
        let with = |size: f64, x: u64| Worst {
            size: size.to_bits() as i64,
            case: Case {
                x,
                ..Case::default()
            },
        };
        let (a, b) = (with(1.0, 5), with(1.0, 3));
        let (mut one, mut other) = (a, b);
        one.merge(&b);
        other.merge(&a);
        assert_eq!(one, other);
        one.merge(&with(f64::INFINITY, 9));
        assert_eq!(one.size(), f64::INFINITY);
    }
}
