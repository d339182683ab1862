//! A fast method for most elements and a careful one for the rest: float64, float32 and bfloat16,
//! each within the bounds of the method that an element is left to (`docs/derivation.md`,
//! "Thresholds").

use std::marker::PhantomData;

use super::{Backward, Block, Core, DoubleBackward, Forward, Method, Real};

/// A method that is right for elements in the middle of the range of exponents.
pub trait Restricted: Method {
    /// From here on [`Method::forward`] is right, and for NaN.
    const FORWARD_MIN: Self::Number;
    /// From here on [`Method::backward`] is, and for NaN.
    const BACKWARD_MIN: Self::Number;
    /// Whether [`Method::double_backward`] is right for this element.
    fn covers_double_backward(grad_grad_x: Self::Number, x: Self::Number) -> bool;
}

/// A number as the careful method sees it.
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

/// `Fast` where it covers an element, else `Careful`. What an element's result is does not depend on
/// the others: blocks with an element that `Fast` does not cover are computed by both.
///
/// It decides by the arguments, which is what an operation's prologue has made of its inputs.
pub struct Guarded<Fast, Careful>(PhantomData<(Fast, Careful)>);

impl<Fast: Restricted, Careful: Method> Guarded<Fast, Careful>
where
    Fast::Number: Widen<Careful::Number>,
{
    #[inline(always)]
    fn widen<const N: usize>(block: &Block<Fast, N>) -> Block<Careful, N> {
        let mut wide = [Careful::Number::default(); N];
        for i in 0..N {
            wide[i] = block[i].widen();
        }
        wide
    }

    /// What `Careful` makes of a block.
    #[inline(always)]
    fn careful<C, const HAS_FMA: bool, const N: usize, const A: usize, const R: usize>(
        arguments: [Block<Careful, N>; A],
    ) -> [Block<Careful, N>; R]
    where
        C: Core<A, R>,
    {
        let mut scratch = Careful::Scratch::<N>::default();
        let mut results = [[Careful::Number::default(); N]; R];
        let (wide, careful) = (arguments.each_ref(), results.each_mut());
        C::evaluate::<Careful, HAS_FMA, N>(&mut scratch, wide, careful);
        results
    }
}

/// Vectors of any width are a part of this many elements.
const LANES: usize = 16;

/// Whether no element is below `min`: one operation per vector and a comparison for all of them.
/// May deny it of a block that holds a NaN.
#[inline(always)]
fn none_below<F: Real, const N: usize>(min: F, x: &[F; N]) -> bool {
    const {
        assert!(
            N > 0 && N.is_multiple_of(LANES),
            "elements that nobody looks at"
        )
    }
    let parts = x.as_chunks::<LANES>().0;
    let mut lowest = parts[0];
    for part in &parts[1..] {
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

impl<Fast: Restricted, Careful: Method> Method for Guarded<Fast, Careful>
where
    Fast::Number: Widen<Careful::Number>,
{
    type Number = Fast::Number;
    type Scratch<const N: usize> = Fast::Scratch<N>;

    #[inline(always)]
    fn forward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Fast::Scratch<N>,
        [x]: [&Block<Fast, N>; 1],
        [y]: [&mut Block<Fast, N>; 1],
    ) {
        Fast::forward::<HAS_FMA, N>(scratch, [x], [y]);
        if none_below(Fast::FORWARD_MIN, x) {
            return;
        }
        let [careful] = Self::careful::<Forward, HAS_FMA, N, _, _>([Self::widen(x)]);
        for i in 0..N {
            if x[i] < Fast::FORWARD_MIN {
                y[i] = Widen::narrow(careful[i]);
            }
        }
    }

    #[inline(always)]
    fn backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Fast::Scratch<N>,
        [grad_y, x]: [&Block<Fast, N>; 2],
        [grad_x]: [&mut Block<Fast, N>; 1],
    ) {
        Fast::backward::<HAS_FMA, N>(scratch, [grad_y, x], [grad_x]);
        if none_below(Fast::BACKWARD_MIN, x) {
            return;
        }
        let wide = [Self::widen(grad_y), Self::widen(x)];
        let [careful] = Self::careful::<Backward, HAS_FMA, N, _, _>(wide);
        for i in 0..N {
            if x[i] < Fast::BACKWARD_MIN {
                grad_x[i] = Widen::narrow(careful[i]);
            }
        }
    }

    #[inline(always)]
    fn double_backward<const HAS_FMA: bool, const N: usize>(
        scratch: &mut Fast::Scratch<N>,
        [grad_grad_x, grad_y, x]: [&Block<Fast, N>; 3],
        [grad_grad_y, grad_x]: [&mut Block<Fast, N>; 2],
    ) {
        let arguments = [grad_grad_x, grad_y, x];
        Fast::double_backward::<HAS_FMA, N>(scratch, arguments, [grad_grad_y, grad_x]);
        let covers = |i| Fast::covers_double_backward(grad_grad_x[i], x[i]);
        if all::<N>(covers) {
            return;
        }
        let wide = [
            Self::widen(grad_grad_x),
            Self::widen(grad_y),
            Self::widen(x),
        ];
        let [first, second] = Self::careful::<DoubleBackward, HAS_FMA, N, _, _>(wide);
        for i in 0..N {
            if !covers(i) {
                grad_grad_y[i] = Widen::narrow(first[i]);
                grad_x[i] = Widen::narrow(second[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{backward, double_backward, forward};

    /// What an element's result is does not depend on its neighbours, not even if they are
    /// signalling NaNs. No fast method covers the far ones, nor −∞.
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
