use std::collections::BTreeMap;
use std::sync::Arc;

use slide_data::{Label, Labels, Score};

use crate::agreement::{RatingMatrix, severity};
use crate::code;
use crate::{ConsensusRule, Rating, Store};

/// Where the picture of a slide lies, relative to the project's folder.
pub type ImagePath<'a> = &'a dyn Fn(&str) -> String;

/// How ratings become labels: the rule, and what it needs of all ratings.
pub(crate) struct Consensus<'a> {
    store: &'a Store,
    /// Empty for the median.
    leniency: BTreeMap<String, Vec<f64>>,
}

impl<'a> Consensus<'a> {
    pub(crate) fn new(store: &'a Store, rule: ConsensusRule) -> Self {
        let leniency = match rule {
            ConsensusRule::Median => BTreeMap::new(),
            ConsensusRule::SeverityCorrectedMean => leniencies(store),
        };
        Self { store, leniency }
    }

    /// The label of one slide, or nothing where nobody has rated it.
    pub(crate) fn label(
        &self,
        slide_id: &str,
        ratings: &[Rating<'_>],
        image_path: ImagePath<'_>,
    ) -> Option<Label> {
        label(self.store, slide_id, ratings, &self.leniency, image_path)
    }
}

/// Derives `labels.json` from the ratings; an adjudicated slide takes the lead's scores where they are set.
pub fn labels(store: &Store, rule: ConsensusRule, image_path: ImagePath<'_>) -> Labels {
    let consensus = Consensus::new(store, rule);
    let slides = store
        .rated_slides()
        .filter_map(|(id, ratings)| Some((id.to_owned(), consensus.label(id, &ratings, image_path)?)))
        .collect();
    Labels { slides }
}

/// The label of one slide by the median rule, or nothing where nobody has rated it.
pub fn median_label(store: &Store, slide_id: &str, image_path: ImagePath<'_>) -> Option<Label> {
    let ratings: Vec<_> = store.ratings(slide_id).collect();
    label(store, slide_id, &ratings, &BTreeMap::new(), image_path)
}

/// For each rater and criterion by how much they score above the others.
fn leniencies(store: &Store) -> BTreeMap<String, Vec<f64>> {
    let matrix = RatingMatrix::from_store(store, |slide| Arc::from(slide));
    let by_criterion: Vec<Vec<f64>> =
        (0..matrix.criteria().len()).map(|criterion| severity(&matrix, Some(criterion))).collect();
    let of = |rater: usize| by_criterion.iter().map(|severity| -severity[rater]).collect();
    matrix.raters().iter().enumerate().map(|(rater, name)| (name.clone(), of(rater))).collect()
}

fn label(
    store: &Store,
    slide_id: &str,
    ratings: &[Rating<'_>],
    leniency: &BTreeMap<String, Vec<f64>>,
    image_path: ImagePath<'_>,
) -> Option<Label> {
    let final_word = store.adjudication(slide_id);
    let final_scores = final_word.map(|event| event.scores()).unwrap_or_default();
    if ratings.is_empty() && final_word.is_none() {
        return None;
    }
    let mut label = Label { image_path: image_path(slide_id), annotators: ratings.len(), ..Label::default() };
    for (index, key) in store.rubric().keys().enumerate() {
        let codes: Vec<u8> = ratings.iter().map(|rating| rating.codes[index]).collect();
        let decided = final_scores.get(key).copied();
        let agreed = || {
            let corrections: Vec<f64> = ratings
                .iter()
                .map(|rating| leniency.get(rating.annotator).map_or(0.0, |by_criterion| by_criterion[index]))
                .collect();
            if leniency.is_empty() { median(&codes) } else { corrected_mean(&codes, &corrections) }
        };
        if let Some(score) = decided.or_else(agreed) {
            label.scores.insert(key.to_owned(), score);
        }
        let mut distribution = [0; Score::LEVELS];
        codes.iter().filter_map(|&code| Score::new(code)).for_each(|score| distribution[score.index()] += 1);
        if distribution.iter().any(|&count| count > 0) {
            label.distribution.insert(key.to_owned(), distribution);
        }
    }
    let notes =
        ratings.iter().map(|rating| rating.event.notes()).chain(final_word.map(|event| event.notes()));
    label.notes = notes.filter(|notes| !notes.is_empty()).collect::<Vec<_>>().join("\n");
    label.annotators = label.annotators.max(1);
    Some(label)
}

/// Whether most of those who said anything hold the criterion not to apply; `None` when nobody said anything.
fn applies(codes: &[u8]) -> Option<bool> {
    let scored = codes.iter().filter(|&&code| Score::new(code).is_some()).count();
    let said = codes.iter().filter(|&&code| code != code::UNSET).count();
    (said > 0).then_some(2 * scored >= said)
}

/// The median of the scores; between two the one nearer the mean, at a tie the even one (so that ties lean to neither side).
///
/// `None` where nobody said anything, `Some(None)` where most hold the criterion not to apply.
pub fn median(codes: &[u8]) -> Option<Option<Score>> {
    if !applies(codes)? {
        return Some(None);
    }
    let mut scores: Vec<u8> = codes.iter().copied().filter(|&code| Score::new(code).is_some()).collect();
    scores.sort_unstable();
    let (low, high) = (scores[(scores.len() - 1) / 2], scores[scores.len() / 2]);
    let doubled_middle = usize::from(low) + usize::from(high);
    let total: usize = scores.iter().map(|&score| usize::from(score)).sum();
    let rounded = if doubled_middle.is_multiple_of(2) {
        doubled_middle / 2
    } else {
        let below = doubled_middle / 2;
        match (2 * total).cmp(&(doubled_middle * scores.len())) {
            std::cmp::Ordering::Less => below,
            std::cmp::Ordering::Greater => below + 1,
            std::cmp::Ordering::Equal => below + below % 2,
        }
    };
    Some(Score::new(rounded as u8))
}

/// The mean of the scores, each less what its rater gives above the others, rounded to a score.
#[expect(clippy::option_option, reason = "a score, not applicable, or nothing said: the form of `Scores`")]
fn corrected_mean(codes: &[u8], leniency: &[f64]) -> Option<Option<Score>> {
    if !applies(codes)? {
        return Some(None);
    }
    let scored = codes.iter().zip(leniency).filter(|(code, _)| Score::new(**code).is_some());
    let corrected: Vec<f64> = scored.map(|(&code, leniency)| f64::from(code) - leniency).collect();
    let mean = corrected.iter().sum::<f64>() / corrected.len() as f64;
    Some(Score::new(mean.round_ties_even().clamp(1.0, 5.0) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Kind};
    use slide_data::Rubric;

    const NA: u8 = code::NOT_APPLICABLE;

    #[expect(clippy::option_option, reason = "as the function under test")]
    fn of(codes: &[u8]) -> Option<Option<u8>> {
        median(codes).map(|score| score.map(Score::get))
    }

    #[test]
    fn the_median_of_the_raters() {
        for (codes, expected) in [
            (&[][..], None),
            (&[0, 0], None),
            (&[4], Some(Some(4))),
            (&[1, 5, 2], Some(Some(2))),
            (&[2, 3], Some(Some(2))),
            (&[3, 4], Some(Some(4))),
            (&[1, 3, 4, 4], Some(Some(3))),
            (&[3, 3, 4, 5], Some(Some(4))),
            (&[2, 4], Some(Some(3))),
            (&[NA, NA, 3], Some(None)),
            (&[NA, 3], Some(Some(3))),
            (&[NA, 0], Some(None)),
        ] {
            assert_eq!(of(codes), expected, "{codes:?}");
        }
    }

    fn rate(id: &str, slide: &str, annotator: &str, clarity: u8) -> Event {
        let mut event = Event::new(id, Kind::Rated, slide, annotator, jiff::Timestamp::UNIX_EPOCH);
        event.scores.insert("clarity".to_owned(), Score::new(clarity));
        event
    }

    #[test]
    fn a_severe_rater_is_corrected() {
        // Ben gives two points less than Ana wherever both rate; where he rates alone, his 2 means 3.
        let mut events: Vec<_> = (0..10)
            .flat_map(|i| {
                let slide = format!("s{i}");
                [
                    rate(&format!("a{i}"), &slide, "Ana", 3 + i % 3),
                    rate(&format!("b{i}"), &slide, "Ben", 1 + i % 3),
                ]
            })
            .collect();
        events.push(rate("x", "alone", "Ben", 2));
        let (store, _) = Store::from_events(Rubric::default(), events);
        let path = |id: &str| format!("{id}.png");
        let median = labels(&store, ConsensusRule::Median, &path);
        let corrected = labels(&store, ConsensusRule::SeverityCorrectedMean, &path);
        assert_eq!(median.slides["alone"].scores["clarity"], Score::new(2));
        assert_eq!(corrected.slides["alone"].scores["clarity"], Score::new(3));
        assert_eq!(corrected.slides["s0"].scores["clarity"], Score::new(2));
        assert_eq!(median.slides["s0"].distribution["clarity"], [1, 0, 1, 0, 0]);
        assert_eq!(median.slides["s0"].image_path, "s0.png");
    }

    #[test]
    fn the_leads_word_is_final_and_the_distribution_stays() {
        let mut word = rate("f", "s", "Lead", 5);
        word.kind = Kind::Adjudicated;
        word.notes = "the chart is clear".to_owned();
        let events = vec![rate("a", "s", "Ana", 1), rate("b", "s", "Ben", 2), word];
        let (store, _) = Store::from_events(Rubric::default(), events);
        let label = &labels(&store, ConsensusRule::Median, &|id| id.to_owned()).slides["s"];
        assert_eq!(label.scores["clarity"], Score::new(5));
        assert_eq!(label.distribution["clarity"], [1, 1, 0, 0, 0]);
        assert_eq!((label.annotators, label.notes.as_str()), (2, "the chart is clear"));
    }
}
