//! Renders the tuning table for the C++ compilers; build scripts include this file.

use std::fmt::Write as _;

use super::policy::{Cache, Policy, policy};

/// The tuning of one architecture as the C++ header `policy.cuh`.
pub fn header(sm: u32) -> String {
    let mut text = String::from("template <class O, class E> struct Policy;\n");
    let hint = |cache| match cache {
        Cache::Default => "CACHE_DEFAULT",
        Cache::Stream => "CACHE_STREAM",
        Cache::NoL1 => "CACHE_NO_L1",
    };
    for (op, class) in [
        ("forward", "Forward"),
        ("backward", "Backward"),
        ("double_backward", "DoubleBackward"),
    ] {
        for (element, dtype) in [
            ("F16", "f16"),
            ("BF16", "bf16"),
            ("F32", "f32"),
            ("F64", "f64"),
        ] {
            let Policy {
                threads,
                resident,
                vectors,
                vector_bytes,
                together,
                load,
                store,
                strided_units,
            } = policy(sm, op, dtype);
            writeln!(
                text,
                "template <> struct Policy<{class}, {element}> {{\n    \
                 static const int THREADS = {threads};\n    \
                 static const int BLOCKS = {};\n    \
                 static const int VECTORS = {vectors};\n    \
                 static const int VECTOR_BYTES = {vector_bytes};\n    \
                 static const int TOGETHER = {together};\n    \
                 static const Cache LOAD = {};\n    \
                 static const Cache STORE = {};\n    \
                 static const int STRIDED_UNITS = {strided_units};\n}};",
                (resident / threads).max(1),
                hint(load),
                hint(store)
            )
            .expect("into a string");
        }
    }
    text
}
