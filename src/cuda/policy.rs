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
        op: "double_backward",
        dtype: "bf16",
        policy: Policy {
            vectors: 1,
            vector_bytes: 32,
            resident: 512,
            together: 2,
            ..BASE
        },
    },
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
        policy: tuned(128, 2, 2048, 2),
    },
    Rule {
        sm: 90,
        op: "backward",
        dtype: "f16",
        policy: tuned(128, 1, 2048, 2),
    },
    Rule {
        sm: 90,
        op: "double_backward",
        dtype: "f16",
        policy: tuned(256, 1, 1024, 0),
    },
    Rule {
        sm: 90,
        op: "forward",
        dtype: "bf16",
        policy: tuned(128, 2, 2048, 2),
    },
    Rule {
        sm: 90,
        op: "backward",
        dtype: "bf16",
        policy: tuned(128, 1, 2048, 2),
    },
    Rule {
        sm: 90,
        op: "double_backward",
        dtype: "bf16",
        policy: tuned(256, 1, 1280, 1),
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
        policy: tuned(128, 3, 1024, 2),
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

impl Rule {
    fn applies(&self, sm: u32, op: &str, dtype: &str) -> bool {
        sm >= self.sm
            && (self.op.is_empty() || self.op == op)
            && (self.dtype.is_empty() || self.dtype == dtype)
    }
}

/// The policy of a kernel in the image for architecture `sm`.
pub fn policy(sm: u32, op: &str, dtype: &str) -> Policy {
    RULES
        .iter()
        .find(|rule| rule.applies(sm, op, dtype))
        .expect("the last rule matches every architecture there is an image for")
        .policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::image::IMAGES;
    use crate::op::Op;
    use crate::tensor::Dtype;

    /// Every kernel there is a policy for: architecture, operation, element type.
    fn kernels() -> impl Iterator<Item = (u32, Op, Dtype)> {
        IMAGES.iter().flat_map(|image| {
            let of_one = Op::ALL
                .into_iter()
                .flat_map(|op| Dtype::ALL.map(|dtype| (op, dtype)));
            of_one.map(|(op, dtype)| (image.sm, op, dtype))
        })
    }

    /// Threads that a multiprocessor of an architecture has room for.
    fn room(sm: u32) -> u32 {
        match sm {
            75 => 1024,
            86 | 89 | 120 => 1536,
            _ => 2048,
        }
    }

    #[test]
    fn every_policy_can_be_compiled_and_launched() {
        for (sm, op, dtype) in kernels() {
            let kernel = format!("sm_{sm} {} {}", op.name(), dtype.name());
            let p = policy(sm, op.name(), dtype.name());
            // Small tensors halve them, down to 128.
            assert!(
                p.threads.is_power_of_two() && (128..=1024).contains(&p.threads),
                "{kernel}: {} threads",
                p.threads
            );
            assert!(
                p.resident.is_multiple_of(p.threads) && p.resident <= room(sm),
                "{kernel}: {} threads resident",
                p.resident
            );
            assert!(
                p.vector_bytes == 16 || (p.vector_bytes == 32 && sm >= 100),
                "{kernel}: vectors of {} bytes",
                p.vector_bytes
            );
            assert!(
                (1..=8).contains(&p.vectors),
                "{kernel}: {} vectors",
                p.vectors
            );
            // Words, or elements where these are longer.
            let most = p.vector_bytes / (dtype.size() as u32).max(4);
            assert!(
                p.together <= most && (p.together == 0 || most.is_multiple_of(p.together)),
                "{kernel}: {} together",
                p.together
            );
            assert!(
                (1..=8).contains(&p.strided_units),
                "{kernel}: {} units",
                p.strided_units
            );
            for hint in [p.load, p.store] {
                assert!(hint != Cache::NoL1 || sm >= 70, "{kernel}: {hint:?}");
            }
            assert!(p.store != Cache::NoL1, "{kernel}: a hint of loads");
        }
    }

    #[test]
    fn every_rule_is_for_some_kernel() {
        let mut used = vec![false; RULES.len()];
        for (sm, op, dtype) in kernels() {
            let first = RULES
                .iter()
                .position(|rule| rule.applies(sm, op.name(), dtype.name()));
            used[first.expect("a rule")] = true;
        }
        let unused: Vec<usize> = (0..used.len()).filter(|&i| !used[i]).collect();
        assert!(unused.is_empty(), "rules {unused:?} are for no kernel");
    }
}
