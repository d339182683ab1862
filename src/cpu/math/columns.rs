//! Intermediate results of a block, each part in an array of its own, as vector code wants it.

/// Elements per block: a block's operands and intermediate results fit the first-level cache.
pub const BLOCK: usize = 128;

/// An intermediate result of several numbers.
pub trait Parts<const N: usize> {
    /// The numbers in order.
    fn to_array(self) -> [f64; N];
    /// The opposite of [`Parts::to_array`].
    fn from_array(array: [f64; N]) -> Self;
}

/// Declares a struct of numbers that a loop can also keep as one array per field.
macro_rules! parts {
    ($(#[$doc:meta])* $name:ident, $count:literal { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        struct $name { $($(#[$field_doc])* $field: f64,)* }

        impl Parts<$count> for $name {
            #[inline(always)]
            fn to_array(self) -> [f64; $count] { [$(self.$field),*] }
            #[inline(always)]
            fn from_array([$($field),*]: [f64; $count]) -> Self { $name { $($field),* } }
        }
    };
}
pub(super) use parts;

/// A block of them.
pub struct Columns<const N: usize>([[f64; BLOCK]; N]);

impl<const N: usize> Columns<N> {
    /// All zero.
    #[inline(always)]
    pub fn new() -> Self {
        Columns([[0.0; BLOCK]; N])
    }

    /// Stores the result of element `i`.
    #[inline(always)]
    pub fn set(&mut self, i: usize, parts: impl Parts<N>) {
        for (column, value) in self.0.iter_mut().zip(parts.to_array()) {
            column[i] = value;
        }
    }

    /// The result of element `i`.
    #[inline(always)]
    pub fn get<P: Parts<N>>(&self, i: usize) -> P {
        P::from_array(std::array::from_fn(|part| self.0[part][i]))
    }
}
