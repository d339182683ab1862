//! Intermediate results of a block, each part in an array of its own, as vector code wants it.

/// Elements per block: a block's operands and intermediate results fit the first-level cache.
pub const BLOCK: usize = 128;

/// An intermediate result of several numbers.
pub trait Parts<F, const N: usize> {
    /// The numbers in order.
    fn to_array(self) -> [F; N];
    /// The opposite of [`Parts::to_array`].
    fn from_array(array: [F; N]) -> Self;
}

/// A block of them.
pub struct Columns<F, const N: usize>([[F; BLOCK]; N]);

impl<F: Copy + Default, const N: usize> Columns<F, N> {
    /// All zero.
    #[inline(always)]
    pub fn new() -> Self {
        Columns([[F::default(); BLOCK]; N])
    }

    /// Stores the result of element `i`.
    #[inline(always)]
    pub fn set(&mut self, i: usize, parts: impl Parts<F, N>) {
        for (column, value) in self.0.iter_mut().zip(parts.to_array()) {
            column[i] = value;
        }
    }

    /// The result of element `i`.
    #[inline(always)]
    pub fn get<P: Parts<F, N>>(&self, i: usize) -> P {
        P::from_array(std::array::from_fn(|part| self.0[part][i]))
    }
}
