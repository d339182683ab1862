//! Mish, its gradient and its second derivative from Rust: on slices and, where there is a GPU,
//! on device pointers. Memory comes from the driver API, so that no toolkit is needed.
//!
//!     cargo run --example quickstart

use std::error::Error;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use libloading::{Library, Symbol};
use mish::{Device, Dtype, Op};

const X: [f32; 8] = [-20.0, -5.0, -2.0, -1.0, 0.0, 0.5, 1.0, 10.0];
const GRAD_Y: [f32; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
const GRAD_GRAD_X: [f32; 8] = [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0];

fn print(device: &str, operation: &str, values: [f32; 8]) {
    for (i, value) in values.iter().enumerate() {
        println!("{device} {operation} {i} {value:e}");
    }
}

fn on_host() -> mish::Result<()> {
    let (mut first, mut second) = ([0.0; 8], [0.0; 8]);
    mish::forward(&X, &mut first)?;
    print("cpu", "forward", first);
    mish::backward(&GRAD_Y, &X, &mut first)?;
    print("cpu", "backward", first);
    mish::double_backward(
        &GRAD_GRAD_X,
        &GRAD_Y,
        &X,
        Some(&mut first),
        Some(&mut second),
    )?;
    print("cpu", "grad_grad_y", first);
    print("cpu", "grad_x", second);
    Ok(())
}

/// The few functions of the CUDA driver that hold memory.
struct Driver(Library);

impl Driver {
    fn open() -> Result<Self, Box<dyn Error>> {
        // SAFETY: the driver's initialisers ask for nothing.
        let driver = Driver(unsafe { Library::new("libcuda.so.1") }?);
        let mut context: *mut c_void = null_mut();
        // SAFETY: the signatures are the driver API's, here and below.
        unsafe {
            let init: Symbol<extern "C" fn(u32) -> c_int> = driver.0.get(b"cuInit")?;
            let retain: Symbol<extern "C" fn(*mut *mut c_void, c_int) -> c_int> =
                driver.0.get(b"cuDevicePrimaryCtxRetain")?;
            let set: Symbol<extern "C" fn(*mut c_void) -> c_int> =
                driver.0.get(b"cuCtxSetCurrent")?;
            assert_eq!((init(0), retain(&mut context, 0)), (0, 0));
            assert_eq!(set(context), 0);
        }
        Ok(driver)
    }

    /// Device memory that holds the values.
    fn upload(&self, values: [f32; 8]) -> Result<*mut c_void, Box<dyn Error>> {
        let mut pointer = 0_u64;
        // SAFETY: as above; the copy reads what the array holds.
        unsafe {
            let alloc: Symbol<extern "C" fn(*mut u64, usize) -> c_int> =
                self.0.get(b"cuMemAlloc_v2")?;
            let copy: Symbol<extern "C" fn(u64, *const f32, usize) -> c_int> =
                self.0.get(b"cuMemcpyHtoD_v2")?;
            assert_eq!(alloc(&mut pointer, size_of_val(&values)), 0);
            assert_eq!(copy(pointer, values.as_ptr(), size_of_val(&values)), 0);
        }
        Ok(pointer as *mut c_void)
    }

    /// A copy on the default stream, which waits for what was enqueued there.
    fn download(&self, pointer: *mut c_void) -> Result<[f32; 8], Box<dyn Error>> {
        let mut values = [0.0; 8];
        // SAFETY: as above; the copy writes what the array holds.
        unsafe {
            let copy: Symbol<extern "C" fn(*mut f32, u64, usize) -> c_int> =
                self.0.get(b"cuMemcpyDtoH_v2")?;
            let bytes = size_of_val(&values);
            assert_eq!(copy(values.as_mut_ptr(), pointer as u64, bytes), 0);
        }
        Ok(values)
    }
}

fn on_gpu() -> Result<(), Box<dyn Error>> {
    let driver = Driver::open()?;
    let x = driver.upload(X)?;
    let grad_y = driver.upload(GRAD_Y)?;
    let grad_grad_x = driver.upload(GRAD_GRAD_X)?;
    let (first, second) = (driver.upload([0.0; 8])?, driver.upload([0.0; 8])?);
    let run = |op, pointers: &[*mut c_void]| {
        // SAFETY: every pointer is device memory for 8 floats, and stays allocated.
        unsafe { mish::run_contiguous(Device::Cuda, op, Dtype::F32, pointers, 8, null_mut()) }
    };
    run(Op::Forward, &[x, first])?;
    print("cuda", "forward", driver.download(first)?);
    run(Op::Backward, &[grad_y, x, first])?;
    print("cuda", "backward", driver.download(first)?);
    run(Op::DoubleBackward, &[grad_grad_x, grad_y, x, first, second])?;
    print("cuda", "grad_grad_y", driver.download(first)?);
    print("cuda", "grad_x", driver.download(second)?);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    on_host()?;
    match mish::device_count(Device::Cuda) {
        Ok(0) => eprintln!("no GPU"),
        Ok(_) => on_gpu()?,
        Err(error) => eprintln!("no GPU: {error}"),
    }
    Ok(())
}
