//! What every framework's adapter needs: operands checked against each other, those that the
//! library does not take as they are copied, its errors in the framework's names, panics stopped,
//! work split over the framework's threads.
//!
//! An adapter describes its tensors as [`Operand`]s, says in a [`Target`] where and in which
//! element type to compute, and calls [`run`].

mod merge;
mod split;
#[cfg(test)]
mod tests;

use std::ffi::{c_char, c_void};
use std::fmt::Display;

use crate::catalogue::operator::{WRONG_DEVICE, WRONG_DTYPE, WRONG_SHAPE, Words};
use crate::catalogue::{Dtype, MAX_OPERANDS, Op};
use crate::cpu::{Split, with_split};
use crate::guard::{guard, last_error};
use crate::job::{Device, Footprint, MAX_DIMS, View, self_overlap, shared};
use crate::status::{Error, Result, Status};
use merge::Merged;
pub use split::Part;

/// A framework's tensor. Element types and devices are in the framework's numbers.
pub trait Tensor: Sized {
    /// What the framework says of an output of which several elements are one, by a stride of 0.
    const EXPANDED_OUTPUT: &'static str;

    /// The tensor as an operand of this name.
    fn operand(&self, name: &'static str, access: Access) -> Result<Operand<'_, Self>>;

    /// A new tensor of this one's shape, element type and device, dense and aligned.
    fn dense_like(&self) -> Result<Self>;

    /// Copies another tensor's elements into this one.
    fn copy_from(&self, source: &Self) -> Result<()>;

    /// An element type's name, for messages.
    fn dtype_name(&self, dtype: i32) -> String;

    /// A device's name, for messages.
    fn device_name(&self, device: (i32, i32)) -> String;
}

/// What is to be done with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// An operand, as far as a computation needs to know it.
pub struct Operand<'a, T> {
    /// As the framework's function calls it.
    pub name: &'static str,
    pub tensor: &'a T,
    /// The first element's address.
    pub data: *mut c_void,
    pub shape: &'a [i64],
    /// The step of each dimension in elements; `None` if [`is_row_major`].
    pub strides: Option<&'a [i64]>,
    pub dtype: i32,
    pub device: (i32, i32),
}

impl<T> Clone for Operand<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Operand<'_, T> {}

impl<T> Operand<'_, T> {
    fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The step of each dimension.
    fn steps(&self) -> Vec<i64> {
        match self.strides {
            Some(strides) => strides.to_vec(),
            None => row_major(self.shape),
        }
    }

    /// Whether another operand of this shape has the same address for every index.
    fn is_same_view(&self, other: &Self) -> bool {
        let (own, others) = (self.steps(), other.steps());
        let mut steps = self.shape.iter().zip(own.iter().zip(&others));
        self.data == other.data && steps.all(|(&n, (own, other))| n == 1 || own == other)
    }

    /// Whether elements share their place in memory by a stride of 0.
    fn is_expanded(&self) -> bool {
        let mut steps = self.shape.iter().zip(self.strides.unwrap_or_default());
        !self.is_empty() && steps.any(|(&n, &step)| n > 1 && step == 0)
    }
}

/// Where and in which element type an operation runs.
#[derive(Clone, Copy)]
pub struct Target {
    pub dtype: Dtype,
    pub device: Device,
    pub device_id: i32,
    pub stream: *mut c_void,
}

impl Target {
    /// Whether the library reads and writes at these addresses; frameworks take any of the host's.
    pub fn takes(&self, pointers: &[*mut c_void]) -> bool {
        let addresses = pointers.iter().map(|&pointer| pointer as usize);
        addresses.fold(0, |bits, address| bits | address) & (self.dtype.size() - 1) == 0
    }
}

/// Runs an operation on operands in the order of [`Op::operands`], after checking them against the
/// last input, `x`, whose element type and device the target is. Others than the library takes,
/// by their number of dimensions or their address, are copied.
///
/// # Safety
/// The tensors must stay alive, and nothing else write them, until the work on the target's stream
/// is done.
pub unsafe fn run<T: Tensor>(op: Op, target: Target, operands: &[Operand<'_, T>]) -> Result<()> {
    let x = &operands[op.inputs() - 1];
    let mut pointers = [std::ptr::null_mut(); MAX_OPERANDS];
    let pointers = &mut pointers[..operands.len()];
    let mut is_plain = true;
    for (pointer, operand) in pointers.iter_mut().zip(operands) {
        if !std::ptr::eq(operand, x) {
            check_like(operand, x)?;
        }
        *pointer = operand.data;
        is_plain &= operand.strides.is_none();
    }
    if operands[op.inputs()..].iter().any(Operand::is_expanded) {
        return Err(Error::new(Status::SelfOverlap, T::EXPANDED_OUTPUT));
    }
    if !target.takes(pointers) {
        // SAFETY: the caller's promise; so below.
        return unsafe { run_copied(op, target, operands) };
    }
    let outcome = if is_plain {
        // SAFETY: as above.
        unsafe { run_alike(op, target, pointers, x.shape) }
    } else if x.shape.len() <= MAX_DIMS {
        let strides = operands.iter().map(|operand| operand.strides);
        // SAFETY: as above.
        unsafe { run_strided(op, target, operands, x.shape, strides) }
    } else {
        let merged = Merged::new(operands);
        if merged.shape.len() > MAX_DIMS {
            // SAFETY: as above.
            return unsafe { run_copied(op, target, operands) };
        }
        let strides = merged.strides.iter().map(|strides| Some(&strides[..]));
        // SAFETY: as above.
        unsafe { run_strided(op, target, operands, &merged.shape, strides) }
    };
    outcome.map_err(|error| rename(error, op, operands))
}

/// Runs an operation on row-major operands of one shape, element type and device, at addresses that
/// the target takes.
///
/// # Safety
/// As for [`run`].
pub unsafe fn run_alike(
    op: Op,
    target: Target,
    pointers: &[*mut c_void],
    shape: &[i64],
) -> Result<()> {
    let n = shape.iter().product::<i64>() as usize;
    let (device, dtype, stream) = (target.device, target.dtype, target.stream);
    // SAFETY: the caller's promise.
    unsafe { crate::call::run_contiguous(device, op, dtype, pointers, n, stream) }
}

unsafe fn run_strided<'a, T>(
    op: Op,
    target: Target,
    operands: &[Operand<'_, T>],
    shape: &'a [i64],
    strides: impl Iterator<Item = Option<&'a [i64]>>,
) -> Result<()> {
    let mut views = [None; MAX_OPERANDS];
    for ((view, operand), strides) in views.iter_mut().zip(operands).zip(strides) {
        *view = Some(View {
            data: operand.data,
            dtype: target.dtype,
            device: target.device,
            device_id: target.device_id,
            shape,
            strides,
        });
    }
    // SAFETY: the caller's promise.
    unsafe { crate::call::run(op, &views[..operands.len()], target.stream) }
}

/// Fails where the library would for operands that it took as they are: an output may be exactly
/// one of the inputs, and shares no other memory.
fn check_overlap<T>(op: Op, target: Target, operands: &[Operand<'_, T>]) -> Result<()> {
    if operands[0].is_empty() {
        return Ok(());
    }
    let footprint = |operand: &Operand<'_, T>| {
        let (data, size) = (operand.data as usize, target.dtype.size());
        Footprint::new(data, size, operand.shape, &operand.steps())
    };
    let all: Vec<Footprint> = operands.iter().map(footprint).collect();
    for o in op.inputs()..operands.len() {
        let output = &operands[o];
        if all[o].meets_itself() {
            return Err(self_overlap(output.name));
        }
        for (i, other) in operands[..o].iter().enumerate() {
            let in_place = i < op.inputs() && other.is_same_view(output);
            if !in_place && all[o].meets(&all[i]) {
                return Err(shared(output.name, other.name));
            }
        }
    }
    Ok(())
}

/// Runs an operation on copies of one dense layout.
unsafe fn run_copied<T: Tensor>(op: Op, target: Target, operands: &[Operand<'_, T>]) -> Result<()> {
    check_overlap(op, target, operands)?;
    let x = operands[op.inputs() - 1].tensor;
    let copies: Vec<T> = (operands.iter())
        .map(|_| x.dense_like())
        .collect::<Result<_>>()?;
    let (inputs, outputs) = copies.split_at(op.inputs());
    for (copy, input) in inputs.iter().zip(operands) {
        copy.copy_from(input.tensor)?;
    }
    let copied: Vec<_> = (copies.iter().zip(operands).zip(op.operands()))
        .map(|((copy, operand), own)| {
            let access = if own.is_output() {
                Access::Write
            } else {
                Access::Read
            };
            copy.operand(operand.name, access)
        })
        .collect::<Result<_>>()?;
    // SAFETY: the caller's promise, and the framework keeps what it allocated for the stream.
    unsafe { run(op, target, &copied) }?;
    for (result, output) in outputs.iter().zip(&operands[op.inputs()..]) {
        output.tensor.copy_from(result)?;
    }
    Ok(())
}

fn check_like<T: Tensor>(operand: &Operand<'_, T>, x: &Operand<'_, T>) -> Result<()> {
    let (name, tensor) = (operand.name, operand.tensor);
    if operand.dtype != x.dtype {
        let [found, expected] = [operand, x].map(|operand| tensor.dtype_name(operand.dtype));
        return Err(mismatch(
            Status::DtypeMismatch,
            WRONG_DTYPE,
            name,
            found,
            expected,
        ));
    }
    if operand.device != x.device {
        let [found, expected] = [operand, x].map(|operand| tensor.device_name(operand.device));
        return Err(wrong_device(name, found, expected));
    }
    if operand.shape != x.shape {
        let [found, expected] = [operand, x].map(|operand| format!("{:?}", operand.shape));
        return Err(mismatch(
            Status::ShapeMismatch,
            WRONG_SHAPE,
            name,
            found,
            expected,
        ));
    }
    Ok(())
}

/// An operand is on another device than `x`.
pub fn wrong_device(name: &str, found: String, expected: String) -> Error {
    mismatch(Status::DeviceMismatch, WRONG_DEVICE, name, found, expected)
}

/// Out of the way of every call.
#[cold]
fn mismatch(status: Status, words: Words, name: &str, found: String, expected: String) -> Error {
    let things = [
        ("name", &name as &dyn Display),
        ("found", &found),
        ("expected", &expected),
    ];
    Error::new(status, words.about(&things))
}

/// The library names operands as the C functions do; the framework may name them differently.
fn rename<T>(error: Error, op: Op, operands: &[Operand<'_, T>]) -> Error {
    for (own, operand) in op.operands().iter().zip(operands) {
        let head = format!("{}:", own.name);
        if own.name != operand.name
            && let Some(rest) = error.message().strip_prefix(&head)
        {
            return Error::new(error.status(), format!("{}:{rest}", operand.name));
        }
    }
    error
}

/// Whether each dimension of more than one element steps over the whole of those after it.
pub fn is_row_major(shape: &[i64], strides: &[i64]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == expected;
        expected *= size;
        fits
    })
}

/// The strides of a dense tensor whose last dimension is the innermost.
pub fn row_major(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d].max(1);
    }
    strides
}

/// Runs the body of a function that a framework calls, its work on the threads behind `split`;
/// returns why it failed, a C string that lasts until this thread's next failure.
pub fn attempt(
    split: Option<Split>,
    body: impl FnOnce() -> Result<()>,
) -> std::result::Result<(), *const c_char> {
    match guard(|| with_split(split, body)) {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}
