//! Whether two operands share memory.
//!
//! Two views overlap when some element of one has the address of some element of the other: a
//! linear equation in bounded non-negative integers. Layouts of real tensors (nested strides) are
//! decided in a handful of steps, and so are any two steps at all. In general the question is as
//! hard as a knapsack: every step of the search counts, and a layout that needs more than
//! [`MAX_STEPS`] counts as overlapping, which is the safe answer.

use std::ops::{Deref, DerefMut};

use super::{Job, Layout, MAX_DIMS, Strided};
use crate::catalogue::MAX_OPERANDS;

/// The memory of a view as a framework may have one: with more dimensions than a job takes, at an
/// address that it does not.
pub(crate) struct Footprint {
    /// Bytes of an element.
    size: u64,
    /// The first and the last byte.
    low: u64,
    high: u64,
    /// In elements, the smallest step first, neighbours joined that lie in one run.
    terms: Vec<Term>,
    /// Some dimension moves no further.
    stands: bool,
}

impl Footprint {
    /// The view at `data`, with elements of `size` bytes, at least one of them.
    pub(crate) fn new(data: usize, size: usize, shape: &[i64], strides: &[i64]) -> Footprint {
        let (size, mut low, mut high) = (size as u64, data as u64, data as u64 + size as u64 - 1);
        let mut terms = Vec::new();
        let mut stands = false;
        for (&count, &step) in shape.iter().zip(strides).filter(|&(&count, _)| count > 1) {
            let (count, far) = (
                count as u64,
                step.unsigned_abs() * (count as u64 - 1) * size,
            );
            match step {
                0 => stands = true,
                1.. => high += far,
                _ => low -= far,
            }
            terms.push(Term {
                step: step.unsigned_abs(),
                count,
            });
        }
        terms.sort_unstable_by_key(|term| term.step);
        terms.dedup_by(|term, before| {
            let joins = term.step == before.step * before.count;
            before.count *= if joins { term.count } else { 1 };
            joins
        });
        Footprint {
            size,
            low,
            high,
            terms,
            stands,
        }
    }

    /// Whether two elements share memory; what is not decided counts as if they did.
    pub(crate) fn meets_itself(&self) -> bool {
        self.stands
            || !are_nested(self.terms.iter().copied())
                && (self.terms.len() > MAX_DIMS
                    || may_meet_itself(self.terms.iter().copied().collect()))
    }

    /// Whether the two share memory; what is not decided counts as if they did.
    pub(crate) fn meets(&self, other: &Footprint) -> bool {
        if self.high < other.low || other.high < self.low {
            return false;
        }
        // The bytes of an element are a dimension of it.
        let bytes = |print: &Footprint| {
            let size = print.size;
            let steps = print.terms.iter().filter(|term| term.step > 0);
            let steps = steps.map(move |term| Term {
                step: term.step * size,
                ..*term
            });
            steps
                .chain([Term {
                    step: 1,
                    count: size,
                }])
                .collect::<Vec<_>>()
        };
        let (own, others) = (bytes(self), bytes(other));
        own.len() + others.len() > MAX_TERMS
            || may_reach(
                own.into_iter().chain(others),
                (other.high - self.low) as i64,
            )
    }
}

/// Positive step and number of values of one dimension.
///
/// A layout reaches less than 2^63 bytes and an element has two at least, so what two layouts
/// reach together, in elements, is below 2^63.
#[derive(Clone, Copy, Debug, Default)]
struct Term {
    step: u64,
    count: u64,
}

impl Term {
    fn reach(self) -> u64 {
        self.step * (self.count - 1)
    }
}

/// The most terms of a search: the dimensions of two operands, and the bytes of their elements.
const MAX_TERMS: usize = 2 * (MAX_DIMS + 1);

/// A few terms, without an allocation.
#[derive(Clone, Copy, Debug)]
struct Terms {
    all: [Term; MAX_TERMS],
    len: usize,
}

impl FromIterator<Term> for Terms {
    fn from_iter<I: IntoIterator<Item = Term>>(terms: I) -> Self {
        let mut all = [Term::default(); MAX_TERMS];
        let mut len = 0;
        for term in terms {
            all[len] = term;
            len += 1;
        }
        Terms { all, len }
    }
}

impl Terms {
    /// Makes one of neighbours with one step, which reach the same sums: two operands with the
    /// same strides would multiply the search.
    fn join_equal_steps(&mut self) {
        let mut kept = 0;
        for i in 0..self.len {
            let term = self.all[i];
            if kept > 0 && self.all[kept - 1].step == term.step {
                self.all[kept - 1].count += term.count - 1;
            } else {
                self.all[kept] = term;
                kept += 1;
            }
        }
        self.len = kept;
    }
}

impl Deref for Terms {
    type Target = [Term];
    fn deref(&self) -> &[Term] {
        &self.all[..self.len]
    }
}

impl DerefMut for Terms {
    fn deref_mut(&mut self) -> &mut [Term] {
        &mut self.all[..self.len]
    }
}

/// Steps of a search, each of which chooses the value of one dimension, after which a layout counts
/// as overlapping: a few milliseconds. docs/reliability.md gives the number.
const MAX_STEPS: u32 = 20_000;

/// Whether two operands of a job share memory.
pub(super) fn between(job: &Job, spans: &[Span; MAX_OPERANDS], a: usize, b: usize) -> bool {
    let ((low_a, high_a), (low_b, high_b)) = (spans[a], spans[b]);
    if high_a < low_b || high_b < low_a {
        return false;
    }
    match &job.layout {
        Layout::Contiguous => true,
        // low_a + Σ iₖ·sₖ = low_b + Σ jₖ·tₖ; with j counted from the other end all signs are plus.
        Layout::Strided(strided) => may_reach(
            terms(strided, a).chain(terms(strided, b)),
            (high_b - low_a) as i64,
        ),
    }
}

/// Whether two elements of one operand share memory.
pub(super) fn within(job: &Job, operand: usize) -> bool {
    let Layout::Strided(strided) = &job.layout else {
        return false;
    };
    if strided.strides[operand][..strided.ndim].contains(&0) {
        return true; // dimensions of one element are gone already
    }
    // As they lie after sorting by the first output's strides, the usual case.
    if are_nested(terms(strided, operand).rev()) {
        return false;
    }
    may_meet_itself(terms(strided, operand).collect())
}

/// Whether two indices have one address.
fn may_meet_itself(mut terms: Terms) -> bool {
    terms.sort_unstable_by_key(|term| term.step);
    // Two indices with one address: in the first dimension where they differ, the difference is
    // at least one; in later ones it may have either sign.
    !are_nested(terms.iter().copied())
        && (0..terms.len()).any(|first| {
            let lead = terms[first];
            let rest = &terms[first + 1..];
            let target = rest.iter().map(|term| term.reach() as i64).sum::<i64>();
            let target = target - lead.step as i64;
            let lead = Term {
                step: lead.step,
                count: lead.count - 1,
            };
            let both_signs = rest.iter().map(|term| Term {
                step: term.step,
                count: 2 * term.count - 1,
            });
            may_reach(std::iter::once(lead).chain(both_signs), target)
        })
}

/// Lowest and highest address of an operand, in elements: aligned addresses are multiples of the
/// element size.
pub(super) type Span = (u64, u64);

/// The span of an operand.
pub(super) fn span(job: &Job, operand: usize) -> Span {
    let (offset, bytes) = job.extent(operand);
    let size = job.dtype.size();
    // Pointers were checked to reach no further than the address space.
    let low = (job.pointers[operand] as usize).wrapping_add_signed(offset) / size;
    (low as u64, (low + bytes / size - 1) as u64)
}

/// The dimensions of an operand that move.
fn terms(strided: &Strided, operand: usize) -> impl DoubleEndedIterator<Item = Term> + '_ {
    let steps = &strided.strides[operand][..strided.ndim];
    let moving = steps
        .iter()
        .zip(&strided.shape[..strided.ndim])
        .filter(|&(&step, _)| step != 0);
    moving.map(|(step, &count)| Term {
        step: step.unsigned_abs(),
        count,
    })
}

/// Whether each term steps over all that those before it reach, so that no two sums are equal.
fn are_nested(mut terms: impl Iterator<Item = Term>) -> bool {
    let mut reach = 0;
    terms.all(|term| {
        let clear = term.step > reach;
        reach += term.reach();
        clear
    })
}

/// Whether `Σ vᵢ·stepᵢ = target` has a solution with `0 ≤ vᵢ < countᵢ`; also true when the search
/// was given up.
fn may_reach(terms: impl Iterator<Item = Term>, target: i64) -> bool {
    let Ok(target) = u64::try_from(target) else {
        return false;
    };
    Sums::new(terms).may_be(target, &mut 0)
}

/// What some terms can add up to.
struct Sums {
    /// The largest step first, no two the same.
    terms: Terms,
    /// For the terms from each on; the last is that of no term.
    rests: [Rest; MAX_TERMS + 1],
}

#[derive(Clone, Copy, Default)]
struct Rest {
    /// The largest sum.
    reach: u64,
    /// What divides every sum; 0 for no term.
    divisor: u64,
    /// With m the next rest's divisor over this one's: the inverse, modulo m, of the first term's
    /// step over this divisor.
    inverse: u64,
}

impl Sums {
    fn new(terms: impl Iterator<Item = Term>) -> Sums {
        let mut terms: Terms = terms.filter(|term| term.count > 1).collect();
        terms.sort_unstable_by_key(|term| std::cmp::Reverse(term.step));
        terms.join_equal_steps();
        let mut rests = [Rest::default(); MAX_TERMS + 1];
        for i in (0..terms.len()).rev() {
            let next = rests[i + 1];
            let step = terms[i].step;
            // Where steps nest, each is a multiple of those after it.
            let (divisor, inverse) = match next.divisor {
                0 => (step, 0),
                1 => (1, 0),
                next if step.is_multiple_of(next) => (next, 0),
                next => gcd_and_inverse(step, next),
            };
            rests[i] = Rest {
                reach: next.reach + terms[i].reach(),
                divisor,
                inverse,
            };
        }
        Sums { terms, rests }
    }

    /// Whether a number is one of the sums; also true after the last step.
    fn may_be(&self, target: u64, steps: &mut u32) -> bool {
        // Dividing is most of what this costs.
        let Rest { reach, divisor, .. } = self.rests[0];
        target <= reach
            && (divisor <= 1 || target.is_multiple_of(divisor))
            && self.may_be_from(0, target, steps)
    }

    /// The same for the terms from `first` on, and a number within their reach that their divisor
    /// divides.
    fn may_be_from(&self, first: usize, target: u64, steps: &mut u32) -> bool {
        *steps += 1;
        if *steps > MAX_STEPS {
            return true;
        }
        if self.terms.len() - first < 2 {
            return true; // a multiple of the one step within its reach; or 0
        }
        let (term, rest, next) = (self.terms[first], self.rests[first], self.rests[first + 1]);
        // What the others leave to this term.
        let from = target.saturating_sub(next.reach).div_ceil(term.step);
        let to = (target / term.step).min(term.count - 1);
        if from > to {
            return false;
        }
        // Only every so-manieth value leaves the others a multiple of their divisor.
        let every = match next.divisor == rest.divisor {
            true => 1,
            false => next.divisor / rest.divisor,
        };
        let last = match every {
            1 => to,
            _ => {
                let fits = multiply(target / rest.divisor, rest.inverse, every);
                match to.checked_sub((to % every + every - fits) % every) {
                    Some(last) if last >= from => last,
                    _ => return false,
                }
            }
        };
        // Few values when the layout nests; from the top, where a solution is likelier.
        let mut value = last;
        loop {
            if self.may_be_from(first + 1, target - value * term.step, steps) {
                return true;
            }
            match value.checked_sub(every) {
                Some(less) if less >= from => value = less,
                _ => return false,
            }
        }
    }
}

fn multiply(a: u64, b: u64, modulus: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(modulus)) as u64
}

/// The greatest common divisor g of `a` and `b`, which are below 2^63, and the inverse of `a / g`
/// modulo `b / g` (0 where that is 0 or 1).
fn gcd_and_inverse(a: u64, b: u64) -> (u64, u64) {
    // In each row, row.0 = row.1 · a modulo b; no row.1 exceeds b / g.
    let mut row = (b as i64, 0);
    let mut next = (a as i64, 1);
    while next.0 != 0 {
        let quotient = row.0 / next.0;
        (row, next) = (next, (row.0 - quotient * next.0, row.1 - quotient * next.1));
    }
    let modulus = (b as i64).checked_div(row.0).unwrap_or(0);
    let inverse = row.1.checked_rem_euclid(modulus).unwrap_or(0);
    (row.0 as u64, inverse as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::catalogue::Op;
    use crate::job::{Device, Dtype, View};
    use crate::status::Status;

    /// Numbers that are the same in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (self.0 >> 33) % limit
        }
    }

    /// Every solvable target, by enumeration.
    fn sums(terms: &[(u64, u64)]) -> HashSet<i64> {
        terms.iter().fold([0].into(), |sums, &(step, count)| {
            sums.iter()
                .flat_map(|s| (0..count).map(move |v| s + (v * step) as i64))
                .collect()
        })
    }

    fn terms_of(case: &[(u64, u64)]) -> impl Iterator<Item = Term> {
        case.iter().map(|&(step, count)| Term { step, count })
    }

    #[test]
    fn search_agrees_with_enumeration() {
        let mut cases: Vec<Vec<(u64, u64)>> = vec![
            vec![],
            vec![(3, 4)],
            vec![(6, 3), (4, 5)],
            vec![(10, 3), (7, 4), (3, 2)],
            vec![(12, 4), (12, 2), (5, 3), (1, 2)],
            vec![(100, 2), (9, 5), (6, 7)],
            vec![(20, 3), (1, 4), (20, 2), (1, 9), (20, 5)],
        ];
        let mut random = Random(1);
        for _ in 0..600 {
            let len = random.below(6);
            let term = |random: &mut Random| (1 + random.below(40), 1 + random.below(6));
            cases.push((0..len).map(|_| term(&mut random)).collect());
        }
        for case in cases {
            let reachable = sums(&case);
            for target in -5..400 {
                assert_eq!(
                    may_reach(terms_of(&case), target),
                    reachable.contains(&target),
                    "{case:?} {target}"
                );
            }
        }
    }

    #[test]
    fn inverses_are_inverses() {
        let big = (1 << 63) - 25; // a prime
        for (a, b) in [
            (6, 4),
            (4, 6),
            (5, 0),
            (7, 7),
            (1, 9),
            (big, big - 1),
            (big - 1, big),
        ] {
            let (gcd, inverse) = gcd_and_inverse(a, b);
            assert!(a.is_multiple_of(gcd) && b.is_multiple_of(gcd), "{a} {b}");
            let modulus = b / gcd;
            if modulus > 1 {
                assert_eq!(multiply(a / gcd % modulus, inverse, modulus), 1, "{a} {b}");
            }
        }
    }

    /// The answer and the steps it took.
    fn steps(terms: &[(u64, u64)], target: u64) -> (bool, u32) {
        let mut steps = 0;
        let answer = Sums::new(terms_of(terms)).may_be(target, &mut steps);
        (answer, steps)
    }

    #[test]
    fn two_steps_of_any_size_are_decided_at_once() {
        let (a, b) = (4_294_967_291, 4_294_967_279); // primes
        for target in [
            a * b / 2,
            a * 12_345 + b * 678_910,
            a * 12_345 + b * 678_910 + 1,
        ] {
            let (answer, steps) = steps(&[(a, 1 << 29), (b, 1 << 29)], target);
            assert!(steps <= 2, "{steps}");
            assert_eq!(answer, target == a * 12_345 + b * 678_910, "{target}");
        }
    }

    #[test]
    fn a_search_ends_and_its_end_counts_as_overlapping() {
        // No sum of a few large even steps and one of 1 or 3 has a remainder of 2, but not for a
        // reason that a divisor tells.
        let mut random = Random(2);
        let mut given_up = 0;
        for _ in 0..200 {
            let mut terms: Vec<(u64, u64)> = (0..8)
                .map(|_| ((1 << 30) + 4 * random.below(1 << 28), 1 << 20))
                .collect();
            terms.extend([(1, 2), (3, 2)]);
            let target = (1 << 50) + 4 * random.below(1 << 40) + 2;
            let (answer, steps) = steps(&terms, target);
            assert!(steps <= MAX_STEPS + 1, "{steps}");
            assert!(answer || steps <= MAX_STEPS);
            given_up += u32::from(steps > MAX_STEPS);
        }
        assert!(given_up > 0);
    }

    /// What the check says of `y = mish(x)` on views that start at these elements.
    fn check(shape: &[i64], x: (i64, &[i64]), y: (i64, &[i64])) -> Status {
        let view = |(start, strides)| {
            Some(View {
                data: (0x10_0000 + 4 * start) as usize as *mut std::ffi::c_void,
                dtype: Dtype::F32,
                device: Device::Cpu,
                device_id: 0,
                shape,
                strides: Some(strides),
            })
        };
        match Job::strided(Op::Forward, &[view(x), view(y)]) {
            Ok(_) => Status::Ok,
            Err(error) => error.status(),
        }
    }

    #[test]
    fn small_views_agree_with_enumeration() {
        let mut random = Random(3);
        let mut seen = [0; 3];
        for _ in 0..40_000 {
            let ndim = random.below(4) as usize;
            let shape: Vec<i64> = (0..ndim).map(|_| 1 + random.below(4) as i64).collect();
            let mut view = || -> (i64, Vec<i64>) {
                let strides = (0..ndim).map(|_| random.below(25) as i64 - 12).collect();
                (random.below(40) as i64, strides)
            };
            let x = view();
            let y = if x.0 % 4 == 0 { x.clone() } else { view() };
            let elements = |(start, strides): &(i64, Vec<i64>)| -> Vec<i64> {
                shape
                    .iter()
                    .zip(strides)
                    .fold(vec![*start], |all, (&n, &step)| {
                        let row = |e: i64| (0..n).map(move |i| e + i * step);
                        all.into_iter().flat_map(row).collect()
                    })
            };
            let (from, to) = (elements(&x), elements(&y));
            let distinct: HashSet<i64> = to.iter().copied().collect();
            let expected = if distinct.len() < to.len() {
                Status::SelfOverlap
            } else if from != to && from.iter().any(|e| distinct.contains(e)) {
                Status::Overlap
            } else {
                Status::Ok
            };
            let got = check(&shape, (x.0, &x.1), (y.0, &y.1));
            assert_eq!(got, expected, "{shape:?} {x:?} {y:?}");
            seen[match expected {
                Status::Ok => 0,
                Status::Overlap => 1,
                _ => 2,
            }] += 1;
        }
        assert!(seen.iter().all(|&n| n > 1000), "{seen:?}");
    }

    #[test]
    fn garbage_strides_are_answered() {
        let strides = [4_294_967_291, 4_294_967_279];
        let shape = [1 << 27, 1 << 27];
        let none = [0, 0];
        // Coprime and larger than the counts: no two elements meet.
        assert_eq!(check(&shape, (-1000, &none), (0, &strides)), Status::Ok);
        let strides = [3 * 1_431_655_751, 3 * 5];
        assert_eq!(
            check(&shape, (-1000, &none), (0, &strides)),
            Status::Ok,
            "1,431,655,751 · 3 needs a count above 2^27"
        );
    }

    /// Every small view at every offset against the bytes that it touches.
    #[test]
    fn footprints_agree_with_enumeration() {
        let bytes = |data: usize, size: usize, shape: &[i64], strides: &[i64]| {
            let mut offsets = vec![0_i64];
            for (&count, &step) in shape.iter().zip(strides) {
                offsets = (0..count)
                    .flat_map(|i| offsets.iter().map(move |&offset| offset + i * step))
                    .collect();
            }
            let first = |offset: i64| (data as i64 + offset * size as i64) as usize;
            let all = offsets
                .into_iter()
                .flat_map(|offset| first(offset)..first(offset) + size);
            all.collect::<Vec<_>>()
        };
        let mut met = 0;
        for (size, data) in [(2, 1000), (4, 1001), (4, 1004), (8, 1006)] {
            for steps in [
                [1, 3, 7],
                [2, -3, 1],
                [4, 2, 1],
                [1, 1, 5],
                [3, 0, 1],
                [9, 3, -1],
            ] {
                for shape in [[2, 3, 2], [1, 4, 2], [3, 1, 1], [2, 2, 2]] {
                    let own = Footprint::new(data, size, &shape, &steps);
                    let mut touched = bytes(data, size, &shape, &steps);
                    touched.sort_unstable();
                    let shares = touched.windows(2).any(|pair| pair[0] == pair[1]);
                    assert_eq!(own.meets_itself(), shares, "{steps:?} {shape:?}");
                    for at in (900..1100).step_by(3) {
                        let (of, by) = ([3, 2], [5, -2]);
                        let other = Footprint::new(at, 4, &of, &by);
                        let others = bytes(at, 4, &of, &by);
                        let shares = others.iter().any(|byte| touched.contains(byte));
                        assert_eq!(own.meets(&other), shares, "{data} {steps:?} {shape:?} {at}");
                        assert_eq!(other.meets(&own), shares);
                        met += u32::from(shares);
                    }
                }
            }
        }
        assert!(met > 100);
    }

    #[test]
    fn footprints_of_many_dimensions() {
        let shape = [2_i64; 12];
        let nested: Vec<i64> = (0..12).map(|d| 3_i64.pow(d)).collect();
        assert!(!Footprint::new(64, 4, &shape, &nested).meets_itself());
        let joined: Vec<i64> = (0..12).map(|d| 2_i64.pow(d)).collect();
        assert!(!Footprint::new(64, 4, &shape, &joined).meets_itself());
        let steps = [1, 3, 7, 15, 31, 63, 100, 130, 40, 1, 500, 900];
        assert!(Footprint::new(64, 4, &shape, &steps).meets_itself());
    }
}
