//! Intermediate results of a block, each part in an array of its own, as vector code wants it.
//! Computes nothing: the steps of `compensated.rs` and `double_word.rs` store and load here.

/// An intermediate result of several numbers.
pub trait Parts<F, const N: usize> {
    /// The numbers in order.
    fn to_array(self) -> [F; N];
    /// The opposite of [`Parts::to_array`].
    fn from_array(array: [F; N]) -> Self;
}

/// Declares a struct of numbers that a loop can also keep as one array per field.
macro_rules! parts {
    ($(#[$doc:meta])* $name:ident, $count:literal { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        struct $name<F = f64> { $($(#[$field_doc])* $field: F,)* }

        impl<F> Parts<F, $count> for $name<F> {
            #[inline(always)]
            fn to_array(self) -> [F; $count] { [$(self.$field),*] }
            #[inline(always)]
            fn from_array([$($field),*]: [F; $count]) -> Self { $name { $($field),* } }
        }
    };
}
pub(super) use parts;

/// A block of `N` results with `P` parts, aligned so that no vector straddles two cache lines.
#[repr(align(64))]
pub struct Columns<const P: usize, const N: usize, F = f64>([[F; N]; P]);

impl<F: Copy + Default, const P: usize, const N: usize> Default for Columns<P, N, F> {
    #[inline(always)]
    fn default() -> Self {
        Columns([[F::default(); N]; P])
    }
}

impl<F: Copy, const P: usize, const N: usize> Columns<P, N, F> {
    /// Stores the result of element `i`.
    #[inline(always)]
    pub fn set(&mut self, i: usize, parts: impl Parts<F, P>) {
        for (column, value) in self.0.iter_mut().zip(parts.to_array()) {
            column[i] = value;
        }
    }

    /// The result of element `i`.
    #[inline(always)]
    pub fn get<T: Parts<F, P>>(&self, i: usize) -> T {
        T::from_array(std::array::from_fn(|part| self.0[part][i]))
    }
}
