//! The metadata that the Hub reads.

use std::fmt::Write as _;

use project_files::{Interval, ValidationResults, input};
use serde_json::{Map, Value, json};

use super::Subject;

/// The metadata, as YAML. Every value is written as JSON, which YAML reads as it is.
pub(super) fn front_matter(subject: &Subject<'_>) -> String {
    let Subject { base, facts, .. } = subject;
    let mut lines = vec![("library_name", json!("peft")), ("pipeline_tag", json!("image-text-to-text"))];
    if let Some(license) = &facts.license {
        lines.push(("license", json!(license.id)));
        lines.extend(license.name.as_ref().map(|name| ("license_name", json!(name))));
        lines.extend(license.link.as_ref().map(|link| ("license_link", json!(link))));
    }
    if base.is_hub_id {
        lines.push(("base_model", json!(base.name)));
        lines.push(("base_model_relation", json!("adapter")));
    }
    let mut tags = vec!["lora", "peft", "pitch-deck", "slide-rating", "pitchquest"];
    tags.extend(base.class.as_ref().map(|(kind, _)| kind.as_str()));
    lines.push(("tags", json!(tags)));
    lines.push(("model-index", model_index(subject)));
    let mut text = String::from("---\n");
    for (key, value) in lines {
        let _ = writeln!(text, "{key}: {value}");
    }
    text + "---\n"
}

/// Whether a card states a licence in its metadata.
pub(crate) fn states_license(card: &str) -> bool {
    let metadata = card.strip_prefix("---\n").and_then(|rest| rest.split("\n---\n").next());
    metadata.is_some_and(|metadata| metadata.lines().any(|line| line.starts_with("license: ")))
}

/// The numbers in the form that the Hub indexes: each with its interval and size, and the data by their hashes. Nobody but the
/// team has verified them.
fn model_index(subject: &Subject<'_>) -> Value {
    let results = subject.results;
    let overall = results.metrics.iter().filter(|(_, value)| value.is_finite());
    let metrics: Vec<Value> =
        overall.filter_map(|(name, value)| indexed_metric(results, name, *value)).collect();
    if metrics.is_empty() {
        return json!([]);
    }
    let data = indexed_data(results);
    let name =
        subject.facts.repo.clone().unwrap_or_else(|| format!("slide-rater-{}", subject.manifest.version));
    json!([{"name": name, "results": [{
        "task": {"type": "image-text-to-text", "name": "slide rating"},
        "dataset": {"type": "private", "name": "slides that the team rated, test split", "split": "test", "args": data},
        "metrics": metrics,
    }]}])
}

/// The size of the test set and the hashes of the files that it was read from.
fn indexed_data(results: &ValidationResults) -> Value {
    let mut data = json!({
        "slides": results.sizes.slides, "decks": results.sizes.groups, "ratings": results.sizes.ratings,
    });
    for (name, key) in [
        (input::LABELS, "labels_sha256"),
        (input::SPLITS, "splits_sha256"),
        (input::MANIFEST, "manifest_sha256"),
    ] {
        if let Some(hash) = results.inputs.get(name) {
            data[key] = json!(hash);
        }
    }
    data
}

/// One number, unless it is one of a single criterion.
fn indexed_metric(results: &ValidationResults, name: &str, value: f64) -> Option<Value> {
    let measure = name.strip_prefix("overall_")?;
    let mut args = Map::new();
    args.insert("ratings".to_owned(), json!(results.sizes.ratings));
    if let Some(Interval { low, high }) = results.intervals.get(name) {
        args.insert("low".to_owned(), json!(rounded(*low)));
        args.insert("high".to_owned(), json!(rounded(*high)));
        args.insert("confidence".to_owned(), json!(results.confidence));
    }
    let title = super::measures::title(measure);
    Some(json!({"type": measure, "name": title, "value": rounded(value), "args": args, "verified": false}))
}

/// To four decimals, and no digits that were not measured.
fn rounded(value: f64) -> f64 {
    format!("{value:.4}").parse().unwrap_or(value)
}
