//! How each kernel is tuned, as data.
//!
//! The build script compiles the kernels with these numbers and the launcher sizes grids with
//! them, so both read this one table. It depends on nothing, because the build script includes it.

/// What a memory access tells the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Nothing.
    Default,
    /// Evict first.
    #[allow(dead_code)]
    Stream,
    /// Loads: keep no copy in the first-level cache (sm_70 and newer).
    #[allow(dead_code)]
    NoL1,
}

/// The numbers a kernel is compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Threads per block; small tensors use fewer.
    pub threads: u32,
    /// Threads that a multiprocessor must have room for: caps the registers. 0 leaves them to the
    /// compiler.
    pub resident: u32,
    /// Vectors per thread and operand that are loaded before the first is used.
    pub vectors: u32,
    /// Bytes per vector access: 16, or 32 from sm_100 on.
    pub vector_bytes: u32,
    /// Words (of float64: elements) of a vector that a thread may compute at once; 0 leaves it to
    /// the compiler.
    pub together: u32,
    /// Hint of the loads.
    pub load: Cache,
    /// Hint of the stores.
    pub store: Cache,
    /// Elements per thread and operand of the strided kernels.
    pub strided_units: u32,
}

/// A policy and the kernels it applies to.
struct Rule {
    /// From this architecture on.
    sm: u32,
    /// Operation, by name; empty means any.
    op: &'static str,
    /// Element type, by name; empty means any.
    dtype: &'static str,
    policy: Policy,
}

const BASE: Policy = Policy {
    // Eight blocks fill a multiprocessor of 2048 threads; the tail of a wave stays fine-grained.
    threads: 256,
    resident: 0,
    // With 2048 resident threads 32 bytes each are 64 KiB in flight per multiprocessor, above
    // the 20-40 KiB that bandwidth times latency asks for on every architecture so far.
    vectors: 2,
    // The widest access before sm_100.
    vector_bytes: 16,
    together: 0,
    load: Cache::Default,
    store: Cache::Default,
    // Scalar accesses need more of them in flight; more than four cost occupancy.
    strided_units: 4,
};

/// A policy of the given threads, vectors, resident threads and words together.
const fn tuned(threads: u32, vectors: u32, resident: u32, together: u32) -> Policy {
    Policy {
        threads,
        vectors,
        resident,
        together,
        strided_units: 2,
        ..BASE
    }
}

/// The first rule that matches counts, so newer architectures and special cases come first.
const RULES: &[Rule] = &[
    // The widest kernel of all: more than one element at a time spills.
    Rule {
        sm: 100,
        op: "double_backward",
        dtype: "f64",
        policy: Policy {
            vectors: 1,
            vector_bytes: 32,
            resident: 512,
            strided_units: 1,
            ..BASE
        },
    },
    // Here, too, the compiler would start on more elements than there are registers for.
    Rule {
        sm: 100,
        op: "forward",
        dtype: "f64",
        policy: Policy {
            vectors: 2,
            vector_bytes: 32,
            resident: 512,
            together: 1,
            ..BASE
        },
    },
    // 256-bit accesses: one is as many bytes as two of 128 bits.
    Rule {
        sm: 100,
        op: "forward",
        dtype: "",
        policy: Policy {
            vectors: 2,
            vector_bytes: 32,
            resident: 512,
            ..BASE
        },
    },
    // Several operands are loaded at once, so one vector of each is enough in flight.
    Rule {
        sm: 100,
        op: "",
        dtype: "",
        policy: Policy {
            vectors: 1,
            vector_bytes: 32,
            resident: 512,
            ..BASE
        },
    },
    // Measured on an H200 with bench/tune.py (bench/results/tune-h200-*.json): threads per
    // multiprocessor matter more than registers per thread, down to where the compiler spills.
    Rule {
        sm: 90,
        op: "forward",
        dtype: "f16",
        policy: tuned(128, 2, 1536, 1),
    },
    Rule {
        sm: 90,
        op: "backward",
        dtype: "f16",
        policy: tuned(128, 1, 1792, 2),
    },
    Rule {
        sm: 90,
        op: "double_backward",
        dtype: "f16",
        policy: tuned(128, 1, 1536, 0),
    },
    Rule {
        sm: 90,
        op: "forward",
        dtype: "bf16",
        policy: tuned(128, 2, 1280, 0),
    },
    Rule {
        sm: 90,
        op: "backward",
        dtype: "bf16",
        policy: tuned(128, 1, 1536, 1),
    },
    Rule {
        sm: 90,
        op: "double_backward",
        dtype: "bf16",
        policy: tuned(128, 4, 1024, 1),
    },
    Rule {
        sm: 90,
        op: "forward",
        dtype: "f32",
        policy: tuned(128, 2, 1536, 0),
    },
    Rule {
        sm: 90,
        op: "backward",
        dtype: "f32",
        policy: tuned(128, 1, 1280, 2),
    },
    Rule {
        sm: 90,
        op: "double_backward",
        dtype: "f32",
        policy: tuned(128, 1, 1024, 0),
    },
    Rule {
        sm: 90,
        op: "forward",
        dtype: "f64",
        policy: tuned(128, 2, 1792, 1),
    },
    Rule {
        sm: 90,
        op: "backward",
        dtype: "f64",
        policy: tuned(128, 4, 1024, 2),
    },
    Rule {
        sm: 90,
        op: "double_backward",
        dtype: "f64",
        policy: tuned(128, 2, 1024, 2),
    },
    // One operand to load, and few registers needed per vector: four in flight.
    Rule {
        sm: 60,
        op: "forward",
        dtype: "f32",
        policy: Policy { vectors: 4, ..BASE },
    },
    Rule {
        sm: 60,
        op: "forward",
        dtype: "f64",
        policy: Policy {
            vectors: 4,
            together: 1,
            ..BASE
        },
    },
    // Three operands are loaded at once: one vector of each keeps the registers low.
    Rule {
        sm: 60,
        op: "double_backward",
        dtype: "",
        policy: Policy {
            vectors: 1,
            strided_units: 2,
            ..BASE
        },
    },
    Rule {
        sm: 60,
        op: "",
        dtype: "",
        policy: BASE,
    },
];

/// The policy of a kernel in the image for architecture `sm`.
pub fn policy(sm: u32, op: &str, dtype: &str) -> Policy {
    RULES
        .iter()
        .find(|rule| {
            sm >= rule.sm
                && (rule.op.is_empty() || rule.op == op)
                && (rule.dtype.is_empty() || rule.dtype == dtype)
        })
        .expect("the last rule matches every architecture there is an image for")
        .policy
}
