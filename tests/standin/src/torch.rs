//! The part of PyTorch's C shim that libmish's adapter calls: tensors of any strides on the CPU and
//! on the stand-in's devices, a registry of kernels, and a current stream for each device. So the
//! adapter's way from an operator to a launch can be watched without PyTorch and without a GPU.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the shim's functions return.
type Code = i32;
type Kernel = unsafe extern "C-unwind" fn(*mut u64, u64, u64);

const CPU: i32 = 0;
const CUDA: i32 = 1;
const F16: i32 = 5;
const F32: i32 = 6;
const F64: i32 = 7;
const BF16: i32 = 15;

/// A tensor object; a handle points to one.
#[derive(Clone)]
pub struct Tensor {
    data: *mut u8,
    sizes: Vec<i64>,
    strides: Vec<i64>,
    dtype: i32,
    device: (i32, i32),
}

/// Tensor objects that exist.
static TENSORS: AtomicUsize = AtomicUsize::new(0);
/// Kernels by `namespace/key/operator`.
static KERNELS: Mutex<Option<HashMap<String, Kernel>>> = Mutex::new(None);
/// The current stream of each device.
static STREAMS: Mutex<Option<HashMap<i32, usize>>> = Mutex::new(None);

thread_local! {
    /// What the last kernel of this thread threw.
    static THROWN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn lock<T: Default>(map: &'static Mutex<Option<T>>) -> MutexGuard<'static, Option<T>> {
    let mut guard = map.lock().unwrap_or_else(PoisonError::into_inner);
    guard.get_or_insert_default();
    guard
}

fn size_of(dtype: i32) -> usize {
    match dtype {
        F64 => 8,
        F32 => 4,
        _ => 2,
    }
}

impl Tensor {
    fn into_handle(self) -> *mut Tensor {
        TENSORS.fetch_add(1, Ordering::Relaxed);
        Box::into_raw(Box::new(self))
    }

    /// A tensor with memory of its own, which is never freed.
    fn empty(sizes: &[i64], strides: &[i64], dtype: i32, device: (i32, i32)) -> Option<Tensor> {
        let reach = |(&size, &stride): (&i64, &i64)| (size - 1) * stride;
        let elements = match sizes.contains(&0) {
            true => 1,
            false => 1 + sizes.iter().zip(strides).map(reach).sum::<i64>() as usize,
        };
        let bytes = elements * size_of(dtype);
        let data = if device.0 == CUDA {
            let mut address = 0;
            // SAFETY: a place to write to.
            if unsafe { crate::cuMemAlloc_v2(&mut address, bytes) } != 0 {
                return None;
            }
            address as *mut u8
        } else {
            Box::leak(vec![0_u128; bytes.div_ceil(16)].into_boxed_slice())
                .as_mut_ptr()
                .cast()
        };
        Some(Tensor {
            data,
            sizes: sizes.to_vec(),
            strides: strides.to_vec(),
            dtype,
            device,
        })
    }

    /// Dense, its dimensions in the order of this tensor's strides.
    fn empty_like(&self) -> Option<Tensor> {
        let mut order: Vec<usize> = (0..self.sizes.len()).collect();
        order.sort_by_key(|&d| self.strides[d]);
        let (mut strides, mut next) = (vec![0; order.len()], 1);
        for d in order {
            strides[d] = next;
            next *= self.sizes[d];
        }
        Tensor::empty(&self.sizes, &strides, self.dtype, self.device)
    }

    /// The bytes from the first element to each one, in row-major order.
    fn offsets(&self) -> Vec<isize> {
        let mut offsets = vec![0];
        for (&size, &stride) in self.sizes.iter().zip(&self.strides) {
            let step = stride as isize * size_of(self.dtype) as isize;
            offsets = (offsets.iter())
                .flat_map(|offset| (0..size as isize).map(move |i| offset + i * step))
                .collect();
        }
        offsets
    }
}

/// A tensor on the test's own memory. The caller deletes it, unless a kernel takes it over.
///
/// # Safety
/// `sizes` and `strides` must point to `dim` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_tensor(
    data: *mut c_void,
    dim: usize,
    sizes: *const i64,
    strides: *const i64,
    dtype: i32,
    device_type: i32,
    device_index: i32,
) -> *mut Tensor {
    // SAFETY: the caller's promise.
    let slice = |from: *const i64| unsafe { std::slice::from_raw_parts(from, dim) }.to_vec();
    Tensor {
        data: data.cast(),
        sizes: slice(sizes),
        strides: slice(strides),
        dtype,
        device: (device_type, device_index),
    }
    .into_handle()
}

/// Tensor objects that exist now.
#[unsafe(no_mangle)]
pub extern "C" fn standin_tensors() -> usize {
    TENSORS.load(Ordering::Relaxed)
}

/// Makes a stream a device's current one.
#[unsafe(no_mangle)]
pub extern "C" fn standin_use_stream(device: i32, stream: usize) {
    if let Some(streams) = &mut *lock(&STREAMS) {
        streams.insert(device, stream);
    }
}

/// Calls the kernel registered as `namespace/key/operator`; returns 0, 1 if it threw, or 2 if
/// there is none.
///
/// # Safety
/// `name` must be a C string, and the stack hold what the operator's schema says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_operator(
    name: *const c_char,
    stack: *mut u64,
    inputs: u64,
    outputs: u64,
) -> Code {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let kernel = lock(&KERNELS)
        .as_ref()
        .and_then(|kernels| kernels.get(&*name).copied());
    let Some(kernel) = kernel else { return 2 };
    THROWN.with_borrow_mut(Vec::clear);
    // SAFETY: the caller's promise.
    unsafe { kernel(stack, inputs, outputs) };
    THROWN.with_borrow(|text| i32::from(!text.is_empty()))
}

/// What the last kernel of this thread threw, empty if nothing.
#[unsafe(no_mangle)]
pub extern "C" fn standin_thrown() -> *const c_char {
    THROWN.with_borrow(|text| match text.is_empty() {
        true => c"".as_ptr(),
        false => text.as_ptr().cast(),
    })
}

macro_rules! shim {
    ($(fn $name:ident($($parameter:ident: $type:ty),*) $body:block)*) => {$(
        #[doc = concat!("`", stringify!($name), "` of the C shim.")]
        ///
        /// # Safety
        /// As for PyTorch's function.
        #[unsafe(no_mangle)]
        #[allow(unused_unsafe)]
        pub unsafe extern "C" fn $name($($parameter: $type),*) -> Code {
            // SAFETY: live tensors, places to write to and C strings, as PyTorch wants them.
            unsafe { $body }
        }
    )*};
}

shim! {
    fn aoti_torch_check(holds: bool, _f: *const c_char, _file: *const c_char, _line: u32, message: *const c_char) {
        if !holds {
            let text = CStr::from_ptr(message).to_bytes_with_nul().to_vec();
            THROWN.with_borrow_mut(|thrown| *thrown = text);
        }
        0
    }
    fn aoti_torch_delete_tensor_object(tensor: *mut Tensor) {
        TENSORS.fetch_sub(1, Ordering::Relaxed);
        drop(Box::from_raw(tensor));
        0
    }
    fn aoti_torch_new_tensor_handle(tensor: *mut Tensor, to: *mut *mut Tensor) {
        *to = (*tensor).clone().into_handle();
        0
    }
    fn aoti_torch_get_data_ptr(tensor: *mut Tensor, to: *mut *mut c_void) {
        *to = (*tensor).data.cast();
        0
    }
    fn torch_get_const_data_ptr(tensor: *mut Tensor, to: *mut *mut c_void) {
        *to = (*tensor).data.cast();
        0
    }
    fn aoti_torch_get_dim(tensor: *mut Tensor, to: *mut i64) {
        let tensor = &*tensor;
        *to = tensor.sizes.len() as i64;
        0
    }
    fn aoti_torch_get_sizes(tensor: *mut Tensor, to: *mut *const i64) {
        let tensor = &*tensor;
        *to = tensor.sizes.as_ptr();
        0
    }
    fn aoti_torch_get_strides(tensor: *mut Tensor, to: *mut *const i64) {
        let tensor = &*tensor;
        *to = tensor.strides.as_ptr();
        0
    }
    fn aoti_torch_get_dtype(tensor: *mut Tensor, to: *mut i32) {
        *to = (*tensor).dtype;
        0
    }
    fn aoti_torch_get_device_type(tensor: *mut Tensor, to: *mut i32) {
        *to = (*tensor).device.0;
        0
    }
    fn aoti_torch_get_device_index(tensor: *mut Tensor, to: *mut i32) {
        *to = (*tensor).device.1;
        0
    }
    fn aoti_torch_empty_strided(
        dim: i64, sizes: *const i64, strides: *const i64, dtype: i32, device: i32, index: i32,
        to: *mut *mut Tensor
    ) {
        let slice = |from| std::slice::from_raw_parts(from, dim as usize);
        match Tensor::empty(slice(sizes), slice(strides), dtype, (device, index)) {
            Some(tensor) => *to = tensor.into_handle(),
            None => return 1,
        }
        0
    }
    fn aoti_torch_copy_(tensor: *mut Tensor, source: *mut Tensor, _non_blocking: i32) {
        let (tensor, source) = (&*tensor, &*source);
        let size = size_of(tensor.dtype);
        if tensor.sizes != source.sizes || size != size_of(source.dtype) {
            return 1;
        }
        for (to, from) in tensor.offsets().into_iter().zip(source.offsets()) {
            std::ptr::copy(source.data.offset(from), tensor.data.offset(to), size);
        }
        0
    }
    fn aoti_torch_call_dispatcher(name: *const c_char, _overload: *const c_char, stack: *mut u64) {
        if CStr::from_ptr(name) != c"aten::empty_like" {
            return 1;
        }
        let like = *stack as *mut Tensor;
        let Some(tensor) = (*like).empty_like() else { return 1 };
        aoti_torch_delete_tensor_object(like);
        *stack = tensor.into_handle() as u64;
        0
    }
    fn aoti_torch_library_init_fragment(_namespace: *const c_char, _file: *const c_char, _line: u32, to: *mut *mut String) {
        *to = Box::into_raw(Box::default());
        0
    }
    fn aoti_torch_library_init_impl(
        namespace: *const c_char, key: *const c_char, _file: *const c_char, _line: u32,
        to: *mut *mut String
    ) {
        let text = |from| CStr::from_ptr(from).to_string_lossy();
        *to = Box::into_raw(Box::new(format!("{}/{}", text(namespace), text(key))));
        0
    }
    fn aoti_torch_library_def(_library: *mut String, _schema: *const c_char) {
        0
    }
    fn aoti_torch_library_impl(library: *mut String, name: *const c_char, kernel: Kernel) {
        let name = format!("{}/{}", *library, CStr::from_ptr(name).to_string_lossy());
        if let Some(kernels) = &mut *lock(&KERNELS) {
            kernels.insert(name, kernel);
        }
        0
    }
    fn aoti_torch_delete_library_object(library: *mut String) {
        let prefix = format!("{}/", *Box::from_raw(library));
        if let Some(kernels) = &mut *lock(&KERNELS) {
            kernels.retain(|name, _| !name.starts_with(&prefix));
        }
        0
    }
    fn aoti_torch_get_current_cuda_stream(device: i32, to: *mut usize) {
        match lock(&STREAMS).as_ref().and_then(|streams| streams.get(&device)) {
            Some(&stream) => *to = stream,
            None => return 1,
        }
        0
    }
    fn aoti_torch_device_type_cpu() { CPU }
    fn aoti_torch_device_type_cuda() { CUDA }
    fn aoti_torch_dtype_float16() { F16 }
    fn aoti_torch_dtype_bfloat16() { BF16 }
    fn aoti_torch_dtype_float32() { F32 }
    fn aoti_torch_dtype_float64() { F64 }
}
