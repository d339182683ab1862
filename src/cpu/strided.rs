//! Strided operands: gather a block, run the contiguous kernel on it, scatter the results. So there
//! is one loop that computes, `kernel.rs`, and an operation is described once for both.
//!
//! An operand that is broadcast along the rows has an inner step of 0 and is gathered like any
//! other: `len` copies of one value. Where an operation takes an operand as one value per run (see
//! `kernel.rs`), its address is enough, and nothing is gathered for it.

use std::ffi::c_void;

use super::element::SIZES;
use super::kernel::{BLOCK, Kernel, Pointers};
use crate::catalogue::{Dtype, MAX_OPERANDS};
use crate::job::{Job, MAX_DIMS, Strided};

/// Scratch for one block of one operand, aligned for any element.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Scratch([u64; BLOCK]);

const _: () = assert!(SIZES[2] <= size_of::<u64>(), "a block overruns its scratch");

/// Computes the elements `start .. start + len` of the job, counted in C order of its shape.
///
/// # Safety
/// The job's memory must be valid, and nothing else may touch these elements meanwhile.
pub(super) unsafe fn run(job: &Job, layout: &Strided, kernel: Kernel, start: usize, len: usize) {
    let inner = layout.ndim - 1;
    let row = layout.shape[inner] as usize;
    let mut cursor = Cursor::at(layout, start / row);
    let mut column = start % row;
    let mut remaining = len;
    while remaining > 0 {
        let count = (row - column).min(remaining);
        let mut pointers = job.pointers;
        for (i, _, pointer) in job.present() {
            let elements = cursor.offsets[i] + column as i64 * layout.strides[i][inner];
            pointers[i] =
                pointer.wrapping_byte_offset(elements as isize * job.dtype.size() as isize);
        }
        // SAFETY: the row lies inside the job's extents.
        unsafe { run_row(job, layout, kernel, pointers, count) };
        remaining -= count;
        column = 0;
        cursor.advance(layout);
    }
}

unsafe fn run_row(
    job: &Job,
    layout: &Strided,
    kernel: Kernel,
    pointers: [*mut c_void; MAX_OPERANDS],
    count: usize,
) {
    let inner = layout.ndim - 1;
    let step = |i: usize| layout.strides[i][inner];
    if job.present().all(|(i, _, _)| step(i) == 1) {
        // SAFETY: every operand's row is contiguous.
        return unsafe { kernel(Pointers(pointers), count) };
    }
    let size = job.dtype.size();
    let mut scratch = [Scratch([0; BLOCK]); MAX_OPERANDS];
    let mut start = 0;
    while start < count {
        let len = BLOCK.min(count - start);
        let mut packed = pointers;
        let mut here = pointers;
        for (i, operand, _) in job.present() {
            let bytes = start as isize * step(i) as isize * size as isize;
            here[i] = pointers[i].wrapping_byte_offset(bytes);
            packed[i] = scratch[i].0.as_mut_ptr().cast();
            if !operand.is_output() {
                // SAFETY: `len` elements from here on belong to the operand.
                unsafe { copy(job.dtype, here[i], step(i), packed[i], 1, len) };
            }
        }
        // SAFETY: the scratch blocks hold `len` elements each.
        unsafe { kernel(Pointers(packed), len) };
        for (i, _, _) in job.present().filter(|(_, operand, _)| operand.is_output()) {
            // SAFETY: as for the gather.
            unsafe { copy(job.dtype, packed[i], 1, here[i], step(i), len) };
        }
        start += len;
    }
}

/// Copies `len` elements between two strided runs.
unsafe fn copy(
    dtype: Dtype,
    from: *const c_void,
    from_step: i64,
    to: *mut c_void,
    to_step: i64,
    len: usize,
) {
    unsafe fn typed<T: Copy>(from: *const T, from_step: i64, to: *mut T, to_step: i64, len: usize) {
        for k in 0..len as isize {
            // SAFETY: the caller vouches for both runs.
            unsafe {
                *to.wrapping_offset(k * to_step as isize) =
                    *from.wrapping_offset(k * from_step as isize);
            }
        }
    }
    const _: () = assert!(matches!(SIZES, [2, 4, 8]), "a size that is not copied");
    // SAFETY: element size and alignment are those of the data type.
    unsafe {
        match dtype.size() {
            2 => typed::<u16>(from.cast(), from_step, to.cast(), to_step, len),
            4 => typed::<u32>(from.cast(), from_step, to.cast(), to_step, len),
            _ => typed::<u64>(from.cast(), from_step, to.cast(), to_step, len),
        }
    }
}

/// A row's position: its index in every outer dimension and each operand's offset in elements.
struct Cursor {
    index: [u64; MAX_DIMS],
    offsets: [i64; MAX_OPERANDS],
}

impl Cursor {
    fn at(layout: &Strided, mut row: usize) -> Cursor {
        let mut cursor = Cursor {
            index: [0; MAX_DIMS],
            offsets: [0; MAX_OPERANDS],
        };
        for d in (0..layout.ndim - 1).rev() {
            let size = layout.shape[d] as usize;
            cursor.index[d] = (row % size) as u64;
            row /= size;
            for (offset, strides) in cursor.offsets.iter_mut().zip(&layout.strides) {
                *offset = offset.wrapping_add(strides[d].wrapping_mul(cursor.index[d] as i64));
            }
        }
        cursor
    }

    fn advance(&mut self, layout: &Strided) {
        for d in (0..layout.ndim - 1).rev() {
            self.index[d] += 1;
            let wraps = self.index[d] == layout.shape[d];
            let step = if wraps { 1 - layout.shape[d] as i64 } else { 1 };
            for (offset, strides) in self.offsets.iter_mut().zip(&layout.strides) {
                *offset = offset.wrapping_add(strides[d].wrapping_mul(step));
            }
            if !wraps {
                return;
            }
            self.index[d] = 0;
        }
    }
}
