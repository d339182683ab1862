//! A quick method for most elements, a general one for the rest.

use std::marker::PhantomData;

use super::{Block, Method, Real};

/// A method that is right for elements in the middle of the range of exponents.
pub trait Quick: Method {
    /// From here on [`Method::forward`] is right, and for NaN.
    const FORWARD_MIN: Self::Number;
    /// From here on [`Method::backward`] is, and for NaN.
    const BACKWARD_MIN: Self::Number;
    /// Whether [`Method::double_backward`] is right for this element.
    fn covers_double_backward(grad_grad_x: Self::Number, x: Self::Number) -> bool;
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

impl Widen<f32> for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(wide: f32) -> f32 {
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
    fn widen<const N: usize>(block: &Block<Q, N>) -> Block<W, N> {
        let mut wide = [W::Number::default(); N];
        for i in 0..N {
            wide[i] = block[i].widen();
        }
        wide
    }
}

/// Vectors of any width are a part of this many elements.
const LANES: usize = 16;

/// Whether no element is below `min`: one operation per vector and a comparison for all of them.
/// May deny it of a block that holds a NaN.
#[inline(always)]
fn none_below<F: Real, const N: usize>(min: F, x: &[F; N]) -> bool {
    let (&first, rest) = x.as_chunks::<LANES>().0.split_first().unwrap();
    let mut lowest = first;
    for part in rest {
        for i in 0..LANES {
            lowest[i] = lowest[i].at_most(part[i]);
        }
    }
    all::<LANES>(|i| lowest[i] >= min)
}

/// Whether all elements are covered, in a form that vectorises.
#[inline(always)]
fn all<const N: usize>(covers: impl Fn(usize) -> bool) -> bool {
    let mut missed = 0;
    for i in 0..N {
        let misses = u32::from(!covers(i));
        if cfg!(target_arch = "aarch64") {
            // From comparisons joined by `|`, LLVM makes one with the least of the elements, and
            // takes that with an instruction for which a signalling NaN is less than anything.
            missed += misses;
        } else {
            missed |= misses;
        }
    }
    missed == 0
}

impl<Q: Quick, W: Method> Method for Guarded<Q, W>
where
    Q::Number: Widen<W::Number>,
{
    type Number = Q::Number;
    type Scratch<const N: usize> = Q::Scratch<N>;

    #[inline(always)]
    fn forward<const HW: bool, const N: usize>(
        scratch: &mut Q::Scratch<N>,
        x: &Block<Q, N>,
        y: &mut Block<Q, N>,
    ) {
        Q::forward::<HW, N>(scratch, x, y);
        if none_below(Q::FORWARD_MIN, x) {
            return;
        }
        let mut wide_y = [W::Number::default(); N];
        let wide_x = Self::widen(x);
        W::forward::<HW, N>(&mut W::Scratch::<N>::default(), &wide_x, &mut wide_y);
        for i in 0..N {
            if x[i] < Q::FORWARD_MIN {
                y[i] = Widen::narrow(wide_y[i]);
            }
        }
    }

    #[inline(always)]
    fn backward<const HW: bool, const N: usize>(
        scratch: &mut Q::Scratch<N>,
        grad_y: &Block<Q, N>,
        x: &Block<Q, N>,
        grad_x: &mut Block<Q, N>,
    ) {
        Q::backward::<HW, N>(scratch, grad_y, x, grad_x);
        if none_below(Q::BACKWARD_MIN, x) {
            return;
        }
        let mut wide_grad_x = [W::Number::default(); N];
        W::backward::<HW, N>(
            &mut W::Scratch::<N>::default(),
            &Self::widen(grad_y),
            &Self::widen(x),
            &mut wide_grad_x,
        );
        for i in 0..N {
            if x[i] < Q::BACKWARD_MIN {
                grad_x[i] = Widen::narrow(wide_grad_x[i]);
            }
        }
    }

    #[inline(always)]
    fn double_backward<const HW: bool, const N: usize>(
        scratch: &mut Q::Scratch<N>,
        [grad_grad_x, grad_y, x]: [&Block<Q, N>; 3],
        [grad_grad_y, grad_x]: [&mut Block<Q, N>; 2],
    ) {
        let inputs = [grad_grad_x, grad_y, x];
        Q::double_backward::<HW, N>(scratch, inputs, [grad_grad_y, grad_x]);
        let covers = |i| Q::covers_double_backward(grad_grad_x[i], x[i]);
        if all::<N>(covers) {
            return;
        }
        let [mut wide_grad_grad_y, mut wide_grad_x] = [[W::Number::default(); N]; 2];
        let wide = inputs.map(|block| Self::widen(block));
        W::double_backward::<HW, N>(
            &mut W::Scratch::<N>::default(),
            [&wide[0], &wide[1], &wide[2]],
            [&mut wide_grad_grad_y, &mut wide_grad_x],
        );
        for i in 0..N {
            if !covers(i) {
                grad_grad_y[i] = Widen::narrow(wide_grad_grad_y[i]);
                grad_x[i] = Widen::narrow(wide_grad_x[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{backward, double_backward, forward};

    /// What an element's result is does not depend on its neighbours, not even if they are
    /// signalling NaNs. No quick method covers the far ones, nor −∞.
    macro_rules! beside_nans {
        ($name:ident, $type:ty, $nan:expr, $far:expr) => {
            #[test]
            fn $name() {
                const N: usize = 256;
                let nan = <$type>::from_bits($nan);
                for far in [$far, f64::NEG_INFINITY] {
                    let far = far as $type;
                    let (mut alone, mut derivative) = ([0.0; 1], [0.0; 1]);
                    forward(&[far], &mut alone).unwrap();
                    backward(&[1.0], &[far], &mut derivative).unwrap();
                    for place in [0, 1, 7, 100, 255] {
                        let mut x = [nan; N];
                        x[place] = far;
                        let ones = [1.0; N];
                        let [mut y, mut grad_x, mut grad_grad_y, mut second] = [[0.0; N]; 4];
                        forward(&x, &mut y).unwrap();
                        backward(&ones, &x, &mut grad_x).unwrap();
                        let outputs = (Some(&mut grad_grad_y[..]), Some(&mut second[..]));
                        double_backward(&ones, &ones, &x, outputs.0, outputs.1).unwrap();
                        assert_eq!(y[place].to_bits(), alone[0].to_bits());
                        assert_eq!(grad_x[place], derivative[0]);
                        assert_eq!(grad_grad_y[place], derivative[0]);
                        assert!(y[(place + 1) % N].is_nan());
                    }
                }
            }
        };
    }
    beside_nans!(f32_beside_nans, f32, 0xff80_0001, -100.0);
    beside_nans!(f64_beside_nans, f64, 0xfff0_0000_0000_0001, -700.0);
}
