//! A validation made again from its predictions and the labels, so that nobody releases numbers that were not measured.

use std::collections::BTreeMap;

use anyhow::Result;
use pq_cli::{Layout, WithHint as _};
use project_files::{Contract as _, RunFiles, hash_file};
use registry::ValidationResults;
use serde_json::Value;
use slide_data::{Correction, Label, Labels, Manifest, Prediction, Rubric, SlideRecord, Split, Splits};
use vlm_eval::{EvaluationInput, EvaluationOptions, Item, Rater, evaluate};

/// What is measured, and follows from predictions, labels and splits alone.
const MEASURED: [&str; 12] = [
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
    "slices",
];
/// What a file's decimal digits may change.
const TOLERANCE: f64 = 1e-7;

/// Why the results do not follow from the data in the project's folder, in words; nothing where they do, or where there is no data
/// to tell by.
///
/// # Errors
/// When a file cannot be read, or the predictions cannot be evaluated.
pub(crate) fn contradictions(
    layout: &Layout,
    run: &RunFiles,
    results: &ValidationResults,
) -> Result<Vec<String>> {
    let files = [layout.labels(), layout.splits(), layout.slides().manifest()];
    if !files.iter().any(|path| path.exists()) {
        tracing::warn!("the labels are not here: the validation's numbers are taken as they stand");
        return Ok(Vec::new());
    }
    let mut reasons = Vec::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !path.exists() {
            reasons.push(format!("`{name}` is missing in the data folder"));
        } else if results.inputs.get(&name) != Some(&hash_file(&path)?.sha256) {
            reasons.push(format!("`{name}` changed since the run was validated: validate it again"));
        }
    }
    if !reasons.is_empty() {
        return Ok(reasons);
    }
    let again = evaluated(layout, run, results)
        .hint("the validation cannot be made again from its predictions", "validate the run again")?;
    let (mut stated, mut found) = (serde_json::to_value(results)?, serde_json::to_value(again)?);
    let mut different = Vec::new();
    for name in MEASURED {
        compare(name, &stated[name].take(), &found[name].take(), &mut different);
    }
    reasons.extend(
        different
            .into_iter()
            .take(5)
            .map(|place| format!("`{place}` of the results does not follow from the predictions and labels")),
    );
    Ok(reasons)
}

/// The evaluation that pq-validate makes, from the predictions that it kept.
fn evaluated(layout: &Layout, run: &RunFiles, results: &ValidationResults) -> Result<ValidationResults> {
    let rubric = rubric(run)?;
    let labels = Labels::read_for(&layout.labels(), &rubric)?;
    let splits = Splits::read(&layout.splits())?;
    let manifest = Manifest::read(layout.slides().root())?;
    let predictions = Prediction::read_log(&run.test_predictions())?.entries;
    let by = |name: &str| -> Vec<Prediction> {
        predictions.iter().filter(|prediction| prediction.model_version == name).cloned().collect()
    };
    let own: BTreeMap<String, Prediction> = by(&results.model_version)
        .into_iter()
        .map(|prediction| (prediction.slide_id.clone(), prediction))
        .collect();
    let labelled = |split: Split| {
        let found = manifest.usable().filter(|record| splits.of(record) == Some(split));
        found.filter_map(|record| Some((record, labels.slides.get(&record.slide_id)?))).collect::<Vec<_>>()
    };
    let mut items = Vec::new();
    for (record, label) in
        labelled(Split::Test).into_iter().filter(|(_, label)| label.scored().next().is_some())
    {
        // A slide that the predictions lack gets none, which the evaluation refuses by name.
        let prediction = own.get(&record.slide_id).cloned();
        items.push(Item {
            slide_id: record.slide_id.clone(),
            group: record.group.clone(),
            label: label.clone(),
            prediction: prediction.unwrap_or_else(|| Prediction::sample(&record.slide_id)),
        });
    }
    let train = train_labels(layout, results, &labelled(Split::Train))?;
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
    layout: &Layout,
    results: &ValidationResults,
    labelled: &[(&SlideRecord, &Label)],
) -> Result<Vec<Label>> {
    let path = layout.corrections();
    let now = if path.exists() { Some(hash_file(&path)?.sha256) } else { None };
    let then = path.file_name().and_then(|name| results.inputs.get(&*name.to_string_lossy()));
    if now.as_ref() != then {
        let constants = results.baseline.iter().flat_map(|baseline| &baseline.constants);
        let scores = constants.map(|(key, score)| (key.clone(), slide_data::Score::new(*score))).collect();
        return Ok(vec![Label { scores, ..Label::default() }]);
    }
    let all = Correction::read_log_if_present(&path)?.entries;
    let by_id: BTreeMap<String, Correction> = all.into_iter().map(|c| (c.id.clone(), c)).collect();
    Ok(labelled
        .iter()
        .map(|(record, label)| {
            let mut label = (*label).clone();
            label.correct(&record.slide_id, by_id.values());
            label
        })
        .collect())
}

/// The rubric that the run was trained with.
fn rubric(run: &RunFiles) -> Result<Rubric> {
    let text = std::fs::read_to_string(run.config())?;
    let mut settings: toml::Table = text.parse()?;
    let rubric = settings.remove("rubric").map(toml::Value::try_into::<Rubric>).transpose()?;
    Ok(rubric.unwrap_or_default())
}

/// The places where two values differ by more than their last digits; words may differ.
fn compare(place: &str, stated: &Value, found: &Value, different: &mut Vec<String>) {
    match (stated, found) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            let is_close = (a - b).abs() <= TOLERANCE * a.abs().max(1.0);
            if !is_close {
                different.push(place.to_owned());
            }
        }
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
