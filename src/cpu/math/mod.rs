//! Mish and its first two derivatives for one element.
//!
//! Branch-free and generic, so that the loops around them vectorise.

/// The types arithmetic is done in.
pub trait Real: Copy {
    /// `mish(x)`.
    fn mish(self) -> Self;
    /// `mish′(x)`, `mish″(x)`.
    fn derivatives(self) -> (Self, Self);
    /// Product.
    fn times(self, other: Self) -> Self;
}

macro_rules! real {
    ($type:ty) => {
        impl Real for $type {
            #[inline(always)]
            fn mish(self) -> Self {
                let u = (-self.abs()).exp();
                if self < 0.0 {
                    let d = u * (u + 2.0) + 2.0;
                    self * (u * (u + 2.0)) / d
                } else {
                    self * (1.0 + 2.0 * u) / (1.0 + 2.0 * u + 2.0 * u * u)
                }
            }
            #[inline(always)]
            fn derivatives(self) -> (Self, Self) {
                let x = self;
                let u = (-x.abs()).exp();
                if x < 0.0 {
                    let d = u * (u + 2.0) + 2.0;
                    let first = u
                        * (u * u * u + 4.0 * u * u + (4.0 * x + 6.0) * u + 4.0 * (x + 1.0))
                        / (d * d);
                    let second = 4.0
                        * u
                        * (2.0 * (u + 1.0) * d
                            + x * (2.0 + 2.0 * u - 3.0 * u * u - 2.0 * u * u * u))
                        / (d * d * d);
                    (first, second)
                } else {
                    let d = 1.0 + 2.0 * u + 2.0 * u * u;
                    let first =
                        (1.0 + 4.0 * u + (4.0 * x + 6.0) * u * u + 4.0 * (x + 1.0) * u * u * u)
                            / (d * d);
                    let second = 4.0
                        * u
                        * u
                        * (2.0 * (1.0 + u) * d
                            + x * (2.0 * u * u * u + 2.0 * u * u - 3.0 * u - 2.0))
                        / (d * d * d);
                    (first, second)
                }
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self * other
            }
        }
    };
}
real!(f32);
real!(f64);

/// `mish(x)`.
#[inline(always)]
pub fn forward<F: Real>(x: F) -> F {
    x.mish()
}

/// `grad_y · mish′(x)`.
#[inline(always)]
pub fn backward<F: Real>(grad_y: F, x: F) -> F {
    grad_y.times(x.derivatives().0)
}

/// `(grad_grad_x · mish′(x), grad_grad_x · grad_y · mish″(x))`.
#[inline(always)]
pub fn double_backward<F: Real>(grad_grad_x: F, grad_y: F, x: F) -> (F, F) {
    let (first, second) = x.derivatives();
    (
        grad_grad_x.times(first),
        grad_grad_x.times(grad_y).times(second),
    )
}
