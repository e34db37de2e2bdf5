//! Two raters of the same slides, compared deck by deck.

use std::collections::BTreeMap;

use slide_data::Prediction;
use statistics::Jackknife;

use crate::interval::{difference, intervals};
use crate::pool::Measured;
use crate::table::{Frame, Table, forecast};
use crate::{Comparison, Gain, Measures, Result};

/// Another rater of the evaluated slides: the champion, the base before training, a cheap model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rater {
    /// The version or what it is.
    pub name: String,
    /// Its predictions, in any order; of slides that are not evaluated there may be more. Without any it is a rater that could
    /// not be asked: it is named in the results, nothing is known of it, and the gate stays undecided where it needs it.
    pub predictions: Vec<Prediction>,
}

/// The evaluated model with what is measured of it.
pub(crate) struct Model<'a> {
    pub(crate) table: &'a Table<'a>,
    pub(crate) measured: &'a [Measured],
    pub(crate) confidence: f64,
}

/// What is compared, with the sign that makes "better" positive: the other's value minus the model's times this.
const COMPARED: [(&str, f64); 4] = [("mae", 1.0), ("within_1", -1.0), ("qwk", -1.0), ("rps", 1.0)];

impl Rater {
    pub(crate) fn compare(&self, frame: &Frame<'_>, model: &Model<'_>) -> Result<Comparison> {
        if self.predictions.is_empty() {
            return Ok(Comparison { name: self.name.clone(), ..Comparison::default() });
        }
        let by_slide: BTreeMap<&str, &Prediction> =
            self.predictions.iter().map(|prediction| (prediction.slide_id.as_str(), prediction)).collect();
        let table = frame.rated(&|item, key| {
            let prediction = by_slide.get(item.slide_id.as_str()).ok_or_else(|| crate::Error::Missing {
                slide_id: item.slide_id.clone(),
                criterion: format!("{key} by {}", self.name),
            })?;
            forecast(prediction, item, key)
        })?;
        let measured = table.measured();
        Ok(Comparison {
            name: self.name.clone(),
            metrics: table.metrics(),
            intervals: intervals(&table, &measured, model.confidence),
            gains: gains(model, &measured),
        })
    }
}

/// By how much the model is better than a rater that was measured on the same ratings.
pub(crate) fn gains(model: &Model<'_>, other: &[Measured]) -> BTreeMap<String, Gain> {
    let mut gains = BTreeMap::new();
    for (((key, pool), own), other) in model.table.pools.iter().zip(model.measured).zip(other) {
        for (measure, sign) in COMPARED {
            let of = |measured: &Measured| measured[place(measure)].clone();
            let Some((own, other)) = of(own).zip(of(other)) else { continue };
            let better = if sign > 0.0 { other.minus(&own) } else { own.minus(&other) };
            gains.insert(format!("{key}_{measure}"), gain(&better, pool.into(), model.confidence));
        }
    }
    gains
}

/// By which share of the other's mean absolute error the model's is smaller, for each pool.
pub(crate) fn relative_gains(model: &Model<'_>, other: &[Measured]) -> BTreeMap<String, Gain> {
    let of = |measured: &Measured| measured[place("mae")].clone();
    let mut gains = BTreeMap::new();
    for (((key, pool), own), other) in model.table.pools.iter().zip(model.measured).zip(other) {
        let Some((own, other)) = of(own).zip(of(other)) else { continue };
        if other.replicates.iter().chain([&other.estimate]).any(|error| *error <= 0.0) {
            continue; // a constant that never errs leaves nothing to save
        }
        let share = |(own, other): (&f64, &f64)| 1.0 - own / other;
        let saved = Jackknife {
            estimate: share((&own.estimate, &other.estimate)),
            replicates: own.replicates.iter().zip(&other.replicates).map(share).collect(),
        };
        gains.insert((*key).to_owned(), gain(&saved, pool.into(), model.confidence));
    }
    gains
}

fn gain(value: &Jackknife, extent: crate::interval::Extent, confidence: f64) -> Gain {
    Gain { value: value.estimate, interval: difference(value, extent, confidence) }
}

fn place(measure: &str) -> usize {
    Measures::NAMES.iter().position(|name| *name == measure).unwrap_or_default()
}
