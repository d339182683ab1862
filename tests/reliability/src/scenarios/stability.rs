//! The stability check: training with random input in every iteration and values across the whole
//! range of the type. No result may be NaN, or infinite where the true value is not.

use crate::abi::{CPU, CUDA, Dtype, Op, Pointer, call, succeeded};
use crate::driver::{self, Buffer, Place};
use crate::random::Random;
use crate::values;

const NULL: Pointer = std::ptr::null_mut();

/// Units of the layer.
const N: usize = 192;

/// The share of every test run.
pub fn share() {
    run(if super::is_full() { 20_000 } else { 1_000 });
}

/// Trains a layer `y = mish(w · x)` for so many iterations in each type and on both backends, with
/// a gradient penalty for the second order.
pub fn run(iterations: u32) {
    driver::init();
    let context = driver::create_context(0);
    let mut random = Random(0x5eed);
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32] {
        for (device, place, name) in [(CPU, Place::Host, "CPU"), (CUDA, Place::Device, "GPU path")]
        {
            let mut layer = Layer::new(dtype, device, place);
            for iteration in 0..iterations {
                layer.train(&mut random, iteration);
            }
            println!(
                "{} on the {name}: {iterations} iterations, {} results, {} infinite as the true \
                 value is, no other and no NaN; weights within {:.2}",
                dtype.name(),
                layer.results,
                layer.infinite,
                layer
                    .weights
                    .iter()
                    .fold(0_f64, |most, w| most.max(w.abs()))
            );
            assert!(
                layer.infinite > 0 || iterations < 100,
                "the range was not used"
            );
        }
    }
    driver::destroy_context(context);
}

struct Layer {
    dtype: Dtype,
    device: i32,
    /// grad_grad_x, grad_y, x; y, grad_x, grad_grad_y, grad_x of the second order.
    buffers: Vec<Buffer>,
    weights: Vec<f64>,
    results: u64,
    infinite: u64,
}

impl Layer {
    fn new(dtype: Dtype, device: i32, place: Place) -> Layer {
        Layer {
            dtype,
            device,
            buffers: (0..7)
                .map(|_| Buffer::new(place, N * dtype.size()))
                .collect(),
            weights: vec![1.0; N],
            results: 0,
            infinite: 0,
        }
    }

    /// Any finite number of the type.
    fn anything(&self, random: &mut Random) -> f64 {
        loop {
            let bits = random.next() >> (64 - 8 * self.dtype.size());
            let value = values::to_f64(bits, self.dtype);
            if value.is_finite() {
                return value;
            }
        }
    }

    /// About a normal distribution's.
    fn normal(random: &mut Random) -> f64 {
        let sum: u64 = (0..6).map(|_| random.below(1 << 20)).sum();
        sum as f64 / f64::from(1 << 20) * 2.0 - 6.0
    }

    fn train(&mut self, random: &mut Random, iteration: u32) {
        let dtype = self.dtype;
        let mut input = vec![0.0; N];
        for e in 0..N {
            input[e] = Layer::normal(random);
            // A part of the units see the whole range.
            let wide = e % 4 == 3;
            let numbers = [
                Layer::normal(random),
                Layer::normal(random),
                self.weights[e] * input[e],
            ];
            for (k, number) in numbers.into_iter().enumerate() {
                let number = if wide { self.anything(random) } else { number };
                let bits = values::from_f64(number, dtype);
                values::write(self.buffers[k].bytes(), e, dtype, bits);
            }
        }
        let p: Vec<Pointer> = self.buffers.iter().map(Buffer::pointer).collect();
        let operands = [
            vec![p[2], p[3]],
            vec![p[1], p[2], p[4]],
            vec![p[0], p[1], p[2], p[5], p[6]],
        ];
        for (op, operands) in Op::ALL.into_iter().zip(&operands) {
            succeeded(call(op, self.device, dtype, operands, N, NULL));
        }
        self.check(iteration);
        // Descent on y²/2 and the penalty on the gradient; units with wild inputs stay.
        for e in (0..N).filter(|e| e % 4 != 3) {
            let read =
                |k: usize| values::to_f64(values::read(self.buffers[k].bytes(), e, dtype), dtype);
            let slope = read(3) * read(4) * input[e] + 0.1 * read(6);
            assert!(slope.is_finite(), "iteration {iteration}: slope {slope}");
            self.weights[e] = (self.weights[e] - 0.01 * slope.clamp(-1.0, 1.0)).clamp(-8.0, 8.0);
        }
    }

    /// Every result against the true value, which float64 has.
    fn check(&mut self, iteration: u32) {
        let dtype = self.dtype;
        let read = |k: usize, e: usize| {
            values::to_f64(values::read(self.buffers[k].bytes(), e, dtype), dtype)
        };
        let mut wide: Vec<Vec<f64>> = (0..7)
            .map(|k| {
                (0..N)
                    .map(|e| if k < 3 { read(k, e) } else { 0.0 })
                    .collect()
            })
            .collect();
        let w: Vec<Pointer> = wide.iter_mut().map(|v| v.as_mut_ptr().cast()).collect();
        succeeded(call(Op::Forward, CPU, Dtype::F64, &[w[2], w[3]], N, NULL));
        succeeded(call(
            Op::Backward,
            CPU,
            Dtype::F64,
            &[w[1], w[2], w[4]],
            N,
            NULL,
        ));
        let all = [w[0], w[1], w[2], w[5], w[6]];
        succeeded(call(Op::DoubleBackward, CPU, Dtype::F64, &all, N, NULL));
        let mut infinite = 0;
        for k in 3..7 {
            for e in 0..N {
                let (got, exact) = (read(k, e), wide[k][e]);
                assert!(exact.is_finite(), "float64 has the range");
                let inputs = [read(0, e), read(1, e), read(2, e)];
                let rounded = values::to_f64(values::from_f64(exact, dtype), dtype);
                // Beside the largest number, a place more or less decides.
                let nearly = values::to_f64(values::from_f64(exact * 1.01, dtype), dtype);
                let may_be = rounded.is_infinite() || nearly.is_infinite();
                assert!(
                    got.is_finite() || (may_be && got == exact.signum() * f64::INFINITY),
                    "iteration {iteration}, {dtype:?}, result {k} of {inputs:?}: {got}, true {exact}"
                );
                infinite += u64::from(got.is_infinite());
                // And it is the value, to a few places.
                let (size, digits) = match dtype {
                    Dtype::F16 => (6e-8, 10),
                    Dtype::BF16 => (1e-40, 7),
                    _ => (3e-45, 22),
                };
                let close = (got - exact).abs() <= exact.abs() * 2_f64.powi(-digits) + size;
                let near_zero_of_derivative = k > 3 && (-2.7..1.9).contains(&inputs[2]);
                assert!(
                    close || got.is_infinite() || near_zero_of_derivative,
                    "iteration {iteration}, {dtype:?}, result {k} of {inputs:?}: {got}, true {exact}"
                );
            }
        }
        self.infinite += infinite;
        self.results += 4 * N as u64;
    }
}
