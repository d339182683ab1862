//! What is measured: the results of the library's calls, and the bounds they are held to.

use crate::format::Dtype;

/// A call of the library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// `mish_forward`.
    Forward,
    /// `mish_backward`.
    Backward,
    /// `mish_double_backward`.
    DoubleBackward,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 3] = [
        Operation::Forward,
        Operation::Backward,
        Operation::DoubleBackward,
    ];

    /// As in the library's function.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Forward => "forward",
            Operation::Backward => "backward",
            Operation::DoubleBackward => "double_backward",
        }
    }
}

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
    pub operation: Operation,
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
        operation: Operation::Forward,
        order: 0,
        gradients: Gradients::One,
    },
    Quantity {
        name: "backward, gradient 1",
        operation: Operation::Backward,
        order: 1,
        gradients: Gradients::One,
    },
    Quantity {
        name: "double_backward to grad_y, gradients 1",
        operation: Operation::DoubleBackward,
        order: 1,
        gradients: Gradients::One,
    },
    Quantity {
        name: "double_backward to x, gradients 1",
        operation: Operation::DoubleBackward,
        order: 2,
        gradients: Gradients::One,
    },
    Quantity {
        name: "backward, any gradient",
        operation: Operation::Backward,
        order: 1,
        gradients: Gradients::Grad,
    },
    Quantity {
        name: "double_backward to grad_y, any gradients",
        operation: Operation::DoubleBackward,
        order: 1,
        gradients: Gradients::GradGrad,
    },
    Quantity {
        name: "double_backward to x, any gradients",
        operation: Operation::DoubleBackward,
        order: 2,
        gradients: Gradients::Both,
    },
];

impl Quantity {
    /// The largest error allowed, in units of the last place. A product's follows from the
    /// function's (`docs/derivation.md`): in the 16-bit types, which are rounded once, what the
    /// function's exceeds 1/2 by may count twice; in the others all of it may, and what products
    /// are rounded by comes to 1.
    pub fn bound(&self, dtype: Dtype) -> f64 {
        let function: f64 = match (dtype, self.order) {
            (Dtype::F16 | Dtype::Bf16, _) => 0.501,
            (Dtype::F32, 0) => 1.0,
            (Dtype::F32, _) | (Dtype::F64, 0) => 2.0,
            (Dtype::F64, _) => 3.0,
        };
        match dtype {
            _ if !self.is_product() => function,
            Dtype::F16 | Dtype::Bf16 => 0.502,
            Dtype::F32 | Dtype::F64 => 2.0 * function + 1.0,
        }
    }

    /// What the function's relative errors, which [`Suspects`](crate::measure::Suspects) keeps,
    /// must not lead to; `at_most` is their product's with one gradient.
    pub fn allows_product(&self, dtype: Dtype, at_most: f64) -> bool {
        if matches!(dtype, Dtype::F16 | Dtype::Bf16) || self.is_product() || self.order == 0 {
            return true;
        }
        // The second derivative is multiplied twice.
        let roundings = if self.order == 2 { 1.0 } else { 0.0 };
        at_most + roundings <= 2.0 * self.bound(dtype) + 1.0
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

/// The zeros of mish, mish′ and mish″ near which the error may be as large as one last place of
/// 1/16. Mish has one at 0, where the bound is relative all the same.
pub const ZEROS: [&[f64]; 3] = [
    &[],
    &[-1.192_431_214_515_495_2],
    &[-2.256_376_396_360_793, 1.490_571_179_485_428_5],
];

/// How far around a zero.
pub const NEAR: f64 = 0.35;
