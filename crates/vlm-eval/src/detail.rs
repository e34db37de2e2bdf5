use std::collections::BTreeMap;

use serde::Serialize;
use slide_data::Score;

use crate::Confusion;
use crate::measures::{BinSums, CALIBRATION_BINS, calibration_bin};
use crate::pool::Rating;

/// One bin of a calibration plot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Ratings in the bin.
    pub count: usize,
    /// Mean probability of the most probable score.
    pub confidence: f64,
    /// Share of ratings whose most probable score was right.
    pub accuracy: f64,
}

/// What the report shows of one criterion, or of all together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CriterionDetail {
    /// The criterion's key, or `overall`.
    pub key: String,
    /// What was predicted where people said what.
    pub confusion: Confusion,
    /// The filled bins of the calibration curve.
    pub calibration: Vec<CalibrationBin>,
}

/// One slide's scores beside the people's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Miss {
    /// The slide.
    pub slide_id: String,
    /// Its deck.
    pub group: String,
    /// Sum of the errors over its criteria, in points.
    pub error: u32,
    /// The largest error of one criterion, in points.
    pub largest: u32,
    /// The people's and the model's score of each rated criterion.
    pub scores: BTreeMap<String, (Score, Score)>,
}

/// What lies behind the metrics.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Details {
    /// `overall`, then the criteria in the rubric's order.
    pub criteria: Vec<CriterionDetail>,
    /// How often the score was wrong by -4 … +4 points (model minus people).
    pub errors: [usize; 9],
    /// All slides with an error, the worst first.
    pub misses: Vec<Miss>,
}

pub(crate) fn detail(key: &str, ratings: &[Rating]) -> CriterionDetail {
    let mut confusion = Confusion::default();
    let mut bins = [(0, BinSums::default()); CALIBRATION_BINS];
    for rating in ratings {
        confusion.add(rating.actual, rating.predicted, 1.0);
        let (count, sums) = &mut bins[calibration_bin(rating.confidence)];
        *count += 1;
        sums.add(rating.confidence, rating.is_correct, 1.0);
    }
    let bin = |(count, sums): (usize, BinSums)| CalibrationBin {
        count,
        confidence: sums.confidence / sums.weight,
        accuracy: sums.correct / sums.weight,
    };
    let calibration = bins.into_iter().filter(|(count, _)| *count > 0).map(bin).collect();
    CriterionDetail { key: key.to_owned(), confusion, calibration }
}

pub(crate) fn error_histogram(ratings: &[Rating]) -> [usize; 9] {
    let mut errors = [0; 9];
    for rating in ratings {
        errors[4 + rating.predicted.index() - rating.actual.index()] += 1;
    }
    errors
}

pub(crate) fn worst_first(mut misses: Vec<Miss>) -> Vec<Miss> {
    misses.retain(|miss| miss.error > 0);
    misses.sort_by(|a, b| (b.largest, b.error, &a.slide_id).cmp(&(a.largest, a.error, &b.slide_id)));
    misses
}
