//! The strides of a result: those that PyTorch gives to its own pointwise operators, which are
//! also those it predicts for `torch.empty_like` when it traces tensors without data.

use super::shim::Info;

/// The strides of a dense tensor of `x`'s shape and order of dimensions. Where `x` leaves the
/// order open, by dimensions of one element or none or by strides of 0, PyTorch's rules decide.
pub fn strides(x: &Info<'_>) -> Vec<i64> {
    let mut strides = vec![1; x.sizes.len()];
    let mut step = 1;
    for dim in order(x).into_iter().rev() {
        strides[dim] = step;
        step *= x.sizes[dim].max(1);
    }
    strides
}

/// The dimensions from the outermost to the innermost.
fn order(x: &Info<'_>) -> Vec<usize> {
    let dims = x.sizes.len();
    match (x.is_contiguous, is_channels_last(x)) {
        (true, false) => return (0..dims).collect(),
        (false, true) => return vec![0, 2, 3, 1],
        _ => {}
    }
    // As PyTorch's iterator sorts: by insertion, from the innermost, as far as pairs can be told
    // apart. The relation is no order, so no other way of sorting gives the same.
    let mut order: Vec<usize> = (0..dims).rev().collect();
    for i in 1..dims {
        let mut at = i;
        for before in (0..i).rev() {
            match is_further_out(x, order[before], order[at]) {
                Some(true) => {
                    order.swap(before, at);
                    at = before;
                }
                Some(false) => break,
                None => {}
            }
        }
    }
    order.reverse();
    order
}

fn is_further_out(x: &Info<'_>, a: usize, b: usize) -> Option<bool> {
    match (x.strides[a], x.strides[b]) {
        (0, _) | (_, 0) => None,
        (first, second) if first == second => (x.sizes[a] > x.sizes[b]).then_some(true),
        (first, second) => Some(first > second),
    }
}

fn is_channels_last(x: &Info<'_>) -> bool {
    let mut expected = 1;
    x.sizes.len() == 4
        && [1, 3, 2, 0].into_iter().all(|dim| {
            let fits = x.sizes[dim] == 1 || x.strides[dim] == expected;
            expected *= x.sizes[dim];
            fits
        })
}
