//! More dimensions than the library walks.

use super::Operand;

/// The operands' dimensions, neighbours merged where every operand's strides allow it: a framework
/// has up to 64 dimensions (PyTorch), the library 8.
pub struct Merged {
    pub shape: Vec<i64>,
    /// Of each operand.
    pub strides: Vec<Vec<i64>>,
}

impl Merged {
    pub fn new<T>(operands: &[Operand<'_, T>]) -> Merged {
        let own: Vec<Vec<i64>> = operands.iter().map(Operand::steps).collect();
        let mut shape: Vec<i64> = Vec::new();
        let mut strides = vec![Vec::new(); own.len()];
        let sizes = operands[0].shape;
        // From the outermost to the innermost of the output, whatever order they are named in.
        let lead = &own[own.len() - 1];
        let mut order: Vec<usize> = (0..sizes.len()).filter(|&d| sizes[d] != 1).collect();
        order.sort_by_key(|&d| std::cmp::Reverse(lead[d]));
        for d in order {
            let size = sizes[d];
            let merges = !shape.is_empty()
                && (own.iter().zip(&strides))
                    .all(|(own, done)| done.last() == Some(&(own[d] * size)));
            if merges {
                *shape.last_mut().expect("not empty") *= size;
            } else {
                shape.push(size);
            }
            for (own, done) in own.iter().zip(&mut strides) {
                if merges {
                    done.pop();
                }
                done.push(own[d]);
            }
        }
        Merged { shape, strides }
    }
}
