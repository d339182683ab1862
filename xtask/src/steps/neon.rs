//! Whether the CPU kernels are NEON code, from a disassembler's text.
//!
//! By hand: the disassembler tells instructions, and no tool whether a function is vector code.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::catalogue::Op;

const ELEMENTS: [(&str, &str); 4] = [
    ("float16", "half::binary16::f16"),
    ("bfloat16", "half::bfloat::bf16"),
    ("float32", "f32"),
    ("float64", "f64"),
];

/// Fused multiply-adds: of vectors, and of single numbers.
const VECTOR_FUSED: [&str; 2] = ["fmla", "fmls"];
const SCALAR_FUSED: [&str; 4] = ["fmadd", "fmsub", "fnmadd", "fnmsub"];
/// Conversions of half a vector from float16 and to it.
const WIDEN: [&str; 2] = ["fcvtl", "fcvtl2"];
const NARROW: [&str; 2] = ["fcvtn", "fcvtn2"];
/// With a signalling NaN these return a NaN, where a comparison would be false.
const NAN_MAKERS: [&str; 4] = ["fminnm", "fmaxnm", "fminnmv", "fmaxnmv"];
/// What a kernel may call: copies of a block.
const COPIES: [&str; 3] = ["memcpy", "memset", "memmove"];

/// What was seen of a function.
#[derive(Default)]
struct Code {
    /// How often each instruction comes; of vectors as `fmla 4s`.
    counts: BTreeMap<String, u32>,
    /// Other functions that it calls or ends in.
    calls: BTreeSet<String>,
}

/// One test for each kernel: its name, and what it is made of.
pub fn kernels(disassembly: &str) -> Vec<(String, Result<String>)> {
    let functions = read(disassembly);
    let mut results = Vec::new();
    for (dtype, element) in ELEMENTS {
        for operation in Op::ALL {
            let function = format!(
                "mish::cpu::kernel::run::<mish::cpu::math::{}, {element}, true, ",
                operation.class()
            );
            let operation = operation.name();
            // The numbers of operands follow.
            let result = match functions
                .iter()
                .find(|(name, _)| name.starts_with(&function))
            {
                Some((_, code)) => judge(code, operation, dtype),
                None => Err(anyhow::anyhow!("the library has no {function}")),
            };
            results.push((format!("{operation} {dtype}"), result));
        }
    }
    results
}

fn judge(code: &Code, operation: &str, dtype: &str) -> Result<String> {
    let count = |names: &[&str], lanes: &str| -> u32 {
        let keys = names.iter().map(|name| format!("{name}{lanes}"));
        keys.filter_map(|key| code.counts.get(&key)).sum()
    };
    // float32's double backward is computed in float64.
    let lanes = match (dtype, operation) {
        ("float64", _) | ("float32", "double_backward") => " 2d",
        _ => " 4s",
    };
    let (vector, scalar) = (count(&VECTOR_FUSED, lanes), count(&SCALAR_FUSED, ""));
    ensure!(vector >= 10, "{vector} fused multiply-adds of{lanes}");
    // A few are in the code for the ends of the range, of which some is not worth a vector.
    ensure!(
        scalar * 10 < vector,
        "{scalar} fused multiply-adds of single numbers beside {vector} of vectors"
    );
    if dtype == "float16" {
        let (widen, narrow) = (count(&WIDEN, " 4s"), count(&NARROW, " 4h"));
        let narrow = narrow + count(&NARROW, " 8h");
        ensure!(
            widen > 0 && narrow > 0,
            "{widen} conversions of vectors from float16, {narrow} to it"
        );
    }
    let makers: u32 = [" 4s", " 2d", " 2s", ""]
        .map(|lanes| count(&NAN_MAKERS, lanes))
        .iter()
        .sum();
    ensure!(makers == 0, "{makers} minima or maxima that make NaNs");
    let calls: Vec<_> = code
        .calls
        .iter()
        .filter(|name| !is_harmless(name))
        .collect();
    ensure!(calls.is_empty(), "calls {calls:?}");
    Ok(format!("{vector} of{lanes}, {scalar} of single numbers"))
}

/// A copy, or an error that nothing returns from.
fn is_harmless(function: &str) -> bool {
    let name = function.trim_end_matches("@plt");
    COPIES.contains(&name) || name.starts_with("core::panicking::")
}

/// The functions with their instructions: `address <name>:`, then `address: name operands` each.
fn read(disassembly: &str) -> BTreeMap<&str, Code> {
    let mut functions = BTreeMap::new();
    let mut current: Option<(&str, Code)> = None;
    for line in disassembly.lines() {
        if let Some(header) = line.strip_suffix(">:") {
            functions.extend(current.take());
            let name = header.split_once(" <").map_or(header, |(_, name)| name);
            current = Some((name, Code::default()));
        } else if let (Some((name, code)), Some((_, text))) = (&mut current, line.split_once(":\t"))
        {
            let (instruction, operands) = text.split_once('\t').unwrap_or((text, ""));
            code.add(name, instruction.trim(), operands);
        }
    }
    functions.extend(current);
    functions
}

impl Code {
    fn add(&mut self, own: &str, instruction: &str, operands: &str) {
        let first = operands.split(',').next().unwrap_or_default().trim();
        let lanes = (first.strip_prefix('v'))
            .and_then(|register| register.split_once('.'))
            .map_or(String::new(), |(_, lanes)| format!(" {lanes}"));
        let count = self.counts.entry(format!("{instruction}{lanes}"));
        *count.or_default() += 1;
        match instruction {
            "blr" | "br" => {
                self.calls.insert("what a register points to".into());
            }
            "b" | "bl" => {
                if let Some(name) = destination(operands).filter(|name| *name != own) {
                    self.calls.insert(name.into());
                }
            }
            _ => {}
        }
    }
}

/// `1d2f40 <name+0x1c>`, perhaps with a comment after it.
fn destination(operands: &str) -> Option<&str> {
    let (_, rest) = operands.split_once('<')?;
    let (name, _) = rest.rsplit_once('>')?;
    Some(name.rsplit_once("+0x").map_or(name, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
00000000000012a0 <mish::cpu::kernel::run::<mish::cpu::math::Forward, f32, true, 1, 1>>:
    12a0:\tfmla\tv2.4s, v1.4s, v0.4s
    12a4:\tfmls\tv2.4s, v1.4s, v0.s[1]
    12a8:\tfmadd\td7, d2, d6, d2
    12ac:\tb.eq\t12b8 <mish::cpu::kernel::run::<mish::cpu::math::Forward, f32, true, 1, 1>+0x18>  // b.none
    12b0:\tb\t12a0 <mish::cpu::kernel::run::<mish::cpu::math::Forward, f32, true, 1, 1>>
    12b4:\tb\t12a4 <mish::cpu::kernel::run::<mish::cpu::math::Forward, f32, true, 1, 1>+0x4>
    12b8:\tbl\t26d620 <memcpy@plt>
    12bc:\tbl\t26d630 <fmaf@plt>
    12c0:\tret

00000000000012c4 <other>:
    12c4:\tblr\tx8
";

    #[test]
    fn reads_functions() {
        let functions = read(TEXT);
        assert_eq!(functions.len(), 2);
        let code =
            &functions["mish::cpu::kernel::run::<mish::cpu::math::Forward, f32, true, 1, 1>"];
        assert_eq!(code.counts["fmla 4s"], 1);
        assert_eq!(code.counts["fmls 4s"], 1);
        assert_eq!(code.counts["fmadd"], 1);
        let calls: Vec<_> = code.calls.iter().map(String::as_str).collect();
        assert_eq!(calls, ["fmaf@plt", "memcpy@plt"]);
        assert_eq!(functions["other"].calls.len(), 1);
    }

    #[test]
    fn judges() {
        let code = |lines: &str| {
            let text = format!("0 <f>:\n{}", lines.replace('|', "\n"));
            read(&text).remove("f").unwrap()
        };
        let vectors = "1:\tfmla\tv2.4s, v1.4s, v0.4s|".repeat(20);
        assert!(judge(&code(&vectors), "forward", "float32").is_ok());
        assert!(judge(&code(&vectors), "forward", "float64").is_err());
        assert!(judge(&code(&vectors), "double_backward", "float32").is_err());
        assert!(judge(&code(&vectors), "forward", "float16").is_err());
        let converts = "1:\tfcvtl\tv2.4s, v1.4h|1:\tfcvtn2\tv2.8h, v1.4s|";
        let half = format!("{vectors}{converts}");
        assert!(judge(&code(&half), "forward", "float16").is_ok());
        for bad in [
            "1:\tbl\t20 <fma@plt>|",
            "1:\tfminnm\tv0.4s, v0.4s, v2.4s|",
            &"1:\tfmadd\ts7, s2, s6, s2|".repeat(2),
        ] {
            let text = format!("{vectors}{bad}");
            assert!(judge(&code(&text), "forward", "float32").is_err(), "{bad}");
        }
    }
}
