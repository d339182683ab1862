//! Whether two operands share memory.
//!
//! Two views overlap when some element of one has the address of some element of the other: a
//! linear equation in bounded non-negative integers. Layouts of real tensors (nested strides) are
//! decided in a handful of steps; the search is bounded, and a layout that exhausts the bound
//! counts as overlapping, which is the safe answer.

use std::ops::{Deref, DerefMut};

use super::{Job, Layout, MAX_DIMS, Strided};
use crate::catalogue::MAX_OPERANDS;

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

/// The most terms of a search: the dimensions of two operands.
const MAX_TERMS: usize = 2 * MAX_DIMS;

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

/// Search steps after which a layout counts as overlapping.
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
    let mut terms: Terms = terms(strided, operand).collect();
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
    let mut terms: Terms = terms.filter(|term| term.count > 1).collect();
    terms.sort_unstable_by_key(|term| std::cmp::Reverse(term.step));
    terms.join_equal_steps();
    // What the terms from i on can add up to at most, and the divisor of all those sums.
    let mut rest = [(0, 0); MAX_TERMS + 1];
    for i in (0..terms.len()).rev() {
        let (reach, divisor) = rest[i + 1];
        rest[i] = (reach + terms[i].reach(), gcd(terms[i].step, divisor));
    }
    let mut steps = 0;
    search(&terms, &rest, target, &mut steps)
}

fn search(terms: &[Term], rest: &[(u64, u64)], target: u64, steps: &mut u32) -> bool {
    *steps += 1;
    let (reach, divisor) = rest[0];
    if target > reach {
        return false;
    }
    let Some((term, others)) = terms.split_first() else {
        return true; // target is 0 here, since reach is
    };
    // Dividing is most of what this costs.
    if divisor > 1 && !target.is_multiple_of(divisor) {
        return false;
    }
    if others.is_empty() {
        return true; // a multiple of the step within its reach
    }
    if *steps > MAX_STEPS {
        return true;
    }
    let from = target.saturating_sub(rest[1].0).div_ceil(term.step);
    let to = (target / term.step).min(term.count - 1);
    // Few values when the layout nests; from the top, where a solution is likelier.
    (from..=to)
        .rev()
        .any(|v| search(others, &rest[1..], target - v * term.step, steps))
}

fn gcd(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        1 => 1,
        _ => gcd(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every solvable target, by enumeration.
    fn sums(terms: &[(u64, u64)]) -> std::collections::HashSet<i64> {
        terms.iter().fold([0].into(), |sums, &(step, count)| {
            sums.iter()
                .flat_map(|s| (0..count).map(move |v| s + (v * step) as i64))
                .collect()
        })
    }

    #[test]
    fn search_agrees_with_enumeration() {
        let cases: &[&[(u64, u64)]] = &[
            &[],
            &[(3, 4)],
            &[(6, 3), (4, 5)],
            &[(10, 3), (7, 4), (3, 2)],
            &[(12, 4), (12, 2), (5, 3), (1, 2)],
            &[(100, 2), (9, 5), (6, 7)],
            &[(20, 3), (1, 4), (20, 2), (1, 9), (20, 5)],
        ];
        for case in cases {
            let reachable = sums(case);
            for target in -5..400 {
                let terms = case.iter().map(|&(step, count)| Term { step, count });
                assert_eq!(
                    may_reach(terms, target),
                    reachable.contains(&target),
                    "{case:?} {target}"
                );
            }
        }
    }
}
