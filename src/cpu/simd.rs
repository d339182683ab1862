//! Which instruction set the kernels use, decided once per process.

use std::sync::atomic::{AtomicU8, Ordering};

/// The instruction sets the kernels are compiled for. All run the same source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simd {
    /// The target's baseline: SSE2 on x86-64, NEON on AArch64.
    Baseline,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Simd {
    /// The name in `MISH_SIMD` and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Simd::Baseline => "baseline",
            Simd::Avx2 => "avx2",
            Simd::Avx512 => "avx512",
        }
    }

    /// The sets this machine has, best first.
    pub fn available() -> impl Iterator<Item = Simd> {
        [Simd::Avx512, Simd::Avx2, Simd::Baseline]
            .into_iter()
            .filter(|simd| simd.is_available())
    }

    /// The set in use: the best one, or the one that the environment variable `MISH_SIMD` names
    /// at the first call, if the machine has it.
    pub fn active() -> Simd {
        /// Its number plus 1, 0 until it is known. No lock, which a fork or a signal could find
        /// locked: at worst two threads look.
        static KNOWN: AtomicU8 = AtomicU8::new(0);
        match KNOWN.load(Ordering::Relaxed) {
            1 => Simd::Baseline,
            2 => Simd::Avx2,
            3 => Simd::Avx512,
            _ => {
                let found = Simd::wanted();
                KNOWN.store(found as u8 + 1, Ordering::Relaxed);
                found
            }
        }
    }

    #[cold]
    fn wanted() -> Simd {
        let wanted = std::env::var("MISH_SIMD").unwrap_or_default();
        Simd::available()
            .find(|simd| simd.name() == wanted)
            .or_else(|| Simd::available().next())
            .unwrap_or(Simd::Baseline)
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Simd::Baseline => true,
            Simd::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            Simd::Avx512 => {
                Simd::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Simd::Baseline
    }
}
