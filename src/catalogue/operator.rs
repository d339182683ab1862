//! The operators that a framework's dispatcher is given, in PyTorch's language of schemas, and what
//! they say of operands that do not fit.

use std::fmt::Display;

use super::op::Op;

/// What becomes of an operator's results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// New tensors.
    New,
    /// New tensors, and no rule for derivatives: what these rules themselves call.
    Plain,
    /// They overwrite the input.
    InPlace,
    /// They are written to a tensor that the caller gives, `out`.
    Out,
}

/// An operator: an operation, and what becomes of its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    /// What it computes.
    pub op: Op,
    /// What becomes of the results.
    pub variant: Variant,
}

impl Operator {
    /// Every operator.
    pub fn all() -> impl Iterator<Item = Operator> {
        use Variant::{InPlace, New, Out, Plain};
        Op::ALL.into_iter().flat_map(|op| {
            let variants: &[Variant] = match op.inputs() {
                1 => &[New, Plain, InPlace, Out],
                _ => &[New, Plain],
            };
            variants
                .iter()
                .map(move |&variant| Operator { op, variant })
        })
    }

    /// The name in the namespace `mish`, with that of the overload.
    pub fn name(self) -> String {
        let name = self.op.name();
        match self.variant {
            Variant::New => name.into(),
            Variant::Plain => format!("_{name}"),
            Variant::InPlace => format!("{name}_"),
            Variant::Out => format!("{name}.out"),
        }
    }

    /// The schema after the name.
    pub fn schema(self) -> String {
        let (inputs, outputs) = self.op.operands().split_at(self.op.inputs());
        let tensors = |operands: &[super::Operand]| {
            let tensors: Vec<_> = operands
                .iter()
                .map(|o| format!("Tensor {}", o.name))
                .collect();
            tensors.join(", ")
        };
        match (self.variant, outputs) {
            (Variant::InPlace, _) => format!("(Tensor(a!) {}) -> ()", inputs[0].name),
            (Variant::Out, _) => format!("({}, *, Tensor(a!) out) -> ()", tensors(inputs)),
            (_, [_]) => format!("({}) -> Tensor", tensors(inputs)),
            (_, _) => format!("({}) -> ({})", tensors(inputs), tensors(outputs)),
        }
    }
}

/// A message with `{places}` for what it is about, so that languages other than Rust can have it.
#[derive(Clone, Copy, Debug)]
pub struct Words(pub &'static str);

impl Words {
    /// The message about these.
    pub fn about(self, things: &[(&str, &dyn Display)]) -> String {
        things
            .iter()
            .fold(self.0.into(), |text: String, (place, thing)| {
                text.replace(&format!("{{{place}}}"), &thing.to_string())
            })
    }
}

/// The element type of `x` is none of the library's.
pub const NOT_IMPLEMENTED: Words = Words("\"mish\" not implemented for '{dtype}'");
/// An operand's element type is another than that of `x`.
pub const WRONG_DTYPE: Words =
    Words("expected {name} to have dtype {expected}, like x, but got {found}");
/// An operand is on another device than `x`.
pub const WRONG_DEVICE: Words = Words(
    "expected all tensors to be on the same device, but {name} is on {found} and x on {expected}",
);
/// An operand has another shape than `x`.
pub const WRONG_SHAPE: Words =
    Words("expected {name} to have shape {expected}, like x, but got {found}");

/// Each message with its name.
pub const MESSAGES: [(&str, Words); 4] = [
    ("NOT_IMPLEMENTED", NOT_IMPLEMENTED),
    ("WRONG_DTYPE", WRONG_DTYPE),
    ("WRONG_DEVICE", WRONG_DEVICE),
    ("WRONG_SHAPE", WRONG_SHAPE),
];
