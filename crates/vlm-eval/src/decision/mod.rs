//! From probabilities to the score that is shown: cut points on the mean, and a temperature for what is said of one more rater.
//!
//! A mean over probabilities lies nearer to the middle than people's scores do, and rounding it gives the ends of the scale too seldom.
//! Cut points that match how often people give each score give them as often, but err more where the model is unsure: of a calibrated
//! model the rounding that errs least is near the median. So the cut points lie somewhere between the two, as far as ratings that were
//! left out of the fitting bear out, and those of a criterion with few ratings lean on what all criteria have in common.

mod cross;
mod cuts;
mod evidence;
mod temperature;

use std::collections::{BTreeMap, BTreeSet};

use project_files::{Contract as _, CriterionDecision, DecisionRule, ScoreDecision};
use slide_data::{Rubric, Score, expected_score};

use crate::Item;
use crate::table::{Distribution, is_distribution};
use evidence::Evidence;

/// Decks of fewer groups than this leave nothing to fit on after one is left out to choose by and one to measure on.
const FEWEST_GROUPS: usize = 3;
/// Ratings at which a criterion's own values count as much as those of all criteria together.
const PRIOR: f64 = 50.0;

/// A rated criterion of a slide, and what the model says of it.
#[derive(Debug, Clone, Copy)]
struct Rated {
    /// Its place among the criteria.
    criterion: usize,
    /// The group's place in the order of names.
    group: usize,
    mean: f64,
    distribution: Distribution,
    /// What people say, as a score.
    score: Score,
    /// What share of them says each score.
    raters: Distribution,
}

/// Fits the decision for a model that did not learn from these slides, and measures on groups that are left out what it brings.
///
/// A rating without a distribution is left out. `None` where the rated slides are of fewer than three groups. What it was made from is
/// left for the caller to say. Intervals hold with this confidence, as in 0.95.
pub fn fit_decision(rubric: &Rubric, items: &[Item], confidence: f64) -> Option<ScoreDecision> {
    let keys: Vec<&str> = rubric.keys().collect();
    let (all, slides, groups) = rated(&keys, items);
    if groups < FEWEST_GROUPS {
        return None;
    }
    let ratings: Vec<&Rated> = all.iter().collect();
    let evidence = Evidence::of(&ratings, keys.len());
    let strength = if evidence.cuts_are_better() { cuts::best_strength(&ratings, keys.len()) } else { 0.0 };
    let temperatures = if evidence.temperatures_are_better() {
        temperature::fit(&ratings, keys.len())
    } else {
        vec![1.0; keys.len()]
    };
    let points = cuts::fit(&ratings, keys.len());
    let decided = |(at, key): (usize, &&str)| {
        let own = ratings.iter().filter(|rating| rating.criterion == at).count();
        let cut_points = cuts::moved(&points[at], strength);
        let decision = CriterionDecision { cut_points, temperature: temperatures[at], ratings: own };
        (own > 0).then(|| ((*key).to_owned(), decision))
    };
    Some(ScoreDecision {
        schema_version: ScoreDecision::VERSION,
        rule: if strength > 0.0 { DecisionRule::CutPoints } else { DecisionRule::RoundedMean },
        criteria: keys.iter().enumerate().filter_map(decided).collect(),
        strength,
        made_from: BTreeMap::new(),
        slides,
        groups,
        ratings: ratings.len(),
        scores: evidence.scores(confidence),
        probabilities: evidence.probabilities(confidence),
    })
}

/// A rating of a slide that has a distribution; its group is not known yet.
fn rating(item: &Item, criterion: usize, key: &str) -> Option<Rated> {
    let target = *item.label.target(key).scored()?;
    let distribution = *item.prediction.distributions.get(key)?;
    is_distribution(&distribution).then(|| Rated {
        criterion,
        group: 0,
        mean: expected_score(&distribution),
        distribution,
        score: target.score(),
        raters: *target.distribution(),
    })
}

/// The ratings in the order of their groups and slides; how many slides and groups they are of.
fn rated(keys: &[&str], items: &[Item]) -> (Vec<Rated>, usize, usize) {
    let of_item = |item: &Item| {
        keys.iter().enumerate().filter_map(|(at, key)| rating(item, at, key)).collect::<Vec<_>>()
    };
    let mut sorted: Vec<&Item> = items.iter().collect();
    sorted.sort_by(|a, b| (&a.group, &a.slide_id).cmp(&(&b.group, &b.slide_id)));
    let found: Vec<(&Item, Vec<Rated>)> =
        sorted.into_iter().map(|item| (item, of_item(item))).filter(|(_, rated)| !rated.is_empty()).collect();
    let names: BTreeSet<&str> = found.iter().map(|(item, _)| item.group.as_str()).collect();
    let places: BTreeMap<&str, usize> = names.into_iter().zip(0..).collect();
    let in_group = |(item, rated): &(&Item, Vec<Rated>)| {
        let group = places[item.group.as_str()];
        rated.iter().map(|rating| Rated { group, ..*rating }).collect::<Vec<_>>()
    };
    (found.iter().flat_map(in_group).collect(), found.len(), places.len())
}

/// How much a criterion's own value counts beside that of all criteria.
fn own_weight(ratings: usize) -> f64 {
    ratings as f64 / (ratings as f64 + PRIOR)
}
