//! What differences a test set can show, and how many decks more a smaller one takes.

use statistics::student_quantile;

use crate::{Check, Interval, Outcome, ValidationResults};

/// A difference of errors that matters, in points.
const FINE: f64 = 0.02;
/// Nobody rates more decks than this for one number.
const MOST_DECKS: usize = 2000;

/// What the intervals say of the test set itself, in words.
pub(crate) fn power(results: &ValidationResults) -> Vec<String> {
    let decks = results.sizes.groups;
    let mut words = Vec::new();
    let mut tell = |what: &str, interval: Interval| {
        let half = (interval.high - interval.low) / 2.0;
        words.push(format!(
            "{decks} decks tell {what} to ±{half:.3} points; {}",
            more(decks, half, FINE, results)
        ));
    };
    if let Some(interval) = results.intervals.get("overall_mae") {
        tell("the mean absolute error", *interval);
    }
    for other in results.champion.iter().chain(&results.cheap_baselines) {
        if let Some(interval) = other.gains.get("overall_mae").and_then(|gain| gain.interval) {
            tell(&format!("the difference from {}", other.name), interval);
        }
    }
    words.extend(results.checks.iter().filter_map(|check| undecided(check, results)));
    words
}

/// What more decks would do for a check that is open.
fn undecided(check: &Check, results: &ValidationResults) -> Option<String> {
    let (value, bound) = (check.value?, check.bound?);
    let open = check.outcome == Outcome::Undecided && check.interval.is_some();
    let (half, distance) = ((value - bound).abs(), (value - check.threshold).abs());
    // A value on the wrong side of its threshold does not get better by more decks.
    let is_right = (value - check.threshold) * (value - bound) > 0.0;
    let what = format!("{} of {}", check.metric, check.criterion);
    let decks = results.sizes.groups;
    (open && is_right)
        .then(|| format!("{what}: if it stays as it is, {}", more(decks, half, distance, results)))
}

/// How many decks an interval of half the width `wanted` takes, where `decks` give `half`.
fn more(decks: usize, half: f64, wanted: f64, results: &ValidationResults) -> String {
    let quantile = |decks: usize| {
        student_quantile(f64::midpoint(1.0, results.confidence), decks as f64 - 1.0).unwrap_or(f64::INFINITY)
    };
    if half <= wanted {
        return format!("enough for ±{wanted:.3}");
    }
    let width =
        |count: usize| half * quantile(count) / quantile(decks) * (decks as f64 / count as f64).sqrt();
    match (decks + 1..=MOST_DECKS).find(|&count| width(count) <= wanted) {
        Some(count) => format!("±{wanted:.3} takes about {} decks more", count - decks),
        None => format!("±{wanted:.3} is out of reach of {MOST_DECKS} decks"),
    }
}
