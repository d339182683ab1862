//! Renders the catalogue and the tuning for the C++ compilers; build scripts include this file.

use std::fmt::Write as _;

use crate::catalogue::{Dtype, MAX_OPERANDS, Op, Role, arch};
use crate::tuning::{Cache, Policy, policy};

/// The name of the header, which the kernels include.
pub const NAME: &str = "catalogue.cuh";

/// What the kernels are compiled with for one architecture.
pub fn header(sm: u32) -> String {
    let mut text = String::new();
    render(&mut text, sm).expect("into a string");
    text
}

fn render(text: &mut String, sm: u32) -> std::fmt::Result {
    let arch = arch(sm);
    writeln!(text, "enum {{ MISH_MAX_OPERANDS = {MAX_OPERANDS} }};")?;
    writeln!(
        text,
        "#define MISH_FAST_DOUBLE {}",
        u32::from(arch.has_fast_double)
    )?;
    for op in Op::ALL {
        let optional = op.operands().iter().any(|o| o.role == Role::OptionalOutput);
        writeln!(
            text,
            "struct {0};\ntemplate <> struct Operands<{0}> {{\n    \
             static const int INPUTS = {1};\n    \
             static const int OUTPUTS = {2};\n    \
             static const bool OPTIONAL_OUTPUTS = {optional};\n}};",
            op.class(),
            op.inputs(),
            op.outputs(),
        )?;
    }
    for dtype in Dtype::ALL {
        writeln!(text, "struct {};", dtype.class())?;
    }
    let hint = |cache| match cache {
        Cache::Default => "CACHE_DEFAULT",
        Cache::Stream => "CACHE_STREAM",
        Cache::NoL1 => "CACHE_NO_L1",
    };
    let kernels = || {
        Op::ALL
            .into_iter()
            .flat_map(|op| Dtype::ALL.map(|dtype| (op, dtype)))
    };
    for (op, dtype) in kernels() {
        let Policy {
            threads,
            resident_threads,
            vectors,
            vector_bytes,
            words_at_once,
            load,
            store,
            strided_units,
        } = policy(sm, op, dtype);
        writeln!(
            text,
            "template <> struct Policy<{}, {}> {{\n    \
             static const int THREADS = {threads};\n    \
             static const int RESIDENT_BLOCKS = {};\n    \
             static const int VECTORS = {vectors};\n    \
             static const int VECTOR_BYTES = {vector_bytes};\n    \
             static const int GROUPS_AT_ONCE = {words_at_once};\n    \
             static const Cache LOAD = {};\n    \
             static const Cache STORE = {};\n    \
             static const int STRIDED_UNITS = {strided_units};\n}};",
            op.class(),
            dtype.class(),
            (resident_threads / threads).max(1),
            hint(load),
            hint(store)
        )?;
    }
    text.push_str("#define MISH_FOR_EACH_KERNEL(X)");
    for (op, dtype) in kernels() {
        let (name, element) = (op.name(), dtype.name());
        write!(
            text,
            " \\\n    X(mish_{name}_{element}, {}, {})",
            op.class(),
            dtype.class()
        )?;
    }
    text.push('\n');
    Ok(())
}
