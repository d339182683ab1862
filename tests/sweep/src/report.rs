//! The results, for people and as JSON.

use serde::Serialize;

use crate::catalogue::Dtype;
use crate::catalogue::accuracy::ZEROS;
use crate::format::Format;
use crate::measure::{Case, Tallies, Tally, Worst, verified};
use crate::quantity::{Gradients, QUANTITIES};

/// A quantity's results.
#[derive(Serialize)]
pub struct Row {
    dtype: &'static str,
    quantity: &'static str,
    operation: &'static str,
    /// 0 for mish, 1 for mish′, 2 for mish″.
    order: usize,
    any_gradient: bool,
    bound: f64,
    passed: bool,
    points: u64,
    /// In last places, near a zero in those of 1/16 where these are larger.
    worst_ulp: Size,
    worst: Option<Place>,
    /// What follows from the function's relative errors for its product with one gradient.
    product_at_most_ulp: Option<f64>,
    correctly_rounded: u64,
    correctly_rounded_share: f64,
    outside_of_bound: u64,
    wrongly_non_finite: u64,
    /// Infinite though the exact result rounds to a finite number, but within the bound.
    infinite_early: u64,
    /// By how many last places, away from the zeros.
    infinite_early_ulp: f64,
    infinite_early_at: Option<Place>,
    /// By what share of the largest number, near a zero.
    infinite_early_near_zero_share: f64,
    infinite_early_near_zero: Option<Place>,
    zeros_of_wrong_sign: u64,
    results_of_opposite_sign: u64,
    special_values: u64,
    special_values_wrong: u64,
    /// The results for −∞ and ∞.
    at_infinity: Option<[String; 2]>,
    /// In last places of the exact result, near a zero.
    near_zero_worst_ulp: Option<Size>,
    near_zero: Option<Place>,
    largest_step_back_ulp: Option<Size>,
    step_back: Option<Place>,
    not_correctly_rounded: Option<Vec<f64>>,
    /// The worst error in each of as many equal ranges of x; null where a result is not finite.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profile: Vec<Option<f64>>,
}

/// A number for JSON, which has no infinity.
#[derive(Serialize, Clone, Copy)]
#[serde(untagged)]
enum Size {
    Finite(f64),
    Infinite(&'static str),
}

impl Size {
    fn of(size: f64) -> Size {
        if size.is_finite() {
            Size::Finite(size)
        } else {
            Size::Infinite("infinite")
        }
    }
    fn text(self) -> String {
        match self {
            Size::Finite(size) if size >= 1e5 => format!("{size:.3e}"),
            Size::Finite(size) => format!("{size:.6}"),
            Size::Infinite(text) => text.to_owned(),
        }
    }
}

/// A case in numbers.
#[derive(Serialize)]
struct Place {
    x: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    grad_y: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grad_grad_x: Option<f64>,
    got: String,
}

impl Place {
    fn of(case: &Case, gradients: Gradients) -> Place {
        let uses = |which: Gradients| gradients == which || gradients == Gradients::Both;
        Place {
            x: f64::from_bits(case.x),
            grad_y: uses(Gradients::Grad).then(|| f64::from_bits(case.grad)),
            grad_grad_x: uses(Gradients::GradGrad).then(|| f64::from_bits(case.grad_grad)),
            got: format!("{:?}", f64::from_bits(case.got)),
        }
    }
}

impl Row {
    /// Whether the quantity is within its bounds everywhere.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// What was measured, of which type.
    pub fn name(&self) -> String {
        format!("{} {}", self.dtype, self.quantity)
    }

    fn of(dtype: Dtype, format: &Format, index: usize, tally: &Tally) -> Row {
        let quantity = &QUANTITIES[index];
        let bound = quantity.bound(dtype);
        let place = |case: &Case| Some(Place::of(case, quantity.gradients));
        let found = |worst: &Worst| (worst.size() > 0.0).then(|| place(&worst.case)).flatten();
        // The worst cases once more, with all digits.
        let worst = if tally.worst.size() > 0.0 {
            verified(dtype, format, index, &tally.worst.case).1
        } else {
            0.0
        };
        let has_zeros = !ZEROS[quantity.order].is_empty();
        let steps = quantity.is_checked_for_jumps();
        let passed = tally.points > 0
            && tally.failed == 0
            && tally.non_finite == 0
            && tally.wrong_sign == 0
            && tally.special_failed == 0
            && quantity.allows_product(dtype, tally.suspects.product())
            && tally.jump.size() <= bound.max(1.0);
        let is_list = format.digits < 12.0 && quantity.gradients == Gradients::One;
        Row {
            dtype: dtype.name(),
            quantity: quantity.name,
            operation: quantity.operation.name(),
            order: quantity.order,
            any_gradient: quantity.gradients != Gradients::One,
            bound,
            passed,
            points: tally.points,
            worst_ulp: Size::of(worst),
            worst: place(&tally.worst.case),
            product_at_most_ulp: (!quantity.is_product() && quantity.order > 0)
                .then(|| tally.suspects.product()),
            correctly_rounded: tally.correctly_rounded,
            correctly_rounded_share: tally.correctly_rounded as f64 / tally.points.max(1) as f64,
            outside_of_bound: tally.failed,
            wrongly_non_finite: tally.non_finite,
            infinite_early: tally.early,
            infinite_early_ulp: tally.earliest.size(),
            infinite_early_at: found(&tally.earliest),
            infinite_early_near_zero_share: tally.earliest_near_zero.size(),
            infinite_early_near_zero: found(&tally.earliest_near_zero),
            zeros_of_wrong_sign: tally.wrong_sign,
            results_of_opposite_sign: tally.opposite,
            special_values: tally.special,
            special_values_wrong: tally.special_failed,
            at_infinity: match tally.at_infinity {
                [Some(left), Some(right)] => {
                    Some([left, right].map(|bits| format!("{:?}", f64::from_bits(bits))))
                }
                _ => None,
            },
            near_zero_worst_ulp: has_zeros
                .then(|| Size::of(verified(dtype, format, index, &tally.near_zero.case).0)),
            near_zero: has_zeros.then(|| place(&tally.near_zero.case)).flatten(),
            largest_step_back_ulp: steps.then(|| Size::of(tally.jump.size())),
            step_back: (steps && tally.jump.size() > 0.0)
                .then(|| place(&tally.jump.case))
                .flatten(),
            not_correctly_rounded: is_list.then(|| {
                let bits = tally.not_correctly_rounded.iter();
                bits.map(|&bits| f64::from_bits(bits)).collect()
            }),
            profile: tally.profile.iter().map(|&bits| rounded(bits)).collect(),
        }
    }
}

/// Four digits of an error given by its bits.
fn rounded(bits: i64) -> Option<f64> {
    let size = f64::from_bits(bits as u64);
    let text = size.is_finite().then(|| format!("{size:.3e}"))?;
    text.parse().ok()
}

/// The results of an element type, for the quantities that were measured.
pub fn rows(dtype: Dtype, format: &Format, tallies: &Tallies) -> Vec<Row> {
    tallies
        .iter()
        .enumerate()
        .filter(|(_, tally)| tally.points > 0)
        .map(|(index, tally)| Row::of(dtype, format, index, tally))
        .collect()
}

/// Prints a table of the worst cases.
pub fn table(rows: &[Row]) {
    println!(
        "\n{:5} {:41} {:>11} {:>10} {:>6}  {:>24} {:>9} {:>11} {:>6}",
        "", "", "points", "worst ULP", "bound", "at x", "correctly", "near zeros", "step"
    );
    println!(
        "{:5} {:41} {:>11} {:>10} {:>6}  {:>24} {:>9} {:>11} {:>6}",
        "", "", "", "", "", "", "rounded", "ULP", "back"
    );
    for row in rows {
        let x = row.worst.as_ref().map_or(0.0, |place| place.x);
        println!(
            "{:5} {:41} {:>11} {:>10} {:>6}  {:>24e} {:>8.4}% {:>11} {:>6} {}",
            row.dtype,
            row.quantity,
            row.points,
            row.worst_ulp.text(),
            row.bound,
            x,
            100.0 * row.correctly_rounded_share,
            row.near_zero_worst_ulp.map_or("-".into(), Size::text),
            row.largest_step_back_ulp
                .map_or("-".into(), |size| match size {
                    Size::Finite(size) => format!("{size:.2}"),
                    Size::Infinite(text) => text.to_owned(),
                }),
            if row.passed { "" } else { "FAILED" },
        );
        let wrong = [
            (row.outside_of_bound, "outside of the bound"),
            (row.wrongly_non_finite, "wrongly infinite or NaN"),
            (
                row.infinite_early,
                "infinite a little early, within the bound",
            ),
            (row.zeros_of_wrong_sign, "zeros of the wrong sign"),
            (row.results_of_opposite_sign, "of the opposite sign"),
            (row.special_values_wrong, "special values wrong"),
        ];
        for (count, what) in wrong.iter().filter(|(count, _)| *count > 0) {
            println!("      {count} {what}");
        }
    }
    println!(
        "\nNear a zero of the derivative a last place is at least that of 1/16, times the gradients;"
    );
    println!(
        "\"near zeros\" is in those of the exact result. \"step back\": between neighbours, against the function."
    );
}
