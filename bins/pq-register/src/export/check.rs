//! A version and its export, asked about the same slides.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use pq_cli::Hint;
use project_files::{ExportBounds, ExportCheck, RunFiles, sha256_hex};
use slide_data::{Prediction, Split};
use slide_scorer::{LabelledSlide, NewGroups, Settings, SlideImage, SlideScorer, Store};

use crate::project::Project;

const BATCH: usize = 8;
const SILENCE: Duration = Duration::from_secs(2);

/// The slides that versions are validated on: the labelled ones of the test split.
pub(super) fn slides(project: &Project<'_>, settings: &Settings) -> Result<Vec<LabelledSlide>> {
    let mut slides = Store::open(project.config)?.labelled(&settings.rubric, NewGroups::LeaveOut)?;
    slides.retain(|slide| slide.split == Split::Test);
    if slides.is_empty() {
        bail!(Hint::new(
            "an export is scored before it counts as made, and no labelled slide is in the test split",
            "export where the project's data lies"
        ));
    }
    Ok(slides)
}

/// What a model says of the slides, in their order: of every criterion but the untaught ones, whether or not it applies. Which ones
/// apply is told by a file beside the adapter, which no export holds.
pub(super) fn score(
    settings: &Settings,
    adapter: Option<&RunFiles>,
    name: &str,
    slides: &[LabelledSlide],
    untaught: &[String],
) -> Result<Vec<Prediction>> {
    let scorer = SlideScorer::open(settings, adapter, name)?.without(untaught);
    tracing::info!("scoring {} slides with {name}", slides.len());
    let mut said = Instant::now();
    let mut predictions = Vec::with_capacity(slides.len());
    for batch in slides.chunks(BATCH) {
        if pq_cli::interrupted() {
            bail!(Hint::new("interrupted; nothing was exported", "run it again"));
        }
        let images = batch.iter().map(LabelledSlide::image).collect::<Result<Vec<SlideImage>>>()?;
        predictions.extend(scorer.rate_all_criteria(&images)?);
        if said.elapsed() > SILENCE {
            tracing::info!("{} of {} slides", predictions.len(), slides.len());
            said = Instant::now();
        }
    }
    Ok(predictions)
}

/// How far the export's answers are from the version's; `keys` are the criteria in the order in which they are asked.
///
/// A criterion is asked after the levels that the criteria before it were given. From the first one on whose most probable level
/// changed, the probabilities of a slide answer another question: they are left out of the differences, and the levels count.
pub(super) fn compare(
    keys: &[&str],
    expected: &[Prediction],
    actual: &[Prediction],
    bounds: ExportBounds,
) -> Result<ExportCheck> {
    let mut sums = Sums::default();
    for (expected, actual) in expected.iter().zip(actual) {
        sums.add_slide(keys, expected, actual)?;
    }
    let ids: Vec<[&str; 2]> = expected.iter().map(|p| [p.slide_id.as_str(), p.sha256.as_str()]).collect();
    Ok(ExportCheck {
        slides: expected.len(),
        slides_sha256: sha256_hex(serde_json::to_string(&ids)?.as_bytes()),
        scores: expected.len() * keys.len(),
        compared_scores: sums.compared,
        largest_difference: sums.largest,
        mean_difference: sums.all / (sums.compared * slide_data::Score::LEVELS) as f64,
        changed_scores: sums.changed,
        bounds,
    })
}

/// Differences of the probabilities that were compared.
#[derive(Default)]
struct Sums {
    largest: f64,
    all: f64,
    compared: usize,
    changed: usize,
}

impl Sums {
    /// Adds what version and export say of one slide.
    fn add_slide(&mut self, keys: &[&str], expected: &Prediction, actual: &Prediction) -> Result<()> {
        let mut is_same_question = true;
        for key in keys {
            let of = |prediction: &Prediction| prediction.distributions.get(*key).copied();
            let pair = of(expected).zip(of(actual));
            let (before, after) = pair.context("version and export were asked for other criteria")?;
            if is_same_question {
                self.add(&before, &after);
            }
            let is_changed = most_probable(&before) != most_probable(&after);
            self.changed += usize::from(is_changed);
            is_same_question &= !is_changed;
        }
        Ok(())
    }

    fn add(&mut self, before: &[f64], after: &[f64]) {
        for (before, after) in before.iter().zip(after) {
            let difference = (before - after).abs();
            // `f64::max` would drop a value that is no number.
            if !(self.largest.is_nan() || difference <= self.largest) {
                self.largest = difference;
            }
            self.all += difference;
        }
        self.compared += 1;
    }
}

fn most_probable(distribution: &[f64]) -> Option<usize> {
    (0..distribution.len()).max_by(|a, b| distribution[*a].total_cmp(&distribution[*b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 2] = ["design", "clarity"];

    fn prediction(design: [f64; 5], clarity: [f64; 5]) -> Prediction {
        let mut prediction = Prediction::sample("deck-p001");
        prediction.distributions = [("clarity".to_owned(), clarity), ("design".to_owned(), design)].into();
        prediction
    }

    #[test]
    fn differences_and_changed_scores_are_counted() {
        let bounds = ExportBounds { largest_difference: 0.2, mean_difference: 0.1, changed_scores: 0.5 };
        let (low, middle, high) =
            ([0.6, 0.2, 0.1, 0.1, 0.0], [0.1, 0.2, 0.4, 0.2, 0.1], [0.0, 0.0, 0.0, 0.0, 1.0]);
        let nearly = [0.5, 0.3, 0.1, 0.1, 0.0];
        let check = |after: &[Prediction]| {
            let before = [prediction(low, middle), prediction(low, low)];
            compare(&KEYS, &before, after, bounds).expect("the same criteria")
        };
        let same = check(&[prediction(low, middle), prediction(nearly, low)]);
        assert!((same.largest_difference - 0.1).abs() < 1e-12 && (same.mean_difference - 0.01).abs() < 1e-12);
        assert_eq!((same.slides, same.scores, same.compared_scores, same.changed_scores), (2, 4, 4, 0));
        // Clarity is asked after another design, and so are its probabilities of another question.
        let changed = check(&[prediction(middle, high), prediction(low, low)]);
        assert_eq!((changed.compared_scores, changed.changed_scores), (3, 2));
        assert!((changed.largest_difference - 0.5).abs() < 1e-12, "design alone is compared");
        let broken = check(&[prediction(low, middle), prediction([0.6, f64::NAN, 0.1, 0.1, 0.0], low)]);
        assert!(broken.largest_difference.is_nan() && !broken.refusals().is_empty());
        let lacking = [Prediction::sample("deck-p001")];
        assert!(compare(&KEYS, &lacking, &[prediction(low, low)], bounds).is_err());
    }
}
