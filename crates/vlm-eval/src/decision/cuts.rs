//! Cut points on the mean of a distribution.

use project_files::CriterionDecision;
use slide_data::Score;

use super::cross::out_of_fold;
use super::{Rated, own_weight};
use crate::Confusion;

/// From which mean on the score is 2, 3, 4, 5.
pub(super) type CutPoints = [f64; Score::LEVELS - 1];

/// How far from rounding (0) towards matching people's shares (1) is tried.
pub(super) const STRENGTHS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// For each criterion the cut points that give each score as often as people do, drawn towards those of all ratings where it has few.
pub(super) fn fit(ratings: &[&Rated], criteria: usize) -> Vec<CutPoints> {
    let all = matched(ratings).unwrap_or(CriterionDecision::ROUNDING);
    let of = |criterion: usize| {
        let own: Vec<&Rated> = ratings.iter().copied().filter(|r| r.criterion == criterion).collect();
        matched(&own).map_or(all, |points| between(&all, &points, own_weight(own.len())))
    };
    (0..criteria).map(of).collect()
}

/// The quantiles of the model's means (Hazen 1914) at the shares of people's scores below 2, 3, 4 and 5.
fn matched(ratings: &[&Rated]) -> Option<CutPoints> {
    let mut means: Vec<f64> = ratings.iter().map(|rating| rating.mean).collect();
    means.sort_by(f64::total_cmp);
    let last = means.len().checked_sub(1)? as f64;
    let mut below = 0_usize;
    Some(std::array::from_fn(|at| {
        below += ratings.iter().filter(|rating| rating.score.index() == at).count();
        let place = (below as f64 - 0.5).clamp(0.0, last);
        let (low, high) = (means[place.floor() as usize], means[place.ceil() as usize]);
        low + place.fract() * (high - low)
    }))
}

fn between(from: &CutPoints, to: &CutPoints, weight: f64) -> CutPoints {
    std::array::from_fn(|at| (1.0 - weight) * from[at] + weight * to[at])
}

/// Cut points on the way from those of rounding.
pub(super) fn moved(points: &CutPoints, strength: f64) -> CutPoints {
    between(&CriterionDecision::ROUNDING, points, strength)
}

/// The score of a rating at a strength.
pub(super) fn score(points: &[CutPoints], strength: f64, rating: &Rated) -> Score {
    let cut_points = moved(&points[rating.criterion], strength);
    let score = CriterionDecision { cut_points, ..CriterionDecision::default() }.score(rating.mean);
    Score::new(score).unwrap_or(Score::MIN)
}

/// The strength whose scores of groups that were left out agree best by kappa, of those that err no more than rounding does.
pub(super) fn best_strength(ratings: &[&Rated], criteria: usize) -> f64 {
    let tell = |points: &Vec<CutPoints>, rating: &Rated| STRENGTHS.map(|at| score(points, at, rating));
    let told = out_of_fold(ratings, |rest| fit(rest, criteria), tell);
    let confusion = |at: usize| {
        let mut confusion = Confusion::default();
        for (rating, scores) in ratings.iter().zip(&told) {
            confusion.add(rating.score, scores[at], 1.0);
        }
        confusion
    };
    let rounding = confusion(0);
    let mut best = (0.0, rounding);
    for (at, strength) in STRENGTHS.into_iter().enumerate().skip(1) {
        let tried = confusion(at);
        if is_better(&tried, &best.1) && errs_no_more(&tried, &rounding) {
            best = (strength, tried);
        }
    }
    best.0
}

/// Whether scores agree better with people's, by kappa.
pub(super) fn is_better(a: &Confusion, b: &Confusion) -> bool {
    let kappa = Confusion::quadratic_weighted_kappa;
    kappa(a).zip(kappa(b)).is_some_and(|(a, b)| a > b)
}

/// Whether scores are no further from people's, by mean absolute error.
pub(super) fn errs_no_more(a: &Confusion, b: &Confusion) -> bool {
    a.mae().zip(b.mae()).is_some_and(|(a, b)| a <= b + 1e-12)
}
