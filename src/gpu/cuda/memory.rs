//! What the driver knows about an address, and whether an operand may lie there.

use std::ffi::c_void;

use super::driver::{Code, Context, Driver, MEMORY_TYPE_HOST, PointerAttribute, PointerQuery};
use crate::job::Job;
use crate::status::{Result, fail};

/// The memory behind an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub kind: Kind,
    /// The context it was allocated in; NULL for pools and mapped reservations.
    pub context: Context,
    pub ordinal: i32,
    start: u64,
    /// 0 if the driver does not know.
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not CUDA's: ordinary host memory, or nothing.
    Unknown,
    /// One device's.
    Device,
    /// Page-locked host memory, which every device reaches.
    Pinned,
    /// Migrates to whichever device uses it.
    Managed,
}

/// What a driver leaves in place of a type: no memory of its own.
const MEMORY_TYPE_UNKNOWN: u32 = 0;

impl Memory {
    /// Asks the driver about an address; 0.07 µs on a real one.
    pub fn at(query: PointerQuery, address: *const c_void) -> std::result::Result<Memory, Code> {
        const ATTRIBUTES: [u32; 6] = [
            PointerAttribute::MemoryType as u32,
            PointerAttribute::Context as u32,
            PointerAttribute::Ordinal as u32,
            PointerAttribute::IsManaged as u32,
            PointerAttribute::RangeStart as u32,
            PointerAttribute::RangeSize as u32,
        ];
        // Wide enough for every attribute; the narrow ones fill the low bytes.
        let mut values = [0_u64; ATTRIBUTES.len()];
        let slots = values.each_mut().map(|value| (&raw mut *value).cast());
        // SAFETY: one slot of eight bytes per attribute.
        let code = unsafe {
            query(
                ATTRIBUTES.len() as u32,
                ATTRIBUTES.as_ptr(),
                slots.as_ptr(),
                address as u64,
            )
        };
        if code != Code::SUCCESS {
            return Err(code);
        }
        let [kind, context, ordinal, managed, start, bytes] = values;
        Ok(Memory {
            kind: match kind as u32 {
                MEMORY_TYPE_UNKNOWN => Kind::Unknown,
                _ if managed as u8 != 0 => Kind::Managed,
                MEMORY_TYPE_HOST => Kind::Pinned,
                _ => Kind::Device,
            },
            context: context as usize as Context,
            ordinal: ordinal as u32 as i32,
            start,
            bytes,
        })
    }

    /// Whether an address is in the same allocation; false if its range is not known.
    fn contains(&self, address: *const c_void) -> bool {
        (address as u64).wrapping_sub(self.start) < self.bytes
    }
}

/// Checks every operand's memory and returns the one that decides where the job runs: the first
/// in a device's own memory, else the first.
pub(super) fn check(driver: &Driver, job: &Job) -> Result<Memory> {
    let mut home: Option<(&'static str, Memory)> = None;
    let mut last: Option<Memory> = None;
    for (i, operand, pointer) in job.present() {
        let name = operand.name;
        // Operands often share an allocation (PyTorch's allocator hands out parts of large ones),
        // and asking costs more than everything else here.
        let known = last.filter(|memory| memory.contains(pointer));
        let memory = match known.map_or_else(|| Memory::at(driver.pointer_attributes, pointer), Ok)
        {
            Ok(memory) => memory,
            // Old drivers say so about ordinary host memory.
            Err(Code::INVALID_VALUE) => fail!(
                NotDevicePointer,
                "{name}: {pointer:p} is not memory that CUDA knows; expected device, managed or \
                 pinned memory"
            ),
            Err(code) => {
                return Err(driver.error(&format!("{name}: cuPointerGetAttributes"), code));
            }
        };
        last = Some(memory);
        if memory.kind == Kind::Unknown {
            fail!(
                NotDevicePointer,
                "{name}: {pointer:p} was passed with MISH_DEVICE_CUDA but is ordinary host \
                 memory (or was freed); expected device, managed or pinned memory"
            );
        }
        check_range(job, i, name, pointer, &memory)?;
        if memory.kind == Kind::Device {
            match home {
                Some((first, seen)) if seen.kind == Kind::Device => {
                    if seen.ordinal != memory.ordinal {
                        fail!(
                            DeviceMismatch,
                            "{name}: is memory of device {}, but {first} is of device {}",
                            memory.ordinal,
                            seen.ordinal
                        );
                    }
                    let known = !seen.context.is_null() && !memory.context.is_null();
                    if known && seen.context != memory.context {
                        fail!(
                            DeviceMismatch,
                            "{name}: was allocated in another context of device {} than {first}",
                            memory.ordinal
                        );
                    }
                    // A known context says more than none.
                    if seen.context.is_null() {
                        home = Some((name, memory));
                    }
                }
                _ => home = Some((name, memory)),
            }
            if let Some(expected) = job.device_id
                && expected != memory.ordinal
            {
                fail!(
                    DeviceMismatch,
                    "{name}: is memory of device {}, but its tensor says device {expected}",
                    memory.ordinal
                );
            }
        } else if home.is_none() {
            home = Some((name, memory));
        }
    }
    match home {
        Some((_, memory)) => Ok(memory),
        None => fail!(Internal, "a job without operands"),
    }
}

fn check_range(
    job: &Job,
    i: usize,
    name: &str,
    pointer: *mut c_void,
    memory: &Memory,
) -> Result<()> {
    // A driver that does not know the range says nothing about it.
    if memory.bytes == 0 {
        return Ok(());
    }
    let (offset, bytes) = job.extent(i);
    let low = (pointer as u64).wrapping_add_signed(offset as i64);
    let inside = low
        .checked_sub(memory.start)
        .is_some_and(|before| before <= memory.bytes && bytes as u64 <= memory.bytes - before);
    if inside {
        return Ok(());
    }
    fail!(
        OutOfBounds,
        "{name}: {bytes} bytes from {low:#x} on reach outside the allocation of {} bytes at {:#x}",
        memory.bytes,
        memory.start
    )
}
