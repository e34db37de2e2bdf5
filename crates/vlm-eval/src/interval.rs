//! Which interval each measure gets. `docs/decisions/0015-gate.md` tells how they were chosen, `benches/coverage.rs` measures them.

use std::collections::BTreeMap;

use statistics::Jackknife;

use crate::pool::{Measured, Pool};
use crate::table::Table;
use crate::{Interval, Measures};

/// On which scale an interval is made.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    /// As it is, kept within a range.
    Plain(f64, f64),
    /// The logarithm of a mean error.
    Error,
    /// A share.
    Share,
}

/// In the order of [`Measures::NAMES`].
const SCALES: [Scale; 10] = [
    Scale::Error,
    Scale::Share,
    Scale::Share,
    Scale::Plain(-4.0, 4.0),
    Scale::Plain(-1.0, 1.0),
    Scale::Plain(f64::NEG_INFINITY, 1.0),
    Scale::Error,
    Scale::Plain(-1.0, 1.0),
    Scale::Plain(-1.0, 1.0),
    Scale::Plain(0.0, 1.0),
];

/// How large the pool is that a value is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) ratings: f64,
    pub(crate) slides: f64,
}

impl From<&Pool> for Extent {
    fn from(pool: &Pool) -> Self {
        Self { ratings: pool.ratings.len() as f64, slides: pool.slides as f64 }
    }
}

/// The interval of each metric that has one, by name.
pub(crate) fn intervals(
    table: &Table<'_>,
    measured: &[Measured],
    confidence: f64,
) -> BTreeMap<String, Interval> {
    let mut intervals = BTreeMap::new();
    for ((key, pool), measured) in table.pools.iter().zip(measured) {
        let named = Measures::NAMES.into_iter().zip(SCALES).zip(measured);
        for ((name, scale), jackknife) in named {
            let found = jackknife.as_ref().and_then(|value| interval(value, scale, pool.into(), confidence));
            intervals.extend(found.map(|interval| (format!("{key}_{name}"), interval)));
        }
    }
    intervals
}

/// The interval of one measure.
pub(crate) fn of_measure(
    measure: &str,
    value: &Jackknife,
    extent: Extent,
    confidence: f64,
) -> Option<Interval> {
    let place = Measures::NAMES.iter().position(|name| *name == measure)?;
    interval(value, SCALES[place], extent, confidence)
}

/// The interval of a difference between two raters.
pub(crate) fn difference(value: &Jackknife, extent: Extent, confidence: f64) -> Option<Interval> {
    interval(value, Scale::Plain(f64::NEG_INFINITY, f64::INFINITY), extent, confidence)
}

fn interval(value: &Jackknife, scale: Scale, extent: Extent, confidence: f64) -> Option<Interval> {
    let ends = match scale {
        Scale::Share => value.share_interval(confidence, extent.ratings, extent.slides),
        // Nothing differs from deck to deck, as where every score is right: what could still differ is bounded by the share of
        // ratings of which none was seen, each by one point.
        _ if value.variance() <= f64::EPSILON => unseen(value, extent, confidence),
        Scale::Error => value.log_interval(confidence).or_else(|| value.interval(confidence)),
        Scale::Plain(..) => value.interval(confidence),
    };
    let (least, most) = match scale {
        Scale::Plain(least, most) => (least, most),
        Scale::Error => (0.0, 4.0),
        Scale::Share => (0.0, 1.0),
    };
    let (low, high) = ends?;
    (low.is_finite() && high.is_finite())
        .then(|| Interval { low: low.clamp(least, value.estimate), high: high.clamp(value.estimate, most) })
}

fn unseen(value: &Jackknife, extent: Extent, confidence: f64) -> Option<(f64, f64)> {
    let none = Jackknife { estimate: 0.0, replicates: vec![0.0; value.groups()] };
    let (_, share) = none.share_interval(confidence, extent.ratings, extent.slides)?;
    Some((value.estimate - share, value.estimate + share))
}
