//! Why a release was allowed: the gate's checks, what a person set aside, what the validator warns of.

use std::fmt::Write as _;

use project_files::{Check, Outcome, Override};

use super::text::{Style, bullets, count, plain, table};
use super::{Subject, measures};

pub(super) fn section(subject: &Subject<'_>) -> String {
    let results = subject.results;
    let sizes = &results.sizes;
    let mut text = format!(
        "## Why it was released\n\nThe gate's verdict on {} of {}: {}.\n\n",
        count(sizes.slides, "slide"),
        count(sizes.groups, "deck"),
        results.outcome.word()
    );
    // What passed for single criteria is counted: their numbers stand above.
    let (told, counted): (Vec<&Check>, Vec<&Check>) = results
        .checks
        .iter()
        .partition(|check| check.criterion == "overall" || check.outcome != Outcome::Pass);
    let rows: Vec<Vec<String>> = told.into_iter().map(|check| row(subject, check)).collect();
    text.push_str(&table(&["check", "of", "value", "asked for", "outcome"], &rows));
    if !counted.is_empty() {
        let _ = write!(text, "\n{} of single criteria passed as well.\n", count(counted.len(), "check"));
    }
    text + &remarks(subject)
}

fn row(subject: &Subject<'_>, check: &Check) -> Vec<String> {
    let style = style(check);
    vec![
        title(&check.metric),
        plain(&subject.name_of(&check.criterion)),
        style.estimate(check.value, check.interval),
        style.estimate(Some(check.threshold), None),
        check.outcome.word().to_owned(),
    ]
}

/// What a person decided against the gate, and what the validation warns of.
fn remarks(subject: &Subject<'_>) -> String {
    let results = subject.results;
    let overrides: Vec<String> = results.overrides.iter().map(set_aside).collect();
    let warnings = results.warnings.iter().map(|warning| plain(&subject.named(warning))).collect();
    let mut text = String::new();
    for (title, sentences) in [("A person set aside or eased", overrides), ("The validation warns", warnings)]
    {
        if !sentences.is_empty() {
            let _ = write!(text, "\n{title}:\n\n{}", bullets(sentences));
        }
    }
    text
}

/// What was looked at, in words.
fn title(metric: &str) -> String {
    match metric {
        "inputs" => "inputs that are known by their hash".to_owned(),
        "bounds" => "eased bounds with a person's reason".to_owned(),
        "human_ceiling" => "what people reach is known".to_owned(),
        "gain_over_constant" => "gain over the best constant, as a share".to_owned(),
        metric => plain(&measures::title(metric).replace('_', " ")),
    }
}

/// What a person set aside, and why.
fn set_aside(given: &Override) -> String {
    let meaning = match given.name.as_str() {
        Override::RECHECK => {
            " (when it was released, its numbers were not made again from predictions and labels)"
        }
        _ => "",
    };
    format!("`{}`{meaning}: {}", given.name.replace('`', ""), plain(&given.reason))
}

/// Counts are whole numbers, which have no interval.
fn style(check: &Check) -> Style {
    let is_whole = |value: f64| value.fract() == 0.0;
    match Style::of(&check.metric) {
        Style::Number
            if check.interval.is_none() && is_whole(check.threshold) && check.value.is_none_or(is_whole) =>
        {
            Style::Count
        }
        style => style,
    }
}
