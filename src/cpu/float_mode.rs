//! The floating-point mode of a call's work: the default one, whatever the caller's is.
//!
//! The formulas need it. Rounding to nearest is in their constants and error-free transforms, an
//! unmasked exception would be raised by ordinary intermediate results, and flushed subnormals are
//! wrong results. A helper thread besides has the mode of whoever started it, and a framework's
//! thread that of whatever ran there before; so every part of a call sets it, on the thread that
//! does the part, and puts back what it found, the status flags included.

/// Calls `work` in the default mode: to nearest, subnormals kept, all exceptions masked.
#[inline]
pub(super) fn with_default<R>(work: impl FnOnce() -> R) -> R {
    let _restored = Restored(registers::set_default());
    work()
}

/// The registers as they were found, and will be left.
struct Restored(registers::State);

impl Drop for Restored {
    #[inline]
    fn drop(&mut self) {
        registers::restore(self.0);
    }
}

// None of the statements below is declared free of effects on memory, so that no load or store
// moves across them. What is computed lies between the loads of its operands and the stores of its
// results, and stays between them, too. The code outside computes nothing in floating point, for
// which the compiler would assume the default mode.

/// MXCSR. The x87 unit, which the kernels do not use, keeps its own mode.
#[cfg(target_arch = "x86_64")]
mod registers {
    use std::arch::asm;

    pub type State = u32;

    /// To nearest, no flushing, all exceptions masked, no flag set.
    const DEFAULT: u32 = 0x1f80;
    /// The status flags.
    const FLAGS: u32 = 0x3f;

    #[inline(always)]
    pub fn set_default() -> State {
        let found = read();
        if found & !FLAGS != DEFAULT {
            write(DEFAULT);
        }
        found
    }

    #[inline(always)]
    pub fn restore(state: State) {
        // Whether the work has raised a flag takes longer to find out.
        write(state);
    }

    #[inline(always)]
    fn read() -> u32 {
        let mut state = 0_u32;
        // SAFETY: stores the register in this variable.
        unsafe {
            asm!("stmxcsr [{}]", in(reg) &raw mut state, options(nostack, preserves_flags));
        }
        state
    }

    #[inline(always)]
    fn write(state: u32) {
        // SAFETY: a state that the register had, or the default one.
        unsafe {
            asm!("ldmxcsr [{}]", in(reg) &raw const state, options(nostack, preserves_flags));
        }
    }
}

/// FPCR and FPSR.
#[cfg(target_arch = "aarch64")]
mod registers {
    use std::arch::asm;

    #[derive(Clone, Copy)]
    pub struct State {
        mode: u64,
        flags: u64,
    }

    const DEFAULT: u64 = 0;

    #[inline(always)]
    pub fn set_default() -> State {
        let found = read();
        if found.mode != DEFAULT {
            write_mode(DEFAULT);
        }
        found
    }

    #[inline(always)]
    pub fn restore(state: State) {
        if state.mode != DEFAULT {
            write_mode(state.mode);
        }
        // SAFETY: flags that the register had.
        unsafe {
            asm!("msr fpsr, {}", in(reg) state.flags, options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn read() -> State {
        let (mode, flags): (u64, u64);
        // SAFETY: reads two registers.
        unsafe {
            asm!("mrs {}, fpcr", "mrs {}, fpsr", out(reg) mode, out(reg) flags, options(nostack, preserves_flags));
        }
        State { mode, flags }
    }

    #[inline(always)]
    fn write_mode(mode: u64) {
        // SAFETY: a mode that the register had, or the default one.
        unsafe {
            asm!("msr fpcr, {}", in(reg) mode, options(nostack, preserves_flags));
        }
    }
}

/// Elsewhere the mode is the caller's affair.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod registers {
    pub type State = ();
    pub fn set_default() -> State {}
    pub fn restore(_: State) {}
}
