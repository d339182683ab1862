//! The part of libtorch's C shim that the adapter uses, found at run time.
//!
//! PyTorch keeps the signatures of these functions from release to release. All but the optional
//! ones are in PyTorch 2.9, the oldest release served.

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::sync::{Mutex, PoisonError};

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

use super::layout;
use crate::adapters::common::{Part, is_row_major, row_major};
use crate::catalogue::Dtype;
use crate::status::{Result, fail};

/// A pointer to a tensor object, owned by whoever holds it last.
pub type Handle = *mut c_void;
/// A pointer to a `torch::Library`: what it registered lasts as long as it does.
pub type LibraryHandle = *mut c_void;
/// A kernel. Arguments come in and results go out on the stack; it may throw through `check`.
pub type Kernel = unsafe extern "C-unwind" fn(stack: *mut u64, inputs: u64, outputs: u64);
/// What a shim function returns: 0, or it failed.
pub type Code = i32;

macro_rules! shim {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $symbol:literal,)*) => {
        /// The functions every served PyTorch has.
        #[derive(Clone, Copy)]
        struct Functions { $($name: $type,)* }

        impl Functions {
            /// # Safety
            /// The library must be libtorch.
            unsafe fn load(library: &Library, missing: &mut Vec<&'static str>) -> Option<Self> {
                // SAFETY: PyTorch's headers declare the functions with these types.
                $(let $name = unsafe { library.get::<$type>($symbol.to_bytes_with_nul()) };)*
                $(if $name.is_err() { missing.push($symbol.to_str().unwrap_or_default()); })*
                Some(Functions { $($name: *$name.ok()?,)* })
            }
        }
    };
}

type Getter<T> = unsafe extern "C" fn(Handle, *mut T) -> Code;
type Constant = unsafe extern "C" fn() -> i32;
type CallPart = unsafe extern "C" fn(start: i64, end: i64, context: *mut c_void);
type ParallelFor = unsafe extern "C" fn(i64, i64, i64, CallPart, *mut c_void) -> Code;
/// `at::_ops::mish_out::call`, C++: takes and returns references to `at::Tensor`, which is what
/// the handles point to.
type MishOut = unsafe extern "C-unwind" fn(x: Handle, out: Handle) -> Handle;
type CurrentStream = unsafe extern "C" fn(i32, *mut *mut c_void) -> Code;

shim! {
    check: unsafe extern "C-unwind" fn(bool, *const c_char, *const c_char, u32, *const c_char) = c"aoti_torch_check",
    delete_tensor: unsafe extern "C" fn(Handle) -> Code = c"aoti_torch_delete_tensor_object",
    new_handle: unsafe extern "C" fn(Handle, *mut Handle) -> Code = c"aoti_torch_new_tensor_handle",
    data: Getter<*mut c_void> = c"aoti_torch_get_data_ptr",
    dim: Getter<i64> = c"aoti_torch_get_dim",
    sizes: Getter<*mut i64> = c"aoti_torch_get_sizes",
    strides: Getter<*mut i64> = c"aoti_torch_get_strides",
    dtype: Getter<i32> = c"aoti_torch_get_dtype",
    device_type: Getter<i32> = c"aoti_torch_get_device_type",
    device_index: Getter<i32> = c"aoti_torch_get_device_index",
    empty_strided: unsafe extern "C" fn(i64, *const i64, *const i64, i32, i32, i32, *mut Handle) -> Code = c"aoti_torch_empty_strided",
    copy: unsafe extern "C" fn(Handle, Handle, i32) -> Code = c"aoti_torch_copy_",
    library_fragment: unsafe extern "C" fn(*const c_char, *const c_char, u32, *mut LibraryHandle) -> Code = c"aoti_torch_library_init_fragment",
    library_impl: unsafe extern "C" fn(*const c_char, *const c_char, *const c_char, u32, *mut LibraryHandle) -> Code = c"aoti_torch_library_init_impl",
    define: unsafe extern "C" fn(LibraryHandle, *const c_char) -> Code = c"aoti_torch_library_def",
    implement: unsafe extern "C" fn(LibraryHandle, *const c_char, Kernel) -> Code = c"aoti_torch_library_impl",
    delete_library: unsafe extern "C" fn(LibraryHandle) -> Code = c"aoti_torch_delete_library_object",
    device_cpu: Constant = c"aoti_torch_device_type_cpu",
    device_cuda: Constant = c"aoti_torch_device_type_cuda",
    dtype_f16: Constant = c"aoti_torch_dtype_float16",
    dtype_bf16: Constant = c"aoti_torch_dtype_bfloat16",
    dtype_f32: Constant = c"aoti_torch_dtype_float32",
    dtype_f64: Constant = c"aoti_torch_dtype_float64",
}

/// One PyTorch's shim.
pub struct Shim {
    functions: Functions,
    /// Reads a tensor's address without materialising a lazy copy (PyTorch 2.10).
    const_data: Option<unsafe extern "C" fn(Handle, *mut *const c_void) -> Code>,
    /// Why the last shim function of this thread failed (PyTorch 2.13).
    what: Option<unsafe extern "C" fn() -> *const c_char>,
    /// Splits work over PyTorch's threads (PyTorch 2.10).
    parallel_for: Option<ParallelFor>,
    /// PyTorch's own Mish, for the exception that it throws where it has none.
    mish_out: Option<MishOut>,
    current_cuda_stream: Option<CurrentStream>,
    dtypes: [(i32, Dtype); 4],
    device_cpu: i32,
    device_cuda: i32,
}

impl Shim {
    /// Finds the functions in `libtorch_cpu.so` and, unless it is `None`, `libtorch_cuda.so`.
    ///
    /// # Safety
    /// The paths must be those of a PyTorch that stays loaded for good.
    pub unsafe fn load(cpu: &OsStr, cuda: Option<&OsStr>) -> Result<Shim> {
        let mut missing = Vec::new();
        // SAFETY: the caller's promise.
        let library = unsafe { open("libtorch_cpu", cpu) }?;
        // SAFETY: as above.
        let functions = unsafe { Functions::load(&library, &mut missing) };
        // SAFETY: PyTorch declares them so.
        let const_data = unsafe { library.get(c"torch_get_const_data_ptr".to_bytes_with_nul()) };
        // SAFETY: as above.
        let what = unsafe {
            library.get(c"torch_exception_get_what_without_backtrace".to_bytes_with_nul())
        };
        // SAFETY: as above.
        let parallel_for = unsafe { library.get(c"torch_parallel_for".to_bytes_with_nul()) };
        let name = c"_ZN2at4_ops8mish_out4callERKNS_6TensorERS2_";
        // SAFETY: as above.
        let mish_out = unsafe { library.get(name.to_bytes_with_nul()) };
        let mut current_cuda_stream = None;
        if let Some(path) = cuda {
            // SAFETY: the caller's promise.
            let library = unsafe { open("libtorch_cuda", path) }?;
            let name = c"aoti_torch_get_current_cuda_stream";
            // SAFETY: PyTorch declares it so.
            match unsafe { library.get::<CurrentStream>(name.to_bytes_with_nul()) } {
                Ok(function) => current_cuda_stream = Some(*function),
                Err(_) => missing.push(name.to_str().unwrap_or_default()),
            }
        }
        let Some(functions) = functions.filter(|_| missing.is_empty()) else {
            fail!(
                MissingSymbol,
                "libtorch_cpu: {} lacks {}; libmish needs PyTorch 2.9 or newer",
                cpu.display(),
                missing.join(", ")
            );
        };
        // SAFETY: functions without arguments.
        unsafe {
            Ok(Shim {
                const_data: const_data.ok().map(|function| *function),
                what: what.ok().map(|function| *function),
                parallel_for: parallel_for.ok().map(|function| *function),
                mish_out: mish_out.ok().map(|function| *function),
                current_cuda_stream,
                dtypes: [
                    ((functions.dtype_f32)(), Dtype::F32),
                    ((functions.dtype_f16)(), Dtype::F16),
                    ((functions.dtype_bf16)(), Dtype::BF16),
                    ((functions.dtype_f64)(), Dtype::F64),
                ],
                device_cpu: (functions.device_cpu)(),
                device_cuda: (functions.device_cuda)(),
                functions,
            })
        }
    }

    /// Whether this PyTorch was built with CUDA.
    pub fn has_cuda(&self) -> bool {
        self.current_cuda_stream.is_some()
    }

    /// Whether [`Shim::split`] can be called.
    pub fn can_split(&self) -> bool {
        self.parallel_for.is_some()
    }

    /// Splits `0..n` over PyTorch's threads, as many as `torch.set_num_threads` allows, each part
    /// no shorter than `grain`.
    pub fn split(&self, n: usize, grain: usize, part: &(dyn Fn(usize, usize) + Sync)) {
        unsafe extern "C" fn call(start: i64, end: i64, part: *mut c_void) {
            // SAFETY: the part below, which outlives the call.
            unsafe { &*part.cast::<Part<'_>>() }.call(start as usize, end as usize);
        }
        let kept = Part::new(part);
        let pointer = std::ptr::from_ref(&kept).cast_mut().cast();
        let code = match self.parallel_for {
            // SAFETY: PyTorch calls the function with this part before it returns.
            Some(function) => unsafe { function(0, n as i64, grain as i64, call, pointer) },
            None => 1,
        };
        kept.finish();
        if code != 0 {
            // It failed before it began, as what it calls does not throw.
            part(0, n);
        }
    }

    /// Throws the C++ exception that becomes Python's `RuntimeError`.
    ///
    /// # Safety
    /// `message` must be a C string. No frame between here and libtorch may own anything: a
    /// library linked elsewhere may carry another unwinder, which could not resume this one.
    pub unsafe fn throw(&self, message: *const c_char) {
        let here = c"libmish".as_ptr();
        // SAFETY: C strings; the caller's promise.
        unsafe { (self.functions.check)(false, here, here, 0, message) }
    }

    /// Has PyTorch throw what it throws for its own Mish of a tensor it has none for; returns if
    /// it does not.
    ///
    /// # Safety
    /// As for [`Shim::throw`].
    pub unsafe fn refuse(&self, refused: Refused) {
        // SAFETY: a live tensor; the caller's promise.
        unsafe { (refused.mish_out)(refused.tensor, refused.tensor) };
    }

    /// An empty tensor like one that PyTorch refuses, for [`Shim::refuse`]: an exception leaves no
    /// time to give back the tensor itself. At most one for each type and device is ever made.
    pub fn refused(&self, place: Place) -> Option<Refused> {
        static MADE: Mutex<Vec<(Place, usize)>> = Mutex::new(Vec::new());
        let mish_out = self.mish_out?;
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let found = made.iter().find(|(known, _)| *known == place);
        let tensor = match found {
            Some(&(_, handle)) => handle as Handle,
            None => {
                let handle = self.empty_strided(&[0], &[1], place).ok()?.into_stack() as Handle;
                made.push((place, handle as usize));
                handle
            }
        };
        Some(Refused { mish_out, tensor })
    }

    /// The library's name of an element type, if it has one.
    pub fn dtype(&self, code: i32) -> Option<Dtype> {
        let same = |&&(known, _): &&(i32, Dtype)| known == code;
        self.dtypes.iter().find(same).map(|&(_, dtype)| dtype)
    }

    /// PyTorch's number of float32.
    pub fn float32(&self) -> i32 {
        self.dtypes[0].0
    }

    /// PyTorch's name of an element type, for messages.
    pub fn dtype_name(&self, code: i32) -> String {
        // The numbers are as good as fixed, and nothing but this text depends on them.
        const NAMES: [&str; 12] = [
            "Byte",
            "Char",
            "Short",
            "Int",
            "Long",
            "Half",
            "Float",
            "Double",
            "ComplexHalf",
            "ComplexFloat",
            "ComplexDouble",
            "Bool",
        ];
        const LATER: [&str; 7] = [
            "Float8_e5m2",
            "Float8_e4m3fn",
            "Float8_e5m2fnuz",
            "Float8_e4m3fnuz",
            "UInt16",
            "UInt32",
            "UInt64",
        ];
        let name = |names: &[&str], first| -> Option<String> {
            let index = usize::try_from(code - first).ok()?;
            names.get(index).map(|&name| name.into())
        };
        match self.dtype(code) {
            Some(Dtype::BF16) => "BFloat16".into(),
            _ => (name(&NAMES, 0).or_else(|| name(&LATER, 23)))
                .unwrap_or_else(|| format!("ScalarType {code}")),
        }
    }

    /// Whether a device is the CPU or a CUDA device.
    pub fn is_cuda(&self, (kind, _): (i32, i32)) -> Option<bool> {
        if kind == self.device_cpu {
            Some(false)
        } else if kind == self.device_cuda {
            Some(true)
        } else {
            None
        }
    }

    /// `cpu` or `cuda:0`, for messages.
    pub fn device_name(&self, device: (i32, i32)) -> String {
        match self.is_cuda(device) {
            Some(false) => "cpu".into(),
            Some(true) => format!("cuda:{}", device.1),
            None => format!("device type {}", device.0),
        }
    }

    fn empty_strided(&self, sizes: &[i64], strides: &[i64], place: Place) -> Result<Tensor<'_>> {
        let handle = self.out("the output", |handle| {
            // SAFETY: as many strides as sizes, and a place to write to.
            unsafe {
                (self.functions.empty_strided)(
                    sizes.len() as i64,
                    sizes.as_ptr(),
                    strides.as_ptr(),
                    place.dtype_code,
                    place.device.0,
                    place.device.1,
                    handle,
                )
            }
        })?;
        Ok(Tensor { shim: self, handle })
    }

    /// A new `torch::Library` that adds operators to a namespace.
    pub fn fragment(&self, namespace: &CStr) -> Result<LibraryHandle> {
        self.out("torch::Library", |library| {
            // SAFETY: C strings and a place to write to.
            unsafe {
                (self.functions.library_fragment)(
                    namespace.as_ptr(),
                    c"libmish".as_ptr(),
                    0,
                    library,
                )
            }
        })
    }

    /// A new `torch::Library` that adds kernels for one dispatch key to a namespace.
    pub fn kernels(&self, namespace: &CStr, key: &CStr) -> Result<LibraryHandle> {
        self.out("torch::Library", |library| {
            // SAFETY: C strings and a place to write to.
            unsafe {
                (self.functions.library_impl)(
                    namespace.as_ptr(),
                    key.as_ptr(),
                    c"libmish".as_ptr(),
                    0,
                    library,
                )
            }
        })
    }

    /// Declares an operator.
    ///
    /// # Safety
    /// The library must be alive.
    pub unsafe fn define(&self, library: LibraryHandle, schema: &CStr) -> Result<()> {
        // SAFETY: the caller's promise.
        let code = unsafe { (self.functions.define)(library, schema.as_ptr()) };
        self.done(code, "torch::Library::def")
    }

    /// Registers an operator's kernel.
    ///
    /// # Safety
    /// The library must be alive, and the kernel fit the operator's schema.
    pub unsafe fn implement(
        &self,
        library: LibraryHandle,
        name: &CStr,
        kernel: Kernel,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        let code = unsafe { (self.functions.implement)(library, name.as_ptr(), kernel) };
        self.done(code, "torch::Library::impl")
    }

    /// Withdraws everything a library registered.
    ///
    /// # Safety
    /// The library must be alive, and is gone afterwards.
    pub unsafe fn delete_library(&self, library: LibraryHandle) -> Result<()> {
        // SAFETY: the caller's promise.
        let code = unsafe { (self.functions.delete_library)(library) };
        self.done(code, "torch::~Library")
    }

    /// The current stream of a CUDA device.
    pub fn current_cuda_stream(&self, index: i32) -> Result<*mut c_void> {
        let Some(function) = self.current_cuda_stream else {
            fail!(
                UnsupportedDevice,
                "x: is on a CUDA device, but libtorch_cuda was not given"
            );
        };
        // SAFETY: a place to write to.
        self.out("the current stream", |stream| unsafe {
            function(index, stream)
        })
    }

    fn out<T: Copy>(&self, what: &str, function: impl FnOnce(*mut T) -> Code) -> Result<T> {
        let mut value = std::mem::MaybeUninit::uninit();
        let code = function(value.as_mut_ptr());
        self.done(code, what)?;
        // SAFETY: written on success.
        Ok(unsafe { value.assume_init() })
    }

    fn done(&self, code: Code, what: &str) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        let why = match self.what {
            // SAFETY: a C string of this thread, copied at once.
            Some(function) => unsafe { CStr::from_ptr(function()) }.to_string_lossy(),
            None => "PyTorch wrote the reason to the standard error".into(),
        };
        fail!(FrameworkError, "{what}: PyTorch failed: {why}")
    }
}

/// A tensor that is deleted with this value.
pub struct Tensor<'a> {
    pub shim: &'a Shim,
    handle: Handle,
}

impl Drop for Tensor<'_> {
    fn drop(&mut self) {
        // SAFETY: owned, and not used again.
        unsafe { (self.shim.functions.delete_tensor)(self.handle) };
    }
}

impl<'a> Tensor<'a> {
    /// Takes over a tensor from a kernel's stack.
    ///
    /// # Safety
    /// The value must be an owned tensor handle.
    pub unsafe fn from_stack(shim: &'a Shim, value: u64) -> Self {
        Tensor {
            shim,
            handle: value as Handle,
        }
    }

    /// Hands the tensor over to a kernel's stack.
    pub fn into_stack(self) -> u64 {
        let value = self.handle as u64;
        std::mem::forget(self);
        value
    }

    /// A new, uninitialised tensor of this one's shape, type, device and order of dimensions.
    pub fn empty_like(&self, info: &Info<'_>) -> Result<Tensor<'a>> {
        let own = info.is_contiguous && info.sizes.iter().all(|&size| size > 1);
        let made = (!own).then(|| layout::strides(info));
        let strides = made.as_deref().unwrap_or(info.strides);
        self.shim.empty_strided(info.sizes, strides, info.place())
    }

    /// Another owner of the same tensor.
    pub fn share(&self) -> Result<Tensor<'a>> {
        // SAFETY: a live tensor and a place to write to.
        let handle = self.shim.out("a tensor handle", |handle| unsafe {
            (self.shim.functions.new_handle)(self.handle, handle)
        })?;
        Ok(Tensor {
            shim: self.shim,
            handle,
        })
    }

    /// Copies another tensor's elements into this one.
    pub fn copy_from(&self, source: &Tensor<'_>) -> Result<()> {
        // SAFETY: live tensors.
        let code = unsafe { (self.shim.functions.copy)(self.handle, source.handle, 0) };
        self.shim.done(code, "copy_")
    }

    /// Shape, type and place. Valid while the tensor is.
    pub fn info(&self) -> Result<Info<'_>> {
        let shim = self.shim;
        let functions = &shim.functions;
        macro_rules! get {
            ($function:ident) => {
                // SAFETY: a live tensor and a place to write to.
                shim.out(stringify!($function), |value| unsafe {
                    (functions.$function)(self.handle, value)
                })?
            };
        }
        let dim = get!(dim) as usize;
        let slice = |pointer: *mut i64| match dim {
            0 => &[][..],
            // SAFETY: `dim` values, borrowed from the tensor.
            _ => unsafe { std::slice::from_raw_parts(pointer.cast_const(), dim) },
        };
        let (sizes, strides) = (slice(get!(sizes)), slice(get!(strides)));
        Ok(Info {
            sizes,
            strides,
            is_contiguous: is_row_major(sizes, strides) || sizes.contains(&0),
            dtype_code: get!(dtype),
            device_type: get!(device_type),
            device_index: get!(device_index),
        })
    }

    /// The first element's address, to be read.
    pub fn address(&self) -> Result<*mut c_void> {
        match self.shim.const_data {
            // SAFETY: a live tensor and a place to write to.
            Some(function) => self.shim.out("data pointer", |pointer| unsafe {
                function(self.handle, pointer as *mut *const c_void)
            }),
            None => self.address_mut(),
        }
    }

    /// The first element's address, to be written.
    pub fn address_mut(&self) -> Result<*mut c_void> {
        // SAFETY: a live tensor and a place to write to.
        self.shim.out("data pointer", |pointer| unsafe {
            (self.shim.functions.data)(self.handle, pointer)
        })
    }
}

/// What PyTorch's own Mish is called with to throw.
#[derive(Clone, Copy)]
pub struct Refused {
    mish_out: MishOut,
    tensor: Handle,
}

/// An element type and a device, in PyTorch's numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    dtype_code: i32,
    device: (i32, i32),
}

/// What a tensor is.
pub struct Info<'a> {
    pub sizes: &'a [i64],
    pub strides: &'a [i64],
    pub is_contiguous: bool,
    pub dtype_code: i32,
    device_type: i32,
    pub device_index: i32,
}

impl Info<'_> {
    /// The element type and the device.
    pub fn place(&self) -> Place {
        Place {
            dtype_code: self.dtype_code,
            device: self.device(),
        }
    }

    /// A new, uninitialised tensor on this one's device, dense in the order of its dimensions.
    pub fn empty<'s>(&self, shim: &'s Shim, sizes: &[i64], dtype_code: i32) -> Result<Tensor<'s>> {
        let place = Place {
            dtype_code,
            ..self.place()
        };
        shim.empty_strided(sizes, &row_major(sizes), place)
    }

    /// PyTorch's numbers of the device.
    pub fn device(&self) -> (i32, i32) {
        (self.device_type, self.device_index)
    }
}

/// # Safety
/// The path must be PyTorch's.
unsafe fn open(argument: &str, path: &OsStr) -> Result<std::mem::ManuallyDrop<Library>> {
    // SAFETY: already loaded by PyTorch, so nothing new is initialised.
    match unsafe { Library::open(Some(path), RTLD_LAZY | RTLD_LOCAL) } {
        // Never closed: its functions are kept for good.
        Ok(library) => Ok(std::mem::ManuallyDrop::new(library)),
        Err(error) => fail!(
            MissingLibrary,
            "{argument}: {} cannot be opened: {error}",
            path.display()
        ),
    }
}
