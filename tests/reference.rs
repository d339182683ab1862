//! Every result on the host against the correctly rounded one in `tests/reference/`.

use std::path::Path;

use mish::accuracy::{bound, is_near_zero};
use mish::{Device, Dtype, Op};

/// How many numbers a result may be from the correctly rounded one: on these points no wide type
/// needs more than float32's bounds.
fn limit(dtype: Dtype, order: usize) -> u128 {
    match dtype.is_narrow() {
        true => bound(dtype, order) as u128,
        false => bound(Dtype::F32, order) as u128,
    }
}

fn to_f64(bits: u64, dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F16 => half::f16::from_bits(bits as u16).to_f64(),
        Dtype::BF16 => half::bf16::from_bits(bits as u16).to_f64(),
        Dtype::F32 => f32::from_bits(bits as u32).into(),
        Dtype::F64 => f64::from_bits(bits),
    }
}

/// Numbers the floats in their order; both zeros are 0.
fn ordered(bits: u64, dtype: Dtype) -> i128 {
    let sign = 1_i128 << (dtype.bits() - 1);
    let bits = i128::from(bits);
    if bits & sign == 0 { bits } else { sign - bits }
}

/// One column of bit patterns, as memory of the element type.
struct Column {
    dtype: Dtype,
    bytes: Vec<u64>, // for its alignment
    len: usize,
}

impl Column {
    fn new(bits: &[u64], dtype: Dtype) -> Self {
        let mut column = Column::empty(bits.len(), dtype);
        for (i, value) in bits.iter().enumerate() {
            let size = dtype.size();
            // SAFETY: element i lies within the allocation.
            unsafe {
                let target = column.pointer().cast::<u8>().add(i * size);
                target.copy_from_nonoverlapping(value.to_le_bytes().as_ptr(), size);
            }
        }
        column
    }

    fn empty(len: usize, dtype: Dtype) -> Self {
        Column {
            dtype,
            bytes: vec![0; len],
            len,
        }
    }

    fn pointer(&mut self) -> *mut std::ffi::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    fn bits(&mut self) -> Vec<u64> {
        let size = self.dtype.size();
        let start = self.pointer().cast::<u8>();
        let element = |i| {
            let mut bytes = [0; 8];
            // SAFETY: element i lies within the allocation.
            unsafe {
                bytes
                    .as_mut_ptr()
                    .copy_from_nonoverlapping(start.add(i * size), size)
            };
            u64::from_le_bytes(bytes)
        };
        (0..self.len).map(element).collect()
    }
}

struct Vectors {
    dtype: Dtype,
    columns: Vec<Vec<u64>>,
}

const X: usize = 0;

impl Vectors {
    fn load(dtype: Dtype) -> Self {
        // Asked when it runs: the folder may have been moved since it was compiled.
        let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
        let folder = Path::new(&root).join("tests/reference");
        let path = folder.join(format!("{}.csv", dtype.name()));
        let text = std::fs::read_to_string(&path).expect("the vectors are committed");
        let mut lines = text.lines();
        let heads = "x,grad_y,grad_grad_x,y,grad_x,grad_grad_y,grad_x_2";
        assert_eq!(lines.next(), Some(heads));
        let mut columns = vec![Vec::new(); 7];
        for line in lines {
            for (column, cell) in columns.iter_mut().zip(line.split(',')) {
                column.push(u64::from_str_radix(cell, 16).expect("hexadecimal"));
            }
        }
        assert!(
            columns
                .iter()
                .all(|c| c.len() == columns[0].len() && c.len() > 500)
        );
        Vectors { dtype, columns }
    }

    /// Runs an operation on columns; returns its outputs.
    fn run(&self, op: Op, inputs: &[usize]) -> Vec<Vec<u64>> {
        let n = self.columns[0].len();
        let mut operands: Vec<Column> = inputs
            .iter()
            .map(|&i| Column::new(&self.columns[i], self.dtype))
            .collect();
        let outputs = op.operands().len() - inputs.len();
        operands.extend((0..outputs).map(|_| Column::empty(n, self.dtype)));
        let pointers: Vec<_> = operands.iter_mut().map(Column::pointer).collect();
        // SAFETY: every operand has n elements.
        unsafe {
            mish::run_contiguous(
                Device::Cpu,
                op,
                self.dtype,
                &pointers,
                n,
                std::ptr::null_mut(),
            )
        }
        .expect("a good call");
        operands[inputs.len()..]
            .iter_mut()
            .map(Column::bits)
            .collect()
    }

    /// Compares an output with the column `expected`. `order` is the derivative in it and
    /// `factors` the columns it is multiplied by. Returns how many are wrong, and shows some.
    fn count_wrong(&self, got: &[u64], expected: usize, order: usize, factors: &[usize]) -> usize {
        let dtype = self.dtype;
        let mut wrong = 0;
        for (i, (&got, &expected)) in got.iter().zip(&self.columns[expected]).enumerate() {
            let x = to_f64(self.columns[X][i], dtype);
            let values = (to_f64(got, dtype), to_f64(expected, dtype));
            let is_good = if values.1.is_nan() {
                values.0.is_nan()
            } else if values.0.is_nan() {
                false
            } else {
                let apart = ordered(got, dtype).abs_diff(ordered(expected, dtype));
                let scale: f64 = factors
                    .iter()
                    .map(|&f| to_f64(self.columns[f][i], dtype))
                    .product();
                // The last place of 1/16, times the factors in front.
                let unit = scale.abs() * 2_f64.powi(-4 - dtype.digits() as i32 + 1);
                let same_sign =
                    order > 0 || values.0.is_sign_negative() == values.1.is_sign_negative();
                (apart <= limit(dtype, order) && same_sign)
                    || (is_near_zero(order, x) && (values.0 - values.1).abs() <= unit)
            };
            if !is_good {
                wrong += 1;
                if wrong <= 5 {
                    let name = dtype.name();
                    println!("{name}, derivative {order}, x = {x:e}: got, expected {values:?}");
                }
            }
        }
        wrong
    }
}

fn check(dtype: Dtype) {
    let vectors = Vectors::load(dtype);
    // The columns: the inputs of the last operation backwards, then every operation's outputs.
    let mut column = Op::DoubleBackward.inputs();
    let mut wrong = Vec::new();
    for op in Op::ALL {
        let inputs: Vec<usize> = (0..op.inputs()).rev().collect();
        for (got, &order) in vectors.run(op, &inputs).iter().zip(op.orders()) {
            // Each derivative is multiplied by one gradient more.
            wrong.push(vectors.count_wrong(got, column, order, &inputs[..order]));
            column += 1;
        }
    }
    assert_eq!(
        wrong, [0; 4],
        "wrong in y, grad_x, grad_grad_y, grad_x of the second"
    );
}

#[test]
fn f16() {
    check(Dtype::F16);
}

#[test]
fn bf16() {
    check(Dtype::BF16);
}

#[test]
fn f32() {
    check(Dtype::F32);
}

#[test]
fn f64() {
    check(Dtype::F64);
}
