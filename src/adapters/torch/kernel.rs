//! The operators' kernels: from a stack of tensor handles to a computation and back.

use super::promote;
use super::shim::{Info, Place, Shim, Tensor};
use crate::adapters::common::{self, Access, Operand, Target};
use crate::catalogue::operator::NOT_IMPLEMENTED;
use crate::catalogue::{MAX_OPERANDS, Op};
use crate::job::Device;
use crate::status::{Error, Result as CoreResult, Status};

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

impl common::Tensor for Tensor<'_> {
    const EXPANDED_OUTPUT: &'static str = "unsupported operation: more than one element of the \
        written-to tensor refers to a single memory location. Please clone() the tensor before \
        performing the operation.";

    fn operand(&self, name: &'static str, access: Access) -> CoreResult<Operand<'_, Self>> {
        self.described(name, access, &self.info()?)
    }

    fn dense_like(&self) -> CoreResult<Self> {
        self.empty_like(&self.info()?)
    }

    fn copy_from(&self, source: &Self) -> CoreResult<()> {
        Tensor::copy_from(self, source)
    }

    fn dtype_name(&self, dtype: i32) -> String {
        self.shim.dtype_name(dtype)
    }

    fn device_name(&self, device: (i32, i32)) -> String {
        self.shim.device_name(device)
    }
}

impl<'a> Tensor<'a> {
    /// The operand that this tensor is, given what it is.
    fn described<'t>(
        &'t self,
        name: &'static str,
        access: Access,
        info: &Info<'t>,
    ) -> CoreResult<Operand<'t, Self>> {
        Ok(Operand {
            name,
            tensor: self,
            data: match access {
                Access::Read => self.address()?,
                Access::Write => self.address_mut()?,
            },
            shape: info.sizes,
            strides: (!info.is_contiguous).then_some(info.strides),
            dtype: info.dtype_code,
            device: info.device(),
        })
    }
}

/// # Safety
/// The stack must hold the schema's arguments; so for every kernel here.
pub unsafe fn forward(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { compute::<1, 1>(Op::Forward, shim, stack) }
}

pub unsafe fn backward(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { compute::<2, 1>(Op::Backward, shim, stack) }
}

pub unsafe fn double_backward(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { compute::<3, 2>(Op::DoubleBackward, shim, stack) }
}

/// An operation's inputs from the stack, its results in new tensors onto it.
unsafe fn compute<const INPUTS: usize, const OUTPUTS: usize>(
    op: Op,
    shim: &Shim,
    stack: &mut [u64],
) -> Result<()> {
    // SAFETY: the caller's promise.
    let inputs: [Tensor<'_>; INPUTS] = unsafe { take(shim, stack) };
    let outputs: [_; OUTPUTS] = into_new(op, inputs.each_ref())?;
    for (value, output) in stack.iter_mut().zip(outputs) {
        *value = output.into_stack();
    }
    Ok(())
}

/// Computes into new tensors like the last input, `x`.
fn into_new<'a, const INPUTS: usize, const OUTPUTS: usize>(
    op: Op,
    inputs: [&Tensor<'a>; INPUTS],
) -> Result<[Tensor<'a>; OUTPUTS]> {
    let x = inputs[INPUTS - 1];
    let info = x.info()?;
    let mut made = [const { None }; OUTPUTS];
    for output in &mut made {
        *output = Some(x.empty_like(&info)?);
    }
    let outputs = made.map(|output| output.expect("made above"));
    let target = target(x.shim, &info)?;
    if INPUTS == 1 && info.is_contiguous {
        // The usual case: nothing to compare with x.
        let mut pointers = [std::ptr::null_mut(); MAX_OPERANDS];
        let pointers = &mut pointers[..1 + OUTPUTS];
        pointers[0] = x.address()?;
        for (pointer, output) in pointers[1..].iter_mut().zip(&outputs) {
            *pointer = output.address_mut()?;
        }
        if target.takes(pointers) {
            // SAFETY: tensors that PyTorch keeps alive during the call and, on CUDA, on their stream.
            unsafe { common::run_alike(op, target, pointers, info.sizes) }?;
            return Ok(outputs);
        }
    }
    let names = op.operands();
    let mut operands = [x.described(names[INPUTS - 1].name, Access::Read, &info)?; MAX_OPERANDS];
    for i in 0..INPUTS - 1 {
        operands[i] = common::Tensor::operand(inputs[i], names[i].name, Access::Read)?;
    }
    for (i, output) in (INPUTS..).zip(&outputs) {
        operands[i] = match info.is_contiguous {
            // Without asking what it was made to be.
            true => output.described(names[i].name, Access::Write, &info)?,
            false => common::Tensor::operand(output, names[i].name, Access::Write)?,
        };
    }
    // SAFETY: as above.
    unsafe { common::run(op, target, &operands[..INPUTS + OUTPUTS]) }?;
    Ok(outputs)
}

/// `(Tensor(a!) x) -> ()`
pub unsafe fn forward_in_place(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    let [x] = unsafe { take(shim, stack) };
    into_given(Op::Forward, &x, "x", &x)
}

/// `(Tensor(a!) x) -> Tensor(a!)`, PyTorch's own schema.
pub unsafe fn forward_in_place_returning(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    let [x] = unsafe { take(shim, stack) };
    into_given(Op::Forward, &x, "x", &x)?;
    stack[0] = x.into_stack();
    Ok(())
}

/// `(Tensor x, *, Tensor(a!) out) -> ()`
pub unsafe fn forward_out(shim: &Shim, stack: &mut [u64]) -> Result<()> {
    // SAFETY: the caller's promise.
    let [x, out] = unsafe { take(shim, stack) };
    into_given(Op::Forward, &x, "out", &out)
}

/// Computes an operation of one input and one output.
fn into_given(op: Op, x: &Tensor<'_>, name: &'static str, out: &Tensor<'_>) -> Result<()> {
    let info = x.info()?;
    let target = target(x.shim, &info)?;
    let operands = [
        x.described("x", Access::Read, &info)?,
        common::Tensor::operand(out, name, Access::Write)?,
    ];
    // SAFETY: as above.
    Ok(unsafe { common::run(op, target, &operands) }?)
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
    let [grad_x] = if is_alike(&grad, own.dtype_code, own.sizes) {
        into_new(Op::Backward, [&grad_y, &x])?
    } else {
        if !grad.sizes.is_empty() && grad.device() != own.device() {
            let name = |info: &Info<'_>| shim.device_name(info.device());
            return Err(common::wrong_device("grad_output", name(&grad), name(&own)).into());
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
        let wide = into_new(Op::Backward, [&like(&grad_y, &grad)?, &like(&x, &own)?])?;
        if code == own.dtype_code {
            wide
        } else {
            let narrow = own.empty(shim, &sizes, own.dtype_code)?;
            narrow.copy_from(&wide[0])?;
            [narrow]
        }
    };
    stack[0] = grad_x.into_stack();
    Ok(())
}

/// Takes the arguments over from the stack.
unsafe fn take<'a, const N: usize>(shim: &'a Shim, stack: &[u64]) -> [Tensor<'a>; N] {
    // SAFETY: the caller's promise.
    std::array::from_fn(|i| unsafe { Tensor::from_stack(shim, stack[i]) })
}

/// The element type, device and stream of a computation, from its `x`.
fn target(shim: &Shim, x: &Info<'_>) -> Result<Target> {
    let Some(dtype) = shim.dtype(x.dtype_code) else {
        let words = NOT_IMPLEMENTED.about(&[("dtype", &shim.dtype_name(x.dtype_code))]);
        let error = Error::new(Status::UnsupportedDtype, words);
        return Err(Failure::Dtype(x.place(), error));
    };
    let (device, stream) = match shim.is_cuda(x.device()) {
        Some(false) => (Device::Cpu, std::ptr::null_mut()),
        Some(true) => (Device::Cuda, shim.current_cuda_stream(x.device_index)?),
        None => {
            let words = format!(
                "x: is on {}; libmish serves cpu and cuda",
                shim.device_name(x.device())
            );
            return Err(Error::new(Status::UnsupportedDevice, words).into());
        }
    };
    Ok(Target {
        dtype,
        device,
        device_id: x.device_index.max(0),
        stream,
    })
}
