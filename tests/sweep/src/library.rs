//! The library under test, through its C ABI, and memory that its calls accept.

#[rustfmt::skip]
#[path = "../../abi/declarations.rs"]
mod declarations;

use std::ffi::{CStr, c_void};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use libloading::Library;

use declarations::mish_status;

use crate::format::Element;

/// Where the calls run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Device {
    /// The host.
    Cpu,
    /// The first GPU.
    Cuda,
}

impl Device {
    /// `MISH_DEVICE_*`.
    fn code(self) -> i32 {
        match self {
            Device::Cpu => declarations::MISH_DEVICE_CPU,
            Device::Cuda => declarations::MISH_DEVICE_CUDA,
        }
    }
}

/// The loaded library.
pub struct Mish {
    device: Device,
    functions: declarations::Library,
    /// Its version.
    pub version: String,
    cuda: Option<Cuda>,
    // After everything that points into it.
    _library: Library,
}

/// A copy of a symbol, valid as long as the library is loaded.
fn symbol<T: Copy>(library: &Library, name: &str) -> Result<T> {
    // SAFETY: the callers name functions of the types they have in mish.h or in the CUDA driver.
    let symbol = unsafe { library.get::<T>(name) };
    Ok(*symbol.with_context(|| format!("no symbol {name}"))?)
}

impl Mish {
    /// Loads it; its own calls then run on the calling thread alone.
    pub fn load(path: &Path, device: Device) -> Result<Mish> {
        // SAFETY: loading the library runs no code of its own.
        let library = unsafe { Library::new(path) }.with_context(|| path.display().to_string())?;
        // SAFETY: it is this repository's, and stays loaded as long as what is returned.
        let functions = unsafe { declarations::Library::of(&library) }?;
        let mish = Mish {
            device,
            functions,
            // SAFETY: the function returns a string that lives as long as the library.
            version: unsafe { CStr::from_ptr((functions.mish_version)()) }
                .to_str()?
                .to_owned(),
            cuda: match device {
                Device::Cpu => None,
                Device::Cuda => Some(Cuda::load()?),
            },
            _library: library,
        };
        // SAFETY: as declared in mish.h.
        mish.check(unsafe { (functions.mish_set_num_threads)(1) })?;
        Ok(mish)
    }

    fn check(&self, status: mish_status) -> Result<()> {
        if status != declarations::status::OK {
            // SAFETY: the string lives until this thread's next call.
            let message = unsafe { CStr::from_ptr((self.functions.mish_last_error)()) };
            bail!("status {status}: {}", message.to_string_lossy());
        }
        Ok(())
    }

    /// Prepares the calling thread.
    pub fn enter(&self) -> Result<()> {
        self.cuda.as_ref().map_or(Ok(()), Cuda::enter)
    }

    /// Waits for the calls so far.
    pub fn finish(&self) -> Result<()> {
        self.cuda.as_ref().map_or(Ok(()), Cuda::finish)
    }

    /// `mish_forward` for `n` elements.
    pub fn forward<E: Element>(&self, x: &Memory<E>, y: &mut Memory<E>, n: usize) -> Result<()> {
        ensure!(n <= x.len && n <= y.len, "too little memory");
        let stream = std::ptr::null_mut();
        // SAFETY: the pointers are valid for n elements.
        self.check(unsafe {
            (self.functions.mish_forward)(
                self.device.code(),
                E::DTYPE.code(),
                x.const_ptr(),
                y.mut_ptr(),
                n,
                stream,
            )
        })
    }

    /// `mish_backward` for `n` elements.
    pub fn backward<E: Element>(
        &self,
        grad_y: &Memory<E>,
        x: &Memory<E>,
        grad_x: &mut Memory<E>,
        n: usize,
    ) -> Result<()> {
        ensure!(
            n <= grad_y.len && n <= x.len && n <= grad_x.len,
            "too little memory"
        );
        let (device, stream) = (self.device.code(), std::ptr::null_mut());
        let (grad_y, x) = (grad_y.const_ptr(), x.const_ptr());
        // SAFETY: the pointers are valid for n elements.
        self.check(unsafe {
            (self.functions.mish_backward)(
                device,
                E::DTYPE.code(),
                grad_y,
                x,
                grad_x.mut_ptr(),
                n,
                stream,
            )
        })
    }

    /// `mish_double_backward` for `n` elements.
    pub fn double_backward<E: Element>(
        &self,
        inputs: [&Memory<E>; 3],
        grad_grad_y: &mut Memory<E>,
        grad_x: &mut Memory<E>,
        n: usize,
    ) -> Result<()> {
        ensure!(
            inputs.iter().all(|input| n <= input.len) && n <= grad_grad_y.len && n <= grad_x.len,
            "too little memory"
        );
        let [grad_grad_x, grad_y, x] = inputs.map(Memory::const_ptr);
        let (device, stream) = (self.device.code(), std::ptr::null_mut());
        let (first, second) = (grad_grad_y.mut_ptr(), grad_x.mut_ptr());
        // SAFETY: the pointers are valid for n elements.
        self.check(unsafe {
            (self.functions.mish_double_backward)(
                device,
                E::DTYPE.code(),
                grad_grad_x,
                grad_y,
                x,
                first,
                second,
                n,
                stream,
            )
        })
    }

    /// Zeroed memory for elements that both the device and this program can use.
    pub fn memory<E: Element>(&self, len: usize) -> Result<Memory<E>> {
        Ok(match &self.cuda {
            None => Memory::host(len),
            Some(cuda) => {
                let pointer = cuda.pinned(len * size_of::<E>())?.cast::<E>();
                // SAFETY: all bits zero are an element, and the memory is that large.
                unsafe { pointer.write_bytes(0, len) };
                Memory {
                    pointer,
                    len,
                    _vector: Vec::new(),
                }
            }
        })
    }
}

/// Elements in a vector, or in pinned memory, which stays until the program ends.
pub struct Memory<E> {
    pointer: *mut E,
    len: usize,
    _vector: Vec<E>,
}

// SAFETY: it owns what it points to.
unsafe impl<E: Send> Send for Memory<E> {}

impl<E> Memory<E> {
    /// Zeroed memory of the host.
    pub fn host(len: usize) -> Memory<E>
    where
        E: Element,
    {
        let mut vector = vec![E::default(); len];
        Memory {
            pointer: vector.as_mut_ptr(),
            len,
            _vector: vector,
        }
    }
    /// The bytes, to read.
    pub fn as_bytes(&self) -> &[u8]
    where
        E: Element,
    {
        // SAFETY: initialised, owned, and without padding.
        unsafe { std::slice::from_raw_parts(self.pointer.cast(), self.len * size_of::<E>()) }
    }
    /// The bytes, to write.
    pub fn as_mut_bytes(&mut self) -> &mut [u8]
    where
        E: Element,
    {
        // SAFETY: as above; all bits are an element.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.cast(), self.len * size_of::<E>()) }
    }
    fn const_ptr(&self) -> *const c_void {
        self.pointer.cast_const().cast()
    }
    fn mut_ptr(&mut self) -> *mut c_void {
        self.pointer.cast()
    }
    /// To read; only after [`Mish::finish`].
    pub fn as_slice(&self) -> &[E] {
        // SAFETY: initialised, and owned.
        unsafe { std::slice::from_raw_parts(self.pointer, self.len) }
    }
    /// To write.
    pub fn as_mut_slice(&mut self) -> &mut [E] {
        // SAFETY: initialised, and owned.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.len) }
    }
}

/// The few functions of the CUDA driver that make pinned memory.
struct Cuda {
    context: *mut c_void,
    set_current: unsafe extern "C" fn(*mut c_void) -> u32,
    alloc_host: unsafe extern "C" fn(*mut *mut c_void, usize) -> u32,
    synchronize: unsafe extern "C" fn() -> u32,
    _library: Library,
}

// SAFETY: a context may be made current on any thread.
unsafe impl Send for Cuda {}
// SAFETY: the driver is thread-safe.
unsafe impl Sync for Cuda {}

fn driver(result: u32) -> Result<()> {
    ensure!(result == 0, "the CUDA driver reports error {result}");
    Ok(())
}

impl Cuda {
    fn load() -> Result<Cuda> {
        // SAFETY: the driver's library is made to be loaded.
        let library = unsafe { Library::new("libcuda.so.1") }.context("no CUDA driver")?;
        let init: unsafe extern "C" fn(u32) -> u32 = symbol(&library, "cuInit")?;
        let device_get: unsafe extern "C" fn(*mut i32, i32) -> u32 =
            symbol(&library, "cuDeviceGet")?;
        let retain: unsafe extern "C" fn(*mut *mut c_void, i32) -> u32 =
            symbol(&library, "cuDevicePrimaryCtxRetain")?;
        let (mut device, mut context) = (0, std::ptr::null_mut());
        // SAFETY: as declared in cuda.h.
        unsafe {
            driver(init(0))?;
            driver(device_get(&mut device, 0))?;
            driver(retain(&mut context, device))?;
        }
        Ok(Cuda {
            context,
            set_current: symbol(&library, "cuCtxSetCurrent")?,
            alloc_host: symbol(&library, "cuMemAllocHost_v2")?,
            synchronize: symbol(&library, "cuCtxSynchronize")?,
            _library: library,
        })
    }

    /// Makes the context current.
    fn enter(&self) -> Result<()> {
        // SAFETY: as declared in cuda.h.
        driver(unsafe { (self.set_current)(self.context) })
    }

    fn pinned(&self, bytes: usize) -> Result<*mut c_void> {
        let mut pointer = std::ptr::null_mut();
        // SAFETY: as declared in cuda.h.
        driver(unsafe { (self.alloc_host)(&mut pointer, bytes) })?;
        Ok(pointer)
    }

    fn finish(&self) -> Result<()> {
        // SAFETY: as declared in cuda.h.
        driver(unsafe { (self.synchronize)() })
    }
}
