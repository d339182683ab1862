//! Elements as bit patterns: filling operands, comparing results.

use crate::abi::{CPU, Dtype, Op, Pointer, call};
use crate::catalogue::accuracy::is_near_zero;
use crate::random::Random;

pub fn read(bytes: &[u8], i: usize, dtype: Dtype) -> u64 {
    let size = dtype.size();
    let mut raw = [0; 8];
    raw[..size].copy_from_slice(&bytes[i * size..(i + 1) * size]);
    u64::from_le_bytes(raw)
}

pub fn write(bytes: &mut [u8], i: usize, dtype: Dtype, bits: u64) {
    let size = dtype.size();
    bytes[i * size..(i + 1) * size].copy_from_slice(&bits.to_le_bytes()[..size]);
}

/// A value's bits, rounded to nearest even.
pub fn from_f64(value: f64, dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F64 => value.to_bits(),
        Dtype::F32 => u64::from((value as f32).to_bits()),
        Dtype::BF16 => {
            let bits = (value as f32).to_bits();
            u64::from((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)
        }
        Dtype::F16 => {
            let sign = u64::from(value.is_sign_negative()) << 15;
            let magnitude = value.abs();
            if magnitude >= 65520.0 {
                return sign | 0x7c00;
            }
            // Units in the last place, subnormals included.
            let exponent = (magnitude.log2().floor() as i32).max(-14);
            let units = (magnitude * 2_f64.powi(10 - exponent)).round_ties_even() as u64;
            match magnitude == 0.0 {
                true => sign,
                false => sign | (units + ((exponent + 14) as u64 * 0x400)),
            }
        }
    }
}

pub fn to_f64(bits: u64, dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F64 => f64::from_bits(bits),
        Dtype::F32 => f32::from_bits(bits as u32).into(),
        Dtype::BF16 => f32::from_bits((bits as u32) << 16).into(),
        Dtype::F16 => {
            let magnitude = (bits & 0x7fff) as f64;
            let value = match bits & 0x7c00 {
                0x7c00 if bits & 0x3ff != 0 => f64::NAN,
                0x7c00 => f64::INFINITY,
                0 => magnitude * 2_f64.powi(-24),
                exponent => {
                    let significand = ((bits & 0x3ff) | 0x400) as f64;
                    significand * 2_f64.powi((exponent >> 10) as i32 - 25)
                }
            };
            if bits & 0x8000 != 0 { -value } else { value }
        }
    }
}

/// A value that tests something: mostly around the interesting range, sometimes any bits.
pub fn any(random: &mut Random, dtype: Dtype) -> u64 {
    let width = 8 * dtype.size() as u32;
    match random.below(8) {
        0 => random.next() >> (64 - width),
        1 => {
            let special = [
                0.0,
                -0.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                1.0,
                -1.0,
                -20.0,
            ];
            match random.choose(&special) {
                nan if nan.is_nan() => {
                    [0x7e00, 0x7fc0, 0x7fc0_0000, 0x7ff8 << 48][dtype as usize - 1]
                }
                value => from_f64(value, dtype),
            }
        }
        // The smallest normal number, and half of the largest power of two.
        2 => {
            let smallest = dtype.min_exponent();
            let size = 2_f64.powi(random.choose(&[smallest, -smallest]));
            from_f64(random.choose(&[size, -size]), dtype)
        }
        3 => from_f64((random.below(2000) as f64 - 1000.0) / 8.0, dtype),
        _ => ordinary(random, dtype, 12.0),
    }
}

fn ordinary(random: &mut Random, dtype: Dtype, largest: f64) -> u64 {
    let from_minus_one_to_one = random.below(1 << 20) as f64 / f64::from(1 << 19) - 1.0;
    from_f64(from_minus_one_to_one * largest, dtype)
}

/// Half of the runs of elements are ordinary: some kernels are quicker where a whole vector is.
pub fn fill(bytes: &mut [u8], dtype: Dtype, random: &mut Random) {
    const RUN: usize = 64;
    let mut is_ordinary = false;
    for i in 0..bytes.len() / dtype.size() {
        if i % RUN == 0 {
            is_ordinary = random.below(2) == 0;
        }
        let value = match is_ordinary {
            true => ordinary(random, dtype, 30.0),
            false => any(random, dtype),
        };
        write(bytes, i, dtype, value);
    }
}

/// Numbers the floats in their order; both zeros are 0.
fn ordered(bits: u64, dtype: Dtype) -> i128 {
    let sign = 1_i128 << (8 * dtype.size() - 1);
    let bits = i128::from(bits);
    if bits & sign == 0 { bits } else { sign - bits }
}

/// Whether two results agree: equal for 16-bit types, `ulps` apart at most for the others.
/// `order` is the derivative in it, `factor` what it is multiplied by.
pub fn agree(a: u64, b: u64, dtype: Dtype, x: f64, order: usize, factor: f64, ulps: u128) -> bool {
    let (va, vb) = (to_f64(a, dtype), to_f64(b, dtype));
    if va.is_nan() || vb.is_nan() {
        return va.is_nan() && vb.is_nan();
    }
    let limit = if dtype.size() == 2 { 0 } else { ulps };
    if ordered(a, dtype).abs_diff(ordered(b, dtype)) <= limit {
        return true;
    }
    // The last place of 1/16.
    let unit = factor.abs() * 2_f64.powi(-4 - dtype.digits() as i32 + 1);
    !dtype.is_narrow() && is_near_zero(order, x) && (va - vb).abs() <= 2.0 * unit
}

/// How much further than half a place a 16-bit result may be from the true value, in places: the
/// GPU's come from float32 arithmetic.
const SPARE: f64 = 0.01;

/// Whether two results of a 16-bit type are both next to the true value, which the CPU backend
/// computes in float64.
#[cold]
fn both_right(
    op: Op,
    dtype: Dtype,
    k: usize,
    results: [u64; 2],
    inputs: &[u64],
    (order, factor): (usize, f64),
) -> bool {
    let mut wide: Vec<f64> = inputs.iter().map(|&bits| to_f64(bits, dtype)).collect();
    wide.resize(op.operands().len(), 0.0);
    let pointers: Vec<Pointer> = wide.iter_mut().map(|v| (&raw mut *v).cast()).collect();
    if call(op, CPU, Dtype::F64, &pointers, 1, std::ptr::null_mut()) != 0 {
        return false;
    }
    let exact = wide[op.inputs() + k];
    // At a derivative's zero the terms that cancel are rounded to float32, the result is small.
    let x = to_f64(*inputs.last().expect("x"), dtype);
    let rounded = match is_near_zero(order, x) {
        true => factor.abs() * 2_f64.powi(-24),
        false => 0.0,
    };
    results.into_iter().all(|bits| {
        let value = to_f64(bits, dtype);
        let place = (value - to_f64(bits ^ 1, dtype)).abs();
        (value - exact).abs() <= (0.5 + SPARE) * place + rounded
    })
}

/// Compares output `k` of an operation at element `i` with another backend's.
pub fn same_result(
    op: Op,
    dtype: Dtype,
    k: usize,
    got: u64,
    expected: u64,
    inputs: &[u64],
) -> bool {
    let x = to_f64(*inputs.last().expect("x"), dtype);
    let value = |i: usize| to_f64(inputs[i], dtype);
    // Each derivative is multiplied by one gradient more.
    let order = op.orders()[k];
    let factor = (0..order).map(value).product();
    // An infinite gradient times a derivative that is next to nothing: infinite or NaN, depending
    // on whether the derivative underflows on the way.
    let gradients = &inputs[..inputs.len() - 1];
    let is_wild = gradients.iter().any(|&g| !to_f64(g, dtype).is_finite());
    if order > 0 && is_wild && !to_f64(got, dtype).is_finite() {
        return !to_f64(expected, dtype).is_finite();
    }
    // Each backend is within 1 or 2 of the true value.
    let ulps = if order == 0 { 2 } else { 4 };
    agree(got, expected, dtype, x, order, factor, ulps)
        || (dtype.size() == 2 && both_right(op, dtype, k, [got, expected], inputs, (order, factor)))
}
