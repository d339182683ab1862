//! Drivers that are missing, too old or fail.

use crate::abi::{
    self, CPU, CUDA, Dtype, Op, Pointer, Tensor, call, call_tensors, dltype, failed, mish, status,
    succeeded,
};
use crate::driver::{self, Buffer, Place, driver as api};
use crate::scenarios::contexts::Ones;

const NULL: Pointer = std::ptr::null_mut();

/// Every CUDA entry point fails in this way, again and again, and the CPU goes on.
#[track_caller]
fn everything_fails(expected: i32, part: &str, counts_devices: bool) {
    let host = [Buffer::new(Place::Host, 64), Buffer::new(Place::Host, 64)];
    host[0].bytes().fill(0);
    let p = [host[0].pointer(), host[1].pointer()];
    for _ in 0..3 {
        failed(
            call(Op::Forward, CUDA, Dtype::F32, &p, 16, NULL),
            expected,
            part,
        );
        host[1].untouched();
        // SAFETY: plain values and a variable.
        unsafe {
            failed((mish().mish_warmup)(CUDA, 0), expected, part);
            let mut count = -1;
            let code = (mish().mish_device_count)(CUDA, &mut count);
            match counts_devices {
                true => assert_eq!((code, count), (status::OK, 0)),
                false => failed(code, expected, part),
            }
            assert!(!(mish().mish_build_info)().is_null());
        }
        // n = 0 touches nothing, not even the driver.
        succeeded(call(Op::Forward, CUDA, Dtype::F32, &p, 0, NULL));
        succeeded(call(Op::Forward, CPU, Dtype::F32, &p, 16, NULL));
        assert!(host[1].bytes().iter().all(|&byte| byte == 0));
        host[1].reset();
    }
}

pub fn no_device() {
    everything_fails(status::NO_DEVICE, "CUDA_VISIBLE_DEVICES", true);
}

pub fn too_old() {
    everything_fails(status::DRIVER_TOO_OLD, "CUDA 11.8", false);
}

pub fn no_driver() {
    everything_fails(status::NO_DRIVER, "libcuda.so.1", false);
}

pub fn missing_symbol() {
    everything_fails(status::DRIVER_TOO_OLD, "lacks cu", false);
}

/// Without `cuFuncLoad` a lazily loading driver cannot load during a capture; all else works.
pub fn missing_option() {
    driver::init();
    let context = driver::create_context(0);
    let ones = Ones::new(Place::Device);
    let stream = driver::create_stream();
    // SAFETY: a stream.
    driver::ok(unsafe { (api().cuStreamBeginCapture_v2)(stream as usize, 0) });
    ones.refused(stream, status::CAPTURE_UNSUPPORTED, "mish_warmup");
    // SAFETY: valid for writing.
    driver::get(|to| unsafe { (api().cuStreamEndCapture)(stream as usize, to) });
    ones.check(stream);
    ones.check(NULL);
    driver::destroy_context(context);
}

/// `cuInit` and `cuDriverGetVersion` fail, then work.
pub fn initialisation() {
    for (code, expected) in [
        (2, status::OUT_OF_MEMORY),
        (3, status::NO_DRIVER),
        (100, status::NO_DEVICE),
        (34, status::NO_DRIVER),
        (803, status::NO_DRIVER),
        (4242, status::NO_DRIVER),
        (999, status::NO_DRIVER),
    ] {
        driver::fail("cuInit", 1, code, false);
        // SAFETY: plain values.
        failed(
            unsafe { (mish().mish_warmup)(CUDA, 0) },
            expected,
            "device: ".trim_start_matches(
                // Running out of memory is the driver call's own failure.
                if code == 2 { "device: " } else { "" },
            ),
        );
    }
    driver::fail("cuDriverGetVersion", 1, 999, false);
    // SAFETY: plain values. The first success is kept: this call does not ask again.
    succeeded(unsafe { (mish().mish_warmup)(CUDA, 1) });
    driver::heal();
    let context = driver::create_context(0);
    Ones::new(Place::Device).check(NULL);
    driver::destroy_context(context);
}

/// A library that calls itself the driver and is a toolkit's stub says so in every call; once the
/// right one answers, the next call works.
pub fn toolkit_stub() {
    for function in ["cuDriverGetVersion", "cuInit"] {
        driver::fail(function, 1, 34, true);
        everything_fails(status::NO_DRIVER, "stub", false);
        driver::heal();
    }
    // SAFETY: plain values.
    succeeded(unsafe { (mish().mish_warmup)(CUDA, 0) });
}

/// The library has found the driver, the one that the test finds by its own name.
#[track_caller]
fn is_the_same_driver() {
    // SAFETY: plain values.
    succeeded(unsafe { (mish().mish_warmup)(CUDA, 0) });
    assert_eq!(driver::calls("cuInit"), 1, "another driver was initialised");
    let context = driver::create_context(0);
    Ones::new(Place::Device).check(NULL);
    driver::destroy_context(context);
}

/// A `libcuda.so` before the driver on the library path is not touched.
pub fn beside_stub() {
    is_the_same_driver();
}

/// The driver that the process has loaded is taken, whatever is on the library path.
pub fn loaded_elsewhere() {
    let folder = std::env::var("LD_LIBRARY_PATH").expect("the runner sets it");
    let path = std::path::Path::new(&folder).join(crate::runner::ELSEWHERE);
    // SAFETY: the stand-in has no initialisers.
    std::mem::forget(unsafe { libloading::Library::new(path) }.expect("the stand-in opens"));
    // Also a CPU call asks this one.
    driver::init();
    let context = driver::create_context(0);
    let ones = Ones::new(Place::Device);
    let (x, y) = (ones.x.pointer(), ones.y.pointer());
    failed(
        call(Op::Forward, CPU, Dtype::F32, &[x, y], 9, NULL),
        status::NOT_HOST_POINTER,
        "x: ",
    );
    driver::destroy_context(context);
    is_the_same_driver();
}

/// Codes that drivers return, and some that none knows.
const CODES: &[u32] = &[
    1,
    2,
    3,
    4,
    100,
    101,
    200,
    201,
    209,
    218,
    222,
    304,
    400,
    500,
    600,
    700,
    709,
    718,
    719,
    801,
    900,
    901,
    906,
    999,
    4242,
    0x7fff_ffff,
    0xffff_ffff,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Contiguous(Place),
    Strided,
    OwnStream,
    /// On a stream while it is captured.
    Captured,
    Warmup,
}

/// The statuses that are right when driver function `hit` returned `code`.
fn right(hit: &str, code: u32) -> Vec<i32> {
    let general = match code {
        2 => status::OUT_OF_MEMORY,
        100 => status::NO_DEVICE,
        209 | 218 | 222 => status::NO_KERNEL_IMAGE,
        _ => status::DRIVER_ERROR,
    };
    match (hit, code) {
        ("cuPointerGetAttributes", 1) => vec![status::NOT_DEVICE_POINTER],
        ("cuStreamGetCtx", 1 | 201 | 400) => vec![status::INVALID_STREAM],
        // Once more with kernels loaded afresh, which works.
        ("cuLaunchKernel", 400 | 709) => vec![status::OK],
        // The next image is taken.
        ("cuModuleLoadData", 209 | 218 | 222) => vec![status::OK],
        // On the way out, when the outcome stands already.
        ("cuCtxPopCurrent_v2" | "cuModuleUnload", _) => vec![status::OK],
        // On the way in or out.
        ("cuThreadExchangeStreamCaptureMode", _) => vec![status::OK, general],
        _ => vec![general],
    }
}

/// Each driver call of each kind of library call returns each code, in new contexts and in used
/// ones.
pub fn sweep() {
    driver::init();
    // Finding and initialising the driver has a scenario of its own. SAFETY: plain values.
    succeeded(unsafe { (mish().mish_warmup)(CUDA, 0) });
    let mut injected = 0;
    let kinds = [
        Call::Contiguous(Place::Device),
        Call::Contiguous(Place::Pool),
        Call::Contiguous(Place::Pinned),
        Call::Contiguous(Place::Managed),
        Call::Strided,
        Call::OwnStream,
        Call::Captured,
        Call::Warmup,
    ];
    for kind in kinds {
        for is_used in [false, true] {
            for (i, &code) in CODES.iter().enumerate() {
                for nth in 1..200 {
                    // Loading the kernels for each is what takes time.
                    let one_in = match (super::is_full(), super::is_brief()) {
                        (true, _) => 1,
                        (_, true) => 13,
                        _ => 4,
                    };
                    if !is_used && !(i + nth as usize).is_multiple_of(one_in) {
                        continue;
                    }
                    if !one_fault(kind, is_used, code, nth) {
                        break;
                    }
                    injected += 1;
                    assert!(nth < 199, "no end of driver calls");
                }
            }
        }
    }
    println!("{injected} faults injected");
    assert!(injected > 1000, "{injected}");
}

/// Makes one call in which the nth driver call fails; false if there was no nth.
fn one_fault(kind: Call, is_used: bool, code: u32, nth: u32) -> bool {
    let context = driver::create_context(0);
    let ones = match kind {
        Call::Contiguous(place) => Ones::new(place),
        _ => Ones::new(Place::Device),
    };
    let stream = match kind {
        Call::OwnStream | Call::Captured => driver::create_stream(),
        _ => NULL,
    };
    if is_used {
        ones.check(stream);
    }
    if kind == Call::Contiguous(Place::Pool) && !is_used {
        // Nothing current: the primary context, and all its kernels, anew.
        driver::set_current(0);
        // SAFETY: a plain value.
        driver::ok(unsafe { (api().cuDevicePrimaryCtxReset_v2)(0) });
    }
    let before = driver::current();
    let modules = driver::modules();
    let launches = driver::last_launch().count;
    if kind == Call::Captured {
        // SAFETY: a stream.
        driver::ok(unsafe { (api().cuStreamBeginCapture_v2)(stream as usize, 0) });
    }
    ones.y.reset();
    let hits = driver::hits().0;
    driver::fail("", nth, code, false);
    let got = make(kind, &ones, stream);
    let (now, hit) = driver::hits();
    driver::heal();
    if now == hits {
        // The fault was never reached: a call like any other.
        assert_eq!(got, status::OK, "{}", abi::last_error());
        finish(kind, context, stream);
        return false;
    }
    let what =
        format!("{kind:?}, used {is_used}: call {nth}, {hit}, returned {code}, status {got}");
    assert!(
        right(&hit, code).contains(&got),
        "{what}: {}",
        abi::last_error()
    );
    if got == status::OK {
        if kind != Call::Warmup && kind != Call::Captured {
            ones.done();
        }
    } else {
        ones.y.untouched();
        assert_eq!(
            driver::last_launch().count,
            launches,
            "{what}: launched all the same"
        );
        let message = abi::last_error();
        // A code of the driver's shows in the message unless it means an argument.
        let tells = message.contains(&code.to_string()) || got == status::NOT_DEVICE_POINTER;
        assert!(tells, "{what}: {message}");
        // Kernels that are loaded serve the next call.
        if !["cuModuleUnload", "cuLaunchKernel"].contains(&hit.as_str()) {
            assert_eq!(driver::modules(), modules, "{what}: a module is left");
        }
    }
    match hit.as_str() {
        // A pop that does nothing leaves what it was to pop, whoever calls it.
        "cuCtxPopCurrent_v2"
            // SAFETY: valid for writing.
            if driver::current() != before => {
                driver::get(|to| unsafe { (api().cuCtxPopCurrent_v2)(to) });
            }
        "cuThreadExchangeStreamCaptureMode" => {
            let mut mode = 0;
            // SAFETY: valid for reading and writing.
            driver::ok(unsafe { (api().cuThreadExchangeStreamCaptureMode)(&mut mode) });
        }
        _ => {}
    }
    assert_eq!(
        driver::current(),
        before,
        "{what}: another context is current"
    );
    let mut mode = 0;
    // SAFETY: valid for reading and writing.
    driver::ok(unsafe { (api().cuThreadExchangeStreamCaptureMode)(&mut mode) });
    assert_eq!(mode, 0, "{what}: the thread's capture mode is left changed");
    // The next call works.
    ones.y.reset();
    let next = make(kind, &ones, stream);
    assert_eq!(next, status::OK, "{what}; then {}", abi::last_error());
    if kind != Call::Warmup && kind != Call::Captured {
        ones.done();
    }
    finish(kind, context, stream);
    true
}

fn make(kind: Call, ones: &Ones, stream: Pointer) -> i32 {
    let (x, y) = (ones.x.pointer(), ones.y.pointer());
    match kind {
        // SAFETY: plain values.
        Call::Warmup => unsafe { (mish().mish_warmup)(CUDA, 0) },
        Call::Strided => {
            let (shape, strides) = ([10_i64, 10], [1_i64, 10]);
            let tensor = |data| Tensor {
                data,
                device_type: CUDA,
                device_id: 0,
                ndim: 2,
                dtype: dltype(Dtype::F32),
                shape: shape.as_ptr().cast_mut(),
                strides: strides.as_ptr().cast_mut(),
                byte_offset: 0,
            };
            let (mut x, y) = (tensor(x), tensor(y));
            x.strides = std::ptr::null_mut();
            call_tensors(Op::Forward, &[&x, &y], stream)
        }
        _ => call(Op::Forward, CUDA, Dtype::F32, &[x, y], 100, stream),
    }
}

fn finish(kind: Call, context: usize, stream: Pointer) {
    if kind == Call::Captured {
        // SAFETY: valid for writing.
        driver::get(|to| unsafe { (api().cuStreamEndCapture)(stream as usize, to) });
    }
    driver::destroy_context(context);
    driver::set_current(0);
}
