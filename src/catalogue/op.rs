//! The operations: their operands in the order that every interface uses.

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

/// The most operands an operation has.
pub const MAX_OPERANDS: usize = 5;

const fn input(name: &'static str) -> Operand {
    operand(name, Role::Input)
}

const fn operand(name: &'static str, role: Role) -> Operand {
    Operand { name, role }
}

/// An operation's row.
struct Row {
    name: &'static str,
    class: &'static str,
    operands: &'static [Operand],
    /// Of each output: the order of the derivative of mish in it.
    orders: &'static [usize],
}

const FORWARD: Row = Row {
    name: "forward",
    class: "Forward",
    operands: &[input("x"), operand("y", Role::Output)],
    orders: &[0],
};

const BACKWARD: Row = Row {
    name: "backward",
    class: "Backward",
    operands: &[input("grad_y"), input("x"), operand("grad_x", Role::Output)],
    orders: &[1],
};

const DOUBLE_BACKWARD: Row = Row {
    name: "double_backward",
    class: "DoubleBackward",
    operands: &[
        input("grad_grad_x"),
        input("grad_y"),
        input("x"),
        operand("grad_grad_y", Role::OptionalOutput),
        operand("grad_x", Role::OptionalOutput),
    ],
    orders: &[1, 2],
};

impl Operand {
    /// Whether the operation writes this operand.
    pub const fn is_output(self) -> bool {
        !matches!(self.role, Role::Input)
    }
}

impl Op {
    /// Every operation.
    pub const ALL: [Op; 3] = [Op::Forward, Op::Backward, Op::DoubleBackward];

    /// By value, so that the compiler knows the fields in every call.
    #[inline(always)]
    const fn row(self) -> Row {
        match self {
            Op::Forward => FORWARD,
            Op::Backward => BACKWARD,
            Op::DoubleBackward => DOUBLE_BACKWARD,
        }
    }

    /// As in the C functions' names, such as `double_backward`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// As types are named, such as `DoubleBackward`: of the kernels' operation.
    pub const fn class(self) -> &'static str {
        self.row().class
    }

    /// The operands, inputs first, in the order of the C functions' parameters.
    pub const fn operands(self) -> &'static [Operand] {
        self.row().operands
    }

    /// Of each output: the order of the derivative of mish in it.
    pub const fn orders(self) -> &'static [usize] {
        self.row().orders
    }

    /// How many of the operands are inputs.
    pub const fn inputs(self) -> usize {
        let (operands, mut count) = (self.operands(), 0);
        while count < operands.len() && !operands[count].is_output() {
            count += 1;
        }
        count
    }

    /// How many are outputs.
    pub const fn outputs(self) -> usize {
        self.operands().len() - self.inputs()
    }
}
