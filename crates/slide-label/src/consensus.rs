use std::collections::BTreeMap;
use std::sync::Arc;

use slide_data::{Answer, Authority, Decision, Label, Labels, Score, Tally};

use crate::agreement::{RatingMatrix, shrunk_severity};
use crate::code;
use crate::{ConsensusRule, EventRef, Rating, Store};

/// Where the image of a slide lies, relative to the project's folder.
pub type ImagePath<'a> = &'a dyn Fn(&str) -> String;

/// For each rater by how many points they are likely to be more severe than the others, criterion by criterion.
type Severities = BTreeMap<String, Vec<f64>>;

/// How ratings become labels: the rule, and what it needs of all ratings. What a label teaches is for
/// [`slide_data::target`] to say; here is gathered what it asks for.
pub(crate) struct Consensus<'a> {
    store: &'a Store,
    /// None for the median.
    severities: Option<Severities>,
}

impl<'a> Consensus<'a> {
    pub(crate) fn new(store: &'a Store, rule: ConsensusRule) -> Self {
        let severities = match rule {
            ConsensusRule::Median => None,
            ConsensusRule::SeverityCorrectedMean => Some(severities(store)),
        };
        Self { store, severities }
    }

    /// The label of one slide, or nothing where nobody has rated it.
    pub(crate) fn label(
        &self,
        slide_id: &str,
        ratings: &[Rating<'_>],
        image_path: ImagePath<'_>,
    ) -> Option<Label> {
        label(self.store, slide_id, ratings, self.severities.as_ref(), image_path)
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

/// Puts a lead's scores in the place of the raters'.
fn adjudicate(label: &mut Label, event: EventRef<'_>) {
    for (key, score) in event.scores() {
        let (at, id) = (Some(event.at()), event.id().to_owned());
        label.decide(&key, score.into(), Decision { by: Authority::Adjudication, at, id });
    }
}

/// The label of one slide by the median rule, or nothing where nobody has rated it.
pub fn median_label(store: &Store, slide_id: &str, image_path: ImagePath<'_>) -> Option<Label> {
    let ratings: Vec<_> = store.ratings(slide_id).collect();
    label(store, slide_id, &ratings, None, image_path)
}

fn severities(store: &Store) -> Severities {
    let matrix = RatingMatrix::from_store(store, |slide| Arc::from(slide));
    let by_criterion = shrunk_severity(&matrix);
    let of = |rater: usize| by_criterion.iter().map(|severity| severity[rater]).collect();
    matrix.raters().iter().enumerate().map(|(rater, name)| (name.clone(), of(rater))).collect()
}

fn label(
    store: &Store,
    slide_id: &str,
    ratings: &[Rating<'_>],
    severities: Option<&Severities>,
    image_path: ImagePath<'_>,
) -> Option<Label> {
    let adjudication = store.adjudication(slide_id);
    if ratings.is_empty() && adjudication.is_none() {
        return None;
    }
    let mut label = Label { image_path: image_path(slide_id), annotators: ratings.len(), ..Label::default() };
    for (index, key) in store.rubric().keys().enumerate() {
        label.rate(key, &tally(ratings, index, severities));
    }
    if let Some(event) = adjudication {
        adjudicate(&mut label, event);
    }
    let notes =
        ratings.iter().map(|rating| rating.event.notes()).chain(adjudication.map(|event| event.notes()));
    label.notes = notes.filter(|notes| !notes.is_empty()).collect::<Vec<_>>().join("\n");
    label.annotators = label.annotators.max(1);
    Some(label)
}

/// What the raters of a slide say of the criterion at `index`.
fn tally(ratings: &[Rating<'_>], index: usize, severities: Option<&Severities>) -> Tally {
    let answers = ratings.iter().filter_map(|rating| Some((rating, answer(rating.codes[index])?)));
    match severities {
        None => Tally::of(answers.map(|(_, answer)| answer)),
        Some(severities) => Tally::severity_corrected(answers.map(|(rating, answer)| {
            (answer, severities.get(rating.annotator).map_or(0.0, |by_criterion| by_criterion[index]))
        })),
    }
}

/// What a code says, if anything.
fn answer(code: u8) -> Option<Answer> {
    match code {
        code::NOT_APPLICABLE => Some(Answer::NotApplicable),
        code => Score::new(code).map(Answer::Score),
    }
}

/// What follows from codes alone by the median rule: `None` where nobody said anything, `Some(None)` where most hold the criterion
/// not to apply.
pub fn median(codes: &[u8]) -> Option<Option<Score>> {
    Tally::of(codes.iter().filter_map(|&code| answer(code))).target().answer().map(Answer::score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Kind};
    use slide_data::{Rubric, Target};

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
        let scores = |values: [u8; 2]| values.map(|value| Answer::Score(Score::new(value).unwrap()));
        assert_eq!(median.slides["s0"].target("clarity"), Tally::of(scores([1, 3])).target());
        assert_eq!(corrected.slides["s0"].target("clarity"), Tally::of(scores([2, 2])).target());
        assert_eq!(corrected.slides["s0"].distribution["clarity"], [1, 0, 1, 0, 0], "what was said stays");
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
        assert_eq!(label.target("clarity"), Target::decided(Answer::Score(Score::MAX)));
        assert_eq!(label.decided["clarity"].id, "f");
    }
}
