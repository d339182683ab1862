//! The kernels: which there are, what they are called, and what a context holds of each.

use std::ffi::{CStr, CString};

use super::tuning::{Policy, policy};
use crate::catalogue::{Dtype, Op};
use crate::status::Result;

/// How a kernel walks through its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    /// One run of memory per operand: kernels/loops/contiguous.cuh.
    Contiguous,
    /// Dimensions with a stride per operand: kernels/loops/strided.cuh.
    Strided,
}

impl Loop {
    pub const ALL: [Loop; 2] = [Loop::Contiguous, Loop::Strided];

    /// The end of a kernel's name, as in kernels/mish.cu.
    const fn suffix(self) -> &'static str {
        match self {
            Loop::Contiguous => "",
            Loop::Strided => "_strided",
        }
    }
}

/// The name of a kernel in every image: `mish_<operation>_<dtype>` and its loop's suffix.
pub(super) fn name(op: Op, dtype: Dtype, walk: Loop) -> CString {
    let (op, dtype, suffix) = (op.name(), dtype.name(), walk.suffix());
    CString::new(format!("mish_{op}_{dtype}{suffix}")).expect("no NUL in names")
}

/// One operation on one element type: how it is tuned, and by the driver's handle the function of
/// each loop.
#[derive(Clone, Copy)]
pub(super) struct Kernel<F> {
    pub policy: Policy,
    functions: [F; Loop::ALL.len()],
}

impl<F: Copy> Kernel<F> {
    pub fn function(&self, walk: Loop) -> F {
        self.functions[walk as usize]
    }
}

/// Every kernel of an image.
pub(super) struct KernelTable<F>([[Kernel<F>; Dtype::ALL.len()]; Op::ALL.len()]);

impl<F: Copy> KernelTable<F> {
    /// Looks every kernel up by its name in an image for architecture `sm`.
    pub fn load(sm: u32, mut find: impl FnMut(&CStr) -> Result<F>) -> Result<Self> {
        try_map(Op::ALL, |op| {
            try_map(Dtype::ALL, |dtype| {
                Ok(Kernel {
                    policy: policy(sm, op, dtype),
                    functions: try_map(Loop::ALL, |walk| find(&name(op, dtype, walk)))?,
                })
            })
        })
        .map(KernelTable)
    }

    pub fn get(&self, op: Op, dtype: Dtype) -> &Kernel<F> {
        &self.0[op as usize][dtype as usize - 1]
    }
}

/// `map` for arrays, with a function that may fail.
fn try_map<A, B: Copy, const N: usize>(
    array: [A; N],
    mut function: impl FnMut(A) -> Result<B>,
) -> Result<[B; N]> {
    let mut results = [None; N];
    for (result, item) in results.iter_mut().zip(array) {
        *result = Some(function(item)?);
    }
    Ok(results.map(|result| result.expect("filled above")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_found_where_it_belongs() {
        let mut names = Vec::new();
        let table = KernelTable::load(90, |name| {
            names.push(name.to_owned());
            Ok(names.len() - 1)
        });
        let table = table.expect("every name is found");
        for op in Op::ALL {
            for dtype in Dtype::ALL {
                let kernel = table.get(op, dtype);
                assert_eq!(kernel.policy, policy(90, op, dtype));
                for walk in Loop::ALL {
                    assert_eq!(names[kernel.function(walk)], name(op, dtype, walk));
                }
            }
        }
        let kernels = Op::ALL.len() * Dtype::ALL.len() * Loop::ALL.len();
        assert_eq!(names.len(), kernels);
    }
}
