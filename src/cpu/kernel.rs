//! The inner loops over contiguous memory: one generic body, compiled per instruction set.

use std::ffi::c_void;

use half::{bf16, f16};

use super::element::Stored;
use super::math::{BLOCK, Method};
use super::simd::Simd;
use crate::op::{MAX_OPERANDS, Op};
use crate::tensor::Dtype;

/// Lanes that a partial block is rounded up to, so that a tail runs the vector code too.
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

/// A run of up to [`BLOCK`] elements in computing precision. A block's inputs are copied to the
/// stack before any output is written, which makes exact in-place calls safe and lets the compiler
/// vectorise without alias checks.
type Block<T> = [<<T as Stored>::Method as Method>::Number; BLOCK];

/// Reads `len` elements; the lanes beyond keep what they had.
#[inline(always)]
unsafe fn read<T: Stored>(from: *mut c_void, len: usize, to: &mut Block<T>) {
    // SAFETY: the caller vouches for `len` elements at `from`.
    let block = unsafe { std::slice::from_raw_parts(from.cast::<T>(), len) };
    T::load(block, &mut to[..len]);
}

#[inline(always)]
unsafe fn write<T: Stored>(block: &Block<T>, to: *mut c_void, len: usize) {
    if !to.is_null() {
        // SAFETY: the caller vouches for `len` elements at `to`.
        T::store(&block[..len], unsafe {
            std::slice::from_raw_parts_mut(to.cast::<T>(), len)
        });
    }
}

/// Walks `n` elements in blocks; `$pointers` are the operands' addresses of a block and `$len` its
/// length. A macro, because a closure would be compiled without the caller's instruction set.
macro_rules! for_each_block {
    ($type:ty, $all:ident, $n:ident, |$pointers:pat, $len:ident| $body:block) => {
        let mut start = 0;
        while start < $n {
            let $len = BLOCK.min($n - start);
            let $pointers = $all.offset_by(start * size_of::<$type>()).0;
            $body
            start += $len;
        }
    };
}

/// How many elements to compute for `len`: whole vectors.
#[inline(always)]
fn padded(len: usize) -> usize {
    len.next_multiple_of(LANES).min(BLOCK)
}

#[inline(always)]
unsafe fn forward<T: Stored, const HW: bool>(pointers: Pointers, n: usize) {
    let mut x: Block<T> = [Default::default(); BLOCK];
    let mut at = <T::Method as Method>::Prepared::default();
    let mut y = x;
    for_each_block!(T, pointers, n, |[px, py, ..], len| {
        // SAFETY: the caller vouches for the operands.
        unsafe { read::<T>(px, len, &mut x) };
        let lanes = padded(len);
        T::Method::prepare_forward::<HW>(&mut at, &x, lanes);
        for i in 0..lanes {
            y[i] = T::Method::forward::<HW>(&at, i, x[i]);
        }
        // SAFETY: as above.
        unsafe { write::<T>(&y, py, len) };
    });
}

#[inline(always)]
unsafe fn backward<T: Stored, const HW: bool>(pointers: Pointers, n: usize) {
    let mut x: Block<T> = [Default::default(); BLOCK];
    let mut at = <T::Method as Method>::Prepared::default();
    let (mut gy, mut gx) = (x, x);
    for_each_block!(T, pointers, n, |[pgy, px, pgx, ..], len| {
        // SAFETY: the caller vouches for the operands.
        unsafe {
            read::<T>(pgy, len, &mut gy);
            read::<T>(px, len, &mut x);
        }
        let lanes = padded(len);
        T::Method::prepare_backward::<HW>(&mut at, &x, lanes);
        for i in 0..lanes {
            gx[i] = T::Method::backward::<HW>(&at, i, gy[i], x[i]);
        }
        // SAFETY: as above.
        unsafe { write::<T>(&gx, pgx, len) };
    });
}

#[inline(always)]
unsafe fn double_backward<T: Stored, const HW: bool>(pointers: Pointers, n: usize) {
    let mut x: Block<T> = [Default::default(); BLOCK];
    let mut at = <T::Method as Method>::Prepared::default();
    let (mut ggx, mut gy, mut ggy, mut gx) = (x, x, x, x);
    for_each_block!(T, pointers, n, |[pggx, pgy, px, pggy, pgx], len| {
        // SAFETY: the caller vouches for the operands.
        unsafe {
            read::<T>(pggx, len, &mut ggx);
            read::<T>(pgy, len, &mut gy);
            read::<T>(px, len, &mut x);
        }
        let lanes = padded(len);
        T::Method::prepare_double_backward::<HW>(&mut at, &x, lanes);
        for i in 0..lanes {
            (ggy[i], gx[i]) = T::Method::double_backward::<HW>(&at, i, ggx[i], gy[i], x[i]);
        }
        // SAFETY: as above.
        unsafe {
            write::<T>(&ggy, pggy, len);
            write::<T>(&gx, pgx, len);
        }
    });
}

/// Whether the target's baseline has a fused multiply-add, so that nothing is emulated.
const BASELINE_HAS_FMA: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

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
