//! PyTorch operators, registered through libtorch's C shim.
//!
//! libtorch exports a C interface meant to stay as it is from release to release. Found at run
//! time, it lets this library register operators with PyTorch's dispatcher, and replace the
//! kernels of PyTorch's own, without PyTorch at build time. Autograd, `torch.compile` and the
//! rest of what belongs to an operator are rules written in Python, in `mish.torch`.

mod kernel;
mod layout;
mod promote;
mod shim;

use std::ffi::{CStr, CString, OsStr, c_char};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::common;
use crate::catalogue::{Op, Operator, Variant};
use crate::cpu::Split;
use crate::status::{Result, fail};
use kernel::Failure;
use shim::{Kernel, LibraryHandle, Refused, Shim};

/// The one PyTorch of this process.
static SHIM: OnceLock<Shim> = OnceLock::new();
/// Serialises registration.
static LOCK: Mutex<()> = Mutex::new(());
/// The libraries that hold the replacements of PyTorch's own kernels.
static REPLACED: Mutex<Vec<Registration>> = Mutex::new(Vec::new());

/// The kernel of an operator in the namespace `mish`.
fn kernel_of(operator: Operator) -> Kernel {
    match (operator.op, operator.variant) {
        (Op::Forward, Variant::New | Variant::Plain) => forward,
        (Op::Forward, Variant::InPlace) => forward_in_place,
        (Op::Forward, Variant::Out) => forward_out,
        (Op::Backward, _) => backward,
        (Op::DoubleBackward, _) => double_backward,
    }
}

/// Kernels of PyTorch's own operators.
const REPLACEMENTS: [(&str, Kernel); 3] = [
    ("mish", forward),
    ("mish_", forward_in_place_returning),
    ("mish_backward", backward_promoting),
];

/// A live `torch::Library`.
struct Registration(LibraryHandle);

// SAFETY: libtorch locks its registry.
unsafe impl Send for Registration {}

/// Registers the operators, and with `define` also declares them. Does nothing the second time.
///
/// # Safety
/// The paths must be those of a PyTorch that stays loaded for good.
pub(crate) unsafe fn register(cpu: &OsStr, cuda: Option<&OsStr>, define: bool) -> Result<()> {
    let _lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    if SHIM.get().is_some() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    let shim = unsafe { Shim::load(cpu, cuda) }?;
    // From here on kernels may run.
    let shim = SHIM.get_or_init(|| shim);
    if define {
        let library = shim.fragment(c"mish")?;
        for operator in Operator::all() {
            let schema = c_string(operator.name() + &operator.schema());
            // SAFETY: just made, and never deleted.
            unsafe { shim.define(library, &schema) }?;
        }
    }
    for key in keys(shim) {
        // Never deleted: the operators last as long as the process.
        let kernels = Operator::all().map(|operator| (operator.name(), kernel_of(operator)));
        implement(shim, c"mish", key, kernels)?;
    }
    Ok(())
}

/// Puts the library's kernels in the place of PyTorch's own, or takes them out again.
pub(crate) fn replace(on: bool) -> Result<()> {
    let mut replaced = REPLACED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(shim) = SHIM.get() else {
        fail!(
            NotRegistered,
            "mish_torch_replace: mish_torch_register must be called before"
        );
    };
    if on && replaced.is_empty() {
        for key in keys(shim) {
            let kernels = REPLACEMENTS.map(|(name, kernel)| (name.to_owned(), kernel));
            replaced.push(implement(shim, c"aten", key, kernels)?);
        }
    } else if !on {
        while let Some(Registration(library)) = replaced.pop() {
            // SAFETY: made above, and removed from the list.
            unsafe { shim.delete_library(library) }?;
        }
    }
    Ok(())
}

fn keys(shim: &Shim) -> &'static [&'static CStr] {
    if shim.has_cuda() {
        &[c"CPU", c"CUDA"]
    } else {
        &[c"CPU"]
    }
}

fn implement(
    shim: &Shim,
    namespace: &CStr,
    key: &CStr,
    kernels: impl IntoIterator<Item = (String, Kernel)>,
) -> Result<Registration> {
    let library = shim.kernels(namespace, key)?;
    for (name, kernel) in kernels {
        // SAFETY: a live library; names and kernels are paired by schema.
        unsafe { shim.implement(library, &c_string(name), kernel) }?;
    }
    Ok(Registration(library))
}

fn c_string(text: String) -> CString {
    CString::new(text).expect("names and schemas hold no NUL")
}

macro_rules! kernels {
    ($($name:ident)*) => {$(
        unsafe extern "C-unwind" fn $name(stack: *mut u64, inputs: u64, outputs: u64) {
            // SAFETY: the dispatcher passes a stack of this many values.
            let outcome = unsafe { attempt(kernel::$name, stack, inputs.max(outputs) as usize) };
            if let (Some(shim), Some(exception)) = (SHIM.get(), outcome) {
                // SAFETY: nothing here needs to be dropped.
                unsafe { throw(shim, exception) }
            }
        }
    )*};
}
kernels! { forward forward_in_place forward_in_place_returning forward_out backward backward_promoting double_backward }

/// What a kernel that failed throws.
#[derive(Clone, Copy)]
struct Exception {
    /// This thread's last error.
    message: *const c_char,
    /// What PyTorch throws the exception for, if it is PyTorch's.
    refused: Option<Refused>,
}

/// # Safety
/// No frame from here to libtorch may own anything.
unsafe fn throw(shim: &Shim, exception: Exception) {
    if let Some(refused) = exception.refused {
        // SAFETY: the caller's promise.
        unsafe { shim.refuse(refused) }
    }
    // SAFETY: a C string of this thread, and the caller's promise.
    unsafe { shim.throw(exception.message) }
}

/// [`Shim::split`] of this process' PyTorch.
fn split(n: usize, grain: usize, part: &(dyn Fn(usize, usize) + Sync)) {
    match SHIM.get() {
        Some(shim) => shim.split(n, grain, part),
        None => part(0, n),
    }
}

/// Runs a kernel's body; returns what to throw if it failed.
///
/// Not inlined: where Rust catches or cleans up, the unwinder consults this library's own runtime,
/// which in a library linked statically to one does not understand the context of libtorch's. So
/// no such place may lie between the exception's origin and libtorch.
///
/// # Safety
/// The stack must hold the arguments of the kernel's schema and have room for its results.
#[inline(never)]
unsafe fn attempt(
    body: unsafe fn(&Shim, &mut [u64]) -> std::result::Result<(), Failure>,
    stack: *mut u64,
    length: usize,
) -> Option<Exception> {
    let shim = SHIM.get()?;
    let mut refused = None;
    let body = || {
        // SAFETY: the caller's promise.
        match unsafe { body(shim, std::slice::from_raw_parts_mut(stack, length)) } {
            Ok(()) => Ok(()),
            Err(Failure::Error(error)) => Err(error),
            Err(Failure::Dtype(place, error)) => {
                refused = shim.refused(place);
                Err(error)
            }
        }
    };
    let split: Option<Split> = shim.can_split().then_some(split);
    let outcome = common::attempt(split, body);
    outcome.err().map(|message| Exception { message, refused })
}
