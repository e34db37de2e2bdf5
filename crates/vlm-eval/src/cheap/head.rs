//! The linear probe as a model to rate with: alone, or together with an adapter as far as validation decks bear that out.

use std::collections::{BTreeMap, BTreeSet};

use project_files::{Contract as _, CriterionHead, Gain, Interval, ScoreHead};
use slide_data::Rubric;
use statistics::delete_one;

use super::gram::Scale;
use super::ridge::Ridge;
use super::{KnownSlide, Rated, Regression, features, thinned};
use crate::Item;
use crate::measures::ranked_probability_score;
use crate::table::{Distribution, is_distribution};

/// Shares of the head that are tried.
const SHARES: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// Groups of validation slides below which no share can be chosen and measured.
const FEWEST_GROUPS: usize = 3;

/// Fits the linear probe of [`CheapModels`](super::CheapModels) to the training slides, to stand alone; for which adapter it is, is left
/// for the caller to say. `None` where the slides are of fewer than two groups, or no criterion could be learned.
///
/// # Panics
/// When the features of two slides are not equally many.
pub fn fit_head(rubric: &Rubric, slides: &[KnownSlide]) -> Option<ScoreHead> {
    let known = thinned(slides);
    let keys: Vec<String> = rubric.keys().map(str::to_owned).collect();
    let rated = Rated::new(&keys, &known);
    let rows = known.iter().map(|slide| features(&slide.numbers)).collect();
    let Regression { scale, criteria } = Regression::fit(&rated, rows);
    let heads = keys.into_iter().zip(criteria).filter_map(|(key, ridge)| Some((key, of(&ridge?, &scale))));
    let criteria: BTreeMap<String, CriterionHead> = heads.collect();
    (!criteria.is_empty()).then(|| ScoreHead {
        schema_version: ScoreHead::VERSION,
        share: 1.0,
        criteria,
        made_from: BTreeMap::new(),
        slides: known.len(),
        gain: None,
    })
}

/// The same function of features as they are, not scaled.
fn of(ridge: &Ridge, scale: &Scale) -> CriterionHead {
    let mut head = CriterionHead::default();
    for (level, (weights, intercept)) in ridge.functions().enumerate() {
        let weights: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
        (head.weights[level], head.intercept[level]) = scale.undo(&weights, intercept);
    }
    head
}

/// Chooses how much a head has to say beside an adapter: the share with the smallest ranked probability score on validation slides, which
/// neither learned from. It is none where both together are not shown to be better than the adapter alone on groups that the share was
/// not chosen on, or where there are fewer than three groups.
///
/// The items have what the adapter says; `said` has what the head says, by slide and criterion. The interval of the gain holds with this
/// confidence, as in 0.95.
pub fn fit_share(
    rubric: &Rubric,
    items: &[Item],
    said: &BTreeMap<String, BTreeMap<String, Distribution>>,
    confidence: f64,
) -> (f64, Option<Gain>) {
    let groups = groups(rubric, items, said);
    if groups.len() < FEWEST_GROUPS {
        return (0.0, None);
    }
    let gains: Vec<(f64, f64)> = (0..groups.len())
        .map(|left_out| {
            let rest = groups.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, group)| group);
            let share = best_share(rest);
            (groups[left_out].sums[0] - groups[left_out].sums[share], groups[left_out].count)
        })
        .collect();
    let mean = |weights: &[f64]| {
        let sums = gains.iter().zip(weights).map(|((gain, count), weight)| (gain * weight, count * weight));
        let (gain, count) = sums.fold((0.0, 0.0), |all, next| (all.0 + next.0, all.1 + next.1));
        (count > 0.0).then_some(gain / count)
    };
    let Some(value) = mean(&vec![1.0; gains.len()]) else { return (0.0, None) };
    let jackknife = delete_one(gains.len(), |weights| vec![mean(weights)]).pop().flatten();
    let ends = jackknife.and_then(|jackknife| jackknife.interval(confidence));
    let interval = ends.map(|(low, high)| Interval { low, high });
    let is_better = interval.is_some_and(|interval| interval.low > 0.0);
    let share = if is_better { SHARES[best_share(groups.iter())] } else { 0.0 };
    (share, Some(Gain { value, interval }))
}

/// The ranked probability scores of a group's ratings.
#[derive(Debug, Clone, Default)]
struct Group {
    /// Their sum under each share.
    sums: [f64; SHARES.len()],
    count: f64,
}

/// The ratings of which both say something, by group.
fn groups(
    rubric: &Rubric,
    items: &[Item],
    said: &BTreeMap<String, BTreeMap<String, Distribution>>,
) -> Vec<Group> {
    let names: BTreeSet<&str> = items.iter().map(|item| item.group.as_str()).collect();
    let mut groups: BTreeMap<&str, Group> = names.into_iter().map(|name| (name, Group::default())).collect();
    for item in items {
        let Some(said) = said.get(&item.slide_id) else { continue };
        for key in rubric.keys() {
            let target = item.label.target(key);
            let all = (target.scored(), item.prediction.distributions.get(key), said.get(key));
            let (Some(target), Some(adapter), Some(head)) = all else { continue };
            if !is_distribution(adapter) {
                continue;
            }
            let group = groups.entry(&item.group).or_default();
            for (share, sum) in SHARES.into_iter().zip(&mut group.sums) {
                let both = ScoreHead { share, ..ScoreHead::default() }.blend(head, adapter);
                *sum += ranked_probability_score(&both, target.distribution());
            }
            group.count += 1.0;
        }
    }
    groups.into_values().filter(|group| group.count > 0.0).collect()
}

/// The place of the best share, of equal ones the smallest.
fn best_share<'a>(groups: impl Iterator<Item = &'a Group>) -> usize {
    let mut sums = [0.0; SHARES.len()];
    for group in groups {
        sums.iter_mut().zip(group.sums).for_each(|(sum, of)| *sum += of);
    }
    (0..SHARES.len()).min_by(|a, b| sums[*a].total_cmp(&sums[*b])).unwrap_or_default()
}
