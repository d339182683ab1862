//! The GPU architectures with machine code of their own, and what each can do.

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arch {
    /// Compute capability, 10 · major + minor, by the compiler's name for it.
    pub sm: u32,
    /// The compute capability that a driver reports, where that is another number.
    pub reported: u32,
    /// Family, and which GPUs.
    pub gpus: &'static str,
    /// Whether double arithmetic is half as fast as float's; elsewhere it is 1/32 to 1/64.
    pub has_fast_double: bool,
    /// Bytes of the widest memory access.
    pub widest_access: u32,
    /// Threads that a multiprocessor has room for.
    pub resident_threads: u32,
    /// Whether a load can leave the first-level cache alone.
    pub has_no_allocate: bool,
}

/// What most have.
const COMMON: Arch = Arch {
    sm: 0,
    reported: 0,
    gpus: "",
    has_fast_double: false,
    widest_access: 16,
    resident_threads: 2048,
    has_no_allocate: true,
};

/// Every architecture with an image, oldest first. Sources: the CUDA C++ programming guide's tables
/// of compute capabilities and arithmetic throughput, and the PTX manual for accesses.
pub const ARCHITECTURES: &[Arch] = &[
    // Half speed on GP100 alone. The PTX made for 6.0 serves GPUs that are not known yet, and
    // most have slow doubles, so neither counts on it.
    Arch {
        sm: 60,
        gpus: "Pascal",
        has_no_allocate: false,
        ..COMMON
    },
    Arch {
        sm: 70,
        gpus: "Volta: V100",
        has_fast_double: true,
        ..COMMON
    },
    Arch {
        sm: 75,
        gpus: "Turing: T4, RTX 20",
        resident_threads: 1024,
        ..COMMON
    },
    Arch {
        sm: 80,
        gpus: "Ampere: A100",
        has_fast_double: true,
        ..COMMON
    },
    Arch {
        sm: 86,
        gpus: "Ampere: A10, RTX 30",
        resident_threads: 1536,
        ..COMMON
    },
    Arch {
        sm: 87,
        gpus: "Ampere: Jetson Orin",
        resident_threads: 1536,
        ..COMMON
    },
    Arch {
        sm: 89,
        gpus: "Ada: L4, L40, RTX 40",
        resident_threads: 1536,
        ..COMMON
    },
    Arch {
        sm: 90,
        gpus: "Hopper: H100, H200",
        has_fast_double: true,
        ..COMMON
    },
    Arch {
        sm: 100,
        gpus: "Blackwell: B200",
        has_fast_double: true,
        widest_access: 32,
        ..COMMON
    },
    // NVRTC 12.9 has its name of before CUDA 13, which calls it sm_110, as its drivers do.
    Arch {
        sm: 101,
        reported: 110,
        gpus: "Blackwell: Jetson Thor",
        resident_threads: 1536,
        widest_access: 32,
        ..COMMON
    },
    Arch {
        sm: 120,
        gpus: "Blackwell: RTX 50",
        resident_threads: 1536,
        widest_access: 32,
        ..COMMON
    },
];

/// The architecture of the PTX that drivers compile for everything that has no image.
pub const PTX: u32 = 60;

impl Arch {
    /// The compute capability that a driver reports.
    pub const fn capability(&self) -> u32 {
        if self.reported == 0 {
            self.sm
        } else {
            self.reported
        }
    }
}

/// The architecture of an image.
pub const fn arch(sm: u32) -> &'static Arch {
    let mut i = 0;
    while ARCHITECTURES[i].sm != sm {
        i += 1;
    }
    &ARCHITECTURES[i]
}
