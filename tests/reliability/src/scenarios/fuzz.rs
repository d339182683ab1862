//! A fuzzer of the C ABI: random calls of every entry point on both backends, mostly right with
//! something wrong in them, judged by a model of the documentation that shares no code with the
//! library.
//!
//! The model lists everything that is wrong with a call. A call with nothing wrong must succeed;
//! one with something wrong must fail with one of its statuses, name an argument, and touch
//! nothing. Which of several mistakes is reported first is left open.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::abi::{
    self, CPU, CUDA, Dtype, Op, Pointer, Tensor, call_raw, call_tensors, dltype, mish, status,
};
use crate::driver::{self, Buffer, Place, driver as api};
use crate::random::Random;
use crate::values;

/// Added to a status that may be reported beside what is certainly wrong.
const MAYBE: i32 = 1000;

const NULL: Pointer = std::ptr::null_mut();

/// The share of every test run.
pub fn share() {
    let full = super::is_full();
    fuzz(if full { 5_000_000 } else { 400_000 }, 20_261_123);
}

/// Bytes of a buffer's usable part.
const SIZE: usize = 1024;
/// Bytes beside it that belong to its allocation.
const GUARD: u64 = 128;

/// A buffer and what the driver knows about it.
struct Memory {
    buffer: Buffer,
    place: Place,
    device: i32,
    /// 0 for a pool.
    context: usize,
}

impl Memory {
    fn start(&self) -> u64 {
        self.buffer.pointer() as u64
    }
}

struct World {
    random: Random,
    memory: Vec<Memory>,
    contexts: [usize; 3],
    /// Each with its context.
    streams: Vec<(usize, usize)>,
    counts: Counts,
    is_traced: bool,
}

/// What has happened.
struct Counts {
    calls: u64,
    succeeded: u64,
    compared: u64,
    /// By status.
    failed: [u64; 128],
}

/// Makes `calls` random calls from a seed.
pub fn fuzz(calls: u64, seed: u64) {
    let since = Instant::now();
    let mut world = World::new(seed);
    let mut reported = 0;
    while world.counts.calls < calls {
        world.step();
        let i = world.counts.calls;
        if calls >= 10_000_000 && i / (calls / 10) != reported {
            reported = i / (calls / 10);
            eprintln!("{i} of {calls} calls, {} s", since.elapsed().as_secs());
        }
    }
    world.report(seed);
    world.close();
}

impl World {
    fn new(seed: u64) -> World {
        driver::init();
        let contexts = [0, 0, 1].map(driver::create_context);
        let mut memory = Vec::new();
        let mut streams = Vec::new();
        for (i, &context) in contexts.iter().enumerate() {
            driver::set_current(context);
            let device = i as i32 / 2;
            for place in [Place::Device, Place::Pool, Place::Managed, Place::Pinned] {
                for _ in 0..if place == Place::Device { 6 } else { 3 } {
                    memory.push(Memory {
                        buffer: Buffer::new(place, SIZE),
                        place,
                        device,
                        context: if place == Place::Pool { 0 } else { context },
                    });
                }
            }
            for _ in 0..2 {
                streams.push((driver::create_stream() as usize, context));
            }
        }
        for _ in 0..12 {
            memory.push(Memory {
                buffer: Buffer::new(Place::Host, SIZE),
                place: Place::Host,
                device: 0,
                context: 0,
            });
        }
        let mut random = Random(seed);
        for memory in &memory {
            values::fill(memory.buffer.bytes(), Dtype::F32, &mut random);
        }
        World {
            random,
            memory,
            contexts,
            streams,
            is_traced: std::env::var_os("MISH_RELIABILITY_TRACE").is_some(),
            counts: Counts {
                calls: 0,
                succeeded: 0,
                compared: 0,
                failed: [0; 128],
            },
        }
    }

    fn step(&mut self) {
        if self.random.once_in(64) {
            let context = match self.random.below(4) {
                3 => 0,
                i => self.contexts[i as usize],
            };
            driver::set_current(context);
        }
        match self.random.below(100) {
            0..55 => self.contiguous(),
            55..96 => self.tensors(),
            _ => self.other(),
        }
    }

    fn report(&self, seed: u64) {
        let counts = &self.counts;
        println!(
            "{} calls with seed {seed}: {} succeeded, {} of them compared between the backends; \
             {} failed as they should:",
            counts.calls,
            counts.succeeded,
            counts.compared,
            counts.failed.iter().sum::<u64>()
        );
        let mut kinds = 0;
        for (code, &times) in counts.failed.iter().enumerate().filter(|(_, n)| **n > 0) {
            // SAFETY: any number is an argument; the answer is a static string.
            let name = unsafe { std::ffi::CStr::from_ptr((mish().mish_status_name)(code as i32)) };
            println!("  {:36} {times}", name.to_string_lossy());
            kinds += 1;
        }
        assert!(kinds >= 15, "only {kinds} kinds of failure were met");
        assert!(
            counts.succeeded > counts.calls / 10,
            "too few calls succeeded to prove anything"
        );
        assert!(counts.compared > 0 || counts.calls < 10_000);
    }

    fn close(self) {
        let contexts = self.contexts;
        drop(self);
        for context in contexts {
            driver::destroy_context(context);
        }
    }

    /// A place of memory that suits the device, mostly; and sometimes anything.
    fn place(&mut self, device: i32, home: usize, alignment: usize) -> Pointer {
        let wild = self.random.below(400);
        // Wild addresses for CUDA only, where the driver knows what is there. For the CPU the
        // caller's word is all there is.
        match wild {
            0 | 1 => return NULL,
            2 if device == CUDA => return self.random.next() as usize as Pointer,
            3 if device == CUDA => return usize::MAX as Pointer,
            4 if device == CUDA => return 8 as Pointer,
            _ => {}
        }
        let index = if wild < 12 {
            self.random.below(self.memory.len() as u64) as usize
        } else {
            let host = self.memory.len() - 12;
            match device {
                CPU => host + self.random.below(12) as usize,
                _ if self.random.once_in(8) => self.random.below(host as u64) as usize,
                _ => {
                    let each = host / 3;
                    home * each + self.random.below(6) as usize
                }
            }
        };
        let offset = match self.random.below(16) {
            0..8 => 0,
            8..15 => alignment * self.random.below(16) as usize,
            _ => self.random.below(64) as usize,
        };
        self.memory[index].buffer.at(offset)
    }

    fn stream(&mut self, device: i32, home: usize) -> Pointer {
        match self.random.below(300) {
            0 => 3 as Pointer,
            1 => self.random.next() as Pointer,
            2 => 0xdead_bee0_usize as Pointer,
            3..10 => self.random.choose(&self.streams).0 as Pointer,
            10..60 if device == CUDA => {
                self.streams[home * 2 + self.random.below(2) as usize].0 as Pointer
            }
            60..70 if device == CUDA => 2 as Pointer,
            70..80 if device == CUDA => 1 as Pointer,
            _ => NULL,
        }
    }

    fn find(&self, address: u64) -> Option<&Memory> {
        self.memory.iter().find(|memory| {
            (memory.start() - GUARD..memory.start() + SIZE as u64 + GUARD).contains(&address)
        })
    }

    /// Something wrong with a number: what a caller might pass.
    fn number(&mut self, right: i32) -> i32 {
        match self.random.below(200) {
            0 => 0,
            1 => -1,
            2 => self.random.below(8) as i32,
            3 => self.random.next() as i32,
            4 => i32::MIN,
            _ => right,
        }
    }

    fn contiguous(&mut self) {
        let op = self.random.choose(&Op::ALL);
        let right_dtype = self.random.choose(&Dtype::ALL);
        let right_device = self.random.choose(&[CPU, CUDA]);
        let device = self.number(right_device);
        let code = self.number(right_dtype as i32);
        let home = self.random.below(3) as usize;
        let size = right_dtype.size();
        let mut pointers: Vec<Pointer> = (0..op.operands().len())
            .map(|_| self.place(device, home, size))
            .collect();
        if op == Op::DoubleBackward && self.random.once_in(4) {
            pointers[3 + self.random.below(2) as usize] = NULL;
        }
        if self.random.once_in(6) {
            let out = op.inputs() + self.random.below(op.outputs() as u64) as usize;
            pointers[out] = pointers[self.random.below(op.operands().len() as u64) as usize];
        }
        let dtype = Dtype::ALL.into_iter().find(|d| *d as i32 == code);
        let bytes = dtype.map_or(8, Dtype::size);
        let n = match self.random.below(100) {
            0 => 0,
            1 => self.random.next() as usize,
            2 => usize::MAX,
            3 => usize::MAX / bytes,
            4 => isize::MAX as usize / bytes,
            5 => 1 << self.random.below(64),
            6..86 => 1 + self.random.below(24) as usize,
            86..96 => 1 + self.random.below(SIZE as u64 / bytes as u64) as usize,
            _ => 1 + self.random.below(SIZE as u64 / bytes as u64 * 2) as usize,
        };
        let stream = self.stream(device, home);
        // On the CPU the memory must be there; nothing could check it.
        if device == CPU && n > 0 {
            let total = n.saturating_mul(bytes) as u64;
            let is_there = |p: &Pointer| {
                p.is_null()
                    || self.find(*p as u64).is_some_and(|memory| {
                        memory.place == Place::Device
                            || memory.place == Place::Pool
                            || total <= SIZE as u64 + GUARD - (*p as u64 - memory.start())
                    })
            };
            let refused = n.checked_mul(bytes).is_none_or(|b| b > isize::MAX as usize);
            if !refused && !pointers.iter().all(is_there) {
                return;
            }
        }
        let mut wrong = BTreeSet::new();
        if !matches!(device, CPU | CUDA) {
            wrong.insert(2);
        }
        if dtype.is_none() {
            wrong.insert(3);
        }
        let views: Vec<Option<Flat>> = pointers
            .iter()
            .map(|&pointer| {
                (!pointer.is_null()).then(|| Flat {
                    pointer: pointer as u64,
                    low: 0,
                    bytes: n.saturating_mul(bytes) as i128,
                    is_run: true,
                    steps: Vec::new(),
                })
            })
            .collect();
        if n > 0
            && let Some(dtype) = dtype
        {
            if n.checked_mul(bytes).is_none_or(|b| b > isize::MAX as usize) {
                wrong.insert(status::TOO_LARGE);
            } else {
                self.judge(op, device, dtype, &views, stream, None, &mut wrong);
            }
        }
        if n == 0 {
            // Nothing is touched, whatever the pointers and the stream are.
            wrong.retain(|&code| code == 2 || code == 3);
        }
        let before = self.outputs(op, &pointers);
        let what = || format!("{op:?} device {device} dtype {code} {pointers:x?} n {n} {stream:?}");
        self.trace(&wrong, what);
        let got = call_raw(op, device, code, &pointers, n, stream);
        self.verdict(got, &wrong, what);
        if got != 0 || n == 0 {
            assert!(before == self.outputs(op, &pointers), "touched: {}", what());
        } else if self.random.once_in(16) {
            self.compare(op, device, code, &pointers, n);
        }
    }

    /// What is wrong with the memory and the stream of a call whose types are right.
    #[allow(clippy::too_many_arguments)]
    fn judge(
        &self,
        op: Op,
        device: i32,
        dtype: Dtype,
        views: &[Option<Flat>],
        stream: Pointer,
        device_id: Option<i32>,
        wrong: &mut BTreeSet<i32>,
    ) {
        let size = dtype.size() as u64;
        let inputs = op.inputs();
        if views[..inputs].iter().any(Option::is_none)
            || (op != Op::DoubleBackward && views[inputs].is_none())
            || views[inputs..].iter().all(Option::is_none)
        {
            wrong.insert(status::NULL_POINTER);
        }
        for view in views.iter().flatten() {
            if view.pointer % size != 0 {
                wrong.insert(4);
            }
            let end = i128::from(view.pointer) + view.low + view.bytes;
            if end >= 1 << 64 || i128::from(view.pointer) + view.low < 0 {
                wrong.insert(status::TOO_LARGE);
            }
        }
        for (o, output) in views.iter().enumerate().skip(inputs) {
            let Some(output) = output else { continue };
            let distinct = output.addresses(size);
            if !output.is_run && output.count() > MANY {
                // Far outside of any buffer, or on itself.
                wrong.extend([MAYBE + 27, MAYBE + 5]);
            }
            if distinct
                .as_ref()
                .is_some_and(|set| set.len() as i128 != output.count())
            {
                wrong.insert(27);
            }
            for (i, other) in views.iter().enumerate() {
                let Some(other) = other else { continue };
                if i == o || (i >= inputs && i > o) {
                    continue;
                }
                if i < inputs && other.pointer == output.pointer && other.steps == output.steps {
                    continue;
                }
                let apart = i128::from(other.pointer) + other.low
                    >= i128::from(output.pointer) + output.low + output.bytes
                    || i128::from(output.pointer) + output.low
                        >= i128::from(other.pointer) + other.low + other.bytes;
                if apart {
                    continue;
                }
                let shares = match (&distinct, other.addresses(size)) {
                    (Some(a), Some(b)) => !a.is_disjoint(&b),
                    _ => output.is_run,
                };
                if shares {
                    wrong.insert(5);
                }
            }
        }
        if device == CPU {
            if !stream.is_null() {
                wrong.insert(status::INVALID_STREAM);
            }
            for view in views.iter().flatten() {
                // The library asks about the lowest index's element, not about every one.
                if self.find(view.pointer).is_some_and(Memory::is_device) {
                    wrong.insert(status::NOT_HOST_POINTER);
                }
            }
            return;
        }
        if device == CUDA {
            self.judge_device(views, stream, device_id, wrong);
        }
    }

    fn judge_device(
        &self,
        views: &[Option<Flat>],
        stream: Pointer,
        device_id: Option<i32>,
        wrong: &mut BTreeSet<i32>,
    ) {
        let mut home: Option<&Memory> = None;
        let mut context = 0;
        for view in views.iter().flatten() {
            let memory = match self.find(view.pointer) {
                Some(memory) if memory.place != Place::Host => memory,
                _ => {
                    wrong.insert(status::NOT_DEVICE_POINTER);
                    wrong.extend([40, 42, 43, 44].map(|code| MAYBE + code));
                    continue;
                }
            };
            let low = i128::from(view.pointer) + view.low;
            let start = i128::from(memory.start() - GUARD);
            if low < start || low + view.bytes > start + SIZE as i128 + 2 * i128::from(GUARD) {
                wrong.insert(status::OUT_OF_BOUNDS);
                // The library may look at another element of the operand.
                wrong.extend([40, 41, 44].map(|code| MAYBE + code));
            }
            if !memory.is_device() {
                continue;
            }
            if device_id.is_some_and(|id| id != memory.device) {
                wrong.insert(status::DEVICE_MISMATCH);
            }
            if home.is_some_and(|home| home.device != memory.device) {
                wrong.insert(status::DEVICE_MISMATCH);
            }
            if context != 0 && memory.context != 0 && context != memory.context {
                wrong.insert(status::DEVICE_MISMATCH);
            }
            home = home.or(Some(memory));
            context = if context == 0 {
                memory.context
            } else {
                context
            };
        }
        let of_stream = match stream as usize {
            0..=2 => None,
            handle => match self.streams.iter().find(|(stream, _)| *stream == handle) {
                Some((_, context)) => Some(*context),
                None => {
                    wrong.insert(status::INVALID_STREAM);
                    None
                }
            },
        };
        let device_of = |context| match self.contexts.iter().position(|c| *c == context) {
            Some(2) => 1,
            _ => 0,
        };
        if let Some(of_stream) = of_stream {
            let elsewhere = context != 0 && context != of_stream;
            let other_device = home.is_some_and(|home| home.device != device_of(of_stream));
            let unlike_tensor = device_id.is_some_and(|id| id != device_of(of_stream));
            if elsewhere || other_device || unlike_tensor {
                wrong.insert(status::STREAM_MISMATCH);
            }
        } else if home.is_none() && device_id.is_some_and(|id| !(0..2).contains(&id)) {
            wrong.insert(status::INVALID_ORDINAL);
        }
    }

    fn tensors(&mut self) {
        let op = self.random.choose(&Op::ALL);
        let dtype = self.random.choose(&Dtype::ALL);
        let device = self.random.choose(&[CPU, CUDA]);
        let home = self.random.below(3) as usize;
        let size = dtype.size();
        let ndim = match self.random.below(100) {
            0 => 9,
            1 => -1,
            2 => self.random.next() as i32,
            3..10 => 0,
            10..20 => self.random.below(9) as i32,
            _ => 1 + self.random.below(4) as i32,
        };
        let dims = ndim.clamp(0, 12) as usize;
        let most = [1, 24, 6, 4, 3, 2, 2, 2, 2, 2, 2, 2, 2][dims];
        let mut shape: Vec<i64> = (0..dims)
            .map(|_| match self.random.below(400) {
                0 => 0,
                1 => -1,
                2 => i64::MAX,
                3 => self.random.next() as i64,
                _ => 1 + self.random.below(most) as i64,
            })
            .collect();
        let mut shapes = vec![shape.clone(); op.operands().len()];
        if dims > 0 && self.random.once_in(150) {
            shape[0] = shape[0].wrapping_add(1);
            shapes[self.random.below(op.operands().len() as u64) as usize] = shape.clone();
        }
        let mut strides: Vec<Option<Vec<i64>>> = Vec::new();
        let mut tensors: Vec<Option<Tensor>> = Vec::new();
        for i in 0..op.operands().len() {
            let is_output = i >= op.inputs();
            strides.push(self.strides(&shapes[i], is_output));
            let skip = match is_output && op == Op::DoubleBackward {
                true => self.random.once_in(8),
                false => self.random.once_in(400),
            };
            if skip {
                tensors.push(None);
                continue;
            }
            let mut tensor = Tensor {
                data: self.place(device, home, size),
                device_type: device,
                device_id: if device == CUDA { home as i32 / 2 } else { 0 },
                ndim,
                dtype: dltype(dtype),
                shape: std::ptr::null_mut(),
                strides: std::ptr::null_mut(),
                byte_offset: 0,
            };
            // A reversed dimension starts at its end.
            let low = reach(&shapes[i], strides[i].as_deref()).map_or(0, |(low, _)| low);
            if (-(SIZE as i128)..0).contains(&(low * size as i128)) && !tensor.data.is_null() {
                tensor.byte_offset = (-low) as u64 * size as u64;
            }
            self.spoil(&mut tensor);
            tensors.push(Some(tensor));
        }
        // In place now and then: the same view as an input.
        if self.random.once_in(5) {
            let from = self.random.below(op.inputs() as u64) as usize;
            strides[op.inputs()] = strides[from].clone();
            tensors[op.inputs()] = tensors[from];
        }
        for (i, tensor) in tensors.iter_mut().enumerate() {
            if let Some(tensor) = tensor {
                let keep = self.random.below(500);
                tensor.shape = match keep {
                    0 => std::ptr::null_mut(),
                    _ => shapes[i].as_mut_ptr(),
                };
                tensor.strides = strides[i]
                    .as_mut()
                    .map_or(std::ptr::null_mut(), Vec::as_mut_ptr);
            }
        }
        let stream = self.stream(device, home);
        let mut wrong = BTreeSet::new();
        let verdict = self.judge_tensors(op, &tensors, &shapes, &strides, stream, &mut wrong);
        let Some(pointers) = verdict else { return };
        let arguments: Vec<*const Tensor> = tensors
            .iter()
            .map(|t| t.as_ref().map_or(std::ptr::null(), std::ptr::from_ref))
            .collect();
        let before = self.outputs(op, &pointers);
        let what =
            || format!("{op:?} {tensors:x?} shapes {shapes:?} strides {strides:?} {stream:?}");
        self.trace(&wrong, what);
        let got = call_tensors(op, &arguments, stream);
        self.verdict(got, &wrong, what);
        if got != 0 {
            assert!(before == self.outputs(op, &pointers), "touched: {}", what());
        }
    }

    /// One field of a tensor, now and then, as a careless caller leaves it.
    fn spoil(&mut self, tensor: &mut Tensor) {
        match self.random.below(900) {
            0 => tensor.device_type = self.random.below(20) as i32,
            1 => tensor.device_type = self.random.next() as i32,
            2 => tensor.device_id = self.random.below(4) as i32 - 1,
            3 => tensor.dtype.code = self.random.below(8) as u8,
            4 => tensor.dtype.bits = self.random.next() as u8,
            5 => tensor.dtype.lanes = self.random.below(5) as u16,
            6 => tensor.byte_offset = self.random.next(),
            7 => tensor.byte_offset += 1,
            8 if tensor.device_type == CUDA => tensor.device_type = 3,
            9 if tensor.device_type == CUDA => tensor.device_type = 13,
            10 => tensor.ndim = self.random.below(12) as i32 - 1,
            _ => {}
        }
    }

    /// Steps for a shape: contiguous, permuted, expanded, reversed, or wild.
    fn strides(&mut self, shape: &[i64], is_output: bool) -> Option<Vec<i64>> {
        if self.random.once_in(3) {
            return None;
        }
        let mut order: Vec<usize> = (0..shape.len()).rev().collect();
        if self.random.once_in(2) {
            for i in (1..order.len()).rev() {
                order.swap(i, self.random.below(i as u64 + 1) as usize);
            }
        }
        let mut step = 1_i64;
        let mut strides = vec![0; shape.len()];
        for d in order {
            strides[d] = match self.random.below(if is_output { 100 } else { 40 }) {
                0 => 0,
                1 => -step,
                2 => step.wrapping_add(1),
                3 if self.random.once_in(10) => self.random.next() as i64,
                4 if self.random.once_in(10) => i64::MIN,
                5 => 1,
                _ => step,
            };
            step = step.wrapping_mul(shape[d].max(1));
        }
        Some(strides)
    }

    /// Everything wrong with a call on tensors, and the operands' addresses; none if the call is
    /// one that a program may not make.
    fn judge_tensors(
        &self,
        op: Op,
        tensors: &[Option<Tensor>],
        shapes: &[Vec<i64>],
        strides: &[Option<Vec<i64>>],
        stream: Pointer,
        wrong: &mut BTreeSet<i32>,
    ) -> Option<Vec<Pointer>> {
        let inputs = op.inputs();
        if tensors[..inputs].iter().any(Option::is_none)
            || (op != Op::DoubleBackward && tensors[inputs].is_none())
            || tensors[inputs..].iter().all(Option::is_none)
        {
            wrong.insert(status::NULL_POINTER);
        }
        let (mut dtypes, mut devices, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let mut pointers = vec![NULL; op.operands().len()];
        let mut views: Vec<Option<Flat>> = vec![None; op.operands().len()];
        let mut ids = Vec::new();
        let mut seen_shapes = Vec::new();
        for (i, tensor) in tensors.iter().enumerate() {
            let Some(tensor) = tensor else { continue };
            let address = (tensor.data as u64).checked_add(tensor.byte_offset);
            if address.is_none() {
                wrong.insert(status::TOO_LARGE);
            }
            match tensor.device_type {
                1 => devices.push((CPU, tensor.device_id)),
                2 | 3 | 13 => devices.push((CUDA, tensor.device_id)),
                _ => {
                    wrong.insert(25);
                }
            }
            ids.push(tensor.device_id);
            if tensor.dtype.lanes != 1 {
                wrong.insert(24);
            }
            let dtype = Dtype::ALL
                .into_iter()
                .find(|dtype| dtype.dlpack() == (tensor.dtype.code, tensor.dtype.bits));
            match dtype {
                Some(dtype) => dtypes.push(dtype),
                None => {
                    wrong.insert(23);
                }
            }
            if !(0..=8).contains(&tensor.ndim) {
                wrong.insert(20);
                continue;
            }
            // The tests' own arrays end there.
            if tensor.ndim as usize > shapes[i].len() {
                return None;
            }
            let shape = &shapes[i][..tensor.ndim as usize];
            if tensor.ndim > 0 && tensor.shape.is_null() {
                wrong.insert(status::NULL_POINTER);
                continue;
            }
            seen_shapes.push(shape.to_vec());
            if shape.iter().any(|&size| size < 0) {
                wrong.insert(20);
                continue;
            }
            let count = match shape.contains(&0) {
                true => Some(0),
                false => shape.iter().try_fold(1_i64, |n, &size| n.checked_mul(size)),
            };
            let Some(count) = count else {
                wrong.insert(status::TOO_LARGE);
                continue;
            };
            counts.push(count);
            // An optional output without memory is skipped.
            if tensor.data.is_null() && (i < inputs || op != Op::DoubleBackward) {
                wrong.insert(status::NULL_POINTER);
            }
            let (Some(dtype), true) = (dtype, count > 0) else {
                continue;
            };
            let steps = strides[i].as_ref().filter(|_| !tensor.strides.is_null());
            let steps = steps.map(|steps| &steps[..tensor.ndim as usize]);
            let size = dtype.size() as i128;
            let extent = reach(shape, steps)
                .filter(|(low, high)| (high - low + 1) * size <= i128::from(i64::MAX));
            let Some((low, high)) = extent else {
                wrong.insert(26);
                continue;
            };
            let (Some(address), false) = (address, tensor.data.is_null()) else {
                continue;
            };
            pointers[i] = address as usize as Pointer;
            views[i] = Some(Flat {
                pointer: address,
                low: low * size,
                bytes: (high - low + 1) * size,
                is_run: false,
                steps: dims(shape, steps)
                    .into_iter()
                    .filter(|&(size, _)| size != 1)
                    .collect(),
            });
        }
        if dtypes.windows(2).any(|pair| pair[0] != pair[1]) {
            wrong.insert(22);
        }
        if devices.windows(2).any(|pair| pair[0] != pair[1]) {
            wrong.insert(status::DEVICE_MISMATCH);
        }
        if seen_shapes.windows(2).any(|pair| pair[0] != pair[1]) {
            wrong.insert(21);
        }
        let is_on_host = devices.iter().any(|(device, _)| *device == CPU);
        if counts.contains(&0) {
            // Nothing is touched: memory and stream are not looked at.
            wrong.retain(|code| (20..40).contains(code) || matches!(code, 1 | 6 | 40));
            wrong.remove(&26);
            // A NULL tensor is wrong all the same, NULL memory is not.
            let has_null = tensors[..inputs].iter().any(Option::is_none)
                || (op != Op::DoubleBackward && tensors[inputs].is_none())
                || tensors[inputs..].iter().all(Option::is_none)
                || tensors
                    .iter()
                    .flatten()
                    .any(|t| t.ndim > 0 && t.shape.is_null());
            if !has_null {
                wrong.remove(&status::NULL_POINTER);
            }
            return Some(pointers);
        }
        let whole = !wrong.iter().any(|code| (20..40).contains(code));
        if let (true, Some(&dtype), Some(&(device, id))) = (whole, dtypes.first(), devices.first())
        {
            self.judge(op, device, dtype, &views, stream, Some(id), wrong);
        }
        if is_on_host && wrong.iter().all(|code| *code >= MAYBE) {
            // The memory must be there.
            let is_there = |view: &Flat| {
                let low = i128::from(view.pointer) + view.low;
                self.find(view.pointer).is_some_and(|memory| {
                    low >= i128::from(memory.start() - GUARD)
                        && low + view.bytes
                            <= i128::from(memory.start()) + SIZE as i128 + i128::from(GUARD)
                })
            };
            if !views.iter().flatten().all(is_there) {
                return None;
            }
        }
        Some(pointers)
    }

    fn other(&mut self) {
        let ordinal = match self.random.below(4) {
            0 => self.random.next() as i32,
            _ => self.random.below(4) as i32 - 1,
        };
        let right = self.random.choose(&[CPU, CUDA]);
        let device = self.number(right);
        let mut wrong = BTreeSet::new();
        if !matches!(device, CPU | CUDA) {
            wrong.insert(2);
        }
        // SAFETY: any numbers; pointers to a variable or NULL.
        unsafe {
            match self.random.below(6) {
                0 => {
                    let limit = if device == CPU { 1 } else { 2 };
                    if !(0..limit).contains(&ordinal) {
                        wrong.insert(status::INVALID_ORDINAL);
                    }
                    let got = (mish().mish_warmup)(device, ordinal);
                    self.verdict(got, &wrong, || format!("warmup {device} {ordinal}"));
                }
                1 => {
                    let mut count = -7;
                    let is_null = self.random.once_in(4);
                    if is_null {
                        wrong.insert(status::NULL_POINTER);
                    }
                    let to = if is_null {
                        std::ptr::null_mut()
                    } else {
                        &raw mut count
                    };
                    let got = (mish().mish_device_count)(device, to);
                    self.verdict(got, &wrong, || format!("device_count {device}"));
                    let expected = if got != 0 || is_null { -7 } else { device };
                    assert_eq!(count, expected);
                }
                2 => {
                    let threads = self.random.below(4) as u32;
                    let got = (mish().mish_set_num_threads)(threads);
                    self.verdict(got, &BTreeSet::new(), || "set_num_threads".into());
                }
                3 => {
                    let name = (mish().mish_status_name)(self.random.next() as i32);
                    assert!(!name.is_null());
                }
                4 => assert_eq!((mish().mish_abi_version)(), 1),
                _ => {
                    assert!(!(mish().mish_version)().is_null());
                    assert!(!(mish().mish_build_info)().is_null());
                    assert!(!(mish().mish_last_error)().is_null());
                }
            }
        }
    }

    /// The bytes around every output that lies in known memory.
    fn outputs(&mut self, op: Op, pointers: &[Pointer]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &pointer in &pointers[op.inputs()..] {
            if let Some(memory) = self.find(pointer as u64) {
                bytes.extend_from_slice(&memory.buffer.bytes()[..256]);
            }
        }
        bytes
    }

    /// Says what is about to be called, if asked to, for a call that kills the process.
    fn trace(&self, wrong: &BTreeSet<i32>, what: impl Fn() -> String) {
        if self.is_traced {
            eprintln!("call {}: wrong {wrong:?}: {}", self.counts.calls, what());
        }
    }

    fn verdict(&mut self, got: i32, wrong: &BTreeSet<i32>, what: impl Fn() -> String) {
        self.counts.calls += 1;
        if got == 0 {
            let certain = wrong.iter().any(|code| *code < MAYBE);
            assert!(!certain, "accepted despite {wrong:?}: {}", what());
            self.counts.succeeded += 1;
        } else {
            assert!(
                wrong.contains(&got) || wrong.contains(&(got + MAYBE)),
                "status {got} ({}), expected one of {wrong:?}: {}",
                abi::last_error(),
                what()
            );
            self.counts.failed[got as usize] += 1;
            if self.counts.calls.is_multiple_of(64) {
                let message = abi::last_error();
                let (argument, rest) = message.split_once(": ").unwrap_or(("", ""));
                let is_named = !argument.is_empty() && !rest.is_empty();
                assert!(is_named, "{message:?} names no argument");
            }
        }
        if self.counts.calls.is_multiple_of(4096) {
            // A kernel that went astray would have left an error.
            for &(stream, _) in &self.streams {
                // SAFETY: a stream.
                driver::ok(unsafe { (api().cuStreamSynchronize)(stream) });
            }
        }
    }

    /// The same call on the other backend gives the same.
    fn compare(&mut self, op: Op, device: i32, code: i32, pointers: &[Pointer], n: usize) {
        let dtype = Dtype::ALL[code as usize - 1];
        let size = dtype.size();
        if n > 64 {
            return;
        }
        // Results that replaced their inputs cannot be computed again.
        let (inputs, outputs) = pointers.split_at(op.inputs());
        if outputs.iter().any(|output| inputs.contains(output)) {
            return;
        }
        let bytes = |pointer: Pointer| {
            // SAFETY: the call has just used as much.
            unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), n * size) }
        };
        let mut copies: Vec<Vec<u64>> = Vec::new();
        for &pointer in inputs {
            let mut copy = vec![0_u64; 64];
            // SAFETY: long enough for 64 elements of any type.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    pointer.cast::<u8>(),
                    copy.as_mut_ptr().cast(),
                    n * size,
                );
            }
            copies.push(copy);
        }
        copies.resize(op.operands().len(), vec![0_u64; 64]);
        let again: Vec<Pointer> = copies.iter_mut().map(|c| c.as_mut_ptr().cast()).collect();
        abi::succeeded(abi::call(op, CPU, dtype, &again, n, NULL));
        for (k, &output) in outputs.iter().enumerate().filter(|(_, o)| !o.is_null()) {
            for e in 0..n {
                let given: Vec<u64> = inputs
                    .iter()
                    .map(|&p| values::read(bytes(p), e, dtype))
                    .collect();
                let got = values::read(bytes(output), e, dtype);
                let expected = values::read(bytes(again[op.inputs() + k]), e, dtype);
                assert!(
                    values::same_result(op, dtype, k, got, expected, &given),
                    "{op:?} {dtype:?} device {device} n {n} element {e}: {given:x?} gives \
                     {got:x}, expected {expected:x}"
                );
            }
        }
        self.counts.compared += 1;
    }
}

impl Memory {
    fn is_device(&self) -> bool {
        matches!(self.place, Place::Device | Place::Pool)
    }
}

/// More elements than the model lists.
const MANY: i128 = 4096;

/// An operand's memory: `bytes` bytes from `pointer + low` on, and the dimensions that move.
#[derive(Clone, Debug)]
struct Flat {
    pointer: u64,
    low: i128,
    bytes: i128,
    /// Whether that is one run of elements.
    is_run: bool,
    /// Sizes and steps in elements of the dimensions that move.
    steps: Vec<(i64, i64)>,
}

impl Flat {
    fn count(&self) -> i128 {
        self.steps
            .iter()
            .map(|&(size, _)| i128::from(size))
            .product()
    }

    /// Every element's address, in elements; none for a run without gaps, or where there are too
    /// many to list.
    fn addresses(&self, size: u64) -> Option<BTreeSet<i128>> {
        if self.is_run || self.count() > MANY {
            return None;
        }
        let mut addresses = vec![i128::from(self.pointer / size)];
        for &(count, step) in &self.steps {
            addresses = addresses
                .iter()
                .flat_map(|a| (0..count).map(move |i| a + i128::from(i) * i128::from(step)))
                .collect();
        }
        Some(addresses.into_iter().collect())
    }
}

/// The lowest and the highest element that a shape reaches; none beyond any address.
fn reach(shape: &[i64], strides: Option<&[i64]>) -> Option<(i128, i128)> {
    let (mut low, mut high) = (0_i128, 0_i128);
    for (size, step) in dims(shape, strides) {
        if size < 1 {
            return None;
        }
        let reach = i128::from(size - 1) * i128::from(step);
        low += reach.min(0);
        high += reach.max(0);
    }
    (high - low < 1 << 62).then_some((low, high))
}

/// Sizes and steps of a shape.
fn dims(shape: &[i64], strides: Option<&[i64]>) -> Vec<(i64, i64)> {
    match strides {
        Some(strides) => shape.iter().copied().zip(strides.iter().copied()).collect(),
        None => {
            let mut step = 1_i64;
            let mut dims: Vec<(i64, i64)> = shape
                .iter()
                .rev()
                .map(|&size| {
                    let dim = (size, step);
                    step = step.wrapping_mul(size);
                    dim
                })
                .collect();
            dims.reverse();
            dims
        }
    }
}
