//! The loop over contiguous memory: one generic body for every operation, element type and
//! instruction set.

use std::ffi::c_void;

use half::{bf16, f16};

use super::element::Stored;
use super::math::{self, Backward, DoubleBackward, Forward, Method};
use super::operation::Operation;
use super::simd::Simd;
use crate::catalogue::{Dtype, MAX_OPERANDS, Op};

/// Elements per block: a block's operands and intermediate results fit the first-level cache.
pub(super) const BLOCK: usize = 128;

/// Elements per block of the wider types: of `f32`, more have so many intermediate results that they
/// go through memory.
const BLOCK_WIDE: usize = 64;

/// Elements per block of a tail, and per piece of a result: whole vectors, so that a tail runs the
/// vector code too.
const LANES: usize = 16;

/// One address per operand, in the operation's order.
#[derive(Clone, Copy)]
pub(super) struct Pointers(pub [*mut c_void; MAX_OPERANDS]);

// SAFETY: the addresses are only dereferenced for disjoint chunks.
unsafe impl Send for Pointers {}
// SAFETY: as above.
unsafe impl Sync for Pointers {}

impl Pointers {
    /// The same operands `bytes` further on; skipped ones stay NULL.
    #[inline]
    pub(super) fn offset_by(self, bytes: usize) -> Self {
        Pointers(self.0.map(|pointer| {
            if pointer.is_null() {
                pointer
            } else {
                pointer.wrapping_byte_add(bytes)
            }
        }))
    }
}

/// Computes `n` elements at these addresses.
pub(super) type Kernel = unsafe fn(Pointers, usize);

/// `N` elements in computing precision. A block's results are on the stack until all of them are
/// there, which makes exact in-place calls safe and lets the compiler vectorise without alias
/// checks.
type Block<T, const N: usize> = math::Block<<T as Stored>::Method, N>;

/// Scratch for `N` elements.
type Scratch<T, const N: usize> = <<T as Stored>::Method as Method>::Scratch<N>;

/// `COUNT` blocks, aligned so that no vector straddles two cache lines.
#[repr(align(64))]
struct Blocks<T: Stored, const N: usize, const COUNT: usize>([Block<T, N>; COUNT]);

impl<T: Stored, const N: usize, const COUNT: usize> Blocks<T, N, COUNT> {
    /// All zero.
    #[inline(always)]
    fn zero() -> Self {
        const { assert!(size_of::<Block<T, N>>().is_multiple_of(64)) }
        Blocks([[Default::default(); N]; COUNT])
    }
}

/// `len` elements, at most `N`, and zeros; in `to`, unless they can be read where they are.
#[inline(always)]
unsafe fn read<'a, T: Stored + 'a, const HAS_FMA: bool, const N: usize>(
    from: *mut c_void,
    len: usize,
    to: &'a mut Block<T, N>,
) -> &'a Block<T, N> {
    if len == N {
        prefetch::<false>(from, size_of::<[T; N]>());
        // SAFETY: the caller vouches for `len` elements at `from`, which nothing writes before the
        // block's results are there.
        T::view::<HAS_FMA, N>(unsafe { &*from.cast() }, to)
    } else {
        let mut part = [T::default(); N];
        // SAFETY: as above.
        part[..len].copy_from_slice(unsafe { std::slice::from_raw_parts(from.cast(), len) });
        T::load::<HAS_FMA, N>(&part, to);
        to
    }
}

/// Writes the first `len` elements.
#[inline(always)]
unsafe fn write<T: Stored, const HAS_FMA: bool, const N: usize>(
    from: &Block<T, N>,
    to: *mut c_void,
    len: usize,
) {
    if len == N {
        // SAFETY: the caller vouches for `len` elements at `to`.
        let to: &mut [T; N] = unsafe { &mut *to.cast() };
        let pieces = to.as_chunks_mut::<LANES>().0.iter_mut();
        for (from, to) in from.as_chunks().0.iter().zip(pieces) {
            prefetch::<true>(std::ptr::from_mut(to).cast(), size_of::<[T; LANES]>());
            T::store::<HAS_FMA, LANES>(from, to);
        }
    } else {
        let mut part = [T::default(); N];
        T::store::<HAS_FMA, N>(from, &mut part);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(to.cast(), len) }.copy_from_slice(&part[..len]);
    }
}

/// How far ahead of a block its successors are fetched, in bytes: the hardware's prefetcher stops
/// at the end of a page and does not see the block's outputs before they are written.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 2048;

/// Starts fetching the lines of the block of `bytes` that is [`AHEAD`] of this address, which may
/// lie past the operand's end.
#[inline(always)]
fn prefetch<const WRITE: bool>(block: *mut c_void, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};
        for line in (0..bytes).step_by(64) {
            let address = block.wrapping_byte_add(AHEAD + line).cast();
            // SAFETY: a hint, which no address makes fail.
            unsafe {
                if WRITE {
                    _mm_prefetch::<_MM_HINT_ET0>(address);
                } else {
                    _mm_prefetch::<_MM_HINT_T0>(address);
                }
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (block, bytes);
}

/// A loop over operands, written out: as a loop, the compiler unrolls it too late to keep an AVX-512
/// block of 16-bit elements in registers.
macro_rules! for_each_below {
    ($count:ident, |$i:ident| $body:block) => {
        const { assert!($count <= 3) }
        if $count > 0 {
            let $i = 0;
            $body
        }
        if $count > 1 {
            let $i = 1;
            $body
        }
        if $count > 2 {
            let $i = 2;
            $body
        }
    };
}

/// `0..n` in blocks of `N` elements, the last of which may have fewer: reads the inputs, has the
/// operation compute, writes the outputs.
///
/// Today each operand is one value per element, of type `T`. What operations with parameters need
/// has its place here: an operand that is one value for the whole run (a scalar, or broadcast along
/// it) fills its block once, before the loop, and is not read in it; one of another type, such as a
/// float32 beside float16, is read as that [`Stored`] type, whose numbers are the same. Which
/// operand is which is for the [`Operation`] to say, beside how many there are.
///
/// Loops over operands, not closures: code in a closure may stay a function of its own, compiled
/// without the instruction set.
#[inline(always)]
unsafe fn blocks<O, T, const HAS_FMA: bool, const N: usize, const IN: usize, const OUT: usize>(
    all: Pointers,
    n: usize,
) where
    O: Operation<IN, OUT>,
    T: Stored,
{
    const { assert!(N.is_multiple_of(LANES), "results not written") }
    let mut scratch = Scratch::<T, N>::default();
    let mut inputs = Blocks::<T, N, IN>::zero();
    let mut outputs = Blocks::<T, N, OUT>::zero();
    // Replaced before it is looked at.
    let unread = [Default::default(); N];
    let mut start = 0;
    while start < n {
        let len = N.min(n - start);
        let offset = start * size_of::<T>();
        let mut values = [&unread; IN];
        let blocks = inputs.0.as_mut_ptr();
        for_each_below!(IN, |i| {
            let from = all.0[i].wrapping_byte_add(offset);
            // SAFETY: the caller vouches for the operands. Each block is borrowed once.
            values[i] = unsafe {
                let block = &mut *blocks.add(i);
                read::<T, HAS_FMA, N>(from, len, block)
            };
        });
        O::block::<T::Method, HAS_FMA, N>(&mut scratch, values, outputs.0.each_mut());
        for_each_below!(OUT, |i| {
            let to = all.0[IN + i];
            if !to.is_null() {
                // SAFETY: as above.
                unsafe { write::<T, HAS_FMA, N>(&outputs.0[i], to.wrapping_byte_add(offset), len) };
            }
        });
        start += len;
    }
}

/// All of `0..n`: in blocks of [`BLOCK`] or [`BLOCK_WIDE`], then in parts of [`LANES`].
#[inline(always)]
unsafe fn run<O, T, const HAS_FMA: bool, const IN: usize, const OUT: usize>(all: Pointers, n: usize)
where
    O: Operation<IN, OUT>,
    T: Stored,
{
    const {
        assert!(IN + OUT <= MAX_OPERANDS);
        assert!(O::OP.inputs() == IN && O::OP.outputs() == OUT);
        assert!(size_of::<T>() == T::DTYPE.size() && align_of::<T>() == T::DTYPE.size());
    }
    let is_wide = size_of::<T>() > 2;
    let block = if is_wide { BLOCK_WIDE } else { BLOCK };
    let whole = n - n % block;
    // SAFETY: the caller vouches for the operands.
    unsafe {
        if whole > 0 && is_wide {
            blocks::<O, T, HAS_FMA, BLOCK_WIDE, IN, OUT>(all, whole);
        } else if whole > 0 {
            blocks::<O, T, HAS_FMA, BLOCK, IN, OUT>(all, whole);
        }
        if whole < n {
            let tail = all.offset_by(whole * size_of::<T>());
            blocks::<O, T, HAS_FMA, LANES, IN, OUT>(tail, n - whole);
        }
    }
}

/// Whether the target's baseline has a fused multiply-add (and the conversions that come with it),
/// so that nothing is emulated.
const BASELINE_HAS_FMA: bool = cfg!(any(
    all(target_feature = "fma", target_feature = "f16c"),
    target_arch = "aarch64"
));

/// Compiles the loop with extra instruction sets.
macro_rules! instruction_sets {
    ($($set:ident: $features:literal),*) => {$(
        #[cfg(target_arch = "x86_64")]
        mod $set {
            use super::{Operation, Pointers, Stored};

            #[target_feature(enable = $features)]
            pub unsafe fn run<O, T, const IN: usize, const OUT: usize>(all: Pointers, n: usize)
            where
                O: Operation<IN, OUT>,
                T: Stored,
            {
                // SAFETY: as the caller's.
                unsafe { super::run::<O, T, true, IN, OUT>(all, n) }
            }
        }
    )*};
}
instruction_sets!(avx2: "avx2,fma,f16c", avx512: "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl");

/// The loop for an operation, data type and instruction set (which the machine must have).
pub(super) fn select(op: Op, dtype: Dtype, simd: Simd) -> Kernel {
    match op {
        Op::Forward => of_operation::<Forward, _, _>(dtype, simd),
        Op::Backward => of_operation::<Backward, _, _>(dtype, simd),
        Op::DoubleBackward => of_operation::<DoubleBackward, _, _>(dtype, simd),
    }
}

fn of_operation<O, const IN: usize, const OUT: usize>(dtype: Dtype, simd: Simd) -> Kernel
where
    O: Operation<IN, OUT>,
{
    match dtype {
        Dtype::F16 => of_type::<O, f16, IN, OUT>(simd),
        Dtype::BF16 => of_type::<O, bf16, IN, OUT>(simd),
        Dtype::F32 => of_type::<O, f32, IN, OUT>(simd),
        Dtype::F64 => of_type::<O, f64, IN, OUT>(simd),
    }
}

fn of_type<O, T, const IN: usize, const OUT: usize>(simd: Simd) -> Kernel
where
    O: Operation<IN, OUT>,
    T: Stored,
{
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => avx512::run::<O, T, IN, OUT>,
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => avx2::run::<O, T, IN, OUT>,
        _ => run::<O, T, BASELINE_HAS_FMA, IN, OUT>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 2 * BLOCK + BLOCK_WIDE + LANES + 1;

    /// Memory of an operand, aligned for any element.
    type Memory = [u64; MOST];

    /// Both ends of every range that is told apart, next to each other.
    fn write(to: &mut Memory, dtype: Dtype, seed: usize) {
        const VALUES: [f64; 9] = [0.5, -1.2, 3.0, -700.0, 9.75, -95.0, 50.0, -0.0, -20.25];
        let to = to.as_mut_ptr();
        for i in 0..MOST {
            let value = VALUES[(i * 5 + i / 9 + seed) % VALUES.len()] * (1.0 + i as f64 / 4096.0);
            // SAFETY: an operand holds `MOST` elements of any type.
            unsafe {
                match dtype {
                    Dtype::F16 => *to.cast::<f16>().add(i) = f16::from_f64(value),
                    Dtype::BF16 => *to.cast::<bf16>().add(i) = bf16::from_f64(value),
                    Dtype::F32 => *to.cast::<f32>().add(i) = value as f32,
                    Dtype::F64 => *to.cast::<f64>().add(i) = value,
                }
            }
        }
    }

    /// An element's results are those that it has alone: whatever the length, with outputs skipped
    /// or in the place of inputs. Beyond the length nothing is written.
    fn check(op: Op, dtype: Dtype, simd: Simd) {
        let (kernel, inputs, outputs) = (select(op, dtype, simd), op.inputs(), op.outputs());
        let mut given = [[0; MOST]; MAX_OPERANDS];
        for (seed, operand) in given[..inputs].iter_mut().enumerate() {
            write(operand, dtype, seed);
        }
        let addresses = |memory: &mut [Memory; MAX_OPERANDS]| {
            Pointers(memory.each_mut().map(|operand| operand.as_mut_ptr().cast()))
        };
        let mut alone = given;
        let all = addresses(&mut alone);
        for i in 0..MOST {
            // SAFETY: the operands have `MOST` elements.
            unsafe { kernel(all.offset_by(i * dtype.size()), 1) };
        }
        let prefix = |operand: &Memory, n: usize| -> Vec<u8> {
            let bytes = operand.iter().flat_map(|word| word.to_ne_bytes());
            bytes.take(n * dtype.size()).collect()
        };
        for n in (0..=MOST).filter(|n| matches!(n % LANES, 0 | 7)) {
            // One bit for each output; not all of them.
            for skipped in 0..(1 << outputs) - 1 {
                for in_place in [false, true] {
                    let mut memory = given;
                    let mut all = addresses(&mut memory);
                    let place = |output| if in_place { output } else { inputs + output };
                    for output in 0..outputs {
                        let is_skipped = skipped >> output & 1 == 1;
                        let address = all.0[place(output)];
                        all.0[inputs + output] = if is_skipped {
                            std::ptr::null_mut()
                        } else {
                            address
                        };
                    }
                    // SAFETY: the operands have `MOST` elements.
                    unsafe { kernel(all, n) };
                    for output in 0..outputs {
                        let (got, before) = (&memory[place(output)], &given[place(output)]);
                        let n = if skipped >> output & 1 == 1 { 0 } else { n };
                        let mut expected = prefix(&alone[inputs + output], n);
                        let beyond = prefix(before, MOST).split_off(expected.len());
                        expected.extend(beyond);
                        let case = format!("{op:?} {dtype:?} {simd:?} {n} {in_place} {skipped}");
                        assert!(prefix(got, MOST) == expected, "{case}: output {output}");
                    }
                }
            }
        }
    }

    #[test]
    fn elements_do_not_depend_on_the_loop() {
        for simd in Simd::available() {
            for op in Op::ALL {
                for dtype in Dtype::ALL {
                    check(op, dtype, simd);
                }
            }
        }
    }
}
