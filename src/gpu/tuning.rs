//! How each kernel is tuned, as data.
//!
//! The build script compiles the kernels with these numbers and the launcher sizes grids with
//! them, so both read this one table. It depends on the catalogue alone, because the build script
//! includes it.

use crate::catalogue::{Dtype, Op};

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
    pub resident_threads: u32,
    /// Vectors per thread and operand that are loaded before the first is used.
    pub vectors: u32,
    /// Bytes per vector access: 16, or 32 from sm_100 on.
    pub vector_bytes: u32,
    /// Words (of float64: elements) of a vector that a thread may compute at once; 0 leaves it to
    /// the compiler.
    pub words_at_once: u32,
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
    /// For this operation, or any.
    op: Option<Op>,
    /// For this element type, or any.
    dtype: Option<Dtype>,
    policy: Policy,
}

const BASE: Policy = Policy {
    // Eight blocks fill a multiprocessor of 2048 threads; the tail of a wave stays fine-grained.
    threads: 256,
    resident_threads: 0,
    // With 2048 resident threads 32 bytes each are 64 KiB in flight per multiprocessor, above
    // the 20-40 KiB that bandwidth times latency asks for on every architecture so far.
    vectors: 2,
    // The widest access before sm_100.
    vector_bytes: 16,
    words_at_once: 0,
    load: Cache::Default,
    store: Cache::Default,
    // Scalar accesses need more of them in flight; more than four cost occupancy.
    strided_units: 4,
};

const HOPPER: Policy = Policy {
    strided_units: 2,
    ..BASE
};

/// The first rule that matches counts, so newer architectures and special cases come first.
const RULES: &[Rule] = &[
    // The widest kernel of all: more than one element at a time spills.
    Rule {
        sm: 100,
        op: Some(Op::DoubleBackward),
        dtype: Some(Dtype::F64),
        policy: Policy {
            vectors: 1,
            vector_bytes: 32,
            resident_threads: 512,
            strided_units: 1,
            ..BASE
        },
    },
    // Here, too, the compiler would start on more elements than there are registers for.
    Rule {
        sm: 100,
        op: Some(Op::DoubleBackward),
        dtype: Some(Dtype::BF16),
        policy: Policy {
            vectors: 1,
            vector_bytes: 32,
            resident_threads: 512,
            words_at_once: 2,
            ..BASE
        },
    },
    Rule {
        sm: 100,
        op: Some(Op::Forward),
        dtype: Some(Dtype::F64),
        policy: Policy {
            vectors: 2,
            vector_bytes: 32,
            resident_threads: 512,
            words_at_once: 1,
            ..BASE
        },
    },
    // 256-bit accesses: one is as many bytes as two of 128 bits.
    Rule {
        sm: 100,
        op: Some(Op::Forward),
        dtype: None,
        policy: Policy {
            vectors: 2,
            vector_bytes: 32,
            resident_threads: 512,
            ..BASE
        },
    },
    // Several operands are loaded at once, so one vector of each is enough in flight.
    Rule {
        sm: 100,
        op: None,
        dtype: None,
        policy: Policy {
            vectors: 1,
            vector_bytes: 32,
            resident_threads: 512,
            ..BASE
        },
    },
    // Measured on an H200 with bench/tune.py (bench/results/tune-h200-*.json): threads per
    // multiprocessor matter more than registers per thread, down to where the compiler spills.
    Rule {
        sm: 90,
        op: Some(Op::Forward),
        dtype: Some(Dtype::F16),
        policy: Policy {
            threads: 128,
            vectors: 2,
            resident_threads: 2048,
            words_at_once: 2,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::Backward),
        dtype: Some(Dtype::F16),
        policy: Policy {
            threads: 128,
            vectors: 1,
            resident_threads: 2048,
            words_at_once: 2,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::DoubleBackward),
        dtype: Some(Dtype::F16),
        policy: Policy {
            threads: 256,
            vectors: 1,
            resident_threads: 1024,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::Forward),
        dtype: Some(Dtype::BF16),
        policy: Policy {
            threads: 128,
            vectors: 2,
            resident_threads: 2048,
            words_at_once: 2,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::Backward),
        dtype: Some(Dtype::BF16),
        policy: Policy {
            threads: 128,
            vectors: 1,
            resident_threads: 2048,
            words_at_once: 2,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::DoubleBackward),
        dtype: Some(Dtype::BF16),
        policy: Policy {
            threads: 256,
            vectors: 1,
            resident_threads: 1280,
            words_at_once: 1,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::Forward),
        dtype: Some(Dtype::F32),
        policy: Policy {
            threads: 128,
            vectors: 2,
            resident_threads: 1536,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::Backward),
        dtype: Some(Dtype::F32),
        policy: Policy {
            threads: 128,
            vectors: 1,
            resident_threads: 1280,
            words_at_once: 2,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::DoubleBackward),
        dtype: Some(Dtype::F32),
        policy: Policy {
            threads: 128,
            vectors: 1,
            resident_threads: 1024,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::Forward),
        dtype: Some(Dtype::F64),
        policy: Policy {
            threads: 128,
            vectors: 2,
            resident_threads: 1792,
            words_at_once: 1,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::Backward),
        dtype: Some(Dtype::F64),
        policy: Policy {
            threads: 128,
            vectors: 3,
            resident_threads: 1024,
            words_at_once: 2,
            ..HOPPER
        },
    },
    Rule {
        sm: 90,
        op: Some(Op::DoubleBackward),
        dtype: Some(Dtype::F64),
        policy: Policy {
            threads: 128,
            vectors: 2,
            resident_threads: 1024,
            words_at_once: 2,
            ..HOPPER
        },
    },
    // One operand to load, and few registers needed per vector: four in flight.
    Rule {
        sm: 60,
        op: Some(Op::Forward),
        dtype: Some(Dtype::F32),
        policy: Policy { vectors: 4, ..BASE },
    },
    Rule {
        sm: 60,
        op: Some(Op::Forward),
        dtype: Some(Dtype::F64),
        policy: Policy {
            vectors: 4,
            words_at_once: 1,
            ..BASE
        },
    },
    // Three operands are loaded at once: one vector of each keeps the registers low.
    Rule {
        sm: 60,
        op: Some(Op::DoubleBackward),
        dtype: None,
        policy: Policy {
            vectors: 1,
            strided_units: 2,
            ..BASE
        },
    },
    Rule {
        sm: 60,
        op: None,
        dtype: None,
        policy: BASE,
    },
];

// What must divide without a remainder, in every rule.
const _: () = {
    let mut i = 0;
    while i < RULES.len() {
        let policy = &RULES[i].policy;
        // Blocks are halved for small tensors.
        assert!(policy.threads.is_power_of_two());
        // The kernels are told blocks: kernels/header.rs.
        assert!(policy.resident_threads.is_multiple_of(policy.threads));
        // A vector is whole elements of every type.
        let mut j = 0;
        while j < Dtype::ALL.len() {
            let element_bytes = Dtype::ALL[j].size() as u32;
            assert!(policy.vector_bytes.is_multiple_of(element_bytes));
            j += 1;
        }
        i += 1;
    }
};

impl Rule {
    fn applies(&self, sm: u32, op: Op, dtype: Dtype) -> bool {
        sm >= self.sm
            && self.op.is_none_or(|only| only == op)
            && self.dtype.is_none_or(|only| only == dtype)
    }
}

/// The policy of a kernel in the image for architecture `sm`.
pub fn policy(sm: u32, op: Op, dtype: Dtype) -> Policy {
    RULES
        .iter()
        .find(|rule| rule.applies(sm, op, dtype))
        .expect("the last rule matches every architecture there is an image for")
        .policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{ARCHITECTURES, arch};
    use crate::gpu::geometry::MIN_THREADS;

    /// Every kernel there is a policy for: architecture, operation, element type.
    fn kernels() -> impl Iterator<Item = (u32, Op, Dtype)> {
        ARCHITECTURES.iter().flat_map(|arch| {
            let of_one = Op::ALL
                .into_iter()
                .flat_map(|op| Dtype::ALL.map(|dtype| (op, dtype)));
            of_one.map(|(op, dtype)| (arch.sm, op, dtype))
        })
    }

    #[test]
    fn every_policy_can_be_compiled_and_launched() {
        for (sm, op, dtype) in kernels() {
            let arch = arch(sm);
            let kernel = format!("sm_{sm} {} {}", op.name(), dtype.name());
            let p = policy(sm, op, dtype);
            assert!(
                (MIN_THREADS..=1024).contains(&p.threads),
                "{kernel}: {} threads",
                p.threads
            );
            assert!(
                p.resident_threads <= arch.resident_threads,
                "{kernel}: {} threads resident",
                p.resident_threads
            );
            assert!(
                matches!(p.vector_bytes, 16 | 32) && p.vector_bytes <= arch.widest_access,
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
                p.words_at_once <= most
                    && (p.words_at_once == 0 || most.is_multiple_of(p.words_at_once)),
                "{kernel}: {} words at once",
                p.words_at_once
            );
            assert!(
                (1..=8).contains(&p.strided_units),
                "{kernel}: {} units",
                p.strided_units
            );
            for hint in [p.load, p.store] {
                assert!(
                    hint != Cache::NoL1 || arch.has_no_allocate,
                    "{kernel}: {hint:?}"
                );
            }
            assert!(p.store != Cache::NoL1, "{kernel}: a hint of loads");
        }
    }

    #[test]
    fn every_rule_is_for_some_kernel() {
        let mut used = vec![false; RULES.len()];
        for (sm, op, dtype) in kernels() {
            let first = RULES.iter().position(|rule| rule.applies(sm, op, dtype));
            used[first.expect("a rule")] = true;
        }
        let unused: Vec<usize> = (0..used.len()).filter(|&i| !used[i]).collect();
        assert!(unused.is_empty(), "rules {unused:?} are for no kernel");
    }
}
