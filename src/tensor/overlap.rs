//! Whether two operands share memory.
//!
//! Two views overlap when some element of one has the address of some element of the other: a
//! linear equation in bounded non-negative integers. Layouts of real tensors (nested strides) are
//! decided in a handful of steps; the search is bounded, and a layout that exhausts the bound
//! counts as overlapping, which is the safe answer.

use std::ops::{Deref, DerefMut};

use super::{Job, Layout, MAX_DIMS};

/// Positive step and number of values of one dimension.
#[derive(Clone, Copy, Debug, Default)]
struct Term {
    step: i128,
    count: i128,
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
pub(super) fn between(job: &Job, a: usize, b: usize) -> bool {
    let ((low_a, high_a), (low_b, high_b)) = (span(job, a), span(job, b));
    if high_a < low_b || high_b < low_a {
        return false;
    }
    match &job.layout {
        Layout::Contiguous => true,
        // low_a + Σ iₖ·sₖ = low_b + Σ jₖ·tₖ; with j counted from the other end all signs are plus.
        Layout::Strided(_) => {
            may_reach(terms(job, a).chain(terms(job, b)), high_b - low_a)
        }
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
    let mut terms: Terms = terms(job, operand).collect();
    terms.sort_unstable_by_key(|term| term.step);
    let mut reach = 0;
    let nested = terms.iter().all(|term| {
        let clear = term.step > reach;
        reach += term.step * (term.count - 1);
        clear
    });
    // Two indices with one address: in the first dimension where they differ, the difference is
    // at least one; in later ones it may have either sign.
    !nested
        && (0..terms.len()).any(|first| {
            let lead = terms[first];
            let rest = &terms[first + 1..];
            let target = rest
                .iter()
                .fold(-lead.step, |sum, term| sum + term.step * (term.count - 1));
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
fn span(job: &Job, operand: usize) -> (i128, i128) {
    let origin = (job.pointers[operand] as usize / job.dtype.size()) as i128;
    let (low, high) = match &job.layout {
        Layout::Contiguous => (0, job.n as i64 - 1),
        Layout::Strided(strided) => strided.range(operand),
    };
    (origin + i128::from(low), origin + i128::from(high))
}

/// The dimensions of an operand that move.
fn terms(job: &Job, operand: usize) -> impl Iterator<Item = Term> + '_ {
    (0..MAX_DIMS).filter_map(move |d| match &job.layout {
        Layout::Strided(strided) if d < strided.ndim && strided.strides[operand][d] != 0 => {
            Some(Term {
                step: i128::from(strided.strides[operand][d]).abs(),
                count: i128::from(strided.shape[d]),
            })
        }
        _ => None,
    })
}

/// Whether `Σ vᵢ·stepᵢ = target` has a solution with `0 ≤ vᵢ < countᵢ`; also true when the search
/// was given up.
fn may_reach(terms: impl Iterator<Item = Term>, target: i128) -> bool {
    let mut terms: Terms = terms.filter(|term| term.count > 1).collect();
    terms.sort_unstable_by_key(|term| std::cmp::Reverse(term.step));
    terms.join_equal_steps();
    // What the terms from i on can add up to at most, and the divisor of all those sums.
    let mut rest = [(0, 0); MAX_TERMS + 1];
    for i in (0..terms.len()).rev() {
        let (reach, divisor) = rest[i + 1];
        rest[i] = (
            reach + terms[i].step * (terms[i].count - 1),
            gcd(terms[i].step, divisor),
        );
    }
    let mut steps = 0;
    search(&terms, &rest, target, &mut steps)
}

fn search(terms: &[Term], rest: &[(i128, i128)], target: i128, steps: &mut u32) -> bool {
    *steps += 1;
    let (reach, divisor) = rest[0];
    if target < 0 || target > reach {
        return false;
    }
    let Some((term, others)) = terms.split_first() else {
        return true; // target is 0 here, since reach is
    };
    if target % divisor != 0 {
        return false;
    }
    if *steps > MAX_STEPS {
        return true;
    }
    let least = (target - rest[1].0).max(0);
    let from = (least + term.step - 1) / term.step;
    let to = (target / term.step).min(term.count - 1);
    // Few values when the layout nests; from the top, where a solution is likelier.
    (from..=to)
        .rev()
        .any(|v| search(others, &rest[1..], target - v * term.step, steps))
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every solvable target, by enumeration.
    fn sums(terms: &[(i128, i128)]) -> std::collections::HashSet<i128> {
        terms.iter().fold([0].into(), |sums, &(step, count)| {
            sums.iter()
                .flat_map(|s| (0..count).map(move |v| s + v * step))
                .collect()
        })
    }

    #[test]
    fn search_agrees_with_enumeration() {
        let cases: &[&[(i128, i128)]] = &[
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
