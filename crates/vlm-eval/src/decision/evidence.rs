//! What cut points and temperatures bring on groups that they were not fitted on.

use std::collections::BTreeMap;

use project_files::{Comparison, Gain};
use slide_data::Score;
use statistics::{Jackknife, delete_one};

use super::Rated;
use super::cross::out_of_fold;
use super::cuts::{self, CutPoints, STRENGTHS, errs_no_more, is_better};
use super::temperature;
use crate::Confusion;
use crate::interval::{Extent, difference};

/// How often one rule differs from people at most, as a measure's name.
const SHARE_GAP: &str = "share_gap";

/// Scores and probabilities of each rating, by what was learned without its group.
pub(super) struct Evidence<'a> {
    ratings: &'a [&'a Rated],
    groups: usize,
    rounded: Vec<Score>,
    /// With the strength that was chosen without the group, too.
    chosen: Vec<Score>,
    matched: Vec<Score>,
    /// Cross-entropy and share within the interval.
    plain: Vec<(f64, f64)>,
    tempered: Vec<(f64, f64)>,
}

impl<'a> Evidence<'a> {
    pub(super) fn of(ratings: &'a [&'a Rated], criteria: usize) -> Self {
        let [nothing, .., everything] = STRENGTHS;
        let learn = |rest: &[&Rated]| (cuts::fit(rest, criteria), cuts::best_strength(rest, criteria));
        let tell = |(points, strength): &(Vec<CutPoints>, f64), rating: &Rated| {
            [nothing, *strength, everything].map(|at| cuts::score(points, at, rating))
        };
        let scores = out_of_fold(ratings, learn, tell);
        let of = |which: usize| scores.iter().map(|scores| scores[which]).collect();
        let tempered = out_of_fold(
            ratings,
            |rest| temperature::fit(rest, criteria),
            |temperatures, rating| temperature::told(temperatures[rating.criterion], rating),
        );
        Self {
            ratings,
            groups: ratings.iter().map(|rating| rating.group + 1).max().unwrap_or(0),
            rounded: of(0),
            chosen: of(1),
            matched: of(2),
            plain: ratings.iter().map(|rating| temperature::told(1.0, rating)).collect(),
            tempered,
        }
    }

    /// Whether cut points agree better than rounding and err no more.
    pub(super) fn cuts_are_better(&self) -> bool {
        let [chosen, rounded] = [&self.chosen, &self.rounded].map(|scores| self.confusion(scores, None));
        is_better(&chosen, &rounded) && errs_no_more(&chosen, &rounded)
    }

    /// Whether one more rater's score is more likely with the temperatures.
    pub(super) fn temperatures_are_better(&self) -> bool {
        let loss = |told: &[(f64, f64)]| told.iter().map(|(loss, _)| loss).sum::<f64>();
        loss(&self.tempered) < loss(&self.plain)
    }

    /// What each rule reaches.
    pub(super) fn scores(&self, confidence: f64) -> Vec<Comparison> {
        let named = [
            ("the mean, rounded", &self.rounded),
            ("cut points", &self.chosen),
            ("cut points that match people's shares", &self.matched),
        ];
        let rounding = self.measured(&self.rounded);
        let compare = |(name, scores): (&str, &Vec<Score>)| {
            let mut metrics = named_metrics(&self.confusion(scores, None));
            metrics.insert(SHARE_GAP.to_owned(), share_gap(&self.confusion(scores, None)));
            let mut gains = BTreeMap::new();
            let pairs = self.measured(scores).into_iter().zip(&rounding).zip([("mae", -1.0), ("qwk", 1.0)]);
            for ((own, other), (measure, sign)) in pairs {
                let Some((own, other)) = own.zip(other.clone()) else { continue };
                let better = if sign > 0.0 { own.minus(&other) } else { other.minus(&own) };
                gains.insert(measure.to_owned(), self.gain(&better, confidence));
            }
            Comparison { name: name.to_owned(), metrics, gains, ..Comparison::default() }
        };
        let mut compared: Vec<Comparison> = named.into_iter().map(compare).collect();
        compared[0].gains.clear(); // it is what the others are compared with
        compared
    }

    /// What is said of one more rater, as it is and with temperatures.
    pub(super) fn probabilities(&self, confidence: f64) -> Vec<Comparison> {
        let mean = |values: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
            values.iter().map(of).sum::<f64>() / values.len().max(1) as f64
        };
        let compare = |name: &str, told: &[(f64, f64)]| Comparison {
            name: name.to_owned(),
            metrics: [
                ("rater_loss".to_owned(), mean(told, |told| told.0)),
                ("in_interval".to_owned(), mean(told, |told| told.1)),
            ]
            .into(),
            ..Comparison::default()
        };
        let mut tempered = compare("with temperatures", &self.tempered);
        let saved: Vec<f64> =
            self.plain.iter().zip(&self.tempered).map(|(plain, tempered)| plain.0 - tempered.0).collect();
        let saved = delete_one(self.groups, |weights| vec![self.weighted_mean(&saved, weights)]);
        if let Some(Some(saved)) = saved.into_iter().next() {
            tempered.gains.insert("rater_loss".to_owned(), self.gain(&saved, confidence));
        }
        vec![compare("as they are", &self.plain), tempered]
    }

    fn gain(&self, better: &Jackknife, confidence: f64) -> Gain {
        let ratings = self.ratings.len() as f64;
        let extent = Extent { ratings, slides: ratings };
        // Scores that are the same differ by nothing, and by nothing on any deck.
        let is_same = better.estimate == 0.0 && better.variance() == 0.0;
        let interval = if is_same { None } else { difference(better, extent, confidence) };
        Gain { value: better.estimate, interval }
    }

    fn weighted_mean(&self, values: &[f64], weights: &[f64]) -> Option<f64> {
        let (mut sum, mut total) = (0.0, 0.0);
        for (rating, value) in self.ratings.iter().zip(values) {
            sum += weights[rating.group] * value;
            total += weights[rating.group];
        }
        (total > 0.0).then(|| sum / total)
    }

    fn confusion(&self, scores: &[Score], weights: Option<&[f64]>) -> Confusion {
        let mut confusion = Confusion::default();
        for (rating, score) in self.ratings.iter().zip(scores) {
            let weight = weights.map_or(1.0, |weights| weights[rating.group]);
            confusion.add(rating.score, *score, weight);
        }
        confusion
    }

    /// Mean absolute error and kappa, with and without each group.
    fn measured(&self, scores: &[Score]) -> Vec<Option<Jackknife>> {
        delete_one(self.groups, |weights| {
            let confusion = self.confusion(scores, Some(weights));
            vec![confusion.mae(), confusion.quadratic_weighted_kappa()]
        })
    }
}

fn named_metrics(confusion: &Confusion) -> BTreeMap<String, f64> {
    let named = [
        ("mae", confusion.mae()),
        ("exact", confusion.exact()),
        ("qwk", confusion.quadratic_weighted_kappa()),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The largest difference between the shares of a score that people give and that are given, 0 to 1.
fn share_gap(confusion: &Confusion) -> f64 {
    let gap = |score: usize| {
        let people: f64 = confusion.counts[score].iter().sum();
        let given: f64 = confusion.counts.iter().map(|row| row[score]).sum();
        (people - given).abs()
    };
    let largest = (0..Score::LEVELS).map(gap).fold(0.0, f64::max);
    largest / confusion.total().max(1.0)
}
