//! A CUDA driver for tests: the functions of `libcuda.so.1` that libmish and its tests call, on
//! pretended devices. It checks what a real driver checks, keeps what a launch was given, and runs
//! the very kernels of the library, compiled for the host, on memory that it bounds.
//!
//! Configured by the environment variable `MISH_STANDIN` (see [`state`]) and, while running, by
//! the `standin_*` functions. What it does not model: time. Streams finish their work at once, in
//! the order of the calls.
//!
//! It also stands in for PyTorch's C shim ([`torch`]), with tensors on its devices.

#[path = "../../../src/catalogue/mod.rs"]
mod catalogue;
mod control;
#[path = "../../../src/fork.rs"]
mod fork;
mod kernel;
mod state;
mod torch;

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::hash::{DefaultHasher, Hasher};

use kernel::{Launch, Range};
use state::{
    Allocation, CAPTURE_MODE, CURRENT, Capture, Function, Kind, Locked, Module, NAMES, Record,
    Stream, code, state,
};

type Code = u32;

/// Defines driver functions: counts the call, applies injected faults, and turns `Result` into a
/// code. `before_init` lets a function work before `cuInit`.
macro_rules! driver {
    ($($(#[$attribute:ident])? fn $name:ident($state:ident $(, $parameter:ident: $type:ty)*) $body:block)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of the driver API.")]
            ///
            /// # Safety
            /// As for the driver's function.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, unused_mut, clippy::missing_safety_doc)]
            pub unsafe extern "C" fn $name($($parameter: $type),*) -> Code {
                let work = || -> Result<(), Code> {
                    let mut $state = state();
                    $state.enter(stringify!($name))?;
                    driver!(@ready $state $($attribute)?);
                    $body
                };
                work().err().unwrap_or(code::SUCCESS)
            }
        )*
    };
    (@ready $state:ident before_init) => {};
    (@ready $state:ident) => {
        if !$state.is_initialised {
            return Err(code::NOT_INITIALIZED);
        }
    };
}

/// Writes an output parameter.
///
/// # Safety
/// `to` must be NULL or valid for writing.
unsafe fn put<T>(to: *mut T, value: T) -> Result<(), Code> {
    if to.is_null() {
        return Err(code::INVALID_VALUE);
    }
    // SAFETY: not NULL, and the caller's promise.
    unsafe { to.write(value) };
    Ok(())
}

/// The current context, which must be there and sound.
fn current(state: &Locked) -> Result<usize, Code> {
    let handle = CURRENT.with_borrow(|stack| stack.last().copied().unwrap_or(0));
    if handle == 0 {
        return Err(code::INVALID_CONTEXT);
    }
    let context = state
        .contexts
        .get(&handle)
        .ok_or(code::CONTEXT_IS_DESTROYED)?;
    match context.error {
        0 => Ok(handle),
        error => Err(error),
    }
}

fn check_device(state: &Locked, device: c_int) -> Result<(), Code> {
    match (0..state.devices.len() as c_int).contains(&device) {
        true => Ok(()),
        false => Err(code::INVALID_DEVICE),
    }
}

/// An event and a stream that exist.
fn check_event(state: &Locked, event: usize, stream: usize) -> Result<(), Code> {
    let known = stream <= 2 || state.streams.contains_key(&stream);
    match known && state.events.contains_key(&event) {
        true => Ok(()),
        false => Err(code::INVALID_HANDLE),
    }
}

driver! {
    #[before_init]
    fn cuInit(state, flags: c_uint) {
        if flags != 0 {
            return Err(code::INVALID_VALUE);
        }
        if state.devices.is_empty() {
            return Err(code::NO_DEVICE);
        }
        state.is_initialised = true;
        state.process = fork::fork_generation();
        Ok(())
    }

    #[before_init]
    fn cuDriverGetVersion(state, version: *mut c_int) {
        unsafe { put(version, state.version) }
    }

    #[before_init]
    fn cuGetErrorName(_state, error: Code, name: *mut *const c_char) {
        let known = NAMES.iter().find(|(number, _)| *number == error);
        unsafe { put(name, known.map_or(std::ptr::null(), |(_, name)| name.as_ptr())) }?;
        known.map(|_| ()).ok_or(code::INVALID_VALUE)
    }

    fn cuDeviceGetCount(state, count: *mut c_int) {
        unsafe { put(count, state.devices.len() as c_int) }
    }

    fn cuDeviceGet(state, device: *mut c_int, ordinal: c_int) {
        check_device(&state, ordinal)?;
        unsafe { put(device, ordinal) }
    }

    fn cuDeviceGetName(state, name: *mut c_char, length: c_int, device: c_int) {
        check_device(&state, device)?;
        let text = format!("Stand-in {}\0", state.devices[device as usize]);
        let length = text.len().min(length.max(0) as usize);
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), length) };
        Ok(())
    }

    fn cuDeviceGetAttribute(state, value: *mut c_int, attribute: c_uint, device: c_int) {
        check_device(&state, device)?;
        let sm = state.devices[device as usize] as c_int;
        let number = match attribute {
            16 => state.multiprocessors,
            39 => 2048,
            75 => sm / 10,
            76 => sm % 10,
            _ => return Err(code::INVALID_VALUE),
        };
        unsafe { put(value, number) }
    }

    fn cuDevicePrimaryCtxRetain(state, context: *mut usize, device: c_int) {
        check_device(&state, device)?;
        if !state.is_allowed() {
            return Err(code::CAPTURE_UNSUPPORTED);
        }
        let mut primary = state.primaries.remove(&device).unwrap_or_default();
        if primary.context == 0 {
            primary.context = match primary.before.take() {
                Some((handle, id)) => state.put_context(handle, id, device),
                None => state.new_context(device),
            };
        }
        primary.retained += 1;
        let handle = primary.context;
        state.primaries.insert(device, primary);
        unsafe { put(context, handle) }
    }

    fn cuDevicePrimaryCtxRelease_v2(state, device: c_int) {
        check_device(&state, device)?;
        let primary = state.primaries.entry(device).or_default();
        if primary.retained == 0 {
            return Err(code::INVALID_CONTEXT);
        }
        primary.retained -= 1;
        if primary.retained == 0 {
            let handle = std::mem::take(&mut primary.context);
            state.destroy_context(handle);
        }
        Ok(())
    }

    fn cuDevicePrimaryCtxReset_v2(state, device: c_int) {
        check_device(&state, device)?;
        let keeps_ids = state.keeps_ids;
        let primary = state.primaries.entry(device).or_default();
        let handle = std::mem::take(&mut primary.context);
        primary.retained = 0;
        let id = state.destroy_context(handle);
        if keeps_ids && let Some(primary) = state.primaries.get_mut(&device) {
            primary.before = id.map(|id| (handle, id)).or(primary.before);
        }
        Ok(())
    }

    fn cuDevicePrimaryCtxGetState(state, device: c_int, flags: *mut c_uint, active: *mut c_int) {
        check_device(&state, device)?;
        let is_active = state.primaries.get(&device).is_some_and(|p| p.context != 0);
        unsafe { put(flags, 0)?; put(active, is_active.into()) }
    }

    fn cuCtxCreate_v2(state, context: *mut usize, _flags: c_uint, device: c_int) {
        check_device(&state, device)?;
        let handle = state.new_context(device);
        CURRENT.with_borrow_mut(|stack| stack.push(handle));
        unsafe { put(context, handle) }
    }

    fn cuCtxDestroy_v2(state, context: usize) {
        if !state.contexts.contains_key(&context) {
            return Err(code::INVALID_CONTEXT);
        }
        state.destroy_context(context);
        CURRENT.with_borrow_mut(|stack| {
            if stack.last() == Some(&context) {
                stack.pop();
            }
        });
        Ok(())
    }

    fn cuCtxPushCurrent_v2(state, context: usize) {
        if !state.contexts.contains_key(&context) {
            return Err(code::INVALID_CONTEXT);
        }
        CURRENT.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    }

    fn cuCtxPopCurrent_v2(_state, context: *mut usize) {
        let popped = CURRENT.with_borrow_mut(Vec::pop).ok_or(code::INVALID_CONTEXT)?;
        unsafe { put(context, popped) }
    }

    fn cuCtxSetCurrent(state, context: usize) {
        if context != 0 && !state.contexts.contains_key(&context) {
            return Err(code::INVALID_CONTEXT);
        }
        CURRENT.with_borrow_mut(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
        Ok(())
    }

    fn cuCtxGetCurrent(_state, context: *mut usize) {
        unsafe { put(context, CURRENT.with_borrow(|stack| stack.last().copied().unwrap_or(0))) }
    }

    fn cuCtxGetDevice(state, device: *mut c_int) {
        let handle = current(&state)?;
        unsafe { put(device, state.contexts[&handle].device) }
    }

    fn cuCtxGetId(state, context: usize, id: *mut u64) {
        let found = state.contexts.get(&context).ok_or(code::CONTEXT_IS_DESTROYED)?;
        unsafe { put(id, found.id) }
    }

    fn cuCtxSynchronize(state) {
        current(&state).map(|_| ())
    }

    fn cuStreamCreate(state, stream: *mut usize, _flags: c_uint) {
        let context = current(&state)?;
        let handle = state.handle();
        state.streams.insert(handle, Stream { context, capture: None });
        unsafe { put(stream, handle) }
    }

    fn cuStreamDestroy_v2(state, stream: usize) {
        state.streams.remove(&stream).map(|_| ()).ok_or(code::INVALID_HANDLE)
    }

    fn cuStreamGetCtx(state, stream: usize, context: *mut usize) {
        let found = state.streams.get(&stream).ok_or(code::INVALID_HANDLE)?.context;
        unsafe { put(context, found) }
    }

    fn cuStreamSynchronize(state, stream: usize) {
        if stream <= 2 {
            return current(&state).map(|_| ());
        }
        let context = state.streams.get(&stream).ok_or(code::INVALID_HANDLE)?.context;
        match state.contexts.get(&context).ok_or(code::CONTEXT_IS_DESTROYED)?.error {
            0 => Ok(()),
            error => Err(error),
        }
    }

    fn cuStreamIsCapturing(state, stream: usize, status: *mut c_uint) {
        if stream <= 2 {
            let capturing = state.streams.values().any(|s| s.capture.is_some());
            return match capturing {
                true => Err(code::CAPTURE_IMPLICIT),
                false => unsafe { put(status, 0) },
            };
        }
        let found = state.streams.get(&stream).ok_or(code::INVALID_HANDLE)?;
        let number = match &found.capture {
            None => 0,
            Some(capture) => 1 + c_uint::from(capture.is_invalid),
        };
        unsafe { put(status, number) }
    }

    fn cuThreadExchangeStreamCaptureMode(_state, mode: *mut c_uint) {
        let new = unsafe { *mode };
        unsafe { put(mode, CAPTURE_MODE.replace(new)) }
    }

    fn cuStreamBeginCapture_v2(state, stream: usize, mode: c_uint) {
        let stream = state.streams.get_mut(&stream).ok_or(code::INVALID_HANDLE)?;
        stream.capture = Some(Capture { mode, launches: Vec::new(), is_invalid: false });
        Ok(())
    }

    fn cuStreamEndCapture(state, stream: usize, graph: *mut usize) {
        let stream = state.streams.get_mut(&stream).ok_or(code::INVALID_HANDLE)?;
        let capture = stream.capture.take().ok_or(code::INVALID_VALUE)?;
        if capture.is_invalid {
            return Err(code::CAPTURE_INVALIDATED);
        }
        let handle = state.handle();
        state.graphs.insert(handle, capture.launches);
        unsafe { put(graph, handle) }
    }

    // A graph and its executable form share a handle here.
    fn cuGraphInstantiateWithFlags(state, executable: *mut usize, graph: usize, _flags: u64) {
        if !state.graphs.contains_key(&graph) {
            return Err(code::INVALID_VALUE);
        }
        unsafe { put(executable, graph) }
    }

    fn cuGraphLaunch(state, graph: usize, stream: usize) {
        let context = match stream {
            0..=2 => current(&state)?,
            _ => state.streams.get(&stream).ok_or(code::INVALID_HANDLE)?.context,
        };
        let launches = state.graphs.remove(&graph).ok_or(code::INVALID_HANDLE)?;
        for launch in &launches {
            execute(&mut state, launch, context);
        }
        state.graphs.insert(graph, launches);
        Ok(())
    }

    fn cuPointerGetAttributes(
        state, count: c_uint, attributes: *const c_uint, data: *const *mut c_void, address: u64
    ) {
        let found = state.allocation(address);
        for i in 0..count as usize {
            let (attribute, slot) = unsafe { (*attributes.add(i), *data.add(i)) };
            let Some((start, allocation)) = found else {
                match attribute {
                    9 => unsafe { put(slot.cast::<c_int>(), -2) }?,
                    1 | 11 | 12 => unsafe { put(slot.cast::<u64>(), 0) }?,
                    _ => unsafe { put(slot.cast::<c_uint>(), 0) }?,
                }
                continue;
            };
            match attribute {
                1 => unsafe { put(slot.cast(), allocation.context) }?,
                2 => {
                    let kind = if allocation.kind == Kind::Pinned { 1 } else { 2 };
                    unsafe { put(slot.cast::<c_uint>(), kind) }?;
                }
                8 => unsafe { put(slot.cast(), allocation.kind == Kind::Managed) }?,
                9 => unsafe { put(slot.cast(), allocation.device) }?,
                11 => unsafe { put(slot.cast(), start) }?,
                12 => unsafe { put(slot.cast(), allocation.size) }?,
                _ => return Err(code::INVALID_VALUE),
            }
        }
        Ok(())
    }

    fn cuPointerGetAttribute(state, data: *mut c_int, attribute: c_uint, address: u64) {
        let device = state.allocation(address).ok_or(code::INVALID_VALUE)?.1.device;
        match attribute {
            9 => unsafe { put(data, device) },
            _ => Err(code::INVALID_VALUE),
        }
    }

    fn cuEventCreate(state, event: *mut usize, _flags: c_uint) {
        let context = current(&state)?;
        let handle = state.handle();
        state.events.insert(handle, context);
        unsafe { put(event, handle) }
    }

    fn cuEventRecord(state, event: usize, stream: usize) {
        check_event(&state, event, stream)
    }

    fn cuStreamWaitEvent(state, stream: usize, event: usize, _flags: c_uint) {
        check_event(&state, event, stream)
    }

    fn cuEventDestroy_v2(state, event: usize) {
        state.events.remove(&event).map(|_| ()).ok_or(code::INVALID_HANDLE)
    }

    fn cuModuleGetLoadingMode(state, mode: *mut c_uint) {
        unsafe { put(mode, if state.is_lazy { 2 } else { 1 }) }
    }

    fn cuModuleLoadData(state, module: *mut usize, image: *const u8) {
        let context = current(&state)?;
        if !state.is_allowed() {
            return Err(code::CAPTURE_UNSUPPORTED);
        }
        let device = state.devices[state.contexts[&context].device as usize];
        let (bytes, sm) = unsafe { read_image(image) }?;
        let is_ptx = bytes[0] != 0x7f;
        // The compiler may have another name for an architecture than the driver.
        let named = catalogue::ARCHITECTURES.iter().find(|arch| arch.sm == sm);
        let own = named.map_or(sm, catalogue::Arch::capability);
        if own > device || (!is_ptx && own / 10 != device / 10) {
            return Err(code::NO_BINARY_FOR_GPU);
        }
        state.last_image = if is_ptx { -(sm as i32) } else { sm as i32 };
        let id = state.contexts[&context].id;
        let handle = state.handle();
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let image = hasher.finish();
        state.images.entry(image).or_insert_with(|| names_in(bytes));
        state.modules.insert(handle, Module { context: id, sm, image });
        unsafe { put(module, handle) }
    }

    fn cuModuleUnload(state, module: usize) {
        state.free_functions_where(|function| function.module == module);
        state.modules.remove(&module).map(|_| ()).ok_or(code::INVALID_HANDLE)
    }

    fn cuModuleGetFunction(state, function: *mut usize, module: usize, name: *const c_char) {
        let name = unsafe { CStr::from_ptr(name) };
        let found = state.modules.get(&module).ok_or(code::INVALID_HANDLE)?;
        let (context, sm, image) = (found.context, found.sm, found.image);
        let is_there = state.images.get(&image).is_some_and(|names| names.contains(name));
        let kernel = kernel::find(sm, name).filter(|_| is_there).ok_or(code::NOT_FOUND)?;
        let is_loaded = !state.is_lazy;
        let handle = match state.free_functions.pop() {
            Some(handle) => handle,
            None => state.handle(),
        };
        state.functions.insert(handle, Function { context, module, kernel, is_loaded });
        unsafe { put(function, handle) }
    }

    fn cuFuncLoad(state, function: usize) {
        if !state.is_allowed() {
            return Err(code::CAPTURE_UNSUPPORTED);
        }
        let function = state.functions.get_mut(&function).ok_or(code::INVALID_HANDLE)?;
        function.is_loaded = true;
        Ok(())
    }

    fn cuLaunchKernel(
        state, function: usize,
        grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint,
        shared: c_uint, stream: usize, parameters: *mut *mut c_void, extra: *mut *mut c_void
    ) {
        let context = match stream {
            0..=2 => current(&state)?,
            _ => state.streams.get(&stream).ok_or(code::INVALID_HANDLE)?.context,
        };
        match state.contexts.get(&context).ok_or(code::CONTEXT_IS_DESTROYED)? {
            context if context.error != 0 => return Err(context.error),
            _ => {}
        }
        let id = state.contexts[&context].id;
        let found = state.functions.get(&function).ok_or(code::INVALID_HANDLE)?;
        if found.context != id {
            return Err(code::INVALID_HANDLE);
        }
        let flat = [grid_y, grid_z, block_y, block_z] == [1; 4];
        let valid = flat && shared == 0 && extra.is_null() && grid_x > 0 && block_x > 0
            && grid_x <= i32::MAX as u32 && block_x <= found.kernel.max_threads;
        if !valid {
            return Err(code::INVALID_VALUE);
        }
        let launch = unsafe { Launch::new(found.kernel, grid_x, block_x, parameters) };
        let is_loaded = found.is_loaded;
        let legacy_while_capturing =
            stream <= 1 && state.streams.values().any(|s| s.capture.as_ref().is_some_and(|c| c.mode != 2));
        if legacy_while_capturing {
            return Err(code::CAPTURE_IMPLICIT);
        }
        let captures = state.streams.get(&stream).is_some_and(|s| s.capture.is_some());
        state.launches += 1;
        state.last_launch = Some(Record {
            kernel: launch.name(), stream, blocks: grid_x, threads: block_x,
        });
        if captures {
            if !is_loaded && !state.is_allowed() {
                return Err(code::CAPTURE_UNSUPPORTED);
            }
            let stream = state.streams.get_mut(&stream).ok_or(code::INVALID_HANDLE)?;
            let capture = stream.capture.as_mut().ok_or(code::INVALID_HANDLE)?;
            capture.launches.push(launch);
        } else {
            if let Some(found) = state.functions.get_mut(&function) {
                found.is_loaded = true;
            }
            execute(&mut state, &launch, context);
        }
        Ok(())
    }

    fn cuMemAlloc_v2(state, address: *mut u64, size: usize) {
        let context = current(&state)?;
        if size > 1 << 36 {
            return Err(code::OUT_OF_MEMORY);
        }
        let device = state.contexts[&context].device;
        unsafe { put(address, allocate(&mut state, size, Kind::Device, context, device)) }
    }

    fn cuMemAllocAsync(state, address: *mut u64, size: usize, _stream: usize) {
        let context = current(&state)?;
        let device = state.contexts[&context].device;
        unsafe { put(address, allocate(&mut state, size, Kind::Pool, 0, device)) }
    }

    fn cuMemAllocManaged(state, address: *mut u64, size: usize, _flags: c_uint) {
        let context = current(&state)?;
        let device = state.contexts[&context].device;
        unsafe { put(address, allocate(&mut state, size, Kind::Managed, context, device)) }
    }

    fn cuMemAllocHost_v2(state, address: *mut u64, size: usize) {
        let context = current(&state)?;
        let device = state.contexts[&context].device;
        unsafe { put(address, allocate(&mut state, size, Kind::Pinned, context, device)) }
    }

    fn cuMemFree_v2(state, address: u64) {
        state.allocations.remove(&address).map(|_| ()).ok_or(code::INVALID_VALUE)
    }

    fn cuMemFreeHost(state, address: u64) {
        state.allocations.remove(&address).map(|_| ()).ok_or(code::INVALID_VALUE)
    }

    fn cuMemcpyHtoD_v2(state, to: u64, from: *const u8, size: usize) {
        current(&state)?;
        let (start, found) = state.allocation(to).ok_or(code::INVALID_VALUE)?;
        if size as u64 > found.size - (to - start) {
            return Err(code::INVALID_VALUE);
        }
        unsafe { std::ptr::copy(from, to as *mut u8, size) };
        Ok(())
    }

    fn cuMemcpyDtoH_v2(state, to: *mut u8, from: u64, size: usize) {
        current(&state)?;
        let (start, found) = state.allocation(from).ok_or(code::INVALID_VALUE)?;
        if size as u64 > found.size - (from - start) {
            return Err(code::INVALID_VALUE);
        }
        unsafe { std::ptr::copy(from as *const u8, to, size) };
        Ok(())
    }
}

/// The names of the kernels in an image. A cubin ends its symbol names with NUL; PTX follows an
/// entry's with a parenthesis.
fn names_in(image: &[u8]) -> HashSet<CString> {
    let mut names = HashSet::new();
    let mut rest = image;
    while let Some(at) = rest.windows(5).position(|window| window == b"mish_") {
        rest = &rest[at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let length = rest
            .iter()
            .position(|byte| !is_part(byte))
            .unwrap_or(rest.len());
        if matches!(rest.get(length), Some(0 | b'(')) {
            names.extend(CString::new(&rest[..length]).ok());
        }
        rest = &rest[length..];
    }
    names
}

fn allocate(state: &mut Locked, size: usize, kind: Kind, context: usize, device: i32) -> u64 {
    let memory = vec![0_u128; size.div_ceil(16).max(1) + 32].into_boxed_slice();
    // As aligned as a real driver's.
    let address = (memory.as_ptr() as u64).next_multiple_of(256);
    let allocation = Allocation {
        size: size as u64,
        kind,
        context,
        device,
        memory: Some(memory),
        is_accessible: true,
    };
    state.allocations.insert(address, allocation);
    address
}

/// Runs a launch on the memory that its context's device reaches; a stray access leaves a sticky
/// error, as on a device.
fn execute(state: &mut Locked, launch: &Launch, context: usize) {
    let Some(device) = state.contexts.get(&context).map(|context| context.device) else {
        return;
    };
    let reached = state.allocations.iter().filter(|(_, allocation)| {
        allocation.is_accessible
            && match allocation.kind {
                Kind::Device => allocation.context == context,
                Kind::Pool => allocation.device == device,
                Kind::Pinned | Kind::Managed => true,
            }
    });
    let ranges: Vec<Range> = reached
        .map(|(&start, allocation)| Range {
            start,
            end: start + allocation.size,
        })
        .collect();
    let half = state.most_blocks / 2;
    let result = if launch.blocks <= state.most_blocks {
        launch.run(0..launch.blocks, &ranges)
    } else {
        launch
            .run(0..half, &ranges)
            .and_then(|()| launch.run(launch.blocks - half..launch.blocks, &ranges))
    };
    if result.is_err()
        && let Some(context) = state.contexts.get_mut(&context)
    {
        context.error = code::ILLEGAL_ADDRESS;
    }
}

/// An image's bytes and architecture.
///
/// # Safety
/// `image` must point to a whole cubin, or to PTX that ends in NUL.
unsafe fn read_image<'a>(image: *const u8) -> Result<(&'a [u8], u32), Code> {
    // SAFETY: both kinds are longer than this.
    let head = unsafe { std::slice::from_raw_parts(image, 64) };
    let number = |at: usize, bytes: usize| {
        let bytes = &head[at..at + bytes];
        bytes
            .iter()
            .rev()
            .fold(0_u64, |n, &byte| n << 8 | u64::from(byte))
    };
    if head.starts_with(b"\x7fELF") {
        let flags = number(48, 4) as u32;
        // The architecture moved to the second byte with version 8 of the format.
        let sm = match head[8] {
            ..8 => flags & 0xff,
            _ => flags >> 8 & 0xff,
        };
        // The section headers come last but for the program headers.
        let sections = number(40, 8) + number(60, 2) * number(58, 2);
        let segments = number(32, 8) + number(56, 2) * number(54, 2);
        let size = sections.max(segments) as usize;
        // SAFETY: the headers lie within the image.
        return Ok((unsafe { std::slice::from_raw_parts(image, size) }, sm));
    }
    // SAFETY: PTX ends in NUL.
    let text = unsafe { CStr::from_ptr(image.cast()) }.to_bytes();
    let target = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.split_once(".target sm_"))
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .ok_or(code::INVALID_IMAGE)?;
    Ok((text, target))
}
