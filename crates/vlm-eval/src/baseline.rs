use std::collections::BTreeMap;

use project_files::HumanCeiling;
use slide_data::{Label, Rubric, Score};

use crate::measures::round_score;
use crate::{Confusion, Measures};

/// For each criterion the constant score with the smallest mean absolute error on `labels`; of equals the lowest.
///
/// Criteria that no label rates are left out.
pub fn best_constants<'a>(
    rubric: &Rubric,
    labels: impl IntoIterator<Item = &'a Label>,
) -> BTreeMap<String, Score> {
    let mut counts: BTreeMap<&str, [u32; Score::LEVELS]> = BTreeMap::new();
    for label in labels {
        for (key, score) in label.scored() {
            counts.entry(key).or_default()[score.index()] += 1;
        }
    }
    let constant = |counts: &[u32; Score::LEVELS]| {
        (1..=5).filter_map(Score::new).min_by_key(|constant| {
            (1..).zip(counts).map(|(score, n)| n * u32::abs_diff(score, constant.get().into())).sum::<u32>()
        })
    };
    rubric.keys().filter_map(|key| Some((key.to_owned(), constant(counts.get(key)?)?))).collect()
}

/// The expected agreement of one rater, left out at random, with the rounded mean of the others; nothing where no label has two.
///
/// The others are one person fewer than the consensus the model is compared with, so this is slightly pessimistic.
pub fn human_ceiling<'a>(
    rubric: &Rubric,
    labels: impl IntoIterator<Item = &'a Label>,
) -> Option<HumanCeiling> {
    let mut confusions: BTreeMap<&str, Confusion> = BTreeMap::new();
    let mut ratings = 0;
    for label in labels {
        for key in rubric.keys() {
            let Some(counts) = label.distribution.get(key) else { continue };
            let rated = label.score(key).is_some();
            if rated && counts.iter().sum::<u32>() >= 2 {
                ratings += 1;
                leave_one_out(counts, confusions.entry(key).or_default());
            }
        }
    }
    let mut overall = Confusion::default();
    let mut metrics = BTreeMap::new();
    for (key, confusion) in &confusions {
        for (sum, count) in overall.counts.iter_mut().flatten().zip(confusion.counts.iter().flatten()) {
            *sum += count;
        }
        insert(&mut metrics, key, confusion);
    }
    insert(&mut metrics, "overall", &overall);
    (ratings > 0).then_some(HumanCeiling { metrics, ratings, ..HumanCeiling::default() })
}

/// Adds one pair in all: each rater against the others, with weight 1 / raters.
fn leave_one_out(counts: &[u32; Score::LEVELS], confusion: &mut Confusion) {
    let raters: u32 = counts.iter().sum();
    let total: u32 = counts.iter().zip(1..).map(|(n, score)| n * score).sum();
    for (score, &n) in (1u8..).zip(counts) {
        let others = f64::from(total - u32::from(score) * n.min(1)) / f64::from(raters - 1);
        if let (Some(rater), true) = (Score::new(score), n > 0) {
            confusion.add(round_score(others), rater, f64::from(n) / f64::from(raters));
        }
    }
}

fn insert(metrics: &mut BTreeMap<String, f64>, prefix: &str, confusion: &Confusion) {
    let measures = Measures::of_confusion(confusion);
    for (name, value) in [("mae", measures.mae), ("within_1", measures.within_1), ("exact", measures.exact)] {
        metrics.extend(value.map(|value| (format!("{prefix}_{name}"), value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(key: &str, counts: [u32; 5], score: u8) -> Label {
        Label {
            scores: [(key.to_owned(), Score::new(score))].into(),
            distribution: [(key.to_owned(), counts)].into(),
            ..Label::default()
        }
    }

    #[test]
    fn the_best_constant_is_the_median() {
        let labels = [5, 1, 4, 4, 2].map(|score| label("clarity", [0; 5], score));
        assert_eq!(best_constants(&Rubric::default(), &labels)["clarity"].get(), 4);
        assert_eq!(best_constants(&Rubric::default(), &labels).len(), 1);
    }

    #[test]
    fn the_ceiling_leaves_each_rater_out_once() {
        // Raters 2, 2, 5: a 2 meets (2 + 5) / 2 = 3.5 → 4, two points off; the 5 meets 2, three points off.
        let ceiling = human_ceiling(&Rubric::default(), &[label("design", [0, 2, 0, 0, 1], 2)]).unwrap();
        assert!((ceiling.metrics["design_mae"] - (2.0 * 2.0 + 3.0) / 3.0).abs() < 1e-12);
        assert!(ceiling.metrics["overall_within_1"].abs() < 1e-12);
        assert_eq!(human_ceiling(&Rubric::default(), &[label("design", [0, 1, 0, 0, 0], 2)]), None);
    }
}
