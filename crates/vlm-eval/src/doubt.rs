//! Labels that a model which did not learn from them would not have expected.

use slide_data::{Rubric, Score};

use crate::Item;
use crate::table::{Distribution, is_distribution};

/// A rated criterion of a slide, and how far a model is from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    /// The slide.
    pub slide_id: String,
    /// The criterion.
    pub criterion: String,
    /// What people say.
    pub score: Score,
    /// How far from that the model expects one more rater's score to lie, in points, 0 to 4.
    pub distance: f64,
    /// What was asked: the prediction's `model_version`.
    pub by: String,
}

fn doubt(item: &Item, key: &str) -> Option<Doubt> {
    let score = item.label.score(key).filter(|_| !item.label.decided.contains_key(key))?;
    let distribution = item.prediction.distributions.get(key).filter(|p| is_distribution(p))?;
    Some(Doubt {
        slide_id: item.slide_id.clone(),
        criterion: key.to_owned(),
        score,
        distance: distance(distribution, score),
        by: item.prediction.model_version.clone(),
    })
}

/// The labels of slides that the model did not learn from, the least expected first; of equals in the order of slides and criteria.
///
/// The measure is `Σ p(s) |s − label|`: a model that is sure of another score doubts more than one that is unsure (the expected
/// disagreement, as confident learning ranks by what the model says of the given label; Northcutt et al. 2021). Against moved labels it
/// did as well as the label's improbability, and it is in points. Ratings without a distribution are left out, and
/// so are scores that somebody decided already.
pub fn doubtful(rubric: &Rubric, items: &[Item]) -> Vec<Doubt> {
    let of_item = |item: &Item| rubric.keys().filter_map(|key| doubt(item, key)).collect::<Vec<_>>();
    let mut doubts: Vec<Doubt> = items.iter().flat_map(of_item).collect();
    doubts.sort_by(|a, b| {
        b.distance
            .total_cmp(&a.distance)
            .then_with(|| (&a.slide_id, &a.criterion).cmp(&(&b.slide_id, &b.criterion)))
    });
    doubts
}

fn distance(distribution: &Distribution, score: Score) -> f64 {
    let total: f64 = distribution.iter().sum();
    let terms = distribution.iter().enumerate().map(|(at, p)| p * at.abs_diff(score.index()) as f64);
    (terms.sum::<f64>() / total).clamp(0.0, 4.0)
}
