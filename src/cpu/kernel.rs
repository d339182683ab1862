//! The inner loops over contiguous memory: one generic body, compiled per instruction set.

use std::ffi::c_void;

use half::{bf16, f16};

use super::element::Stored;
use super::math::{self, Method};
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

/// Aligned so that no vector straddles two cache lines.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Aligned<B>(B);

/// A block, all zero.
#[inline(always)]
fn zeros<T: Stored, const N: usize>() -> Aligned<Block<T, N>> {
    Aligned([Default::default(); N])
}

/// `len` elements, at most `N`, and zeros; in `to`, unless they can be read where they are.
#[inline(always)]
unsafe fn read<'a, T: Stored + 'a, const HW: bool, const N: usize>(
    from: *mut c_void,
    len: usize,
    to: &'a mut Block<T, N>,
) -> &'a Block<T, N> {
    if len == N {
        prefetch::<false>(from, size_of::<[T; N]>());
        // SAFETY: the caller vouches for `len` elements at `from`, which nothing writes before the
        // block's results are there.
        T::view::<HW, N>(unsafe { &*from.cast() }, to)
    } else {
        let mut part = [T::default(); N];
        // SAFETY: as above.
        part[..len].copy_from_slice(unsafe { std::slice::from_raw_parts(from.cast(), len) });
        T::load::<HW, N>(&part, to);
        to
    }
}

/// Writes the first `len` elements.
#[inline(always)]
unsafe fn write<T: Stored, const HW: bool, const N: usize>(
    from: &Block<T, N>,
    to: *mut c_void,
    len: usize,
) {
    if to.is_null() {
        return;
    }
    if len == N {
        // SAFETY: the caller vouches for `len` elements at `to`.
        let to: &mut [T; N] = unsafe { &mut *to.cast() };
        let pieces = to.as_chunks_mut::<LANES>().0.iter_mut();
        for (from, to) in from.as_chunks().0.iter().zip(pieces) {
            prefetch::<true>(std::ptr::from_mut(to).cast(), size_of::<[T; LANES]>());
            T::store::<HW, LANES>(from, to);
        }
    } else {
        let mut part = [T::default(); N];
        T::store::<HW, N>(from, &mut part);
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

/// All of `0..n`: in blocks of [`BLOCK`], then in parts of [`LANES`].
macro_rules! in_blocks {
    ($blocks:ident::<$type:ty, $hw:ident>($pointers:ident, $n:ident)) => {
        // SAFETY: the caller vouches for the operands.
        unsafe {
            let block = if size_of::<$type>() > 2 {
                BLOCK_WIDE
            } else {
                BLOCK
            };
            let whole = $n - $n % block;
            if whole > 0 && block == BLOCK {
                $blocks::<$type, $hw, BLOCK>($pointers, whole);
            } else if whole > 0 {
                $blocks::<$type, $hw, BLOCK_WIDE>($pointers, whole);
            }
            if whole < $n {
                let rest = $pointers.offset_by(whole * size_of::<$type>());
                $blocks::<$type, $hw, LANES>(rest, $n - whole);
            }
        }
    };
}

#[inline(always)]
unsafe fn forward_blocks<T: Stored, const HW: bool, const N: usize>(all: Pointers, n: usize) {
    let mut scratch = Scratch::<T, N>::default();
    let [mut x, mut y] = [zeros::<T, N>(); 2];
    let mut start = 0;
    while start < n {
        let len = N.min(n - start);
        let [px, py, ..] = all.offset_by(start * size_of::<T>()).0;
        // SAFETY: the caller vouches for the operands.
        unsafe {
            let x = read::<T, HW, N>(px, len, &mut x.0);
            T::Method::forward::<HW, N>(&mut scratch, x, &mut y.0);
            write::<T, HW, N>(&y.0, py, len);
        }
        start += len;
    }
}

#[inline(always)]
unsafe fn backward_blocks<T: Stored, const HW: bool, const N: usize>(all: Pointers, n: usize) {
    let mut scratch = Scratch::<T, N>::default();
    let [mut gy, mut x, mut gx] = [zeros::<T, N>(); 3];
    let mut start = 0;
    while start < n {
        let len = N.min(n - start);
        let [pgy, px, pgx, ..] = all.offset_by(start * size_of::<T>()).0;
        // SAFETY: the caller vouches for the operands.
        unsafe {
            let gy = read::<T, HW, N>(pgy, len, &mut gy.0);
            let x = read::<T, HW, N>(px, len, &mut x.0);
            T::Method::backward::<HW, N>(&mut scratch, gy, x, &mut gx.0);
            write::<T, HW, N>(&gx.0, pgx, len);
        }
        start += len;
    }
}

#[inline(always)]
unsafe fn double_backward_blocks<T: Stored, const HW: bool, const N: usize>(
    all: Pointers,
    n: usize,
) {
    let mut scratch = Scratch::<T, N>::default();
    let [mut ggx, mut gy, mut x, mut ggy, mut gx] = [zeros::<T, N>(); 5];
    let mut start = 0;
    while start < n {
        let len = N.min(n - start);
        let [pggx, pgy, px, pggy, pgx] = all.offset_by(start * size_of::<T>()).0;
        // SAFETY: the caller vouches for the operands.
        unsafe {
            let ggx = read::<T, HW, N>(pggx, len, &mut ggx.0);
            let gy = read::<T, HW, N>(pgy, len, &mut gy.0);
            let x = read::<T, HW, N>(px, len, &mut x.0);
            let outputs = [&mut ggy.0, &mut gx.0];
            T::Method::double_backward::<HW, N>(&mut scratch, [ggx, gy, x], outputs);
            write::<T, HW, N>(&ggy.0, pggy, len);
            write::<T, HW, N>(&gx.0, pgx, len);
        }
        start += len;
    }
}

#[inline(always)]
unsafe fn forward<T: Stored, const HW: bool>(pointers: Pointers, n: usize) {
    in_blocks!(forward_blocks::<T, HW>(pointers, n));
}

#[inline(always)]
unsafe fn backward<T: Stored, const HW: bool>(pointers: Pointers, n: usize) {
    in_blocks!(backward_blocks::<T, HW>(pointers, n));
}

#[inline(always)]
unsafe fn double_backward<T: Stored, const HW: bool>(pointers: Pointers, n: usize) {
    in_blocks!(double_backward_blocks::<T, HW>(pointers, n));
}

/// Whether the target's baseline has a fused multiply-add (and the conversions that come with it),
/// so that nothing is emulated.
const BASELINE_HAS_FMA: bool = cfg!(any(
    all(target_feature = "fma", target_feature = "f16c"),
    target_arch = "aarch64"
));

/// Compiles the loops with extra instruction sets and picks one of them.
macro_rules! instruction_sets {
    ($($set:ident: $features:literal),*) => {
        $(
            #[cfg(target_arch = "x86_64")]
            mod $set {
                use super::{Pointers, Stored};
                #[target_feature(enable = $features)]
                pub unsafe fn forward<T: Stored>(p: Pointers, n: usize) { unsafe { super::forward::<T, true>(p, n) } }
                #[target_feature(enable = $features)]
                pub unsafe fn backward<T: Stored>(p: Pointers, n: usize) { unsafe { super::backward::<T, true>(p, n) } }
                #[target_feature(enable = $features)]
                pub unsafe fn double_backward<T: Stored>(p: Pointers, n: usize) { unsafe { super::double_backward::<T, true>(p, n) } }
            }
        )*
    };
}
instruction_sets!(avx2: "avx2,fma,f16c", avx512: "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl");

/// The loop for an operation, data type and instruction set (which the machine must have).
pub(super) fn select(op: Op, dtype: Dtype, simd: Simd) -> Kernel {
    match dtype {
        Dtype::F16 => select_for::<f16>(op, simd),
        Dtype::BF16 => select_for::<bf16>(op, simd),
        Dtype::F32 => select_for::<f32>(op, simd),
        Dtype::F64 => select_for::<f64>(op, simd),
    }
}

fn select_for<T: Stored>(op: Op, simd: Simd) -> Kernel {
    match (simd, op) {
        #[cfg(target_arch = "x86_64")]
        (Simd::Avx512, Op::Forward) => avx512::forward::<T>,
        #[cfg(target_arch = "x86_64")]
        (Simd::Avx512, Op::Backward) => avx512::backward::<T>,
        #[cfg(target_arch = "x86_64")]
        (Simd::Avx512, Op::DoubleBackward) => avx512::double_backward::<T>,
        #[cfg(target_arch = "x86_64")]
        (Simd::Avx2, Op::Forward) => avx2::forward::<T>,
        #[cfg(target_arch = "x86_64")]
        (Simd::Avx2, Op::Backward) => avx2::backward::<T>,
        #[cfg(target_arch = "x86_64")]
        (Simd::Avx2, Op::DoubleBackward) => avx2::double_backward::<T>,
        (_, Op::Forward) => forward::<T, BASELINE_HAS_FMA>,
        (_, Op::Backward) => backward::<T, BASELINE_HAS_FMA>,
        (_, Op::DoubleBackward) => double_backward::<T, BASELINE_HAS_FMA>,
    }
}
