use std::collections::BTreeMap;

use minijinja::{Value, context};
use slide_data::Rubric;
use vlm_eval::{Confusion, Details, Evaluation, Measures, Miss, ValidationResults};

use crate::format::{number, percent, time};
use crate::page::render;
use crate::plots::{calibration, histogram};
use crate::{Image, Result};

/// How many of the worst misses are shown.
const MISSES: usize = 12;

/// What `report.html` is made from.
#[derive(Debug, Clone, Copy)]
pub struct ValidationReport<'a> {
    /// The evaluation.
    pub evaluation: &'a Evaluation,
    /// Gives the criteria their names.
    pub rubric: &'a Rubric,
    /// The page's title.
    pub title: &'a str,
    /// Facts for the foot, as in `("adapter", "r = 16")`.
    pub facts: &'a [(String, String)],
    /// Images by slide id; only those of [`Evaluation::worst_slides`] are shown.
    pub images: &'a BTreeMap<String, Image>,
    /// Sentences that must stand near the verdict.
    pub caveats: &'a [String],
}

/// One self-contained page: the verdict, metrics with intervals, confusions, calibration, errors, the worst misses.
///
/// # Errors
/// When a template fails, which no input should cause.
pub fn render_validation_report(report: &ValidationReport<'_>) -> Result<String> {
    let Evaluation { results, details } = report.evaluation;
    let name = |key: &str| criterion_name(report.rubric, key);
    render(
        "validation.html",
        context! {
            title => report.title,
            model_version => results.model_version,
            created_at => time(results.created_at),
            slides => results.sizes.slides,
            groups => results.sizes.groups,
            ratings => results.sizes.ratings,
            passes => results.passes_threshold,
            checks => results.checks,
            limits => results.warnings,
            caveats => report.caveats,
            confidence => percent(Some(results.confidence)),
            cards => cards(results),
            rows => details.criteria.iter().map(|c| row(results, &c.key, &name(&c.key))).collect::<Vec<_>>(),
            comparisons => comparisons(results),
            confusions => details.criteria.iter().filter(|c| c.confusion.total() > 0.0).map(|c| matrix(&name(&c.key), &c.confusion)).collect::<Vec<_>>(),
            calibrations => calibrations(results, details, name),
            histogram => histogram(&details.errors, "Histogram of the errors in points"),
            misses => details.misses.iter().take(MISSES).map(|m| miss(m, report)).collect::<Vec<_>>(),
            facts => report.facts,
            inputs => results.inputs.iter().collect::<Vec<_>>(),
        },
    )
}

fn criterion_name(rubric: &Rubric, key: &str) -> String {
    if key == "overall" {
        return "Overall".to_owned();
    }
    rubric.criteria.iter().find(|c| c.key == key).map_or_else(|| key.to_owned(), |c| c.name.clone())
}

fn get(metrics: &BTreeMap<String, f64>, name: &str) -> Option<f64> {
    metrics.get(name).copied()
}

/// The metric in its unit: shares in percent, the rest with two decimals.
fn shown(measure: &str, value: Option<f64>) -> String {
    if matches!(measure, "within_1" | "exact") { percent(value) } else { number(value, 2) }
}

fn interval(results: &ValidationResults, key: &str, measure: &str) -> String {
    let Some(interval) = results.intervals.get(&format!("{key}_{measure}")) else { return String::new() };
    format!("[{}, {}]", shown(measure, Some(interval.low)), shown(measure, Some(interval.high)))
}

fn cards(results: &ValidationResults) -> Vec<Value> {
    let ceiling = |measure: &str| {
        let value =
            results.human_ceiling.as_ref().and_then(|c| get(&c.metrics, &format!("overall_{measure}")));
        value.map(|value| format!("one more person: {}", shown(measure, Some(value))))
    };
    let constant = |measure: &str| {
        let value = results.baseline.as_ref().and_then(|b| get(&b.metrics, &format!("overall_{measure}")));
        format!("best constant: {}", shown(measure, value))
    };
    let card = |name: &str, measure: &str| {
        let notes = [Some(constant(measure)), ceiling(measure)];
        context! {
            name => name,
            value => shown(measure, get(&results.metrics, &format!("overall_{measure}"))),
            interval => interval(results, "overall", measure),
            note => notes.into_iter().flatten().collect::<Vec<_>>().join(" · "),
        }
    };
    vec![
        card("Within one point of people", "within_1"),
        card("Mean absolute error, points", "mae"),
        card("Quadratic weighted kappa", "qwk"),
    ]
}

fn row(results: &ValidationResults, key: &str, name: &str) -> Value {
    let ratings =
        if key == "overall" { Some(&results.sizes.ratings) } else { results.sizes.criteria.get(key) };
    let cell = |measure: &str| {
        let value = shown(measure, get(&results.metrics, &format!("{key}_{measure}")));
        context! { value => value, interval => interval(results, key, measure) }
    };
    context! { name => name, ratings => ratings.copied().unwrap_or(0), cells => Measures::NAMES.map(cell) }
}

fn comparisons(results: &ValidationResults) -> Vec<Value> {
    let row = |name: &str, note: Option<String>, metrics: &BTreeMap<String, f64>| {
        let values = ["mae", "within_1", "exact", "qwk"]
            .map(|measure| shown(measure, get(metrics, &format!("overall_{measure}"))));
        context! { name => name, note => note, values => values }
    };
    let mut rows = vec![row("This model", None, &results.metrics)];
    if let Some(baseline) = &results.baseline {
        let note = format!("chosen on the {} labels", baseline.chosen_on);
        rows.push(row("Best constant per criterion", Some(note), &baseline.metrics));
    }
    for other in [&results.before, &results.champion].into_iter().flatten() {
        rows.push(row(&other.name, None, &other.metrics));
    }
    if let Some(ceiling) = &results.human_ceiling {
        let note = format!("each left out once, against the others; {} ratings", ceiling.ratings);
        rows.push(row("One more person", Some(note), &ceiling.metrics));
    }
    rows
}

fn matrix(name: &str, confusion: &Confusion) -> Value {
    let rows = confusion.counts.map(|row| {
        let total: f64 = row.iter().sum();
        row.map(|count| {
            let heat = if total > 0.0 { (100.0 * count / total).round() / 100.0 } else { 0.0 };
            context! { count => count as u64, heat => heat }
        })
    });
    context! { name => name, rows => rows }
}

fn calibrations(results: &ValidationResults, details: &Details, name: impl Fn(&str) -> String) -> Vec<Value> {
    let rated = details.criteria.iter().filter(|detail| !detail.calibration.is_empty());
    rated
        .map(|detail| {
            let name = name(&detail.key);
            let ece = number(get(&results.metrics, &format!("{}_ece", detail.key)), 2);
            let plot = calibration(&detail.calibration, &format!("Calibration of {name}, ECE {ece}"));
            context! { name => name, ece => ece, plot => plot }
        })
        .collect()
}

fn miss(miss: &Miss, report: &ValidationReport<'_>) -> Value {
    let scores = report.rubric.keys().filter_map(|key| {
        let (people, model) = miss.scores.get(key)?;
        Some(context! {
            name => criterion_name(report.rubric, key),
            people => people.get(),
            model => model.get(),
            off => people.get().abs_diff(model.get()),
        })
    });
    context! {
        slide_id => miss.slide_id,
        group => miss.group,
        image => report.images.get(&miss.slide_id).map(Image::data_uri),
        scores => scores.collect::<Vec<_>>(),
    }
}
