//! Operands: data types, devices, strided views, and their validation.
//!
//! Whatever the caller passed becomes a [`Job`]: pointers known to be aligned and free of
//! forbidden overlap, and dimensions collapsed as far as the strides of all operands allow. The
//! backends see nothing else.

mod layout;
mod overlap;

use std::ffi::c_void;

use crate::catalogue::{Dtype, MAX_OPERANDS, Op, Operand, Role};
use crate::status::{Error, Result, Status, fail};
pub use layout::{Layout, Strided};
pub(crate) use overlap::Footprint;

/// The most dimensions a tensor may have.
pub const MAX_DIMS: usize = 8;

impl Dtype {
    /// Decodes a `MISH_DTYPE_*` constant.
    pub fn from_code(code: i32) -> Result<Dtype> {
        match Dtype::ALL.into_iter().find(|d| d.code() == code) {
            Some(dtype) => Ok(dtype),
            None => Err(unknown_dtype(code)),
        }
    }
}

/// Out of the way of every call.
#[cold]
fn unknown_dtype(code: i32) -> Error {
    let known = Dtype::ALL.map(|d| format!("MISH_DTYPE_{} ({})", d.class(), d.code()));
    Error::new(
        Status::UnknownDtype,
        format!("dtype: {code} is none of {}", known.join(", ")),
    )
}

/// The kinds of device. The numbers are the C ABI's `MISH_DEVICE_*`, which are DLPack's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Device {
    /// Host memory.
    Cpu = 1,
    /// An NVIDIA GPU's memory, or pinned or managed memory.
    Cuda = 2,
}

impl Device {
    /// Decodes a `MISH_DEVICE_*` constant.
    pub fn from_code(code: i32) -> Result<Device> {
        match code {
            1 => Ok(Device::Cpu),
            2 => Ok(Device::Cuda),
            _ => fail!(
                UnknownDevice,
                "device: {code} is neither MISH_DEVICE_CPU (1) nor MISH_DEVICE_CUDA (2)"
            ),
        }
    }
}

/// A strided view of memory, as an interface layer hands it over.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Address of the element with index zero in every dimension.
    pub data: *mut c_void,
    /// The element type.
    pub dtype: Dtype,
    /// Where the memory lies.
    pub device: Device,
    /// Which device of that kind.
    pub device_id: i32,
    /// Size of each dimension.
    pub shape: &'a [i64],
    /// Step in elements of each dimension; `None` is C-contiguous.
    pub strides: Option<&'a [i64]>,
}

/// Offset of the lowest byte from an operand's pointer, and how many bytes.
type Extent = (isize, usize);

/// A validated call, ready for a backend.
#[derive(Clone, Debug)]
pub struct Job {
    /// What to compute.
    pub op: Op,
    /// The element type of every operand.
    pub dtype: Dtype,
    /// The number of elements; never zero.
    pub n: u64,
    /// One address per operand, in the operation's order; NULL for a skipped output.
    pub pointers: [*mut c_void; MAX_OPERANDS],
    /// How the addresses step through memory.
    pub layout: Layout,
    /// Per operand: the bytes it touches. Asked for many times in a call.
    extents: [Extent; MAX_OPERANDS],
    /// The device ordinal that tensors named; `None` for plain calls.
    #[allow(dead_code, reason = "for GPU backends, which may not be built")]
    pub device_id: Option<i32>,
}

// SAFETY: the addresses are plain data here; the backends dereference disjoint parts of them.
unsafe impl Send for Job {}
// SAFETY: as above.
unsafe impl Sync for Job {}

impl Job {
    /// Validates a call on contiguous memory. `Ok(None)` means there is nothing to do.
    pub fn contiguous(
        op: Op,
        dtype: Dtype,
        pointers: &[*mut c_void],
        n: usize,
    ) -> Result<Option<Job>> {
        if n == 0 {
            return Ok(None);
        }
        if n.checked_mul(dtype.size())
            .is_none_or(|b| b > isize::MAX as usize)
        {
            fail!(
                TooLarge,
                "n: {n} elements of {} bytes do not fit the address space",
                dtype.size()
            );
        }
        let job = Job {
            op,
            dtype,
            n: n as u64,
            pointers: pad(pointers),
            layout: Layout::Contiguous,
            extents: [(0, n * dtype.size()); MAX_OPERANDS],
            device_id: None,
        };
        job.check_pointers()?;
        job.check_overlap()?;
        Ok(Some(job))
    }

    /// Validates a call on strided tensors; `None` stands for a tensor pointer that is NULL.
    /// Returns the device with the job; a job of `None` means there is nothing to do.
    pub fn strided(op: Op, views: &[Option<View<'_>>]) -> Result<(Device, Option<Job>)> {
        let operands = op.operands();
        check_present(op, |i| views[i].is_none())?;
        let (first_name, first) = operands
            .iter()
            .zip(views)
            .find_map(|(operand, view)| view.as_ref().map(|view| (operand.name, view)))
            .expect("an operation's inputs are required");
        for (operand, view) in operands.iter().zip(views) {
            let Some(view) = view else { continue };
            check_like(operand.name, view, first_name, first)?;
        }
        let n = layout::element_count(first_name, first.shape)?;
        if n == 0 {
            return Ok((first.device, None));
        }
        let mut pointers = [std::ptr::null_mut(); MAX_OPERANDS];
        let mut strided = Strided::new(first.shape);
        let mut extents = [Extent::default(); MAX_OPERANDS];
        for (i, (operand, view)) in operands.iter().zip(views).enumerate() {
            let Some(view) = view else { continue };
            pointers[i] = view.data;
            strided.set_strides(i, operand.name, view, first.dtype)?;
            let size = first.dtype.size();
            let (low, high) = strided.range(i);
            extents[i] = (
                low as isize * size as isize,
                ((high - low) as usize + 1) * size,
            );
        }
        let mut job = Job {
            op,
            dtype: first.dtype,
            n,
            pointers,
            layout: Layout::Strided(strided),
            extents,
            device_id: Some(first.device_id),
        };
        job.check_pointers()?;
        job.collapse();
        job.check_overlap()?;
        Ok((first.device, Some(job)))
    }

    /// The operands that take part: index, description, address.
    pub fn present(&self) -> impl Iterator<Item = (usize, Operand, *mut c_void)> + '_ {
        self.op
            .operands()
            .iter()
            .enumerate()
            .map(|(i, &operand)| (i, operand, self.pointers[i]))
            .filter(|(_, _, pointer)| !pointer.is_null())
    }

    /// The bytes that operand `i` touches: offset of the lowest from its pointer, and how many.
    pub fn extent(&self, i: usize) -> (isize, usize) {
        self.extents[i]
    }

    fn check_pointers(&self) -> Result<()> {
        check_present(self.op, |i| self.pointers[i].is_null())?;
        let size = self.dtype.size();
        for (_, operand, pointer) in self.present() {
            if !(pointer as usize).is_multiple_of(size) {
                fail!(
                    Misaligned,
                    "{}: {pointer:p} is not a multiple of {size}, the size of a {} element",
                    operand.name,
                    self.dtype.name()
                );
            }
        }
        for (i, operand, pointer) in self.present() {
            let (offset, bytes) = self.extent(i);
            let low = (pointer as usize).checked_add_signed(offset);
            if low.and_then(|low| low.checked_add(bytes)).is_none() {
                fail!(
                    TooLarge,
                    "{}: {bytes} bytes at {pointer:p} reach past the end of the address space",
                    operand.name
                );
            }
        }
        Ok(())
    }

    /// An output may be exactly one of the inputs; no other memory may be shared with an output.
    fn check_overlap(&self) -> Result<()> {
        let mut spans = [overlap::Span::default(); MAX_OPERANDS];
        for (i, _, _) in self.present() {
            spans[i] = overlap::span(self, i);
        }
        for (o, output, _) in self.present().filter(|(_, operand, _)| operand.is_output()) {
            if overlap::within(self, o) {
                return Err(self_overlap(output.name));
            }
            for (i, other, _) in self.present() {
                // Each pair of outputs once; inputs against every output.
                if i == o || (other.is_output() && i > o) {
                    continue;
                }
                let in_place = !other.is_output() && self.is_same_view(o, i);
                if !in_place && overlap::between(self, &spans, o, i) {
                    return Err(shared(output.name, other.name));
                }
            }
        }
        Ok(())
    }

    /// Whether two operands have the same address for every index.
    fn is_same_view(&self, a: usize, b: usize) -> bool {
        let same_steps = match &self.layout {
            Layout::Contiguous => true,
            Layout::Strided(strided) => {
                strided.strides[a][..strided.ndim] == strided.strides[b][..strided.ndim]
            }
        };
        self.pointers[a] == self.pointers[b] && same_steps
    }

    /// Brings the dimensions into the form that is fastest to check and to walk.
    fn collapse(&mut self) {
        let Layout::Strided(strided) = &mut self.layout else {
            return;
        };
        let is_present = self.pointers.map(|pointer| !pointer.is_null());
        let operands = self.op.operands();
        let lead = (0..operands.len())
            .find(|&i| operands[i].is_output() && is_present[i])
            .expect("a job has an output");
        let moved = strided.normalise(lead);
        let size = self.dtype.size() as isize;
        for (i, moved) in moved.into_iter().enumerate() {
            if is_present[i] {
                let bytes = moved as isize * size;
                self.pointers[i] = self.pointers[i].wrapping_byte_offset(bytes);
                self.extents[i].0 -= bytes;
            }
        }
        strided.merge(is_present);
        if strided.is_contiguous(is_present) {
            self.layout = Layout::Contiguous;
        }
    }
}

/// Two elements of an output are one.
#[cold]
pub(crate) fn self_overlap(output: &str) -> Error {
    let words = format!("{output}: two elements of this output share memory");
    Error::new(Status::SelfOverlap, words)
}

/// An output shares memory with another operand.
#[cold]
pub(crate) fn shared(output: &str, other: &str) -> Error {
    let words = format!(
        "{output}: shares memory with {other}; an output may only be exactly one of the inputs \
         (same address and strides), each output a different one"
    );
    Error::new(Status::Overlap, words)
}

/// Every required operand must be there, and at least one output.
fn check_present(op: Op, is_null: impl Fn(usize) -> bool) -> Result<()> {
    let operands = op.operands();
    for (i, operand) in operands.iter().enumerate() {
        if operand.role != Role::OptionalOutput && is_null(i) {
            fail!(NullPointer, "{}: is NULL", operand.name);
        }
    }
    let mut outputs = operands
        .iter()
        .enumerate()
        .filter(|(_, operand)| operand.is_output());
    if outputs.all(|(i, _)| is_null(i)) {
        let names: Vec<_> = operands
            .iter()
            .filter(|o| o.is_output())
            .map(|o| o.name)
            .collect();
        fail!(
            NullPointer,
            "{}: all are NULL; at least one output is needed",
            names.join(", ")
        );
    }
    Ok(())
}

fn check_like(name: &str, view: &View<'_>, first_name: &str, first: &View<'_>) -> Result<()> {
    if view.dtype != first.dtype {
        fail!(
            DtypeMismatch,
            "{name}: is {}, but {first_name} is {}",
            view.dtype.name(),
            first.dtype.name()
        );
    }
    if view.shape != first.shape {
        fail!(
            ShapeMismatch,
            "{name}: has shape {:?}, but {first_name} has {:?}",
            view.shape,
            first.shape
        );
    }
    if (view.device, view.device_id) != (first.device, first.device_id) {
        fail!(
            DeviceMismatch,
            "{name}: is on {:?} device {}, but {first_name} is on {:?} device {}",
            view.device,
            view.device_id,
            first.device,
            first.device_id
        );
    }
    Ok(())
}

fn pad(pointers: &[*mut c_void]) -> [*mut c_void; MAX_OPERANDS] {
    let mut padded = [std::ptr::null_mut(); MAX_OPERANDS];
    padded[..pointers.len()].copy_from_slice(pointers);
    padded
}
