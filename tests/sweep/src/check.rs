//! Checks the references against each other on inputs of the sweep.

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::catalogue::Dtype;
use crate::catalogue::accuracy::is_near_zero;
use crate::format::Element;
use crate::oracle::precise::{Precise, difference};
use crate::oracle::{Double, Pair, Value, evaluate};
use crate::points::{Points, random};

/// Largest differences, as powers of two, relative to the result or, near a zero, to 1.
#[derive(Serialize, Default)]
pub struct Checked {
    dtype: &'static str,
    points: u64,
    pairs_against_256_bits: f64,
    doubles_against_pairs: Option<f64>,
    definition_points: u64,
    bits_256_against_definition: f64,
}

/// Fails if a reference is less precise than it says.
pub fn references<E: Element>(sets: &[Points], points: u64) -> Result<Checked> {
    let mut precise = Precise::new();
    let mut checked = Checked {
        dtype: E::DTYPE.name(),
        points,
        ..Checked::default()
    };
    let (mut pairs, mut doubles, mut definition) = (0f64, 0f64, 0f64);
    for i in 0..points {
        let set = &sets[(i % sets.len() as u64) as usize];
        let x = set.get::<E>(random(i) % set.count).widen();
        if !x.is_finite() {
            continue;
        }
        let exact = precise.evaluate(x);
        let pair = evaluate::<Pair>(x);
        let double = evaluate::<Double>(x);
        for order in 0..3 {
            let is_near = is_near_zero(order, x);
            let size = |value: Value| {
                let magnitude = value.high.abs() * 2f64.powi(value.exponent as i32);
                if is_near { magnitude } else { 1.0 }
            };
            pairs = pairs.max(difference(pair[order], exact[order]) * size(exact[order]));
            if E::DTYPE == Dtype::F32 && !is_near {
                doubles = doubles.max(difference(double[order], pair[order]));
            }
        }
        if i % 64 == 0 && x.abs() < 800.0 {
            checked.definition_points += 1;
            for (a, b) in exact.into_iter().zip(Precise::by_definition(x)) {
                definition = definition.max(difference(a, b));
            }
        }
    }
    checked.pairs_against_256_bits = pairs.log2();
    checked.bits_256_against_definition = definition.max(2f64.powi(-106)).log2();
    checked.doubles_against_pairs = (doubles > 0.0).then(|| doubles.log2());
    ensure!(
        pairs < 2f64.powi(-85),
        "pairs of doubles are off by {pairs:e}"
    );
    ensure!(doubles < 2f64.powi(-46), "doubles are off by {doubles:e}");
    ensure!(
        definition < 2f64.powi(-45),
        "256 bits are off by {definition:e}"
    );
    Ok(checked)
}
