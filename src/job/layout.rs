//! How operands step through memory, and reducing that to the fewest dimensions.

use super::{MAX_DIMS, View};
use crate::catalogue::{Dtype, MAX_OPERANDS};
use crate::status::{Result, fail};

/// How a job's pointers walk through memory.
// Not boxed: a call makes no allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Every operand is one run of `n` elements.
    Contiguous,
    /// Dimensions with a step per operand.
    Strided(Strided),
}

/// A common shape with strides per operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strided {
    /// How many dimensions count.
    pub ndim: usize,
    /// Elements per dimension, outermost first.
    pub shape: [u64; MAX_DIMS],
    /// Per operand: step of each dimension in elements.
    pub strides: [[i64; MAX_DIMS]; MAX_OPERANDS],
}

/// The number of elements of a shape, or why there is none.
pub(super) fn element_count(name: &str, shape: &[i64]) -> Result<u64> {
    if shape.len() > MAX_DIMS {
        fail!(
            InvalidShape,
            "{name}: has {} dimensions; at most {MAX_DIMS} are supported",
            shape.len()
        );
    }
    if let Some(negative) = shape.iter().position(|&size| size < 0) {
        fail!(
            InvalidShape,
            "{name}: dimension {negative} has the negative size {}",
            shape[negative]
        );
    }
    if shape.contains(&0) {
        return Ok(0);
    }
    let count = shape
        .iter()
        .try_fold(1_u64, |n, &size| n.checked_mul(size as u64));
    match count {
        Some(n) if n <= i64::MAX as u64 => Ok(n),
        _ => fail!(
            TooLarge,
            "{name}: shape {shape:?} has more elements than the address space holds"
        ),
    }
}

impl Strided {
    pub(super) fn new(shape: &[i64]) -> Self {
        let mut sizes = [1; MAX_DIMS];
        for (size, &given) in sizes.iter_mut().zip(shape) {
            *size = given as u64;
        }
        Strided {
            ndim: shape.len(),
            shape: sizes,
            strides: [[0; MAX_DIMS]; MAX_OPERANDS],
        }
    }

    /// Takes over an operand's strides, checking that every element has an address.
    pub(super) fn set_strides(
        &mut self,
        operand: usize,
        name: &str,
        view: &View<'_>,
        dtype: Dtype,
    ) -> Result<()> {
        let strides = &mut self.strides[operand];
        match view.strides {
            Some(given) if given.len() != self.ndim => fail!(
                InvalidShape,
                "{name}: has {} strides for {} dimensions",
                given.len(),
                self.ndim
            ),
            Some(given) => strides[..self.ndim].copy_from_slice(given),
            None => {
                let mut step = 1_i64;
                for d in (0..self.ndim).rev() {
                    strides[d] = step;
                    step *= self.shape[d] as i64;
                }
            }
        }
        let reach = (0..self.ndim).try_fold(0_u64, |reach, d| {
            let step = strides[d].unsigned_abs();
            reach.checked_add(step.checked_mul(self.shape[d] - 1)?)
        });
        let limit = isize::MAX as u64 / dtype.size() as u64;
        if reach.is_none_or(|reach| reach >= limit) {
            fail!(
                StrideOverflow,
                "{name}: strides {:?} on shape {:?} reach further than the address space",
                &strides[..self.ndim],
                &self.shape[..self.ndim]
            );
        }
        Ok(())
    }

    /// Lowest and highest element offset of an operand.
    pub(super) fn range(&self, operand: usize) -> (i64, i64) {
        let mut low = 0;
        let mut high = 0;
        for d in 0..self.ndim {
            let reach = self.strides[operand][d] * (self.shape[d] as i64 - 1);
            if reach < 0 {
                low += reach;
            } else {
                high += reach;
            }
        }
        (low, high)
    }

    /// Drops dimensions of one element, makes the strides of operand `lead` positive and sorts
    /// the dimensions by them, largest first. Returns by how many elements each operand's pointer
    /// moves, because a reversed dimension starts at its other end.
    pub(super) fn normalise(&mut self, lead: usize) -> [i64; MAX_OPERANDS] {
        let mut moved = [0; MAX_OPERANDS];
        let mut kept = 0;
        for d in 0..self.ndim {
            if self.shape[d] == 1 {
                continue;
            }
            self.move_dim(d, kept);
            if self.strides[lead][kept] < 0 {
                for (strides, moved) in self.strides.iter_mut().zip(&mut moved) {
                    *moved += strides[kept] * (self.shape[kept] as i64 - 1);
                    strides[kept] = -strides[kept];
                }
            }
            kept += 1;
        }
        self.ndim = kept;
        // Insertion sort: stable, and the dimensions are few and mostly in order.
        for end in 1..self.ndim {
            let mut d = end;
            while d > 0 && self.strides[lead][d - 1] < self.strides[lead][d] {
                self.swap_dims(d - 1, d);
                d -= 1;
            }
        }
        moved
    }

    fn move_dim(&mut self, from: usize, to: usize) {
        self.shape[to] = self.shape[from];
        for strides in &mut self.strides {
            strides[to] = strides[from];
        }
    }

    fn swap_dims(&mut self, a: usize, b: usize) {
        self.shape.swap(a, b);
        for strides in &mut self.strides {
            strides.swap(a, b);
        }
    }

    /// Joins neighbouring dimensions wherever every present operand walks them as one.
    pub(super) fn merge(&mut self, is_present: [bool; MAX_OPERANDS]) {
        if self.ndim == 0 {
            return;
        }
        let mut last = 0;
        for d in 1..self.ndim {
            let joins = (0..MAX_OPERANDS).filter(|&i| is_present[i]).all(|i| {
                let strides = &self.strides[i];
                strides[d].checked_mul(self.shape[d] as i64) == Some(strides[last])
            });
            let outer = self.shape[last];
            if !joins {
                last += 1;
            }
            self.move_dim(d, last);
            if joins {
                self.shape[last] *= outer;
            }
        }
        self.ndim = last + 1;
    }

    pub(super) fn is_contiguous(&self, is_present: [bool; MAX_OPERANDS]) -> bool {
        match self.ndim {
            0 => true,
            1 => (0..MAX_OPERANDS).all(|i| !is_present[i] || self.strides[i][0] == 1),
            _ => false,
        }
    }
}
