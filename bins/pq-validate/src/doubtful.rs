//! Ratings that a model which did not learn from them would not have expected, for a lead to look at again.

use std::collections::BTreeMap;

use anyhow::Result;
use pq_cli::WithHint as _;
use project_files::{Contract as _, DoubtfulLabel, DoubtfulLabels, RunFiles, input};
use slide_data::{Prediction, Rubric};
use slide_scorer::LabelledSlide;
use vlm_eval::{CheapModels, Doubt, Item, KnownSlide, Rater, doubtful};

use crate::evaluator::Evaluator;

/// So many are listed at most.
const MOST: usize = 500;

fn listed(doubt: Doubt) -> DoubtfulLabel {
    DoubtfulLabel {
        slide_id: doubt.slide_id,
        criterion: doubt.criterion,
        score: doubt.score.get(),
        distance: doubt.distance,
        by: doubt.by,
    }
}

/// Writes the list: of test and validation slides by what the run says of them, of training slides by what the linear probe says that
/// learned from the other decks alone.
///
/// # Errors
/// When the run's predictions cannot be read or the list not be written.
pub(crate) fn write(
    run: &RunFiles,
    evaluator: &Evaluator,
    rubric: &Rubric,
    model: &Rater,
    known: &[KnownSlide],
    inputs: &BTreeMap<String, String>,
) -> Result<()> {
    let mut items: Vec<Item> = evaluator
        .test
        .iter()
        .zip(&model.predictions)
        .map(|(slide, said)| item(slide, said.clone()))
        .collect();
    items.extend(validated(run, &evaluator.val)?);
    items.extend(left_out(&evaluator.train, rubric, known));
    let doubts = doubtful(rubric, &items);
    let list = DoubtfulLabels {
        schema_version: DoubtfulLabels::VERSION,
        created_at: jiff::Timestamp::now(),
        model_version: model.name.clone(),
        made_from: inputs.iter().filter(|(name, _)| *name == input::LABELS).map(owned).collect(),
        ratings: doubts.len(),
        labels: doubts.into_iter().take(MOST).map(listed).collect(),
    };
    let written = list.write(&run.doubtful_labels());
    written.hint("the list of doubtful labels is missing", "see that the run's folder can be written")
}

fn owned((name, hash): (&String, &String)) -> (String, String) {
    (name.clone(), hash.clone())
}

fn item(slide: &LabelledSlide, prediction: Prediction) -> Item {
    Item {
        slide_id: slide.record.slide_id.clone(),
        group: slide.record.group.clone(),
        label: slide.label.clone(),
        prediction,
    }
}

/// The validation slides, as the run scored them when it was trained.
fn validated(run: &RunFiles, val: &[LabelledSlide]) -> Result<Vec<Item>> {
    let scored = Prediction::read_log_if_present(&run.reference_predictions())?.entries;
    let by_slide: BTreeMap<String, Prediction> =
        scored.into_iter().map(|prediction| (prediction.slide_id.clone(), prediction)).collect();
    let of = |slide: &LabelledSlide| {
        let said = by_slide.get(&slide.record.slide_id)?;
        // A slide that looks otherwise now was not scored.
        (said.sha256 == slide.record.sha256).then(|| item(slide, said.clone()))
    };
    Ok(val.iter().filter_map(of).collect())
}

/// The training slides, each by what was learned without its deck.
fn left_out(train: &[LabelledSlide], rubric: &Rubric, known: &[KnownSlide]) -> Vec<Item> {
    let mut told = CheapModels::held_out(rubric, known);
    let of = |slide: &LabelledSlide| {
        let said = Prediction {
            distributions: told.remove(&slide.record.slide_id)?,
            model_version: CheapModels::LINEAR_PROBE.to_owned(),
            ..Prediction::sample(&slide.record.slide_id)
        };
        Some(item(slide, said))
    };
    train.iter().filter_map(of).collect()
}
