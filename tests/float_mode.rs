//! Results do not depend on the floating-point mode of the caller, nor on that of whoever made the
//! threads, with any instruction set; and the caller finds its mode and its flags as they were.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use std::ffi::c_void;
use std::process::Command;

use mish::cpu::Simd;
use mish::{Device, Dtype, Op};

/// Elements of a call that is split, in every type.
const LARGE: usize = 20_000;

#[cfg(target_arch = "x86_64")]
mod mode {
    use std::arch::asm;

    /// All exceptions masked.
    const MASKED: u32 = 0x1f80;
    /// Directed rounding, flushed results, flushed operands, all of it; unmasked exceptions; a
    /// flag that is set.
    pub const ALL: &[u32] = &[
        MASKED | 0x2000,
        MASKED | 0x4000,
        MASKED | 0x6000,
        MASKED | 0x8000,
        MASKED | 0x0040,
        MASKED | 0xe040,
        0x0000,
        0xc040,
        MASKED | 0x0010,
    ];

    pub fn get() -> u32 {
        let mut mode = 0_u32;
        // SAFETY: stores MXCSR in this variable.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mode) };
        mode
    }

    pub fn set(mode: u32) {
        // SAFETY: only between calls that compute nothing here.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const mode) };
    }
}

#[cfg(target_arch = "aarch64")]
mod mode {
    use std::arch::asm;

    /// FPCR: directed rounding, flushed subnormals, both; default NaNs.
    pub const ALL: &[u64] = &[1 << 22, 2 << 22, 3 << 22, 1 << 24, 7 << 22, 1 << 25];

    pub fn get() -> (u64, u64) {
        let (mode, flags);
        // SAFETY: reads two registers.
        unsafe { asm!("mrs {}, fpcr", "mrs {}, fpsr", out(reg) mode, out(reg) flags) };
        (mode, flags)
    }

    pub fn set(mode: u64) {
        // SAFETY: only between calls that compute nothing here.
        unsafe { asm!("msr fpcr, {}", "msr fpsr, xzr", in(reg) mode) };
    }
}

/// Five operands of bits that make numbers of every size, subnormal ones included, in any type.
struct Operands([Vec<u64>; 5]);

impl Operands {
    fn new(dtype: Dtype) -> Self {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            state ^ (state >> 31)
        };
        let width = dtype.size() * 8;
        let operand = |_| {
            let mut words = vec![0_u64; LARGE * width / 64];
            for (i, word) in words.iter_mut().enumerate() {
                let one = |bits: u64| match i % 4 {
                    // Without the exponent: subnormal.
                    0 => bits & !(exponent(dtype)),
                    // In the middle of the range.
                    1 => bits & !(exponent(dtype)) | (exponent(dtype) >> 1 & exponent(dtype)),
                    _ => bits,
                };
                for lane in 0..64 / width {
                    let bits = one(next() >> (64 - width) & mask(width));
                    *word |= bits << (lane * width);
                }
            }
            words
        };
        Operands(std::array::from_fn(operand))
    }

    /// Runs the operation in this mode, if one is given, and returns the outputs.
    fn run(&mut self, op: Op, dtype: Dtype, hostile: Option<usize>) -> Vec<Vec<u64>> {
        let count = op.operands().len();
        let outputs = op.operands().iter().map(|operand| operand.is_output());
        let outputs: Vec<bool> = outputs.collect();
        for (operand, is_output) in self.0.iter_mut().zip(&outputs) {
            if *is_output {
                operand.fill(!0);
            }
        }
        let pointers: Vec<*mut c_void> = (self.0[..count].iter_mut())
            .map(|operand| operand.as_mut_ptr().cast())
            .collect();
        let call = || {
            let null = std::ptr::null_mut();
            // SAFETY: operands as long as stated.
            unsafe { mish::run_contiguous(Device::Cpu, op, dtype, &pointers, LARGE, null) }
        };
        let outcome = match hostile.map(|i| mode::ALL[i]) {
            None => call(),
            Some(hostile) => {
                let own = mode::get();
                mode::set(hostile);
                let before = mode::get();
                let outcome = call();
                let after = mode::get();
                #[cfg(target_arch = "x86_64")]
                mode::set(own);
                #[cfg(target_arch = "aarch64")]
                mode::set(own.0);
                assert_eq!(before, after, "the caller's mode and flags");
                outcome
            }
        };
        outcome.unwrap();
        let all = self.0.iter().zip(outputs);
        all.filter(|(_, is_output)| *is_output)
            .map(|(operand, _)| operand.clone())
            .collect()
    }
}

fn mask(width: usize) -> u64 {
    u64::MAX >> (64 - width)
}

fn exponent(dtype: Dtype) -> u64 {
    let fraction = dtype.digits() - 1;
    mask(dtype.bits() as usize - 1) >> fraction << fraction
}

/// One test, so that the first call of the process is the one meant.
#[test]
fn no_result_depends_on_a_mode() {
    let active = Simd::active();
    println!("{}", active.name());
    // The helpers start in the worst mode there is, and stay.
    mish::cpu::set_num_threads(4);
    let worst = mode::ALL.len() - 2;
    Operands::new(Dtype::F64).run(Op::DoubleBackward, Dtype::F64, Some(worst));
    for dtype in Dtype::ALL {
        let mut operands = Operands::new(dtype);
        for op in Op::ALL {
            mish::cpu::set_num_threads(1);
            let expected = operands.run(op, dtype, None);
            for threads in [1, 4] {
                mish::cpu::set_num_threads(threads);
                for hostile in std::iter::once(None).chain((0..mode::ALL.len()).map(Some)) {
                    let found = operands.run(op, dtype, hostile);
                    let wrong = (found.iter().flatten())
                        .zip(expected.iter().flatten())
                        .filter(|(found, expected)| found != expected)
                        .count();
                    assert_eq!(
                        wrong, 0,
                        "{op:?} {dtype:?}, {threads} threads, mode {hostile:?}"
                    );
                }
            }
        }
    }
    // The other instruction sets, in processes of their own.
    if std::env::var_os("MISH_SIMD").is_some() {
        return;
    }
    for simd in Simd::available().filter(|simd| *simd != active) {
        let this = std::env::current_exe().unwrap();
        let child = Command::new(this)
            .env("MISH_SIMD", simd.name())
            .args(["--nocapture", "--test-threads=1"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && text.contains(simd.name()),
            "{}: {text}{}",
            child.status,
            String::from_utf8_lossy(&child.stderr)
        );
    }
}
