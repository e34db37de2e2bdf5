//! Where the marks of a plot stand; `plots.html` draws them. A value on a page that is given to one of its macros is made here.

use minijinja::{Value, context};
use slide_data::Score;

/// Five small columns, the probabilities of 1 to 5.
pub(crate) fn sparkline(distribution: &[f64; Score::LEVELS]) -> Value {
    let column = |(index, p): (usize, &f64)| {
        let height = (20.0 * p).clamp(0.6, 20.0);
        context! { x => index * 11, y => one_digit(21.0 - height), height => one_digit(height) }
    };
    distribution.iter().enumerate().map(column).collect()
}

/// A reliability diagram: confidence to the right, accuracy upwards, area of a dot ~ ratings in its bin.
#[cfg(feature = "validation")]
pub(crate) fn calibration(bins: &[vlm_eval::CalibrationBin], label: &str) -> Value {
    const SIDE: f64 = 180.0;
    let largest = bins.iter().map(|bin| bin.count).max().unwrap_or(1) as f64;
    let at = |x: f64, y: f64| (24.0 + x * SIDE, 8.0 + (1.0 - y) * SIDE);
    let dot = |bin: &vlm_eval::CalibrationBin| {
        let (x, y) = at(bin.confidence, bin.accuracy);
        context! {
            x => one_digit(x),
            y => one_digit(y),
            radius => one_digit(2.5 + 5.5 * (bin.count as f64 / largest).sqrt()),
            title => format!("{} ratings: confidence {:.2}, right {:.2}", bin.count, bin.confidence, bin.accuracy),
        }
    };
    context! {
        label => label,
        line => path(bins.iter().map(|bin| at(bin.confidence, bin.accuracy))),
        dots => bins.iter().map(dot).collect::<Vec<_>>(),
    }
}

/// How often the score was off by -4 … +4 points.
#[cfg(feature = "validation")]
pub(crate) fn histogram(errors: &[usize; 9], label: &str) -> Value {
    let largest = errors.iter().copied().max().unwrap_or(0).max(1) as f64;
    let bar = |(points, &count): (i64, &usize)| {
        let height = 130.0 * count as f64 / largest;
        let (x, y) = ((points + 4) as f64 * 54.0 + 4.0, 154.0 - height);
        let (tone, sign) = match points {
            0 => ("good", ""),
            -1 => ("fair", "−"),
            1 => ("fair", "+"),
            ..=-2 => ("weak", "−"),
            2.. => ("weak", "+"),
        };
        context! {
            tone => tone,
            x => format!("{x}"),
            y => one_digit(y),
            height => one_digit(height),
            middle => format!("{}", x + 23.0),
            above => one_digit(y - 5.0),
            count => count,
            points => format!("{sign}{}", points.abs()),
        }
    };
    context! { label => label, bars => (-4..).zip(errors).map(bar).collect::<Vec<_>>() }
}

/// Both distribution functions: the share of slides (upwards) below each value (to the right).
#[cfg(feature = "drift")]
pub(crate) fn distributions(feature: &drift::FeatureDrift) -> Value {
    use crate::format::significant;
    const WIDE: f64 = 250.0;
    const HIGH: f64 = 110.0;
    let all = || feature.quantiles.iter().flatten().copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let span = if high > low { high - low } else { 1.0 };
    let line = |quantiles: &Vec<f64>| {
        let last = quantiles.len().saturating_sub(1).max(1) as f64;
        let at = |(index, value): (usize, &f64)| {
            (10.0 + WIDE * (value - low) / span, 8.0 + HIGH * (1.0 - index as f64 / last))
        };
        path(quantiles.iter().enumerate().map(at))
    };
    let [reference, recent] = &feature.quantiles;
    context! {
        label => format!(
            "{}: mean {} in training, {} recently",
            feature.name,
            significant(feature.reference_mean),
            significant(feature.recent_mean)
        ),
        reference => line(reference),
        recent => line(recent),
        low => significant(low),
        high => significant(high),
    }
}

/// Tenths of a unit are finer than anybody sees.
fn one_digit(value: f64) -> String {
    format!("{value:.1}")
}

/// A line through points, as an SVG path.
#[cfg(any(feature = "drift", feature = "validation"))]
fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    use std::fmt::Write as _;
    let mut path = String::new();
    for (x, y) in points {
        let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { 'M' } else { 'L' });
    }
    path
}
