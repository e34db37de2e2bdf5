use std::collections::BTreeMap;

use slide_data::{Label, Rubric, Score};

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
}
