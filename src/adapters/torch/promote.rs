//! What PyTorch makes of two operands of different types and shapes.

use super::shim::{Info, Shim};
use crate::status::{Result, fail};

/// The type to compute in, for a result that is stored as `stored`'s type.
pub fn dtype(shim: &Shim, other: &Info<'_>, stored: &Info<'_>) -> Result<i32> {
    let common = common(shim, other, stored)?;
    if Kind::of(common) > Kind::of(stored.dtype_code) {
        fail!(
            DtypeMismatch,
            "result type {} can't be cast to the desired output type {}",
            shim.dtype_name(common),
            shim.dtype_name(stored.dtype_code)
        );
    }
    Ok(common)
}

/// The shape that two shapes broadcast to.
pub fn shape(a: &[i64], b: &[i64]) -> Result<Vec<i64>> {
    let dims = a.len().max(b.len());
    let size = |sizes: &[i64], d: usize| match (d + sizes.len()).checked_sub(dims) {
        Some(own) => sizes[own],
        None => 1,
    };
    let mut shape = Vec::with_capacity(dims);
    for d in 0..dims {
        shape.push(match (size(a, d), size(b, d)) {
            (a, b) if a == b || b == 1 => a,
            (1, b) => b,
            (a, b) => fail!(
                ShapeMismatch,
                "The size of tensor a ({a}) must match the size of tensor b ({b}) at \
                 non-singleton dimension {d}"
            ),
        });
    }
    Ok(shape)
}

/// The kinds of numbers, each of which the later ones take in.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bool,
    Integer,
    Float,
    Complex,
}

impl Kind {
    /// PyTorch's numbers of its types are part of its file format, so they stay.
    fn of(code: i32) -> Kind {
        match code {
            8..=10 => Kind::Complex,
            11 => Kind::Bool,
            0..=4 | 27..=29 => Kind::Integer,
            _ => Kind::Float,
        }
    }
}

fn common(shim: &Shim, a: &Info<'_>, b: &Info<'_>) -> Result<i32> {
    let (first, second) = (a.dtype_code, b.dtype_code);
    let kinds = Kind::of(first).cmp(&Kind::of(second));
    // Of one kind, a tensor without dimensions adapts to one with them.
    let kinds = kinds.then((!a.sizes.is_empty()).cmp(&!b.sizes.is_empty()));
    if first == second || kinds.is_gt() {
        return Ok(first);
    }
    if kinds.is_lt() || Kind::of(first) != Kind::Float {
        return Ok(second);
    }
    match (shim.dtype(first), shim.dtype(second)) {
        (Some(a), Some(b)) if a.size() != b.size() => {
            Ok(if a.size() > b.size() { first } else { second })
        }
        // The two 16-bit types meet above both.
        (Some(_), Some(_)) => Ok(shim.float32()),
        _ => fail!(
            DtypeMismatch,
            "Promotion for Float8 Types is not supported, attempted to promote {} and {}",
            shim.dtype_name(first),
            shim.dtype_name(second)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_from_the_last_dimension() {
        assert_eq!(shape(&[3, 1], &[4]).unwrap(), [3, 4]);
        assert_eq!(shape(&[], &[2, 0]).unwrap(), [2, 0]);
        assert_eq!(shape(&[1, 5], &[0, 1]).unwrap(), [0, 5]);
        let error = shape(&[2, 3], &[4]).unwrap_err();
        assert!(error.message().contains("tensor a (3)"), "{error}");
        assert!(error.message().contains("dimension 1"), "{error}");
    }

    #[test]
    fn kinds_are_ordered() {
        let codes = [11, 0, 6, 9];
        assert!(codes.is_sorted_by_key(|&code| Kind::of(code)));
        assert!(Kind::of(15) == Kind::Float && Kind::of(28) == Kind::Integer);
    }
}
