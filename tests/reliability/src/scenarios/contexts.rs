//! Contexts, devices, streams, memory kinds and captures.

use crate::abi::{
    self, CPU, CUDA, Dtype, Op, Pointer, Tensor, call, call_tensors, dltype, failed, mish, status,
    succeeded,
};
use crate::driver::{self, Buffer, Place, driver as api};
use crate::random::Random;
use crate::scenarios::launch::Pair;

const NULL: Pointer = std::ptr::null_mut();
const ONE: [u8; 4] = 1_f32.to_le_bytes();
/// mish(1) in float32.
const MISH_OF_ONE: f32 = 0.865_098_4;

fn forward(x: Pointer, y: Pointer, n: usize, stream: Pointer) -> i32 {
    call(Op::Forward, CUDA, Dtype::F32, &[x, y], n, stream)
}

/// Two operands of ones and pattern.
pub struct Ones {
    pub x: Buffer,
    pub y: Buffer,
}

impl Ones {
    pub fn new(place: Place) -> Ones {
        let ones = Ones {
            x: Buffer::new(place, 400),
            y: Buffer::new(place, 400),
        };
        for chunk in ones.x.bytes().chunks_mut(4) {
            chunk.copy_from_slice(&ONE);
        }
        ones
    }

    /// Calls, and checks the result and that the current context stays.
    #[track_caller]
    pub fn check(&self, stream: Pointer) {
        let before = driver::current();
        self.y.reset();
        succeeded(forward(self.x.pointer(), self.y.pointer(), 100, stream));
        self.done();
        assert_eq!(driver::current(), before, "another context is current");
        let launch = driver::last_launch();
        assert_eq!(launch.stream, stream as usize, "another stream");
    }

    #[track_caller]
    pub fn done(&self) {
        for chunk in self.y.bytes().chunks(4) {
            let y = f32::from_le_bytes(chunk.try_into().expect("four bytes"));
            assert!((y - MISH_OF_ONE).abs() < 1e-6, "{y}");
        }
        self.y.only_written(0, 400);
    }

    /// Calls, and checks that it fails in this way and touches nothing.
    #[track_caller]
    pub fn refused(&self, stream: Pointer, expected: i32, part: &str) {
        let before = driver::current();
        self.y.reset();
        failed(
            forward(self.x.pointer(), self.y.pointer(), 100, stream),
            expected,
            part,
        );
        self.y.untouched();
        assert_eq!(driver::current(), before, "another context is current");
    }
}

/// What the driver knows about memory, streams and devices decides the status.
pub fn arguments() {
    driver::init();
    let second = driver::create_context(1);
    let there = Ones::new(Place::Device);
    let stream_there = driver::create_stream();
    let first = driver::create_context(0);
    let here = Ones::new(Place::Device);
    let stream = driver::create_stream();
    let host = Ones::new(Place::Host);
    let (x, y) = (here.x.pointer(), here.y.pointer());

    host.refused(NULL, status::NOT_DEVICE_POINTER, "x: ");
    failed(
        forward(x, host.y.pointer(), 9, NULL),
        status::NOT_DEVICE_POINTER,
        "y: ",
    );
    for (p, q, name) in [(x, host.y.pointer(), "x: "), (host.x.pointer(), y, "y: ")] {
        let code = call(Op::Forward, CPU, Dtype::F32, &[p, q], 9, NULL);
        failed(code, status::NOT_HOST_POINTER, name);
    }
    // The usable part ends 128 bytes before the allocation.
    succeeded(forward(x, y, 132, NULL));
    failed(
        forward(x, y, 133, NULL),
        status::OUT_OF_BOUNDS,
        "x: 532 bytes",
    );
    failed(
        forward(x, y, usize::MAX / 4, NULL),
        status::TOO_LARGE,
        "n: ",
    );
    failed(
        forward(x, there.y.pointer(), 9, NULL),
        status::DEVICE_MISMATCH,
        "y: is memory of device 1, ",
    );
    failed(
        forward(there.x.pointer(), y, 9, NULL),
        status::DEVICE_MISMATCH,
        "y: is memory of device 0, ",
    );
    there.refused(stream, status::STREAM_MISMATCH, "stream: ");
    here.refused(stream_there, status::STREAM_MISMATCH, "stream: ");
    here.refused(0x1234_5678 as Pointer, status::INVALID_STREAM, "stream: ");
    here.refused(3 as Pointer, status::INVALID_STREAM, "stream: ");
    // SAFETY: the library's own functions with plain values.
    unsafe {
        for ordinal in [-1, 2, i32::MAX, i32::MIN] {
            failed(
                (mish().mish_warmup)(CUDA, ordinal),
                status::INVALID_ORDINAL,
                "ordinal: ",
            );
        }
        let mut count = -1;
        succeeded((mish().mish_device_count)(CUDA, &mut count));
        assert_eq!(count, 2);
        failed(
            (mish().mish_device_count)(CUDA, std::ptr::null_mut()),
            status::NULL_POINTER,
            "count",
        );
    }
    // Tensors name their device.
    for (id, expected) in [
        (0, status::OK),
        (1, status::DEVICE_MISMATCH),
        (9, status::DEVICE_MISMATCH),
    ] {
        let code = tensor_call(&here, id, NULL);
        assert_eq!(code, expected, "{}", abi::last_error());
    }
    let managed = Ones::new(Place::Managed);
    assert_eq!(
        tensor_call(&managed, 1, NULL),
        status::OK,
        "{}",
        abi::last_error()
    );
    managed.done();
    assert_eq!(tensor_call(&managed, 2, NULL), status::INVALID_ORDINAL);
    assert_eq!(tensor_call(&managed, 1, stream), status::STREAM_MISMATCH);
    // Two contexts of one device.
    let third = driver::create_context(0);
    let beside = Ones::new(Place::Device);
    failed(
        forward(x, beside.y.pointer(), 9, NULL),
        status::DEVICE_MISMATCH,
        "another context",
    );
    beside.refused(stream, status::STREAM_MISMATCH, "stream: ");
    beside.check(NULL);
    driver::set_current(first);
    // Freed memory.
    let freed = Ones::new(Place::Device);
    let (p, q) = (freed.x.pointer(), freed.y.pointer());
    drop(freed);
    failed(forward(p, q, 9, NULL), status::NOT_DEVICE_POINTER, "x: ");
    here.check(NULL);
    here.check(stream);
    for context in [first, second, third] {
        driver::destroy_context(context);
    }
}

fn tensor_call(ones: &Ones, id: i32, stream: Pointer) -> i32 {
    let shape = [10_i64, 10];
    let tensor = |buffer: &Buffer| Tensor {
        data: buffer.pointer(),
        device_type: CUDA,
        device_id: id,
        ndim: 2,
        dtype: dltype(Dtype::F32),
        shape: shape.as_ptr().cast_mut(),
        strides: std::ptr::null_mut(),
        byte_offset: 0,
    };
    let (x, y) = (tensor(&ones.x), tensor(&ones.y));
    call_tensors(Op::Forward, &[&x, &y], stream)
}

/// Which context a call runs in, and that the caller's stays current.
pub fn contexts() {
    driver::init();
    let a = driver::create_context(0);
    let in_a = Ones::new(Place::Device);
    let stream_a = driver::create_stream();
    let b = driver::create_context(0);
    let in_b = Ones::new(Place::Device);
    let stream_b = driver::create_stream();
    let c = driver::create_context(1);
    let in_c = Ones::new(Place::Device);
    let pinned = Ones::new(Place::Pinned);
    let managed = Ones::new(Place::Managed);
    let pool = Ones::new(Place::Pool); // of device 1
    for current in [a, b, c, 0] {
        driver::set_current(current);
        for stream in [NULL, 1 as Pointer, 2 as Pointer] {
            in_a.check(stream);
            in_b.check(stream);
            in_c.check(stream);
            pool.check(stream);
            managed.check(stream);
            pinned.check(stream);
        }
        in_a.check(stream_a);
        in_b.check(stream_b);
        // Memory that every device reaches goes where the stream is.
        managed.check(stream_a);
        pinned.check(stream_b);
        // SAFETY: plain values.
        for ordinal in [0, 1] {
            succeeded(unsafe { (mish().mish_warmup)(CUDA, ordinal) });
            assert_eq!(driver::current(), current);
        }
    }
    // One module for each context in use: three created, two primary.
    assert_eq!(driver::modules(), 5);
    assert_eq!(driver::calls("cuModuleLoadData"), 5);
    // Other threads have a current context of their own.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            assert_eq!(driver::current(), 0);
            in_a.check(NULL);
            pool.check(2 as Pointer);
            assert_eq!(driver::current(), 0);
        });
        thread.join().expect("the other thread");
    });
    let mut random = Random(7);
    driver::set_current(b);
    let pair = Pair::new(
        Op::DoubleBackward,
        Dtype::BF16,
        2048,
        Place::Device,
        &mut random,
    );
    driver::set_current(c);
    pair.check(777, &[2; 5], stream_b);
}

/// Contexts that go away, devices that are reset, errors that stay.
pub fn destroyed() {
    driver::init();
    for round in 0..20 {
        // The stand-in gives the same handle again, as a real driver may.
        let context = driver::create_context(0);
        let ones = Ones::new(Place::Device);
        let stream = driver::create_stream();
        ones.check(NULL);
        ones.check(stream);
        assert_eq!(driver::calls("cuModuleLoadData"), round + 1);
        // None with kernels of the context before, which only a second launch would mend.
        assert_eq!(driver::calls("cuLaunchKernel"), 2 * (round + 1));
        driver::destroy_context(context);
        let (x, y) = (ones.x.pointer(), ones.y.pointer());
        failed(forward(x, y, 9, NULL), status::NOT_DEVICE_POINTER, "x: ");
        failed(forward(x, y, 9, stream), status::NOT_DEVICE_POINTER, "x: ");
    }
    // Memory of a pool outlives a reset of the device.
    let context = driver::create_context(0);
    let pool = Ones::new(Place::Pool);
    let kept = Ones::new(Place::Device);
    driver::set_current(0);
    pool.check(NULL);
    for _ in 0..3 {
        // SAFETY: a plain value.
        driver::ok(unsafe { (api().cuDevicePrimaryCtxReset_v2)(0) });
        pool.check(NULL);
        kept.check(NULL);
    }
    // An error that stays is in every answer of its context, and in no other's.
    for code in [700, 719, 4242] {
        // SAFETY: plain values.
        unsafe { (api().standin_poison)(context, code) };
        for _ in 0..3 {
            kept.refused(NULL, status::DRIVER_ERROR, &code.to_string());
            pool.check(NULL);
        }
        driver::heal();
        kept.check(NULL);
    }
    // A kernel that goes astray reports in the next call, not in its own.
    driver::set_current(context);
    let astray = Ones::new(Place::Device);
    let target = astray.x.pointer() as u64 + (1 << 40);
    // SAFETY: plain values.
    unsafe { (api().standin_pretend)(target, 4096, context, 0, 0) };
    let kept_in = kept.x.pointer();
    succeeded(forward(kept_in, target as Pointer, 9, NULL));
    kept.refused(NULL, status::DRIVER_ERROR, "700");
    kept.refused(NULL, status::DRIVER_ERROR, "700");
    driver::heal();
    kept.check(NULL);
    driver::destroy_context(context);
}

/// Warming up loads into the context in which a first call would run.
pub fn warm_up() {
    // SAFETY: plain values.
    let warm_up = |ordinal| succeeded(unsafe { (mish().mish_warmup)(CUDA, ordinal) });
    let loads = || driver::calls("cuModuleLoadData");
    driver::init();
    let context = driver::create_context(0);
    let ones = Ones::new(Place::Device);
    warm_up(0);
    assert_eq!((loads(), driver::contexts()), (1, 1), "the current context");
    ones.check(NULL);
    assert_eq!(loads(), 1, "the first call has them");
    // Current on another device, or none at all: the primary context.
    warm_up(1);
    assert_eq!((loads(), driver::contexts()), (2, 2));
    assert_eq!(driver::current(), context);
    driver::set_current(0);
    warm_up(0);
    assert_eq!((loads(), driver::contexts()), (3, 3));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            warm_up(0);
            warm_up(1);
        });
        thread.join().expect("the other thread");
    });
    assert_eq!(loads(), 3);
    driver::destroy_context(context);
}

/// Contexts that come again with their address, and with their id, while many threads remember the
/// kernels: handles of the driver are used again, so that a stale one may name another kernel.
pub fn replaced() {
    const THREADS: usize = 4;
    driver::init();
    let context = driver::create_context(0);
    let pools: Vec<Ones> = (0..THREADS).map(|_| Ones::new(Place::Pool)).collect();
    driver::destroy_context(context);
    let barrier = std::sync::Barrier::new(THREADS);
    let fresh = std::sync::Mutex::new(Vec::new());
    let loads = || driver::calls("cuModuleLoadData");
    let launches = || driver::calls("cuLaunchKernel");
    let check = |ones: &Ones| {
        ones.y.reset();
        succeeded(forward(ones.x.pointer(), ones.y.pointer(), 100, NULL));
        ones.done();
    };
    // SAFETY: plain values.
    let reset = || driver::ok(unsafe { (api().cuDevicePrimaryCtxReset_v2)(0) });
    std::thread::scope(|scope| {
        for (thread, pool) in pools.iter().enumerate() {
            let (barrier, fresh) = (&barrier, &fresh);
            scope.spawn(move || {
                for round in 0..30 {
                    let before = loads();
                    let launched = launches();
                    barrier.wait();
                    match round % 3 {
                        // All at once after a reset, which the first of them sees.
                        0 => {
                            if thread == 0 {
                                reset();
                            }
                            barrier.wait();
                            check(pool);
                        }
                        // A reset that does not show: the device is in use again. One thread's
                        // launch fails; what it learns, the others know.
                        1 => {
                            if thread == 0 {
                                reset();
                                // SAFETY: valid for writing.
                                driver::get(|to| unsafe {
                                    (api().cuDevicePrimaryCtxRetain)(to, 0)
                                });
                                check(pool);
                            }
                            barrier.wait();
                            check(pool);
                        }
                        // A new context at the address of the one before, with memory for each.
                        _ => {
                            if thread == 0 {
                                let context = driver::create_context(0);
                                let memory = || Ones::new(Place::Device);
                                *fresh.lock().unwrap() = (0..THREADS).map(|_| memory()).collect();
                                driver::set_current(0);
                                driver::set_current(context);
                            }
                            barrier.wait();
                            check(&fresh.lock().unwrap()[thread]);
                            barrier.wait();
                            if thread == 0 {
                                fresh.lock().unwrap().clear();
                                driver::destroy_context(driver::current());
                            }
                        }
                    }
                    barrier.wait();
                    assert_eq!(loads(), before + 1, "loaded once in round {round}");
                    // Only a reset that does not show costs a launch that fails; by then the
                    // handles may name other kernels.
                    let expected = THREADS as u64 + if round % 3 == 1 { 2 } else { 0 };
                    assert_eq!(launches() - launched, expected, "launches in round {round}");
                    barrier.wait();
                }
            });
        }
    });
    assert_eq!(loads(), 30);
}

/// Launches that fail for another reason than kernels that went away leave nothing loaded.
pub fn failing_launches() {
    driver::init();
    let context = driver::create_context(0);
    let ones = Ones::new(Place::Device);
    ones.check(NULL);
    for (code, expected) in [(400, status::INVALID_STREAM), (709, status::DRIVER_ERROR)] {
        driver::fail("cuLaunchKernel", 1, code, true);
        for _ in 0..5 {
            ones.refused(NULL, expected, &code.to_string());
            assert_eq!(driver::modules(), 1, "fresh kernels are left");
        }
        driver::heal();
    }
    let loads = driver::calls("cuModuleLoadData");
    ones.check(NULL);
    assert_eq!(
        driver::calls("cuModuleLoadData"),
        loads,
        "the kernels are kept"
    );
    driver::destroy_context(context);
}

fn begin(stream: Pointer, mode: u32) {
    // SAFETY: a stream, here and below.
    driver::ok(unsafe { (api().cuStreamBeginCapture_v2)(stream as usize, mode) });
}

fn end(stream: Pointer) -> usize {
    // SAFETY: valid for writing.
    driver::get(|to| unsafe { (api().cuStreamEndCapture)(stream as usize, to) })
}

fn launch_graph(graph: usize, stream: Pointer) {
    // SAFETY: a graph and a stream.
    driver::ok(unsafe { (api().cuGraphLaunch)(graph, stream as usize) });
}

/// This thread's capture mode.
fn thread_mode() -> u32 {
    let mut mode = 0;
    // SAFETY: valid for reading and writing; the second call gives back what was found.
    unsafe {
        driver::ok((api().cuThreadExchangeStreamCaptureMode)(&mut mode));
        let found = mode;
        driver::ok((api().cuThreadExchangeStreamCaptureMode)(&mut mode));
        found
    }
}

/// Calls while streams are being captured, the first use included.
pub fn capture() {
    driver::init();
    for mode in [0, 1, 2] {
        let context = driver::create_context(0);
        let ones = Ones::new(Place::Device);
        let (stream, other) = (driver::create_stream(), driver::create_stream());
        begin(stream, mode);
        // The first use in this context: loads the kernels.
        ones.y.reset();
        succeeded(forward(ones.x.pointer(), ones.y.pointer(), 100, stream));
        ones.y.untouched();
        assert_eq!(thread_mode(), 0, "the thread's mode is left as it was");
        // On another stream at the same time it runs at once.
        let beside = Ones::new(Place::Device);
        beside.check(other);
        // So does the first use in another context.
        let second = driver::create_context(1);
        let elsewhere = Ones::new(Place::Device);
        elsewhere.check(driver::create_stream());
        driver::set_current(context);
        // And of a device's primary context.
        let pool = Ones::new(Place::Pool);
        pool.check(2 as Pointer);
        // A refused call leaves the capture alone.
        let (x, y) = (ones.x.pointer(), ones.y.pointer());
        failed(forward(x, y, 133, stream), status::OUT_OF_BOUNDS, "x: ");
        failed(forward(NULL, y, 9, stream), status::NULL_POINTER, "x");
        if mode != 2 {
            // The driver forbids the legacy stream meanwhile.
            beside.refused(NULL, status::DRIVER_ERROR, "906");
        }
        let graph = end(stream);
        ones.y.untouched();
        for _ in 0..3 {
            ones.y.reset();
            launch_graph(graph, other);
            ones.done();
        }
        // The graph reads its operands at each launch.
        ones.x.bytes().fill(0);
        launch_graph(graph, other);
        assert!(ones.y.bytes().iter().all(|&byte| byte == 0), "mish(0) = 0");
        driver::destroy_context(second);
        driver::destroy_context(context);
    }
    // Several operations in one capture, of every kind.
    let context = driver::create_context(0);
    let stream = driver::create_stream();
    let mut random = Random(11);
    let pairs: Vec<Pair> = Op::ALL
        .iter()
        .flat_map(|&op| Dtype::ALL.map(|dtype| (op, dtype)))
        .map(|(op, dtype)| Pair::new(op, dtype, 4096, Place::Device, &mut random))
        .collect();
    begin(stream, 0);
    for pair in &pairs {
        let size = pair.dtype.size();
        let device = pair.device(&[size; 5]);
        succeeded(call(pair.op, CUDA, pair.dtype, &device, 301, stream));
    }
    let graph = end(stream);
    launch_graph(graph, stream);
    for pair in &pairs {
        let size = pair.dtype.size();
        let launched = pair.output_bytes();
        pair.check(301, &[size; 5], NULL);
        assert!(
            launched == pair.output_bytes(),
            "the graph computes the same"
        );
    }
    driver::destroy_context(context);
}

/// A driver that cannot load kernels during a capture.
pub fn capture_on_old_driver() {
    driver::init();
    let context = driver::create_context(0);
    let ones = Ones::new(Place::Device);
    let (stream, other) = (driver::create_stream(), driver::create_stream());
    begin(stream, 0);
    for _ in 0..2 {
        ones.refused(stream, status::CAPTURE_UNSUPPORTED, "mish_warmup");
    }
    ones.refused(NULL, status::CAPTURE_UNSUPPORTED, "mish_warmup");
    assert_eq!(thread_mode(), 0);
    end(stream);
    // SAFETY: plain values.
    succeeded(unsafe { (mish().mish_warmup)(CUDA, 0) });
    begin(stream, 0);
    ones.y.reset();
    succeeded(forward(ones.x.pointer(), ones.y.pointer(), 100, stream));
    let graph = end(stream);
    ones.y.untouched();
    launch_graph(graph, other);
    ones.done();
    driver::destroy_context(context);
}
