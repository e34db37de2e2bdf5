//! How good a release is: against people, against what people reach themselves, against what is cheap.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use project_files::{Comparison, Gain, Interval, Slice, ValidationResults};

use super::Subject;
use super::text::{NOTHING, Style, bullets, count, measured, plain, table};

/// The measures of the table, in its order.
const ROWS: [&str; 8] = ["mae", "within_1", "exact", "bias", "qwk", "alpha", "spearman", "ece"];

/// A measure in words.
pub(super) fn title(measure: &str) -> &str {
    match measure {
        "mae" => "mean absolute error, in points",
        "within_1" => "within one point of people",
        "exact" => "the same score as people",
        "bias" => "bias, in points (above 0: kinder than people)",
        "qwk" => "quadratic weighted kappa",
        "alpha" => "Krippendorff's alpha with people",
        "spearman" => "rank correlation (Spearman)",
        "kendall" => "rank correlation (Kendall)",
        "rps" => "ranked probability score",
        "ece" => "expected calibration error",
        other => other,
    }
}

/// The section.
pub(super) fn section(subject: &Subject<'_>) -> String {
    let mut text = String::from("## How good it is\n\n");
    let _ = writeln!(text, "{}\n", measured_on(subject.results));
    for part in
        [overall(subject), gains(subject), by_criterion(subject), calibration(subject), slices(subject)]
    {
        if !part.is_empty() {
            text.push_str(&part);
            text.push('\n');
        }
    }
    text
}

fn measured_on(results: &ValidationResults) -> String {
    let sizes = &results.sizes;
    format!(
        "Measured on {} by people of {} from {}, which neither training nor the choice of the checkpoint has seen. \
         Brackets hold {} % intervals over decks.",
        count(sizes.ratings, "rating"),
        count(sizes.slides, "slide"),
        count(sizes.groups, "deck"),
        (results.confidence * 100.0).round(),
    )
}

type Values<'a> = (&'a BTreeMap<String, f64>, &'a BTreeMap<String, Interval>);

/// This version beside everything that it was compared with, on the same slides.
fn overall(subject: &Subject<'_>) -> String {
    let results = subject.results;
    let (header, columns) = compared(results);
    let row = |measure: &&str| {
        let name = format!("overall_{measure}");
        let cells = columns.iter().map(|(metrics, intervals)| measured(&name, metrics, intervals));
        [title(measure).to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = ROWS
        .iter()
        .filter(|measure| results.metrics.contains_key(&format!("overall_{measure}")))
        .map(row)
        .collect();
    table(&header.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
}

/// The header of that table, and the values of each of its columns but the first.
fn compared(results: &ValidationResults) -> (Vec<String>, Vec<Values<'_>>) {
    let mut header = vec!["all criteria together".to_owned(), "this version".to_owned()];
    let mut columns: Vec<Values<'_>> = vec![(&results.metrics, &results.intervals)];
    if let Some(ceiling) = &results.human_ceiling {
        header.extend(["one person against the others".to_owned(), "reachable at most".to_owned()]);
        columns
            .extend([(&ceiling.person, &ceiling.person_intervals), (&ceiling.metrics, &ceiling.intervals)]);
    }
    let others = results.champion.iter().map(|champion| (champion, true));
    for (other, is_champion) in others.chain(results.before.iter().map(|before| (before, false))) {
        header.push(if is_champion {
            format!("{}, in use before", plain(&other.name))
        } else {
            plain(&other.name)
        });
        columns.push((&other.metrics, &other.intervals));
    }
    if let Some(baseline) = &results.baseline {
        header.push("best constant score".to_owned());
        columns.push((&baseline.metrics, &baseline.intervals));
    }
    (header, columns)
}

/// By how much it is better than others, in paired differences.
fn gains(subject: &Subject<'_>) -> String {
    let results = subject.results;
    let constant = results.baseline.as_ref().map(|baseline| {
        let chosen = if baseline.chosen_on == "train" { "training labels" } else { "these labels" };
        (format!("always giving each criterion's best constant score, chosen on {chosen}"), &baseline.gains)
    });
    let others = results.champion.iter().chain(&results.before).chain(&results.cheap_baselines);
    let others = others.map(|Comparison { name, gains, .. }| (plain(name), gains));
    let all = constant.into_iter().chain(others);
    let sentences: Vec<String> = all.filter_map(|(name, gains)| gain(&name, gains)).collect();
    if sentences.is_empty() {
        return String::new();
    }
    let sizes = &results.sizes;
    format!(
        "On the same {} of {} (a negative number: it is larger):\n\n{}",
        count(sizes.slides, "slide"),
        count(sizes.groups, "deck"),
        bullets(sentences)
    )
}

fn gain(name: &str, gains: &BTreeMap<String, Gain>) -> Option<String> {
    let Gain { value, interval } = gains.get("overall_mae")?;
    let estimate = Style::Number.estimate(Some(*value), *interval);
    (estimate != NOTHING)
        .then(|| format!("Its mean absolute error is smaller by {estimate} points than that of {name}."))
}

/// The columns of the errors by criterion.
const ERRORS: [&str; 6] = [
    "criterion",
    "ratings",
    "decks",
    "mean absolute error",
    "one person's error",
    "error reachable at least",
];

/// In two tables, since one would be wider than a page.
fn by_criterion(subject: &Subject<'_>) -> String {
    let results = subject.results;
    let others = subject.criteria().into_iter().map(|(key, name)| {
        let own = |measure: &str| measured(&format!("{key}_{measure}"), &results.metrics, &results.intervals);
        let cells = ["within_1", "qwk", "bias", "ece"].map(own);
        [plain(&name)].into_iter().chain(cells).collect::<Vec<_>>()
    });
    let errors = errors_by_criterion(subject);
    let header = ["criterion", "within one point", "kappa", "bias", "calibration error"];
    let others = table(&header, &others.collect::<Vec<_>>());
    if errors.is_empty() { errors } else { format!("### By criterion\n\n{errors}\n{others}") }
}

/// The mean absolute errors beside those of people.
fn errors_by_criterion(subject: &Subject<'_>) -> String {
    let results = subject.results;
    let ceiling = results.human_ceiling.clone().unwrap_or_default();
    let rows = subject.criteria().into_iter().map(|(key, name)| {
        let mae = format!("{key}_mae");
        let size =
            |sizes: &BTreeMap<String, usize>| sizes.get(&key).map_or(NOTHING.to_owned(), usize::to_string);
        vec![
            plain(&name),
            size(&results.sizes.criteria),
            size(&results.sizes.criterion_groups),
            measured(&mae, &results.metrics, &results.intervals),
            measured(&mae, &ceiling.person, &ceiling.person_intervals),
            measured(&mae, &ceiling.metrics, &ceiling.intervals),
        ]
    });
    table(&ERRORS, &rows.collect::<Vec<_>>())
}

/// What its probabilities mean.
fn calibration(subject: &Subject<'_>) -> String {
    let results = subject.results;
    let estimate = measured("overall_ece", &results.metrics, &results.intervals);
    if estimate == NOTHING {
        return String::new();
    }
    let mut text = format!(
        "### What its probabilities mean\n\nOver {}, the probability of the score that it finds likeliest differs from how often \
         that is people's score by {estimate} on average (0: its confidence is right).",
        count(results.sizes.ratings, "rating")
    );
    if let Some(worst) = worst_calibrated(subject) {
        text.push_str(&worst);
    }
    text + "\n"
}

/// The criterion whose probabilities are furthest off.
fn worst_calibrated(subject: &Subject<'_>) -> Option<String> {
    let results = subject.results;
    let of = |(key, name): (String, String)| {
        let value = *results.metrics.get(&format!("{key}_ece"))?;
        Some((value, key, name)).filter(|(value, ..)| value.is_finite())
    };
    let worst = subject.criteria().into_iter().filter_map(of).max_by(|a, b| a.0.total_cmp(&b.0));
    let (_, key, name) = worst?;
    let estimate = measured(&format!("{key}_ece"), &results.metrics, &results.intervals);
    let ratings = results.sizes.criteria.get(&key).copied().unwrap_or_default();
    Some(format!(
        " It is furthest off on {}: {estimate} over {}.",
        plain(&name).to_lowercase(),
        count(ratings, "rating")
    ))
}

/// Parts of the slides. Single decks are not listed: their number and the range that they span are.
fn slices(subject: &Subject<'_>) -> String {
    let slices = &subject.results.slices;
    let header =
        ["part of the slides", "slides", "decks", "ratings", "mean absolute error", "within one point"];
    let parts = slices.iter().filter(|slice| slice.by != "deck").map(|slice| slice_row(subject, slice));
    let body = table(&header, &parts.collect::<Vec<_>>());
    let range = range_of_decks(slices);
    match (body.is_empty(), range.is_empty()) {
        (true, true) => String::new(),
        (true, false) => range,
        (false, true) => format!("### By kind of slide\n\n{body}"),
        (false, false) => format!("### By kind of slide\n\n{body}\n{range}"),
    }
}

fn slice_row(subject: &Subject<'_>, slice: &Slice) -> Vec<String> {
    let own = |name: &str| measured(name, &slice.metrics, &slice.intervals);
    vec![
        format!("{}: {}", plain(&subject.name_of(&slice.by)), plain(&slice.name)),
        slice.slides.to_string(),
        slice.groups.to_string(),
        slice.ratings.to_string(),
        own("mae"),
        own("within_1"),
    ]
}

/// The span of the errors of single decks; empty where there are not two.
fn range_of_decks(slices: &[Slice]) -> String {
    let decks: Vec<f64> = slices
        .iter()
        .filter(|slice| slice.by == "deck")
        .filter_map(|slice| slice.metrics.get("mae").copied().filter(|mae| mae.is_finite()))
        .collect();
    match (decks.iter().copied().reduce(f64::min), decks.iter().copied().reduce(f64::max)) {
        (Some(low), Some(high)) if decks.len() > 1 => format!(
            "Deck by deck, over {}, the mean absolute error lies between {low:.2} and {high:.2} points.\n",
            count(decks.len(), "deck")
        ),
        _ => String::new(),
    }
}
