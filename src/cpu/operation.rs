//! What a loop over memory does with one block: *prologue - core - epilogue*.

use super::math::{Block, Core, Method};
use crate::catalogue::Op;

/// An operation as the loop sees it. The loop reads `INPUTS` operands, hands their blocks over, and
/// writes `OUTPUTS` blocks; the operation does the rest:
///
/// 1. the *prologue* makes the core's arguments of the inputs, such as z = a·x + b + u of x;
/// 2. the *core* is one function of the element type's [`Method`]. Decisions by range
///    ([`super::math::Guarded`]) are made in there, hence about z, not about x;
/// 3. the *epilogue* makes the outputs of the core's results, such as c·mish(z)·m + d + v.
///
/// Today every operation is a core alone, which the implementation below says once. One with more
/// around it has operands of its own, so its counts are not those of its core: it implements this
/// trait for a type such as `Affine<Forward>`, gets a row in the catalogue and an arm in
/// [`super::kernel::select`], and the loops stay what they are.
pub(super) trait Operation<const INPUTS: usize, const OUTPUTS: usize> {
    /// Its row in the catalogue, whose operands are in the loop's order.
    const OP: Op;

    /// Computes a block.
    fn block<M: Method, const HAS_FMA: bool, const N: usize>(
        scratch: &mut M::Scratch<N>,
        inputs: [&Block<M, N>; INPUTS],
        outputs: [&mut Block<M, N>; OUTPUTS],
    );
}

/// The arguments are the inputs and the results the outputs.
impl<C, const ARGUMENTS: usize, const RESULTS: usize> Operation<ARGUMENTS, RESULTS> for C
where
    C: Core<ARGUMENTS, RESULTS>,
{
    const OP: Op = C::OP;

    #[inline(always)]
    fn block<M: Method, const HAS_FMA: bool, const N: usize>(
        scratch: &mut M::Scratch<N>,
        arguments: [&Block<M, N>; ARGUMENTS],
        results: [&mut Block<M, N>; RESULTS],
    ) {
        C::evaluate::<M, HAS_FMA, N>(scratch, arguments, results);
    }
}
