//! The formulas as they stand, in a type with bits to spare.

use std::marker::PhantomData;

use super::columns::BLOCK;
use super::real::{Real, multiply_add};
use super::{Method, Range};

/// The formulas in `F`, for elements with fewer bits and a smaller range of exponents.
pub struct Plain<F>(PhantomData<F>);

/// eˣ for a block.
pub struct Exponentials<F>([F; BLOCK]);

impl<F: Real> Default for Exponentials<F> {
    #[inline(always)]
    fn default() -> Self {
        Exponentials([F::ZERO; BLOCK])
    }
}

impl<F: Real> Exponentials<F> {
    #[inline(always)]
    fn fill<const HW: bool>(&mut self, x: &[F; BLOCK], lanes: usize, range: Range<F>) {
        for i in 0..lanes {
            self.0[i] = exp::<HW, F>(range.clamp(x[i]));
        }
    }
}

/// eˣ for x in one of the ranges, where it is a normal number.
#[inline(always)]
fn exp<const HW: bool, F: Real>(x: F) -> F {
    let k_biased = multiply_add::<HW, F>(x, F::LOG2_E, F::MAGIC);
    let k = k_biased - F::MAGIC;
    let r = F::reduce::<HW>(x, k);
    F::exp_reduced::<HW>(r) * F::exp2_biased(k_biased)
}

impl<F: Real> Method for Plain<F> {
    type Number = F;
    type Prepared = Exponentials<F>;

    #[inline(always)]
    fn prepare_forward<const HW: bool>(to: &mut Self::Prepared, x: &[F; BLOCK], lanes: usize) {
        to.fill::<HW>(x, lanes, Range(F::FIRST_MIN, F::FIRST_MAX));
    }

    #[inline(always)]
    fn prepare_backward<const HW: bool>(to: &mut Self::Prepared, x: &[F; BLOCK], lanes: usize) {
        to.fill::<HW>(x, lanes, Range(F::FIRST_MIN, F::FIRST_MAX));
    }

    #[inline(always)]
    fn prepare_double_backward<const HW: bool>(
        to: &mut Self::Prepared,
        x: &[F; BLOCK],
        lanes: usize,
    ) {
        to.fill::<HW>(x, lanes, Range(F::SECOND_MIN, F::SECOND_MAX));
    }

    #[inline(always)]
    fn forward<const HW: bool>(at: &Self::Prepared, i: usize, x: F) -> F {
        let e = at.0[i];
        // e·(z + 1) = δ − 2
        let n = multiply_add::<HW, F>(e, e, e + e);
        // Not clamped from above: there the quotient is 1.
        x.at_least(F::FIRST_MIN) * (n / (n + F::TWO))
    }

    #[inline(always)]
    fn backward<const HW: bool>(at: &Self::Prepared, i: usize, grad_y: F, x: F) -> F {
        let x = Range(F::FIRST_MIN, F::FIRST_MAX).clamp(x);
        grad_y * Shared::of::<HW>(at.0[i]).first::<HW>(x)
    }

    #[inline(always)]
    fn double_backward<const HW: bool>(
        at: &Self::Prepared,
        i: usize,
        grad_grad_x: F,
        grad_y: F,
        x: F,
    ) -> (F, F) {
        let x = Range(F::SECOND_MIN, F::SECOND_MAX).clamp(x);
        let shared = Shared::of::<HW>(at.0[i]);
        let Shared { e, w, .. } = shared;
        // 1 − mish
        let v = multiply_add::<HW, F>(x + x, w, F::ONE - x);
        let n = multiply_add::<HW, F>(e + e, v, F::TWO + x);
        let second = F::FOUR * (n * w) * (e * w);
        (
            grad_grad_x * shared.first::<HW>(x),
            (grad_grad_x * grad_y) * second,
        )
    }
}

/// What the derivatives share.
struct Shared<F> {
    e: F,
    z: F,
    w: F,
}

impl<F: Real> Shared<F> {
    #[inline(always)]
    fn of<const HW: bool>(e: F) -> Self {
        let z = F::ONE + e;
        let w = F::ONE / multiply_add::<HW, F>(z, z, F::ONE);
        Shared { e, z, w }
    }

    /// mish′(x)
    #[inline(always)]
    fn first<const HW: bool>(&self, x: F) -> F {
        let m = multiply_add::<HW, F>(F::FOUR * x, self.z * self.w, self.z) + F::ONE;
        m * (self.e * self.w)
    }
}
