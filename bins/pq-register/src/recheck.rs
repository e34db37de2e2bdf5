//! A validation made again from its predictions and the labels, so that nobody releases numbers that were not measured.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anyhow::Result;
use pq_cli::{Layout, WithHint as _};
use project_files::{Contract as _, RunFiles, RunRecord, hash_file, input};
use registry::ValidationResults;
use serde_json::{Number, Value};
use slide_data::{Correction, Label, Labels, Manifest, Prediction, SlideRecord, Split, Splits};
use vlm_eval::{EvaluationInput, EvaluationOptions, Item, Rater, evaluate};

use crate::data::{self, DataFiles};

/// What is measured, and follows from predictions, labels and splits alone.
const MEASURED: [&str; 13] = [
    "human_agreement",
    "threshold",
    "metrics",
    "intervals",
    "sizes",
    "checks",
    "baseline",
    "cheap_baselines",
    "human_ceiling",
    "champion",
    "before",
    "rounded",
    "slices",
];
/// What to do where neither data nor copies are there.
pub(crate) const REMEDY: &str = "release where the project's data lies, or say where with `--set storage.data_dir=DIR`; \
     `--override recheck=REASON` takes the numbers as they stand, and the model card says so";
/// What a file's decimal digits may change.
const TOLERANCE: f64 = 1e-7;

/// What came of making a validation again.
#[derive(Debug)]
pub(crate) enum Recheck {
    /// The numbers follow from predictions and labels.
    Confirmed,
    /// They do not, or the data changed since, in words.
    Contradicted(Vec<String>),
    /// Neither the project's data nor the run's copies of them are there, in words: nobody can tell.
    NoData(Vec<String>),
}

/// What the validation can be made again from; or the answer, where it cannot.
fn usable_data(
    layout: &Layout,
    run: &RunFiles,
    results: &ValidationResults,
) -> Result<ControlFlow<Recheck, DataFiles>> {
    let project = DataFiles::of_project(layout);
    if project.is_begun() {
        let reasons = changed(&project, results)?;
        if !reasons.is_empty() {
            return Ok(ControlFlow::Break(Recheck::Contradicted(reasons)));
        }
        return Ok(ControlFlow::Continue(project));
    }
    let copies = DataFiles::of_run(run);
    let reasons = unusable(&copies, &RunRecord::read(&run.record())?, results)?;
    if !reasons.is_empty() {
        return Ok(ControlFlow::Break(Recheck::NoData(reasons)));
    }
    tracing::info!("the data folder is not here: the validation is made again from the run's copies");
    Ok(ControlFlow::Continue(copies))
}

/// Makes the validation again from the project's data; where there are none, from the copies that the run kept, as long as they
/// are what it read and what was validated.
///
/// # Errors
/// When a file cannot be read, or the predictions cannot be evaluated.
pub(crate) fn recheck(layout: &Layout, run: &RunFiles, results: &ValidationResults) -> Result<Recheck> {
    let data = match usable_data(layout, run, results)? {
        ControlFlow::Continue(data) => data,
        ControlFlow::Break(found) => return Ok(found),
    };
    let again = evaluated(&data, run, results)
        .hint("the validation cannot be made again from its predictions", "validate the run again")?;
    let (mut stated, mut found) = (serde_json::to_value(results)?, serde_json::to_value(again)?);
    let mut different = Vec::new();
    for name in MEASURED {
        compare(name, &stated[name].take(), &found[name].take(), &mut different);
    }
    let places = different.into_iter().take(5);
    let reasons: Vec<String> = places
        .map(|place| format!("`{place}` of the results does not follow from the predictions and labels"))
        .collect();
    Ok(if reasons.is_empty() { Recheck::Confirmed } else { Recheck::Contradicted(reasons) })
}

/// What of the project's data is not what was validated.
fn changed(data: &DataFiles, results: &ValidationResults) -> Result<Vec<String>> {
    let reason = |(name, hash): (&str, Option<String>)| match hash {
        None => Some(format!("`{name}` is missing in the data folder")),
        Some(hash) if results.inputs.get(name) == Some(&hash) => None,
        Some(_) => Some(format!("`{name}` changed since the run was validated: validate it again")),
    };
    Ok(data.hashes()?.into_iter().filter_map(reason).collect())
}

/// Why a run's copies do not stand for the data that were validated.
fn unusable(copies: &DataFiles, record: &RunRecord, results: &ValidationResults) -> Result<Vec<String>> {
    let reason = |(name, hash): (&str, Option<String>)| match hash {
        None => Some(format!("`{name}` is neither in the data folder nor among the run's copies")),
        Some(hash) if record.inputs.get(name) != Some(&hash) => Some(format!(
            "`{name}` is not in the data folder, and the run's copy is not what its record names"
        )),
        Some(hash) if results.inputs.get(name) != Some(&hash) => Some(format!(
            "`{name}` is not in the data folder, and the run was validated on another than it was trained on"
        )),
        Some(_) => None,
    };
    Ok(copies.hashes()?.into_iter().filter_map(reason).collect())
}

/// The slides that have a score, each with what the model says of it.
fn items(labelled: &[(&SlideRecord, &Label)], predictions: Vec<Prediction>) -> Vec<Item> {
    let named = predictions.into_iter().map(|prediction| (prediction.slide_id.clone(), prediction));
    let own: BTreeMap<String, Prediction> = named.collect();
    let rated = labelled.iter().filter(|(_, label)| label.scored().next().is_some());
    let item = |(record, label): &(&SlideRecord, &Label)| {
        // A slide that the predictions lack gets none, which the evaluation refuses by name.
        let prediction = own.get(&record.slide_id).cloned();
        Item {
            slide_id: record.slide_id.clone(),
            group: record.group.clone(),
            label: (*label).clone(),
            prediction: prediction.unwrap_or_else(|| Prediction::sample(&record.slide_id)),
        }
    };
    rated.map(item).collect()
}

/// The evaluation that pq-validate makes, from the predictions that it kept.
fn evaluated(data: &DataFiles, run: &RunFiles, results: &ValidationResults) -> Result<ValidationResults> {
    let rubric = data::rubric(run)?;
    let mut labels = Labels::read_for(data.path(input::LABELS), &rubric)?;
    let splits = Splits::read(data.path(input::SPLITS))?;
    splits.hold_test_labels(&mut labels, &rubric);
    let manifest = Manifest::read(data.slides())?;
    let predictions = Prediction::read_log(&run.test_predictions())?.entries;
    let by = |name: &str| -> Vec<Prediction> {
        predictions.iter().filter(|prediction| prediction.model_version == name).cloned().collect()
    };
    let labelled = |split: Split| {
        let found = manifest.usable().filter(|record| splits.of(record) == Some(split));
        found.filter_map(|record| Some((record, labels.slides.get(&record.slide_id)?))).collect::<Vec<_>>()
    };
    let items = items(&labelled(Split::Test), by(&results.model_version));
    let train = train_labels(data, results, &labelled(Split::Train))?;
    let rater = |name: &String| Rater { name: name.clone(), predictions: by(name) };
    let other = |comparison: &Option<project_files::Comparison>| comparison.as_ref().map(|c| rater(&c.name));
    let (champion, before) = (other(&results.champion), other(&results.before));
    let cheap: Vec<Rater> = results.cheap_baselines.iter().map(|cheap| rater(&cheap.name)).collect();
    let input = EvaluationInput {
        rubric: &rubric,
        items: &items,
        train_labels: Some(&train),
        champion: champion.as_ref(),
        before: before.as_ref(),
        cheap_baselines: &cheap,
        overrides: &results.overrides,
        model_version: &results.model_version,
        inputs: &results.inputs,
        options: EvaluationOptions {
            gate: results.gate,
            confidence: results.confidence,
            ..EvaluationOptions::default()
        },
        now: results.created_at,
    };
    Ok(evaluate(&input)?.results)
}

/// The labels of the training slides, with users' corrections. Corrections come at any time: where there are others than at the
/// validation, the constants that follow from them are taken as the results state them.
fn train_labels(
    data: &DataFiles,
    results: &ValidationResults,
    labelled: &[(&SlideRecord, &Label)],
) -> Result<Vec<Label>> {
    let path = data.path(input::CORRECTIONS);
    let now = if path.exists() { Some(hash_file(path)?.sha256) } else { None };
    if now.as_ref() != results.inputs.get(input::CORRECTIONS) {
        let constants = results.baseline.iter().flat_map(|baseline| &baseline.constants);
        let scores = constants.map(|(key, score)| (key.clone(), slide_data::Score::new(*score))).collect();
        return Ok(vec![Label { scores, ..Label::default() }]);
    }
    let all = Correction::read_shared_log_if_present(path)?.entries;
    let by_id = all.into_iter().map(|correction| (correction.id.clone(), correction));
    let mut by_id: BTreeMap<String, Correction> = by_id.collect();
    by_id.retain(|_, correction| correction.corrected_at <= results.created_at);
    Ok(labelled
        .iter()
        .map(|(record, label)| {
            let mut label = (*label).clone();
            label.correct(&record.slide_id, by_id.values());
            label
        })
        .collect())
}

fn is_close(a: &Number, b: &Number) -> bool {
    let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
    (a - b).abs() <= TOLERANCE * a.abs().max(1.0)
}

/// The places where two values differ by more than their last digits; words may differ.
fn compare(place: &str, stated: &Value, found: &Value, different: &mut Vec<String>) {
    match (stated, found) {
        (Value::Number(a), Value::Number(b)) if is_close(a, b) => {}
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names.filter(|name| *name != "reason") {
                let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                compare(&format!("{place}.{name}"), &of(a), &of(b), different);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{place}[{at}]"), a, b, different);
            }
        }
        (a, b) if a == b => {}
        _ => different.push(place.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_may_differ_in_their_last_digit_and_words_altogether() {
        let mut different = Vec::new();
        let mut of = |a: Value, b: Value| {
            different.clear();
            compare("x", &a, &b, &mut different);
            different.clone()
        };
        assert!(
            of(json!({"a": 0.1, "reason": "p"}), json!({"a": 0.100_000_000_000_1, "reason": "q"})).is_empty()
        );
        assert_eq!(of(json!({"a": 0.1}), json!({"a": 0.2})), ["x.a"]);
        assert_eq!(of(json!({"a": 0.1}), json!({})), ["x.a"]);
        assert_eq!(of(json!({}), json!({"a": 0.1})), ["x.a"]);
        assert_eq!(of(json!([1, 2]), json!([1])), ["x"]);
        assert_eq!(of(json!([{"outcome": "pass"}]), json!([{"outcome": "fail"}])), ["x[0].outcome"]);
        assert_eq!(of(json!(null), json!({"a": 1})), ["x"]);
    }
}
