//! A framework of tensors in host memory, whose float32 is number 7 and whose CPU is device 3.

use std::cell::{Cell, RefCell};

use super::*;

const FLOAT: i32 = 7;
const CPU: (i32, i32) = (3, 0);
const TARGET: Target = Target {
    dtype: Dtype::F32,
    device: Device::Cpu,
    device_id: 0,
    stream: std::ptr::null_mut(),
};

thread_local! {
    /// Tensors made to copy to.
    static MADE: Cell<usize> = const { Cell::new(0) };
}

#[derive(Clone)]
struct Host {
    memory: RefCell<Vec<u8>>,
    /// Of the first element, in bytes from the memory's first aligned one.
    offset: usize,
    shape: Vec<i64>,
    strides: Vec<i64>,
    dtype: i32,
    device: (i32, i32),
}

impl Host {
    /// Its elements are 0.0, 0.1, 0.2, ... in row-major order.
    fn new(shape: &[i64], strides: &[i64], offset: usize) -> Self {
        let reach = shape
            .iter()
            .zip(strides)
            .map(|(size, step)| (size - 1) * step);
        let host = Host {
            memory: vec![0; (reach.sum::<i64>() as usize + 2) * 4 + offset].into(),
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
            dtype: FLOAT,
            device: CPU,
        };
        host.write((0..).map(|i| i as f32 / 10.0));
        host
    }

    fn dense(shape: &[i64]) -> Self {
        Host::new(shape, &row_major(shape), 0)
    }

    fn data(&self) -> *mut f32 {
        let mut memory = self.memory.borrow_mut();
        let start = memory.as_ptr().align_offset(4) + self.offset;
        memory[start..].as_mut_ptr().cast()
    }

    /// The elements' addresses in row-major order.
    fn places(&self) -> Vec<*mut f32> {
        let mut places = vec![self.data()];
        for (&size, &step) in self.shape.iter().zip(&self.strides) {
            places = (places.iter())
                .flat_map(|place| {
                    (0..size).map(move |i| place.wrapping_offset((i * step) as isize))
                })
                .collect();
        }
        places
    }

    fn read(&self) -> Vec<f32> {
        // SAFETY: within the memory.
        self.places()
            .iter()
            .map(|place| unsafe { place.read_unaligned() })
            .collect()
    }

    fn write(&self, elements: impl Iterator<Item = f32>) {
        for (place, element) in self.places().iter().zip(elements) {
            // SAFETY: within the memory.
            unsafe { place.write_unaligned(element) };
        }
    }
}

impl Tensor for Host {
    const EXPANDED_OUTPUT: &'static str = "that is one element";

    fn operand(&self, name: &'static str, _: Access) -> Result<Operand<'_, Self>> {
        let strides = &self.strides[..];
        Ok(Operand {
            name,
            tensor: self,
            data: self.data().cast(),
            shape: &self.shape,
            strides: (!is_row_major(&self.shape, strides)).then_some(strides),
            dtype: self.dtype,
            device: self.device,
        })
    }

    fn dense_like(&self) -> Result<Self> {
        MADE.set(MADE.get() + 1);
        Ok(Host::dense(&self.shape))
    }

    fn copy_from(&self, source: &Self) -> Result<()> {
        self.write(source.read().into_iter());
        Ok(())
    }

    fn dtype_name(&self, dtype: i32) -> String {
        format!("number {dtype}")
    }

    fn device_name(&self, device: (i32, i32)) -> String {
        format!("place {}", device.0)
    }
}

/// Runs the backward pass, its operands called `dy`, `x` and `dx`.
fn backward(grad_y: &Host, x: &Host, grad_x: &Host) -> Result<()> {
    let operands = [
        grad_y.operand("dy", Access::Read)?,
        x.operand("x", Access::Read)?,
        grad_x.operand("dx", Access::Write)?,
    ];
    MADE.set(0);
    // SAFETY: live memory of this thread.
    unsafe { run(Op::Backward, TARGET, &operands) }
}

/// Checks a result against that of dense copies; returns how many tensors were made for it.
fn check(grad_y: &Host, x: &Host, grad_x: &Host) -> usize {
    backward(grad_y, x, grad_x).unwrap();
    let mut expected = vec![0.0; x.read().len()];
    crate::backward(&grad_y.read(), &x.read(), &mut expected).unwrap();
    assert_eq!(grad_x.read(), expected);
    MADE.get()
}

/// Strides of ten dimensions of two elements each: `gaps` lie above the dimensions named.
fn ten(gaps: &[usize]) -> (Vec<i64>, Vec<i64>) {
    let (mut strides, mut step) = (vec![0; 10], 1);
    for d in (0..10).rev() {
        strides[d] = step;
        step = 2 * step + i64::from(gaps.contains(&d));
    }
    (vec![2; 10], strides)
}

#[test]
fn dense_and_strided_operands_are_not_copied() {
    let (dense, turned) = (Host::dense(&[3, 4]), Host::new(&[3, 4], &[1, 3], 0));
    assert_eq!(check(&dense, &dense, &Host::dense(&[3, 4])), 0);
    assert_eq!(check(&dense, &turned, &Host::new(&[3, 4], &[9, 2], 0)), 0);
    let broadcast = Host::new(&[3, 4], &[0, 1], 0);
    assert_eq!(check(&broadcast, &dense, &Host::dense(&[3, 4])), 0);
    let none = Host::dense(&[3, 0, 4]);
    assert_eq!(check(&none, &none, &Host::dense(&[3, 0, 4])), 0);
}

#[test]
fn dimensions_merge_where_every_operand_allows_it() {
    let of = |gaps: &[usize]| {
        let (shape, strides) = ten(gaps);
        Host::new(&shape, &strides, 0)
    };
    // Dense ones beside others: at most three dimensions are left.
    assert_eq!(check(&of(&[]), &of(&[3]), &of(&[6])), 0);
    assert_eq!(check(&of(&[1]), &of(&[]), &of(&[])), 0);
    // Each of two operands allows what the other does not.
    let (odd, even) = (of(&[1, 3, 5, 7, 9]), of(&[2, 4, 6, 8]));
    assert_eq!(check(&odd, &even, &of(&[])), 3);
}

#[test]
fn operands_at_odd_addresses_are_copied() {
    let (dense, odd) = (Host::dense(&[3, 4]), Host::new(&[3, 4], &[4, 1], 1));
    assert_eq!(check(&odd, &dense, &Host::dense(&[3, 4])), 3);
    assert_eq!(check(&dense, &dense, &Host::new(&[3, 4], &[1, 3], 2)), 3);
}

#[test]
fn what_does_not_fit_is_refused_in_the_frameworks_names() {
    let x = Host::dense(&[3, 4]);
    let message = |grad_y: &Host, grad_x: &Host| {
        let error = backward(grad_y, &x, grad_x).unwrap_err();
        (error.status(), error.message().to_owned())
    };
    let (mut typed, mut placed) = (x.clone(), x.clone());
    (typed.dtype, placed.device) = (5, (4, 0));
    let words = "expected dy to have dtype number 7, like x, but got number 5";
    assert_eq!(message(&typed, &x), (Status::DtypeMismatch, words.into()));
    let words =
        "expected all tensors to be on the same device, but dx is on place 4 and x on place 3";
    assert_eq!(message(&x, &placed), (Status::DeviceMismatch, words.into()));
    let words = "expected dy to have shape [3, 4], like x, but got [4, 3]";
    assert_eq!(
        message(&Host::dense(&[4, 3]), &x),
        (Status::ShapeMismatch, words.into())
    );
    let expanded = Host::new(&[3, 4], &[0, 1], 0);
    let words = Host::EXPANDED_OUTPUT;
    assert_eq!(message(&x, &expanded), (Status::SelfOverlap, words.into()));
    // The library's own words for what only it sees.
    let folded = Host::new(&[3, 4], &[1, 1], 0);
    let (status, words) = message(&x, &folded);
    assert!(
        status == Status::SelfOverlap && words.starts_with("dx: "),
        "{words}"
    );
}

#[test]
fn a_failure_is_kept_in_words() {
    let refused = attempt(None, || Err(Error::new(Status::TooLarge, "x: too large")));
    // SAFETY: this thread's last error.
    let words = unsafe { std::ffi::CStr::from_ptr(refused.unwrap_err()) };
    assert_eq!(words, c"x: too large");
    assert!(attempt(None, || panic!("a defect")).is_err());
    assert!(attempt(None, || Ok(())).is_ok());
}

#[test]
fn work_is_split_over_the_frameworks_threads() {
    thread_local!(static PARTS: Cell<usize> = const { Cell::new(0) });
    fn split(n: usize, _: usize, part: &(dyn Fn(usize, usize) + Sync)) {
        let part = Part::new(part);
        PARTS.set(2);
        part.call(0, n / 2);
        part.call(n / 2, n);
        part.finish();
    }
    let (x, y) = (Host::dense(&[1 << 20]), Host::dense(&[1 << 20]));
    attempt(Some(split), || backward(&x, &x, &y)).unwrap();
    let mut expected = vec![0.0; 1 << 20];
    crate::backward(&x.read(), &x.read(), &mut expected).unwrap();
    assert!(y.read() == expected);
    // One CPU alone has nothing to split for.
    assert_eq!(PARTS.get() == 2, crate::cpu::num_threads() > 1);
}

#[test]
fn a_parts_panic_reaches_who_waits() {
    let part = Part::new(&|start, _| assert!(start != 1, "part {start}"));
    (0..3).for_each(|start| part.call(start, start + 1));
    let waiting = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| part.finish()));
    assert_eq!(
        waiting.unwrap_err().downcast_ref(),
        Some(&"part 1".to_owned())
    );
}
