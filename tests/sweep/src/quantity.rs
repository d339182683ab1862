//! What is measured: the results of the library's calls, and the bounds they are held to.

use crate::catalogue::accuracy::{bound, product_bound};
use crate::catalogue::{Dtype, Op};

/// Which gradients a result is multiplied by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gradients {
    /// All are 1, so that the result is the derivative.
    One,
    /// `grad_y`.
    Grad,
    /// `grad_grad_x`.
    GradGrad,
    /// Both.
    Both,
}

/// A result of a call.
pub struct Quantity {
    /// The name in reports.
    pub name: &'static str,
    /// The call.
    pub operation: Op,
    /// 0 for mish, 1 for mish′, 2 for mish″.
    pub order: usize,
    /// What mish′ or mish″ is multiplied by.
    pub gradients: Gradients,
}

/// How many [`QUANTITIES`] there are.
pub const COUNT: usize = 7;

/// Everything the calls return.
pub const QUANTITIES: [Quantity; COUNT] = [
    Quantity {
        name: "forward",
        operation: Op::Forward,
        order: 0,
        gradients: Gradients::One,
    },
    Quantity {
        name: "backward, gradient 1",
        operation: Op::Backward,
        order: 1,
        gradients: Gradients::One,
    },
    Quantity {
        name: "double_backward to grad_y, gradients 1",
        operation: Op::DoubleBackward,
        order: 1,
        gradients: Gradients::One,
    },
    Quantity {
        name: "double_backward to x, gradients 1",
        operation: Op::DoubleBackward,
        order: 2,
        gradients: Gradients::One,
    },
    Quantity {
        name: "backward, any gradient",
        operation: Op::Backward,
        order: 1,
        gradients: Gradients::Grad,
    },
    Quantity {
        name: "double_backward to grad_y, any gradients",
        operation: Op::DoubleBackward,
        order: 1,
        gradients: Gradients::GradGrad,
    },
    Quantity {
        name: "double_backward to x, any gradients",
        operation: Op::DoubleBackward,
        order: 2,
        gradients: Gradients::Both,
    },
];

impl Quantity {
    /// The largest error allowed, in units of the last place.
    pub fn bound(&self, dtype: Dtype) -> f64 {
        match self.is_product() {
            true => product_bound(dtype, self.order),
            false => bound(dtype, self.order),
        }
    }

    /// What the function's relative errors, which [`Suspects`](crate::measure::Suspects) keeps,
    /// must not lead to; `at_most` is their product's with one gradient.
    pub fn allows_product(&self, dtype: Dtype, at_most: f64) -> bool {
        if dtype.is_narrow() || self.is_product() || self.order == 0 {
            return true;
        }
        // The second derivative is multiplied twice.
        let roundings = if self.order == 2 { 1.0 } else { 0.0 };
        at_most + roundings <= product_bound(dtype, self.order)
    }

    /// Whether a gradient is multiplied in that is not 1.
    pub fn is_product(&self) -> bool {
        self.gradients != Gradients::One
    }

    /// Whether the steps between neighbours are looked at.
    pub fn is_checked_for_jumps(&self) -> bool {
        !self.is_product()
    }
}
