//! The operators' kernels: from a stack of tensor handles to a job and back.

use std::ffi::c_void;

use super::promote;
use super::shim::{Info, Place, Shim, Tensor};
use crate::catalogue::{Dtype, Op};
use crate::job::{Device, MAX_DIMS, View};
use crate::status::{Error, Result as CoreResult, Status, fail};

/// Why a kernel gave up.
pub enum Failure {
    /// As everywhere in the library.
    Error(Error),
    /// PyTorch has no Mish of this element type either: the exception is to be its own.
    Dtype(Place, Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

type Result<T> = std::result::Result<T, Failure>;

/// `(Tensor x) -> Tensor`
///
/// # Safety
/// The stack must hold the schema's arguments; so for every kernel here.
pub unsafe fn forward(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    let [x] = unsafe { take(shim, stack) };
    let info = x.info()?;
    let y = x.empty_like(&info)?;
    let (dtype, device, stream) = place(shim, &info)?;
    let pointers = [x.address()?, y.address_mut()?];
    if info.is_contiguous && are_aligned(&pointers, dtype) {
        // The usual case, without asking twice what the output is.
        let n = info.numel as usize;
        // SAFETY: tensors PyTorch keeps alive during the call and, on CUDA, on their stream.
        unsafe { crate::call::run_contiguous(device, Op::Forward, dtype, &pointers, n, stream) }?;
    } else {
        run(shim, Op::Forward, &[("x", &x)], &[("y", &y)])?;
    }
    stack[0] = y.into_stack();
    Ok(())
}

/// `(Tensor(a!) x) -> ()`
pub unsafe fn forward_in_place(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    let [x] = unsafe { take(shim, stack) };
    run(shim, Op::Forward, &[("x", &x)], &[("x", &x)])
}

/// `(Tensor(a!) x) -> Tensor(a!)`, PyTorch's own schema.
pub unsafe fn forward_in_place_returning(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    let [x] = unsafe { take(shim, stack) };
    run(shim, Op::Forward, &[("x", &x)], &[("x", &x)])?;
    stack[0] = x.into_stack();
    Ok(())
}

/// `(Tensor x, *, Tensor(a!) out) -> ()`
pub unsafe fn forward_out(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    let [x, out] = unsafe { take(shim, stack) };
    run(shim, Op::Forward, &[("x", &x)], &[("out", &out)])
}

/// `(Tensor grad_y, Tensor x) -> Tensor`
pub unsafe fn backward(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    let [grad_y, x] = unsafe { take(shim, stack) };
    stack[0] = gradient(shim, &grad_y, &x)?.into_stack();
    Ok(())
}

/// `(Tensor grad_output, Tensor self) -> Tensor`, PyTorch's own: it broadcasts, and computes in
/// the type that the two promote to.
pub unsafe fn backward_promoting<'a>(shim: &'a Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    let [grad_y, x] = unsafe { take(shim, stack) };
    let (grad, own) = (grad_y.info()?, x.info()?);
    let is_alike = |info: &Info<'_>, code, sizes: &[i64]| {
        info.dtype_code == code && info.sizes == sizes && info.device() == own.device()
    };
    let grad_x = if is_alike(&grad, own.dtype_code, own.sizes) {
        gradient(shim, &grad_y, &x)?
    } else {
        if !grad.sizes.is_empty() {
            check_device(shim, "grad_output", &grad, &own)?;
        }
        let code = promote::dtype(shim, &grad, &own)?;
        let sizes = promote::shape(grad.sizes, own.sizes)?;
        let like = |tensor: &Tensor<'a>, info: &Info<'_>| -> CoreResult<Tensor<'a>> {
            if is_alike(info, code, &sizes) {
                return tensor.share();
            }
            let copy = own.empty(shim, &sizes, code)?;
            copy.copy_from(tensor)?;
            Ok(copy)
        };
        let wide = gradient(shim, &like(&grad_y, &grad)?, &like(&x, &own)?)?;
        if code == own.dtype_code {
            wide
        } else {
            let narrow = own.empty(shim, &sizes, own.dtype_code)?;
            narrow.copy_from(&wide)?;
            narrow
        }
    };
    stack[0] = grad_x.into_stack();
    Ok(())
}

fn gradient<'a>(shim: &'a Shim, grad_y: &Tensor<'_>, x: &Tensor<'a>) -> Result<Tensor<'a>> {
    let grad_x = x.empty_like(&x.info()?)?;
    run(
        shim,
        Op::Backward,
        &[("grad_y", grad_y), ("x", x)],
        &[("grad_x", &grad_x)],
    )?;
    Ok(grad_x)
}

/// `(Tensor grad_grad_x, Tensor grad_y, Tensor x) -> (Tensor, Tensor)`
pub unsafe fn double_backward(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    let [grad_grad_x, grad_y, x] = unsafe { take(shim, stack) };
    let info = x.info()?;
    let grad_grad_y = x.empty_like(&info)?;
    let grad_x = x.empty_like(&info)?;
    run(
        shim,
        Op::DoubleBackward,
        &[
            ("grad_grad_x", &grad_grad_x),
            ("grad_y", &grad_y),
            ("x", &x),
        ],
        &[("grad_grad_y", &grad_grad_y), ("grad_x", &grad_x)],
    )?;
    stack[0] = grad_grad_y.into_stack();
    stack[1] = grad_x.into_stack();
    Ok(())
}

/// Takes the arguments over from the stack.
unsafe fn take<'a, const N: usize>(shim: &'a Shim, stack: &[u64]) -> [Tensor<'a>; N] {
    // SAFETY: the caller's promise.
    std::array::from_fn(|i| unsafe { Tensor::from_stack(shim, stack[i]) })
}

type Named<'a, 'b> = (&'static str, &'a Tensor<'b>);

/// Checks the tensors against each other in PyTorch's words and computes.
fn run(shim: &Shim, op: Op, inputs: &[Named<'_, '_>], outputs: &[Named<'_, '_>]) -> Result<()> {
    // The last input is `x`, after which the outputs were allocated.
    let (last, (_, x)) = (inputs.len() - 1, inputs[inputs.len() - 1]);
    let like = x.info()?;
    let (dtype, device, stream) = place(shim, &like)?;

    let count = inputs.len() + outputs.len();
    let mut pointers = [std::ptr::null_mut(); crate::catalogue::MAX_OPERANDS];
    let mut infos: [Option<Info<'_>>; crate::catalogue::MAX_OPERANDS] = Default::default();
    let mut is_plain = like.is_contiguous;
    for (i, &(name, tensor)) in inputs.iter().chain(outputs).enumerate() {
        let is_output = i > last;
        pointers[i] = if is_output {
            tensor.address_mut()?
        } else {
            tensor.address()?
        };
        if i == last {
            continue;
        }
        let info = tensor.info()?;
        check_like(shim, name, &info, &like)?;
        is_plain &= info.is_contiguous;
        infos[i] = Some(info);
    }
    infos[last] = Some(like);
    let infos = &infos[..count];
    if !are_aligned(&pointers[..count], dtype) {
        return run_copied(shim, op, inputs, outputs);
    }
    let n = infos[last].as_ref().map_or(0, |info| info.numel) as usize;

    let outcome = if is_plain {
        // SAFETY: tensors PyTorch keeps alive during the call and, on CUDA, on their stream.
        unsafe { crate::call::run_contiguous(device, op, dtype, &pointers[..count], n, stream) }
    } else {
        if (infos[last + 1..].iter().flatten()).any(Info::is_expanded) {
            let words = "unsupported operation: more than one element of the written-to tensor \
                refers to a single memory location. Please clone() the tensor before performing \
                the operation.";
            return Err(Error::new(Status::SelfOverlap, words).into());
        }
        let merged = Merged::new(infos);
        if merged.shape.len() > MAX_DIMS {
            return run_copied(shim, op, inputs, outputs);
        }
        let views: Vec<Option<View<'_>>> = (infos.iter().flatten())
            .zip(&pointers)
            .zip(&merged.strides)
            .map(|((info, &data), strides)| {
                Some(View {
                    data,
                    dtype,
                    device,
                    device_id: info.device_index.max(0),
                    shape: &merged.shape,
                    strides: Some(strides),
                })
            })
            .collect();
        // SAFETY: as above.
        unsafe { crate::call::run(op, &views, stream) }
    };
    outcome.map_err(|error| rename(error, op, inputs, outputs).into())
}

/// Whether the library can read and write there. PyTorch takes any address of the host's memory.
fn are_aligned(pointers: &[*mut c_void], dtype: Dtype) -> bool {
    let addresses = pointers.iter().map(|&pointer| pointer as usize);
    addresses.fold(0, |bits, address| bits | address) & (dtype.size() - 1) == 0
}

/// The element type, device and stream of a computation, from its `x`.
fn place(shim: &Shim, x: &Info<'_>) -> Result<(Dtype, Device, *mut c_void)> {
    let Some(dtype) = x.dtype(shim) else {
        let words = format!("\"mish\" not implemented for '{}'", x.dtype_name(shim));
        let error = Error::new(Status::UnsupportedDtype, words);
        return Err(Failure::Dtype(x.place(), error));
    };
    let (device, stream) = match x.is_cuda(shim) {
        Some(false) => (Device::Cpu, std::ptr::null_mut()),
        Some(true) => (Device::Cuda, shim.current_cuda_stream(x.device_index)?),
        None => {
            let words = format!(
                "x: is on {}; libmish serves cpu and cuda",
                x.device_name(shim)
            );
            return Err(Error::new(Status::UnsupportedDevice, words).into());
        }
    };
    Ok((dtype, device, stream))
}

fn check_like(shim: &Shim, name: &str, info: &Info<'_>, like: &Info<'_>) -> CoreResult<()> {
    if info.dtype_code != like.dtype_code {
        fail!(
            DtypeMismatch,
            "expected {name} to have dtype {}, like x, but got {}",
            like.dtype_name(shim),
            info.dtype_name(shim)
        );
    }
    check_device(shim, name, info, like)?;
    if info.sizes != like.sizes {
        fail!(
            ShapeMismatch,
            "expected {name} to have shape {:?}, like x, but got {:?}",
            like.sizes,
            info.sizes
        );
    }
    Ok(())
}

fn check_device(shim: &Shim, name: &str, info: &Info<'_>, like: &Info<'_>) -> CoreResult<()> {
    if info.device() != like.device() {
        fail!(
            DeviceMismatch,
            "expected all tensors to be on the same device, but {name} is on {} and x on {}",
            info.device_name(shim),
            like.device_name(shim)
        );
    }
    Ok(())
}

/// For the rare tensors with more dimensions than the library walks, or at an address that it does
/// not take: copies of one dense layout.
fn run_copied(
    shim: &Shim,
    op: Op,
    inputs: &[Named<'_, '_>],
    outputs: &[Named<'_, '_>],
) -> Result<()> {
    let (_, x) = inputs[inputs.len() - 1];
    let info = x.info()?;
    let dense = |&(name, _): &Named<'_, '_>| Ok((name, x.empty_like(&info)?));
    let copies: Vec<_> = inputs.iter().map(dense).collect::<CoreResult<_>>()?;
    let results: Vec<_> = outputs.iter().map(dense).collect::<CoreResult<_>>()?;
    for ((_, copy), (_, input)) in copies.iter().zip(inputs) {
        copy.copy_from(input)?;
    }
    fn named<'a, 'b>(tensors: &'a [(&'static str, Tensor<'b>)]) -> Vec<Named<'a, 'b>> {
        tensors
            .iter()
            .map(|(name, tensor)| (*name, tensor))
            .collect()
    }
    run(shim, op, &named(&copies), &named(&results))?;
    for ((_, result), (_, output)) in results.iter().zip(outputs) {
        output.copy_from(result)?;
    }
    Ok(())
}

/// The operands' dimensions, neighbours merged where every operand's strides allow it: PyTorch
/// has up to 64 dimensions, the library 8.
struct Merged {
    shape: Vec<i64>,
    strides: Vec<Vec<i64>>,
}

impl Merged {
    fn new(infos: &[Option<Info<'_>>]) -> Merged {
        let present: Vec<_> = infos.iter().flatten().collect();
        let mut shape: Vec<i64> = Vec::new();
        let mut strides = vec![Vec::new(); present.len()];
        let sizes = present[0].sizes;
        // From the outermost to the innermost of the output, whatever order they are named in.
        let lead = present[present.len() - 1].strides;
        let mut order: Vec<usize> = (0..sizes.len()).filter(|&d| sizes[d] != 1).collect();
        order.sort_by_key(|&d| std::cmp::Reverse(lead[d]));
        for d in order {
            let size = sizes[d];
            let merges = !shape.is_empty()
                && (present.iter().zip(&strides))
                    .all(|(info, done)| done.last() == Some(&(info.strides[d] * size)));
            if merges {
                *shape.last_mut().expect("not empty") *= size;
            } else {
                shape.push(size);
            }
            for (info, done) in present.iter().zip(&mut strides) {
                if merges {
                    done.pop();
                }
                done.push(info.strides[d]);
            }
        }
        Merged { shape, strides }
    }
}

/// The core names operands as the C functions do; the operators may name them differently.
fn rename(error: Error, op: Op, inputs: &[Named<'_, '_>], outputs: &[Named<'_, '_>]) -> Error {
    let names = op.operands().iter().zip(inputs.iter().chain(outputs));
    for (operand, &(name, _)) in names {
        let head = format!("{}:", operand.name);
        if operand.name != name
            && let Some(rest) = error.message().strip_prefix(&head)
        {
            return Error::new(error.status(), format!("{name}:{rest}"));
        }
    }
    error
}
