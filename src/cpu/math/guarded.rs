//! A quick method for most elements, a general one for the rest.

use std::marker::PhantomData;

use super::columns::BLOCK;
use super::{Block, Method, Real};

/// A method that is right for elements in the middle of the range of exponents.
pub trait Quick: Method {
    /// Whether [`Method::forward`] is right for this element.
    fn covers_forward(x: Self::Number) -> bool;
    /// Whether [`Method::backward`] is.
    fn covers_backward(grad_y: Self::Number, x: Self::Number) -> bool;
    /// Whether [`Method::double_backward`] is.
    fn covers_double_backward(
        grad_grad_x: Self::Number,
        grad_y: Self::Number,
        x: Self::Number,
    ) -> bool;
}

/// A number as the general method sees it.
pub trait Widen<W>: Real {
    /// The same value.
    fn widen(self) -> W;
    /// A value to be rounded to fewer bits later: together that is one rounding.
    fn narrow(wide: W) -> Self;
}

impl Widen<f64> for f64 {
    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
    #[inline(always)]
    fn narrow(wide: f64) -> f64 {
        wide
    }
}

impl Widen<f64> for f32 {
    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }

    /// Rounds to odd, which keeps what the next rounding needs to know.
    #[inline(always)]
    fn narrow(wide: f64) -> f32 {
        let near = wide as f32;
        // The neighbour towards zero of a result that was rounded away from it.
        let bits = near.to_bits() - u32::from(f64::from(near).abs() > wide.abs());
        let exact = f64::from(near) == wide || wide.is_nan();
        f32::from_bits(if exact { bits } else { bits | 1 })
    }
}

/// `Q` where it covers an element, else `W`. What an element's result is does not depend on the
/// others: blocks with an element that `Q` does not cover are computed by both.
pub struct Guarded<Q, W>(PhantomData<(Q, W)>);

impl<Q: Quick, W: Method> Guarded<Q, W>
where
    Q::Number: Widen<W::Number>,
{
    #[inline(always)]
    fn widen(block: &Block<Q>, lanes: usize) -> Block<W> {
        let mut wide = [W::Number::default(); BLOCK];
        for i in 0..lanes {
            wide[i] = block[i].widen();
        }
        wide
    }
}

/// Whether all of the first `lanes` elements are covered. A sum of numbers as wide as the
/// elements, because that is what vectorises.
#[inline(always)]
fn all<F: Real>(lanes: usize, covers: impl Fn(usize) -> bool) -> bool {
    let mut missed = F::ZERO;
    for i in 0..lanes {
        missed = if covers(i) { missed } else { F::ONE };
    }
    missed == F::ZERO
}

impl<Q: Quick, W: Method> Method for Guarded<Q, W>
where
    Q::Number: Widen<W::Number>,
{
    type Number = Q::Number;
    type Scratch = Q::Scratch;

    #[inline(always)]
    fn forward<const HW: bool>(
        scratch: &mut Q::Scratch,
        x: &Block<Q>,
        y: &mut Block<Q>,
        lanes: usize,
    ) {
        Q::forward::<HW>(scratch, x, y, lanes);
        if all::<Q::Number>(lanes, |i| Q::covers_forward(x[i])) {
            return;
        }
        let mut wide_y = [W::Number::default(); BLOCK];
        let wide_x = Self::widen(x, lanes);
        W::forward::<HW>(&mut W::Scratch::default(), &wide_x, &mut wide_y, lanes);
        for i in 0..lanes {
            if !Q::covers_forward(x[i]) {
                y[i] = Widen::narrow(wide_y[i]);
            }
        }
    }

    #[inline(always)]
    fn backward<const HW: bool>(
        scratch: &mut Q::Scratch,
        grad_y: &Block<Q>,
        x: &Block<Q>,
        grad_x: &mut Block<Q>,
        lanes: usize,
    ) {
        Q::backward::<HW>(scratch, grad_y, x, grad_x, lanes);
        if all::<Q::Number>(lanes, |i| Q::covers_backward(grad_y[i], x[i])) {
            return;
        }
        let mut wide_grad_x = [W::Number::default(); BLOCK];
        W::backward::<HW>(
            &mut W::Scratch::default(),
            &Self::widen(grad_y, lanes),
            &Self::widen(x, lanes),
            &mut wide_grad_x,
            lanes,
        );
        for i in 0..lanes {
            if !Q::covers_backward(grad_y[i], x[i]) {
                grad_x[i] = Widen::narrow(wide_grad_x[i]);
            }
        }
    }

    #[inline(always)]
    fn double_backward<const HW: bool>(
        scratch: &mut Q::Scratch,
        [grad_grad_x, grad_y, x]: [&Block<Q>; 3],
        [grad_grad_y, grad_x]: [&mut Block<Q>; 2],
        lanes: usize,
    ) {
        let inputs = [grad_grad_x, grad_y, x];
        Q::double_backward::<HW>(scratch, inputs, [grad_grad_y, grad_x], lanes);
        let covers = |i| Q::covers_double_backward(grad_grad_x[i], grad_y[i], x[i]);
        if all::<Q::Number>(lanes, covers) {
            return;
        }
        let [mut wide_grad_grad_y, mut wide_grad_x] = [[W::Number::default(); BLOCK]; 2];
        let wide = inputs.map(|block| Self::widen(block, lanes));
        W::double_backward::<HW>(
            &mut W::Scratch::default(),
            [&wide[0], &wide[1], &wide[2]],
            [&mut wide_grad_grad_y, &mut wide_grad_x],
            lanes,
        );
        for i in 0..lanes {
            if !covers(i) {
                grad_grad_y[i] = Widen::narrow(wide_grad_grad_y[i]);
                grad_x[i] = Widen::narrow(wide_grad_x[i]);
            }
        }
    }
}
