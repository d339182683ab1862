//! The three operations as data: their operands in the order every interface uses.

/// What the library computes, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `y = mish(x)`.
    Forward,
    /// `grad_x = grad_y · mish′(x)`.
    Backward,
    /// The gradient of [`Op::Backward`]: `grad_grad_y = grad_grad_x · mish′(x)` and
    /// `grad_x = grad_grad_x · grad_y · mish″(x)`.
    DoubleBackward,
}

/// One operand of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// The argument's name, as in the header and in messages.
    pub name: &'static str,
    /// Read, written, or written unless NULL.
    pub role: Role,
}

/// How an operation uses an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read only.
    Input,
    /// Written; required.
    Output,
    /// Written; skipped when NULL.
    OptionalOutput,
}

impl Operand {
    const fn input(name: &'static str) -> Self {
        Operand {
            name,
            role: Role::Input,
        }
    }

    /// Whether the operation writes this operand.
    pub const fn is_output(self) -> bool {
        !matches!(self.role, Role::Input)
    }
}

/// The most operands an operation has.
pub const MAX_OPERANDS: usize = 5;

impl Op {
    /// Every operation.
    pub const ALL: [Op; 3] = [Op::Forward, Op::Backward, Op::DoubleBackward];

    /// `forward`, `backward` or `double_backward`, as in the C functions' names.
    pub const fn name(self) -> &'static str {
        match self {
            Op::Forward => "forward",
            Op::Backward => "backward",
            Op::DoubleBackward => "double_backward",
        }
    }

    /// The operands, inputs first, in the order of the C functions' parameters.
    pub const fn operands(self) -> &'static [Operand] {
        const fn output(name: &'static str, role: Role) -> Operand {
            Operand { name, role }
        }
        match self {
            Op::Forward => &const { [Operand::input("x"), output("y", Role::Output)] },
            Op::Backward => {
                &const {
                    [
                        Operand::input("grad_y"),
                        Operand::input("x"),
                        output("grad_x", Role::Output),
                    ]
                }
            }
            Op::DoubleBackward => {
                &const {
                    [
                        Operand::input("grad_grad_x"),
                        Operand::input("grad_y"),
                        Operand::input("x"),
                        output("grad_grad_y", Role::OptionalOutput),
                        output("grad_x", Role::OptionalOutput),
                    ]
                }
            }
        }
    }
}
