//! Learns from the validation slides which scores the adapter's probabilities stand for.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use durable_files::hash_file;
use pq_cli::WithHint as _;
use project_files::{Comparison, Contract as _, DecisionRule, RunRecord, ScoreDecision, input};
use slide_data::{Prediction, Rubric};
use slide_scorer::LabelledSlide;
use vlm_eval::{Item, fit_decision};

use crate::run::RunDir;

/// How often an interval holds what it estimates.
const CONFIDENCE: f64 = 0.95;

/// Fits the decision to what the adapter says of the validation slides and keeps it in the run; `None` where they are of too few
/// decks.
///
/// # Errors
/// When the adapter or the run's record cannot be read, or the file not be written.
pub(crate) fn learn(
    rubric: &Rubric,
    val: &[LabelledSlide],
    predictions: &[Prediction],
    dir: &RunDir,
) -> Result<Option<ScoreDecision>> {
    let path = dir.files.decision();
    let Some(mut decision) = fit_decision(rubric, &items(val, predictions), CONFIDENCE) else {
        tracing::info!("the validation slides are of too few decks to fit scores to: means are rounded");
        if path.exists() {
            std::fs::remove_file(&path).context("the decision of an earlier adapter cannot be removed")?;
        }
        return Ok(None);
    };
    let adapter = dir.files.adapter_weights();
    let name = adapter.file_name().unwrap_or_default().to_string_lossy().into_owned();
    decision.made_from.insert(name, hash_file(&adapter).context("the adapter cannot be read")?.sha256);
    let read = RunRecord::read(&dir.files.record())?.inputs;
    let of_data =
        read.into_iter().filter(|(name, _)| [input::LABELS, input::SPLITS].contains(&name.as_str()));
    decision.made_from.extend(of_data);
    tracing::info!("{}", in_words(&decision));
    decision.write(&path).hint("the run cannot be completed", "see that its folder can be written")?;
    Ok(Some(decision))
}

/// The validation slides with what `predictions` say of them.
pub(crate) fn items(val: &[LabelledSlide], predictions: &[Prediction]) -> Vec<Item> {
    let by_slide: BTreeMap<&str, &Prediction> =
        predictions.iter().map(|prediction| (prediction.slide_id.as_str(), prediction)).collect();
    let item = |slide: &LabelledSlide| {
        Some(Item {
            slide_id: slide.record.slide_id.clone(),
            group: slide.record.group.clone(),
            label: slide.label.clone(),
            prediction: (*by_slide.get(slide.record.slide_id.as_str())?).clone(),
        })
    };
    val.iter().filter_map(item).collect()
}

fn rule(decision: &ScoreDecision) -> String {
    match decision.rule {
        DecisionRule::RoundedMean => "scores are means, rounded: cut points brought nothing".to_owned(),
        DecisionRule::CutPoints => {
            format!(
                "scores follow cut points, {:.0} % of the way to people's shares",
                100.0 * decision.strength
            )
        }
    }
}

/// What is used, and what it is worth on decks that were left out.
fn in_words(decision: &ScoreDecision) -> String {
    let metric = |compared: Option<&Comparison>, name: &str| {
        let value = compared.and_then(|compared| compared.metrics.get(name));
        value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.3}"))
    };
    let [rounded, cuts] = [0, 1].map(|at| decision.scores.get(at));
    let used = rule(decision);
    format!(
        "{used}; on decks left out kappa {} and error {} with cut points, {} and {} rounded",
        metric(cuts, "qwk"),
        metric(cuts, "mae"),
        metric(rounded, "qwk"),
        metric(rounded, "mae")
    )
}
