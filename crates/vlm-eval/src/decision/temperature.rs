//! A temperature under which the score of one more rater is most likely.

use super::{Rated, own_weight};
use crate::table::Distribution;
use project_files::CriterionDecision;

/// The temperature lies between a quarter and this.
const MOST: f64 = 4.0;
/// Halvings of the range: to 1e-15.
const HALVINGS: usize = 52;
/// Stands for a probability of 0, whose logarithm is none.
const LEAST: f64 = 1e-12;

/// For each criterion the temperature that makes one more rater's score most likely, its logarithm drawn towards that of all ratings
/// where it has few.
pub(super) fn fit(ratings: &[&Rated], criteria: usize) -> Vec<f64> {
    let all = most_likely(ratings);
    let of = |criterion: usize| {
        let own: Vec<&Rated> = ratings.iter().copied().filter(|r| r.criterion == criterion).collect();
        let weight = own_weight(own.len());
        (weight * most_likely(&own).ln() + (1.0 - weight) * all.ln()).exp()
    };
    (0..criteria).map(of).collect()
}

/// The cross-entropy is convex in `β = 1/T`, and its slope the mean of `Σ (q_β − r) ln p` for the raters' shares `r`: where that is 0
/// the mean of the logarithms is what people make it.
fn most_likely(ratings: &[&Rated]) -> f64 {
    let logarithms: Vec<Distribution> = ratings.iter().map(|rating| logarithms(rating)).collect();
    let slope = |beta: f64| -> f64 {
        let of = |(rating, logarithms): (&&Rated, &Distribution)| -> f64 {
            let q = softmax(&logarithms.map(|log| beta * log));
            (0..q.len()).map(|at| (q[at] - rating.raters[at]) * logarithms[at]).sum()
        };
        ratings.iter().zip(&logarithms).map(of).sum()
    };
    if ratings.is_empty() || slope(1.0) == 0.0 {
        return 1.0;
    }
    1.0 / root(slope)
}

/// Where an increasing function is 0, by halving.
fn root(slope: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (1.0 / MOST, MOST);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if slope(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

fn logarithms(rating: &Rated) -> Distribution {
    rating.distribution.map(|p| p.max(LEAST).ln())
}

fn softmax(logits: &Distribution) -> Distribution {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers = logits.map(|logit| (logit - most).exp());
    let total: f64 = powers.iter().sum();
    powers.map(|power| power / total)
}

/// What is said of one more rater of a slide: the cross-entropy of their score in nats, and the share of raters within the interval.
pub(super) fn told(temperature: f64, rating: &Rated) -> (f64, f64) {
    let decision = CriterionDecision { temperature, ..CriterionDecision::default() };
    let q = softmax(&logarithms(rating).map(|log| log / temperature));
    let loss = -rating.raters.iter().zip(q).map(|(r, q)| r * q.max(f64::MIN_POSITIVE).ln()).sum::<f64>();
    let inside = decision.read(&rating.distribution).map_or(0.0, |read| {
        let [low, high] = read.interval.map(usize::from);
        rating.raters[low - 1..high].iter().sum()
    });
    (loss, inside)
}
