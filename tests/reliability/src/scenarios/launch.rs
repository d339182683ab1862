//! Results and geometry of launches, against the CPU backend and the reference vectors.

use crate::abi::{
    self, CPU, CUDA, Dtype, Op, Pointer, Tensor, call, call_tensors, dltype, status, succeeded,
};
use crate::driver::{self, Buffer, Place, Reserved};
use crate::random::Random;
use crate::values;

const NULL: Pointer = std::ptr::null_mut();

/// A set of operands on the device and the same on the host.
pub struct Pair {
    pub op: Op,
    pub dtype: Dtype,
    device: Vec<Buffer>,
    host: Vec<Buffer>,
}

impl Pair {
    /// Operands of up to `bytes` bytes each.
    pub fn new(op: Op, dtype: Dtype, bytes: usize, place: Place, random: &mut Random) -> Pair {
        let make = |place| {
            (0..op.operands().len())
                .map(|_| Buffer::new(place, bytes))
                .collect()
        };
        let pair = Pair {
            op,
            dtype,
            device: make(place),
            host: make(Place::Host),
        };
        for i in 0..op.inputs() {
            values::fill(pair.host[i].bytes(), dtype, random);
            pair.device[i].bytes().copy_from_slice(pair.host[i].bytes());
        }
        pair
    }

    fn pointers(buffers: &[Buffer], offsets: &[usize]) -> Vec<Pointer> {
        buffers
            .iter()
            .zip(offsets)
            .map(|(b, &offset)| b.at(offset))
            .collect()
    }

    /// Pointers to the device operands, `offsets` bytes in.
    pub fn device(&self, offsets: &[usize]) -> Vec<Pointer> {
        Pair::pointers(&self.device, offsets)
    }

    /// The device outputs, whole.
    pub fn output_bytes(&self) -> Vec<Vec<u8>> {
        let outputs = &self.device[self.op.inputs()..];
        outputs
            .iter()
            .map(|buffer| buffer.bytes().to_vec())
            .collect()
    }

    /// Runs `n` elements at byte offsets `offsets` on both; compares everything.
    #[track_caller]
    pub fn check(&self, n: usize, offsets: &[usize], stream: Pointer) {
        let device = self.device(offsets);
        let host = Pair::pointers(&self.host, offsets);
        for output in self.op.inputs()..self.op.operands().len() {
            self.device[output].reset();
        }
        succeeded(call(self.op, CUDA, self.dtype, &device, n, stream));
        // SAFETY: a plain value; a stray access of the kernel shows as an error here.
        driver::ok(unsafe { (driver::driver().cuStreamSynchronize)(stream as usize) });
        succeeded(call(self.op, CPU, self.dtype, &host, n, NULL));
        self.compare(n, offsets);
    }

    /// Compares the outputs of both.
    #[track_caller]
    pub fn compare(&self, n: usize, offsets: &[usize]) {
        let size = self.dtype.size();
        for k in 0..self.op.outputs() {
            let i = self.op.inputs() + k;
            let (device, host) = (&self.device[i], &self.host[i]);
            device.only_written(offsets[i], offsets[i] + n * size);
            let results = device.bytes()[offsets[i]..].as_ptr();
            for e in 0..n {
                let inputs: Vec<u64> = (0..self.op.inputs())
                    .map(|j| values::read(&self.host[j].bytes()[offsets[j]..], e, self.dtype))
                    .collect();
                // SAFETY: within the buffer.
                let bytes = unsafe { std::slice::from_raw_parts(results, n * size) };
                let got = values::read(bytes, e, self.dtype);
                let expected = values::read(&host.bytes()[offsets[i]..], e, self.dtype);
                assert!(
                    values::same_result(self.op, self.dtype, k, got, expected, &inputs),
                    "{:?} {:?} n={n} offsets={offsets:?} element {e} output {k}: inputs {inputs:x?} \
                     got {got:x} expected {expected:x}",
                    self.op,
                    self.dtype
                );
            }
        }
    }
}

/// Sizes around every boundary of vectors, blocks of few threads and tiles.
fn sizes() -> Vec<usize> {
    let mut sizes: Vec<usize> = (1..=67).collect();
    for edge in [128, 256, 512, 1024, 2048, 4096, 8192] {
        sizes.extend([edge - 1, edge, edge + 1]);
    }
    sizes
}

/// Every type and operation at every alignment offset and around every boundary.
pub fn contiguous() {
    driver::init();
    let context = driver::create_context(0);
    let mut random = Random(1);
    for op in Op::ALL {
        for dtype in Dtype::ALL {
            let size = dtype.size();
            let pair = Pair::new(op, dtype, 8300 * size, Place::Device, &mut random);
            for n in sizes() {
                for offset in 0..32 / size {
                    if n > 300 && ![0, 1, 32 / size - 1].contains(&offset) {
                        continue;
                    }
                    pair.check(n, &[offset * size; 5], NULL);
                }
                // Different misalignments.
                let mixed: Vec<usize> = (0..5).map(|i| (i * 3 + n) % (32 / size) * size).collect();
                pair.check(n, &mixed, NULL);
            }
            in_place(&pair);
            optional_outputs(&pair);
        }
    }
    for place in [Place::Pool, Place::Managed, Place::Pinned] {
        let pair = Pair::new(Op::Backward, Dtype::F32, 4096, place, &mut random);
        for n in [1, 5, 64, 999] {
            pair.check(n, &[4; 5], NULL);
        }
    }
    assert_eq!(driver::current(), context);
}

/// The output in the place of each input.
fn in_place(pair: &Pair) {
    let (op, n) = (pair.op, 77);
    for target in 0..op.inputs() {
        let before = pair.device[target].bytes().to_vec();
        let mut device = pair.device(&[0; 5]);
        let mut host = Pair::pointers(&pair.host, &[0; 5]);
        succeeded(call(op, CPU, pair.dtype, &host, n, NULL));
        let expected = pair.host[op.inputs()].bytes().to_vec();
        device[op.inputs()] = device[target];
        host[op.inputs()] = host[target];
        succeeded(call(op, CUDA, pair.dtype, &device, n, NULL));
        let got = pair.device[target].bytes();
        for e in 0..n {
            let inputs: Vec<u64> = (0..op.inputs())
                .map(|j| values::read(pair.host[j].bytes(), e, pair.dtype))
                .collect();
            let (a, b) = (
                values::read(got, e, pair.dtype),
                values::read(&expected, e, pair.dtype),
            );
            assert!(
                values::same_result(op, pair.dtype, 0, a, b, &inputs),
                "in place {op:?} {target} {e}"
            );
        }
        got.copy_from_slice(&before);
    }
}

/// Skipped outputs stay as they are.
fn optional_outputs(pair: &Pair) {
    if pair.op != Op::DoubleBackward {
        return;
    }
    for skipped in [3, 4] {
        for offset in [0, 2] {
            let offsets = [offset * pair.dtype.size(); 5];
            pair.check(300, &offsets, NULL);
            let other = 7 - skipped;
            let expected = pair.device[other].bytes().to_vec();
            pair.device[skipped].reset();
            pair.device[other].reset();
            let mut device = pair.device(&offsets);
            device[skipped] = NULL;
            succeeded(call(pair.op, CUDA, pair.dtype, &device, 300, NULL));
            pair.device[skipped].untouched();
            assert!(
                expected == *pair.device[other].bytes(),
                "one output differs from both"
            );
        }
    }
}

/// Sizes for which the kernels use whole tiles: run with one multiprocessor.
pub fn contiguous_large() {
    driver::init();
    driver::create_context(0);
    let mut random = Random(2);
    let most = 70_000;
    for op in Op::ALL {
        for dtype in Dtype::ALL {
            let size = dtype.size();
            let pair = Pair::new(op, dtype, most * size, Place::Device, &mut random);
            let mut sizes = Vec::new();
            for edge in [2048, 4096, 8192, 16384, 32768, 65536] {
                for vector in [16 / size, 32 / size] {
                    sizes.extend([edge - vector, edge + vector]);
                }
                sizes.extend([edge - 1, edge, edge + 1]);
            }
            sizes.push(40_961);
            for n in sizes {
                let offset = random.below(32 / size as u64) as usize * size;
                pair.check(n, &[offset; 5], NULL);
            }
            pair.check(33_001, &[0, size, 0, size, 0], NULL);
        }
    }
}

/// A view's shape and one operand's steps.
struct View {
    data: Pointer,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

impl View {
    fn tensor(&self, device: i32, id: i32, dtype: Dtype) -> Tensor {
        Tensor {
            data: self.data,
            device_type: device,
            device_id: id,
            ndim: self.shape.len() as i32,
            dtype: dltype(dtype),
            shape: self.shape.as_ptr().cast_mut(),
            strides: self.strides.as_ptr().cast_mut(),
            byte_offset: 0,
        }
    }
}

/// Random views of 0 to 8 dimensions: transposed, sliced, reversed, expanded.
pub fn strided() {
    driver::init();
    driver::create_context(0);
    let mut random = Random(3);
    let whole = 40_000;
    for op in Op::ALL {
        for dtype in Dtype::ALL {
            let size = dtype.size();
            let pair = Pair::new(op, dtype, whole * size, Place::Device, &mut random);
            for round in 0..120 {
                let ndim = random.below(9) as usize;
                let most = [0, 5000, 90, 22, 9, 6, 5, 4, 3][ndim].max(1);
                let shape: Vec<i64> = (0..ndim)
                    .map(|_| {
                        let size = 1 + random.below(most) as i64;
                        // Whole vectors now and then.
                        if random.once_in(2) && most > 8 {
                            (size + 7) / 8 * 8
                        } else {
                            size
                        }
                    })
                    .collect();
                let mut views = Vec::new();
                for operand in 0..op.operands().len() {
                    let is_output = operand >= op.inputs();
                    let (strides, low, span) = steps(&shape, is_output, round, &mut random);
                    assert!(span < whole as i64, "{shape:?}");
                    let room = whole as i64 - span;
                    let slack = match random.below(2) {
                        0 => 0,
                        _ => random.below(room.min(9) as u64) as i64,
                    };
                    let start = (slack - low) as usize * size;
                    views.push((strides, start));
                }
                check_views(&pair, &shape, &views);
            }
        }
    }
}

/// Steps for a shape, the lowest offset they reach and how many elements they span.
fn steps(
    shape: &[i64],
    is_output: bool,
    round: usize,
    random: &mut Random,
) -> (Vec<i64>, i64, i64) {
    let mut order: Vec<usize> = (0..shape.len()).rev().collect();
    if round % 2 == 1 {
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i as u64 + 1) as usize);
        }
    }
    let mut strides = vec![0; shape.len()];
    let (mut step, mut low, mut high) = (1_i64, 0, 0);
    for &d in &order {
        let expand = !is_output && random.once_in(6);
        if expand {
            continue;
        }
        let sign = if random.once_in(5) { -1 } else { 1 };
        strides[d] = sign * step;
        let reach = (shape[d] - 1) * strides[d];
        if reach < 0 {
            low += reach
        } else {
            high += reach
        }
        let gap = if round.is_multiple_of(3) && shape.len() < 4 {
            random.below(3) as i64
        } else {
            0
        };
        step = step * shape[d] + gap;
    }
    (strides, low, high - low + 1)
}

fn check_views(pair: &Pair, shape: &[i64], views: &[(Vec<i64>, usize)]) {
    let outputs = pair.op.inputs()..pair.op.operands().len();
    for i in outputs.clone() {
        pair.device[i].reset();
        pair.host[i].reset();
    }
    for (place, buffers) in [(CUDA, &pair.device), (CPU, &pair.host)] {
        let views: Vec<View> = views
            .iter()
            .zip(buffers)
            .map(|((strides, start), buffer)| View {
                data: buffer.at(*start),
                shape: shape.to_vec(),
                strides: strides.clone(),
            })
            .collect();
        let tensors: Vec<Tensor> = views
            .iter()
            .map(|v| v.tensor(place, 0, pair.dtype))
            .collect();
        let pointers: Vec<*const Tensor> = tensors.iter().map(|t| &raw const *t).collect();
        succeeded(call_tensors(pair.op, &pointers, NULL));
    }
    // SAFETY: no arguments but a value.
    driver::ok(unsafe { (driver::driver().cuStreamSynchronize)(0) });
    // Every element, by an odometer; then the whole buffers, so nothing else was written.
    let mut index = vec![0_i64; shape.len()];
    let size = pair.dtype.size();
    'elements: loop {
        let place = |operand: usize| {
            let (strides, start) = &views[operand];
            let offset: i64 = index.iter().zip(strides).map(|(i, s)| i * s).sum();
            (*start as i64 + offset * size as i64) as usize / size
        };
        let inputs: Vec<u64> = (0..pair.op.inputs())
            .map(|i| values::read(pair.host[i].bytes(), place(i), pair.dtype))
            .collect();
        for k in 0..outputs.len() {
            let i = outputs.start + k;
            let got = values::read(pair.device[i].bytes(), place(i), pair.dtype);
            let expected = values::read(pair.host[i].bytes(), place(i), pair.dtype);
            assert!(
                values::same_result(pair.op, pair.dtype, k, got, expected, &inputs),
                "{:?} {:?} {shape:?} {views:?} at {index:?} output {k}: {got:x} {expected:x}",
                pair.op,
                pair.dtype
            );
            // What agrees becomes equal, for the comparison of the whole.
            values::write(pair.device[i].bytes(), place(i), pair.dtype, expected);
        }
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            if index[d] < shape[d] {
                continue 'elements;
            }
            index[d] = 0;
        }
        break;
    }
    for i in outputs {
        assert!(
            pair.device[i].bytes() == pair.host[i].bytes(),
            "written beside the view: {shape:?} {views:?}"
        );
        let bytes = pair.device[i].bytes().len();
        pair.device[i].only_written(0, bytes);
    }
}

/// More than 2^32 elements: the first and last blocks of the launch, on address space that costs
/// no memory.
pub fn huge() {
    driver::init();
    let context = driver::create_context(0);
    let n = (1_usize << 32) + 1031;
    let size = n * 2 + 64;
    let buffers = [Reserved::new(size), Reserved::new(size)];
    for buffer in &buffers {
        // SAFETY: plain values.
        unsafe {
            (driver::driver().standin_pretend)(buffer.address as u64, size as u64, context, 0, 1);
        }
    }
    let element = |buffer: &Reserved, i: usize, offset: usize| {
        buffer
            .address
            .wrapping_byte_add(i * 2 + offset)
            .cast::<u16>()
    };
    // Aligned alike (contiguous kernel), and not (strided kernel, 64-bit indices).
    for (from, to) in [(2, 2), (0, 2)] {
        let mut expected = 0;
        // SAFETY: within the reserved space, here and below; one is 1.0.
        unsafe {
            for i in (0..1031).chain(n - 1031..n) {
                element(&buffers[0], i, from).write_unaligned(0x3c00);
                element(&buffers[1], i, to).write_unaligned(0xffff);
            }
            let mut one = 0x3c00_u16;
            let p = (&raw mut one).cast();
            let q = (&raw mut expected).cast();
            succeeded(call(Op::Forward, CPU, Dtype::F16, &[p, q], 1, NULL));
        }
        let pointers = [
            buffers[0].address.wrapping_byte_add(from),
            buffers[1].address.wrapping_byte_add(to),
        ];
        succeeded(call(Op::Forward, CUDA, Dtype::F16, &pointers, n, NULL));
        // SAFETY: a plain value.
        driver::ok(unsafe { (driver::driver().cuStreamSynchronize)(0) });
        let expected: u16 = expected;
        // SAFETY: as above.
        unsafe {
            // Two blocks at either end; the last one of the contiguous kernel is the head and tail.
            for i in (0..500).chain(n - 3..n) {
                let got = element(&buffers[1], i, to).read_unaligned();
                assert_eq!(got, expected, "element {i} of {n}, offsets {from}, {to}");
            }
            let middle = element(&buffers[1], n / 2, to).read_unaligned();
            assert_eq!(middle, 0, "the middle was not to be run");
        }
        let launch = driver::last_launch();
        assert!(u64::from(launch.blocks) * u64::from(launch.threads) * 32 >= n as u64 / 8);
        for buffer in &buffers {
            // Give the touched pages back. SAFETY: the mapping's own pages.
            unsafe { libc::madvise(buffer.address, size, libc::MADV_DONTNEED) };
        }
    }
    // More blocks than CUDA has.
    let far = 1 << 46;
    for address in [1_u64 << 44, 1 << 45] {
        // SAFETY: plain values.
        unsafe { (driver::driver().standin_pretend)(address, far, context, 0, 0) };
    }
    let pointers = [(1_u64 << 44) as Pointer, ((1_u64 << 45) + 2) as Pointer];
    let n = 1_usize << 43;
    abi::failed(
        call(Op::Forward, CUDA, Dtype::F16, &pointers, n, NULL),
        status::TOO_LARGE,
        "blocks",
    );
}

/// The committed vectors through the GPU path.
pub fn reference() {
    driver::init();
    driver::create_context(0);
    for dtype in Dtype::ALL {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../reference");
        let path = format!("{path}/{}.csv", dtype.name());
        let text = std::fs::read_to_string(path).expect("the vectors");
        let rows: Vec<Vec<u64>> = text
            .lines()
            .skip(1)
            .map(|line| {
                let cells = line.split(',');
                cells
                    .map(|c| u64::from_str_radix(c, 16).expect("hexadecimal"))
                    .collect()
            })
            .collect();
        let n = rows.len();
        assert!(n > 500);
        // x, grad_y, grad_grad_x, y, grad_x, grad_grad_y, grad_x_2
        for op in Op::ALL {
            let inputs: Vec<usize> = (0..op.inputs()).rev().collect();
            let outputs = 3 + op as usize..3 + op as usize + op.outputs();
            let buffers: Vec<Buffer> = (0..op.operands().len())
                .map(|_| Buffer::new(Place::Device, n * dtype.size()))
                .collect();
            for (buffer, &column) in buffers.iter().zip(&inputs) {
                for (i, row) in rows.iter().enumerate() {
                    values::write(buffer.bytes(), i, dtype, row[column]);
                }
            }
            let pointers: Vec<Pointer> = buffers.iter().map(Buffer::pointer).collect();
            succeeded(call(op, CUDA, dtype, &pointers, n, NULL));
            for (k, column) in outputs.enumerate() {
                for (i, row) in rows.iter().enumerate() {
                    let got = values::read(buffers[op.inputs() + k].bytes(), i, dtype);
                    let given: Vec<u64> = inputs.iter().map(|&column| row[column]).collect();
                    let x = values::to_f64(row[0], dtype);
                    let order = op.orders()[k];
                    let factor: f64 = given[..order]
                        .iter()
                        .map(|&bits| values::to_f64(bits, dtype))
                        .product();
                    let ulps = [1, 2, 2][order];
                    assert!(
                        values::agree(got, row[column], dtype, x, order, factor, ulps),
                        "{op:?} {dtype:?} output {k} of {given:x?}: {got:x}, expected {:x}",
                        row[column]
                    );
                }
            }
        }
    }
}

fn image(expected: &str) {
    driver::init();
    driver::create_context(0);
    let mut random = Random(4);
    for op in Op::ALL {
        for dtype in Dtype::ALL {
            let pair = Pair::new(op, dtype, 4096, Place::Device, &mut random);
            pair.check(200, &[0; 5], NULL);
            let launch = driver::last_launch();
            assert_eq!(
                launch.kernel,
                format!("mish_{}_{}", op.name(), dtype.name())
            );
            pair.check(200, &[0, 8, 0, 8, 0], NULL);
            let launch = driver::last_launch();
            assert_eq!(
                launch.kernel,
                format!("mish_{}_{}_strided", op.name(), dtype.name())
            );
        }
    }
    assert_eq!(driver::modules(), 1);
    assert_eq!(driver::last_image(), expected);
    assert_eq!(
        driver::calls("cuModuleLoadData"),
        1,
        "the first image was taken"
    );
}

pub fn image_sm_60() {
    image("sm_60");
}
pub fn image_sm_70() {
    image("sm_70");
}
pub fn image_sm_75() {
    image("sm_75");
}
pub fn image_sm_87() {
    image("sm_87");
}
pub fn image_sm_101() {
    image("sm_101");
}
pub fn image_sm_89() {
    image("sm_89");
}
pub fn image_sm_90() {
    image("sm_90");
}
pub fn image_sm_100() {
    image("sm_100");
}
pub fn image_sm_120() {
    image("sm_120");
}
pub fn image_ptx() {
    image("compute_60");
}

/// A GPU older than every image.
pub fn image_none() {
    driver::init();
    let context = driver::create_context(0);
    let buffers = [
        Buffer::new(Place::Device, 64),
        Buffer::new(Place::Device, 64),
    ];
    let pointers = [buffers[0].pointer(), buffers[1].pointer()];
    for _ in 0..2 {
        abi::failed(
            call(Op::Forward, CUDA, Dtype::F32, &pointers, 16, NULL),
            status::NO_KERNEL_IMAGE,
            "compute capability 5.3",
        );
        buffers[1].untouched();
        assert_eq!(driver::current(), context);
        assert_eq!(driver::modules(), 0);
    }
}
