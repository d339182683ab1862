//! PyTorch's adapter, driven as PyTorch's dispatcher drives it, through a stand-in of its C shim.

use std::ffi::{CStr, CString};

use crate::abi::{CPU, Dtype, Op, Pointer, call, mish, succeeded};
use crate::catalogue::{Operator, Variant};
use crate::driver::{self, Buffer, Place, driver as api};
use crate::random::Random;
use crate::values;

/// Sizes, and strides for each operand in turn.
struct Layout {
    name: &'static str,
    sizes: &'static [i64],
    strides: &'static [&'static [i64]],
}

const LAYOUTS: [Layout; 6] = [
    Layout {
        name: "contiguous",
        sizes: &[5, 12],
        strides: &[&[12, 1]],
    },
    Layout {
        name: "transposed",
        sizes: &[5, 12],
        strides: &[&[1, 5]],
    },
    Layout {
        name: "of several orders",
        sizes: &[5, 12],
        strides: &[&[12, 1], &[1, 5], &[24, 2]],
    },
    Layout {
        name: "sliced",
        sizes: &[3, 4, 5],
        strides: &[&[80, 20, 3]],
    },
    // More dimensions than the library walks, and no two of them are one.
    Layout {
        name: "of nine dimensions",
        sizes: &[2; 9],
        strides: &[&[6561, 2187, 729, 243, 81, 27, 9, 3, 1]],
    },
    // Neighbours that are one in some of the operands.
    Layout {
        name: "of nine dimensions that merge",
        sizes: &[2; 9],
        strides: &[
            &[256, 128, 64, 32, 16, 8, 4, 2, 1],
            &[341, 170, 85, 42, 21, 10, 5, 2, 1],
            &[426, 213, 106, 53, 26, 13, 6, 3, 1],
        ],
    },
];

/// PyTorch's number of an element type.
fn number(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::F16 => 5,
        Dtype::BF16 => 15,
        Dtype::F32 => 6,
        Dtype::F64 => 7,
    }
}

/// Where each element lies, in elements from the first, in row-major order.
fn places(sizes: &[i64], strides: &[i64]) -> Vec<usize> {
    let mut places = vec![0];
    for (&size, &stride) in sizes.iter().zip(strides) {
        places = (places.iter())
            .flat_map(|place| (0..size).map(move |i| place + (i * stride) as usize))
            .collect();
    }
    places
}

/// A tensor's memory, and where its elements are in it.
struct Data {
    buffer: Buffer,
    places: Vec<usize>,
    strides: &'static [i64],
}

/// One device as PyTorch sees it.
#[derive(Clone, Copy)]
struct Site {
    key: &'static str,
    /// PyTorch's numbers of the device.
    device: (i32, i32),
    place: Place,
    stream: usize,
}

impl Site {
    fn data(&self, layout: &Layout, operand: usize, dtype: Dtype) -> Data {
        let strides = layout.strides[operand % layout.strides.len()];
        let places = places(layout.sizes, strides);
        let elements = places.iter().max().map_or(0, |last| last + 1);
        Data {
            buffer: Buffer::new(self.place, elements * dtype.size()),
            places,
            strides,
        }
    }

    fn tensor(&self, layout: &Layout, data: &Data, dtype: Dtype) -> u64 {
        let (pointer, dim) = (data.buffer.pointer(), layout.sizes.len());
        let (sizes, strides) = (layout.sizes.as_ptr(), data.strides.as_ptr());
        let (kind, index) = self.device;
        let dtype = number(dtype);
        // SAFETY: as many sizes and strides as dimensions.
        let handle =
            unsafe { (api().standin_tensor)(pointer, dim, sizes, strides, dtype, kind, index) };
        handle as u64
    }

    /// Calls an operator with this stack; what it threw, if it did.
    fn operator(&self, name: &str, stack: &mut [u64], inputs: usize) -> Result<(), String> {
        let name = CString::new(name.replace('*', self.key)).expect("no NUL");
        let outputs = (stack.len() - inputs) as u64;
        // SAFETY: the stack holds what the schema says, results in the place of arguments.
        let code = unsafe {
            (api().standin_operator)(name.as_ptr(), stack.as_mut_ptr(), inputs as u64, outputs)
        };
        assert_ne!(code, 2, "{name:?} is not registered");
        match code {
            0 => Ok(()),
            // SAFETY: a C string of this thread.
            _ => Err(unsafe { CStr::from_ptr((api().standin_thrown)()) }
                .to_string_lossy()
                .into_owned()),
        }
    }
}

/// The elements of a tensor that an operator returned, which ends here.
fn take(handle: u64, layout: &Layout, dtype: Dtype) -> Vec<u64> {
    let handle = handle as Pointer;
    let (mut data, mut strides) = (std::ptr::null_mut(), std::ptr::null());
    // SAFETY: a live tensor with as many strides as dimensions, whose memory outlives it.
    unsafe {
        driver::ok((api().aoti_torch_get_data_ptr)(handle, &mut data) as u32);
        driver::ok((api().aoti_torch_get_strides)(handle, &mut strides) as u32);
        let strides = std::slice::from_raw_parts(strides, layout.sizes.len());
        let places = places(layout.sizes, strides);
        let bytes = (places.iter().max().map_or(0, |last| last + 1)) * dtype.size();
        let bytes = std::slice::from_raw_parts(data.cast::<u8>(), bytes);
        let values = (places
            .iter()
            .map(|&place| values::read(bytes, place, dtype)))
        .collect();
        driver::ok((api().aoti_torch_delete_tensor_object)(handle) as u32);
        values
    }
}

/// The results of the C ABI on the CPU for the same elements, per output.
fn expected(op: Op, dtype: Dtype, inputs: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let n = inputs[0].len();
    let mut memory = vec![vec![0_u8; n * dtype.size()]; op.operands().len()];
    for (bytes, values) in memory.iter_mut().zip(inputs) {
        for (i, &value) in values.iter().enumerate() {
            values::write(bytes, i, dtype, value);
        }
    }
    let pointers: Vec<Pointer> = (memory.iter_mut())
        .map(|bytes| bytes.as_mut_ptr().cast())
        .collect();
    succeeded(call(op, CPU, dtype, &pointers, n, std::ptr::null_mut()));
    (memory[op.inputs()..].iter())
        .map(|bytes| (0..n).map(|i| values::read(bytes, i, dtype)).collect())
        .collect()
}

/// Every operator: its name (`*` is the key), operation, and where its result goes.
fn all() -> Vec<(String, Op, Results)> {
    let own = Operator::all().map(|operator| {
        let results = match operator.variant {
            Variant::New | Variant::Plain => Results::New,
            Variant::InPlace => Results::InPlace,
            Variant::Out => Results::Given,
        };
        (format!("mish/*/{}", operator.name()), operator.op, results)
    });
    let replaced = [
        ("mish", Op::Forward, Results::New),
        ("mish_", Op::Forward, Results::InPlaceReturned),
        ("mish_backward", Op::Backward, Results::New),
    ];
    let replaced = replaced.map(|(name, op, results)| (format!("aten/*/{name}"), op, results));
    own.chain(replaced).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Results {
    New,
    InPlace,
    InPlaceReturned,
    Given,
}

fn check(site: Site, operator: &(String, Op, Results), layout: &Layout, dtype: Dtype) {
    let &(ref name, op, results) = operator;
    let what = format!(
        "{name} {} {:?} {dtype:?} {}",
        site.key, site.device, layout.name
    );
    let mut random = Random(layout.sizes.len() as u64 + 100 * op as u64);
    // Operands of several orders in the second operand first: `x` comes last.
    let data: Vec<Data> = (0..op.inputs())
        .map(|i| site.data(layout, i, dtype))
        .collect();
    let inputs: Vec<Vec<u64>> = (data.iter())
        .map(|data| {
            let bytes = data.buffer.bytes();
            values::fill(bytes, dtype, &mut random);
            (data.places.iter())
                .map(|&place| values::read(bytes, place, dtype))
                .collect()
        })
        .collect();
    let expected = expected(op, dtype, &inputs);
    let before = (driver::last_launch().count, {
        // SAFETY: no arguments.
        unsafe { (api().standin_tensors)() }
    });
    let out = site.data(layout, 2, dtype);
    let mut stack: Vec<u64> = (data.iter())
        .map(|data| site.tensor(layout, data, dtype))
        .collect();
    if results == Results::Given {
        stack.push(site.tensor(layout, &out, dtype));
    }
    let inputs_on_stack = stack.len();
    stack.resize(inputs_on_stack + expected.len(), 0);
    let outcome = site.operator(name, &mut stack, inputs_on_stack);
    assert_eq!(outcome, Ok(()), "{what}");
    let written = |data: &Data| -> Vec<u64> {
        let bytes = data.buffer.bytes();
        (data.places.iter())
            .map(|&place| values::read(bytes, place, dtype))
            .collect()
    };
    let got: Vec<Vec<u64>> = match results {
        Results::New => (stack[..expected.len()].iter())
            .map(|&handle| take(handle, layout, dtype))
            .collect(),
        Results::InPlace => vec![written(&data[0])],
        Results::InPlaceReturned => {
            let returned = take(stack[0], layout, dtype);
            assert_eq!(returned, written(&data[0]), "{what}: another tensor");
            vec![returned]
        }
        Results::Given => vec![written(&out)],
    };
    for (k, (got, expected)) in got.iter().zip(&expected).enumerate() {
        for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
            let operands: Vec<u64> = inputs.iter().map(|values| values[i]).collect();
            assert!(
                values::same_result(op, dtype, k, got, expected, &operands),
                "{what}: output {k} element {i}: {operands:x?} got {got:x} expected {expected:x}"
            );
        }
    }
    let launch = driver::last_launch();
    if site.place == Place::Device {
        assert_eq!(launch.count, before.0 + 1, "{what}: launches");
        assert_eq!(launch.stream, site.stream, "{what}: another stream");
    } else {
        assert_eq!(launch.count, before.0, "{what}: launches");
    }
    // SAFETY: no arguments.
    let after = unsafe { (api().standin_tensors)() };
    assert_eq!(after, before.1, "{what}: tensors are left");
}

/// Registers the operators with the stand-in as PyTorch, CPU and CUDA.
fn register() {
    let library = c"libcuda.so.1".as_ptr();
    // SAFETY: the stand-in stays loaded.
    unsafe {
        driver::driver();
        succeeded((mish().mish_torch_register)(library, library, 1));
        succeeded((mish().mish_torch_replace)(1));
    }
}

/// Every operator, with every layout and type, on the CPU and on two devices, each with a current
/// stream of its own: right results, on that stream, and no tensor left.
pub fn operators() {
    driver::init();
    register();
    let host = Site {
        key: "CPU",
        device: (0, 0),
        place: Place::Host,
        stream: 0,
    };
    let devices = [0, 1].map(|device| {
        let context = driver::create_context(device);
        let stream = driver::create_stream() as usize;
        // SAFETY: plain values.
        unsafe { (api().standin_use_stream)(device, stream) };
        let site = Site {
            key: "CUDA",
            device: (1, device),
            place: Place::Device,
            stream,
        };
        (context, site)
    });
    let mut calls = 0;
    for (context, site) in [(devices[0].0, host), devices[0], devices[1]] {
        driver::set_current(context);
        for operator in &all() {
            for layout in &LAYOUTS {
                for dtype in Dtype::ALL {
                    check(site, operator, layout, dtype);
                    calls += 1;
                }
            }
        }
    }
    println!("{calls} calls of operators");
    for (context, _) in devices {
        driver::destroy_context(context);
    }
}

/// Operands that do not fit are refused in PyTorch's words, nothing is launched and no tensor left.
pub fn refusals() {
    driver::init();
    register();
    let context = driver::create_context(0);
    let stream = driver::create_stream() as usize;
    // SAFETY: plain values.
    unsafe { (api().standin_use_stream)(0, stream) };
    let site = Site {
        key: "CUDA",
        device: (1, 0),
        place: Place::Device,
        stream,
    };
    let (plain, other) = (&LAYOUTS[0], &LAYOUTS[3]);
    let x = site.data(plain, 0, Dtype::F32);
    let wrong = site.data(other, 0, Dtype::F32);
    let tensor = || site.tensor(plain, &x, Dtype::F32);
    // SAFETY: no arguments.
    let tensors = || unsafe { (api().standin_tensors)() };
    let (before, launches) = (tensors(), driver::last_launch().count);
    let cases = [
        (
            site.tensor(other, &wrong, Dtype::F32),
            "grad_y to have shape",
        ),
        (site.tensor(plain, &x, Dtype::BF16), "grad_y to have dtype"),
    ];
    for (grad_y, part) in cases {
        let outcome = site.operator("mish/*/backward", &mut [grad_y, tensor(), 0], 2);
        let message = outcome.expect_err(part);
        assert!(message.contains(part), "{message}");
    }
    // A device without a current stream: PyTorch fails to name one.
    let elsewhere = Site {
        device: (1, 1),
        ..site
    };
    let lost = elsewhere.tensor(plain, &x, Dtype::F32);
    let outcome = site.operator("mish/*/forward_", &mut [lost], 1);
    let message = outcome.expect_err("no current stream");
    assert!(message.contains("the current stream"), "{message}");
    assert_eq!((tensors(), driver::last_launch().count), (before, launches));
    x.buffer.untouched();
    driver::destroy_context(context);
}
