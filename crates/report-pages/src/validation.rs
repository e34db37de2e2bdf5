use std::collections::BTreeMap;

use minijinja::{Value, context};
use project_files::signed;
use slide_data::Rubric;
use vlm_eval::{
    Check, Confusion, Details, Evaluation, Interval, Measures, Miss, Outcome, Slice, ValidationResults,
};

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
    /// What people call a slide, by its id, and a deck, by its group: a file and a page.
    pub names: &'a BTreeMap<String, String>,
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
            outcome => results.outcome.word(),
            checks => told(results),
            limits => results.warnings.iter().chain(&results.power).collect::<Vec<_>>(),
            overrides => results.overrides.iter().map(|o| format!("{}: {}", o.name, o.reason)).collect::<Vec<_>>(),
            caveats => report.caveats,
            confidence => percent(Some(results.confidence)),
            cards => cards(results),
            rows => details.criteria.iter().map(|c| row(results, &c.key, &name(&c.key))).collect::<Vec<_>>(),
            comparisons => comparisons(results),
            paired => paired(results, report.rubric),
            slices => results.slices.iter().map(|slice| part(slice, report)).collect::<Vec<_>>(),
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
    ends(measure, results.intervals.get(&format!("{key}_{measure}")))
}

fn ends(measure: &str, interval: Option<&Interval>) -> String {
    let Some(interval) = interval else { return String::new() };
    let [low, high] = [interval.low, interval.high].map(|end| shown(measure, Some(end)));
    format!("[{}, {high}]", low.trim_end_matches(" %")) // the unit stands once
}

/// The checks that a reader needs: those that did not pass and those of all ratings together.
fn told(results: &ValidationResults) -> Vec<&Check> {
    let is_told = |check: &&Check| check.outcome != Outcome::Pass || check.criterion == "overall";
    results.checks.iter().filter(is_told).collect()
}

/// By how much the model errs less than each other rater, overall and for each criterion.
fn paired(results: &ValidationResults, rubric: &Rubric) -> Vec<Value> {
    let constant = results.baseline.iter().map(|baseline| ("best constant", &baseline.gains));
    let own = results.rounded.iter().chain(&results.before).chain(&results.champion);
    let others = own.chain(&results.cheap_baselines);
    let raters = constant.chain(others.map(|other| (other.name.as_str(), &other.gains)));
    let keys = || std::iter::once("overall").chain(rubric.keys());
    raters
        .map(|(rater, gains)| {
            let cell = |key: &str| {
                let gain = gains.get(&format!("{key}_mae"));
                let is_shown = gain.and_then(|gain| gain.interval).map(|interval| match interval {
                    Interval { low, .. } if low > 0.0 => "better",
                    Interval { high, .. } if high < 0.0 => "worse",
                    _ => "not shown",
                });
                context! {
                    name => criterion_name(rubric, key),
                    value => gain.map_or_else(|| "–".to_owned(), |gain| signed(gain.value, 2)),
                    interval => ends("mae", gain.and_then(|gain| gain.interval.as_ref())),
                    word => is_shown.unwrap_or("unknown"),
                }
            };
            context! { rater => rater, cells => keys().map(cell).collect::<Vec<_>>() }
        })
        .collect()
}

/// A part of the slides as a row.
fn part(slice: &Slice, report: &ValidationReport<'_>) -> Value {
    let by = match slice.by.as_str() {
        "deck" => "Deck".to_owned(),
        "raters" => "Raters".to_owned(),
        "density" => "Density of text and lines".to_owned(),
        key => criterion_name(report.rubric, key),
    };
    let cell = |measure: &str| {
        let interval = ends(measure, slice.intervals.get(measure));
        context! { value => shown(measure, get(&slice.metrics, measure)), interval => interval }
    };
    context! {
        by => by,
        name => report.names.get(&slice.name).unwrap_or(&slice.name),
        slides => slice.slides,
        groups => slice.groups,
        ratings => slice.ratings,
        cells => ["mae", "within_1", "bias", "qwk"].map(cell),
    }
}

fn cards(results: &ValidationResults) -> Vec<Value> {
    let ceiling = |measure: &str| {
        let value =
            results.human_ceiling.as_ref().and_then(|c| get(&c.person, &format!("overall_{measure}")));
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
    type Intervals = BTreeMap<String, Interval>;
    let row = |name: &str, note: Option<String>, metrics: &BTreeMap<String, f64>, intervals: &Intervals| {
        let values = ["mae", "within_1", "exact", "qwk"].map(|measure| {
            let key = format!("overall_{measure}");
            context! { value => shown(measure, get(metrics, &key)), interval => ends(measure, intervals.get(&key)) }
        });
        context! { name => name, note => note, values => values }
    };
    let mut rows = vec![row("This model", None, &results.metrics, &results.intervals)];
    if let Some(baseline) = &results.baseline {
        let note = format!("chosen on the {} labels", baseline.chosen_on);
        rows.push(row("Best constant per criterion", Some(note), &baseline.metrics, &baseline.intervals));
    }
    let own = [&results.rounded, &results.before, &results.champion];
    let others = own.into_iter().flatten().chain(&results.cheap_baselines);
    for other in others {
        rows.push(row(&other.name, None, &other.metrics, &other.intervals));
    }
    if let Some(ceiling) = &results.human_ceiling {
        let note =
            format!("each left out once, against the median of the others; {} ratings", ceiling.ratings);
        rows.push(row("One more person", Some(note), &ceiling.person, &ceiling.person_intervals));
        let note = "the model against the same medians, to be compared with the person".to_owned();
        rows.push(row(
            "This model, like one more person",
            Some(note),
            &ceiling.model,
            &ceiling.model_intervals,
        ));
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
    let column = |p: usize| confusion.counts.iter().map(|row| row[p]).sum::<f64>();
    let said = |a: usize| confusion.counts[a].iter().sum::<f64>();
    let never: Vec<String> =
        (0..5).filter(|&at| column(at) <= 0.0 && said(at) > 0.0).map(|at| (at + 1).to_string()).collect();
    let empty = if never.is_empty() { String::new() } else { format!("Never given: {}", never.join(", ")) };
    context! { name => name, rows => rows, empty => empty }
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
        slide_id => report.names.get(&miss.slide_id).unwrap_or(&miss.slide_id),
        group => report.names.get(&miss.group).unwrap_or(&miss.group),
        image => report.images.get(&miss.slide_id).map(Image::data_uri),
        scores => scores.collect::<Vec<_>>(),
    }
}
