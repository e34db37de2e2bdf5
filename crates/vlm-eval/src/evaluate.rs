use std::collections::BTreeMap;

use jiff::Timestamp;
use project_files::{Comparison, Contract as _, Override};
use slide_data::{Label, Prediction, Rubric, Score, Target};

use crate::cheap::applicability_measures;

use crate::ceiling::human_ceiling;
use crate::compare::{Model, gains, relative_gains};
use crate::detail::{detail, error_histogram, worst_first};
use crate::interval::intervals;
use crate::power::power;
use crate::slices::slices;
use crate::spread::error_spreads;
use crate::table::{Frame, Table, forecast, labels, sure};
use crate::{
    Baseline, Details, EvaluationOptions, Item, Miss, Rater, Result, ValidationResults, best_constants,
};

/// The same model, when its means are rounded in place of its own decision.
const ROUNDED: &str = "this model, its means rounded";

/// Everything an evaluation looks at.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationInput<'a> {
    /// The criteria.
    pub rubric: &'a Rubric,
    /// The evaluated slides, in any order.
    pub items: &'a [Item],
    /// Labels that the best constant is chosen on; where none are given it is chosen on the evaluated ones, which flatters it.
    pub train_labels: Option<&'a [Label]>,
    /// The released model on the same slides.
    pub champion: Option<&'a Rater>,
    /// The untrained base on the same slides.
    pub before: Option<&'a Rater>,
    /// Cheap models on the same slides.
    pub cheap_baselines: &'a [Rater],
    /// What a person set aside or eased.
    pub overrides: &'a [Override],
    /// The run or version that is evaluated.
    pub model_version: &'a str,
    /// SHA-256 of each input by name, kept with the results.
    pub inputs: &'a BTreeMap<String, String>,
    /// How to evaluate.
    pub options: EvaluationOptions,
    /// The time to record.
    pub now: Timestamp,
}

/// The results with what the report shows beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// What is written to `validation_results.json`.
    pub results: ValidationResults,
    /// Confusions, calibration and misses.
    pub details: Details,
}

impl Evaluation {
    /// The slides whose images a report shows, the worst first.
    pub fn worst_slides(&self, limit: usize) -> impl Iterator<Item = &str> {
        self.details.misses.iter().take(limit).map(|miss| miss.slide_id.as_str())
    }
}

/// Compares predictions with labels, and with what others make of the same slides.
///
/// # Errors
/// When nothing is rated, a slide is repeated or paired with another's prediction, or a rated criterion has no valid
/// distribution.
pub fn evaluate(input: &EvaluationInput<'_>) -> Result<Evaluation> {
    input.options.validate()?;
    let confidence = input.options.confidence;
    let frame = Frame::new(input.rubric, input.items)?;
    let table = frame.rated(&|item, key| forecast(&item.prediction, item, key))?;
    let measured = table.measured();
    let model = Model { table: &table, measured: &measured, confidence };
    let mut metrics = table.metrics();
    metrics.extend(applicability(&frame));
    let human_agreement = metrics.get("overall_within_1").copied().unwrap_or(f64::NAN);
    let compare = |rater: &Rater| rater.compare(&frame, &model);
    let mut results = ValidationResults {
        schema_version: ValidationResults::VERSION,
        created_at: input.now,
        model_version: input.model_version.to_owned(),
        human_agreement,
        threshold: input.options.gate.min_human_agreement,
        intervals: intervals(&table, &measured, confidence),
        metrics,
        confidence,
        sizes: frame.sizes(&table),
        gate: input.options.gate,
        overrides: input.overrides.to_vec(),
        baseline: Some(baseline(input, &frame, &model)?),
        cheap_baselines: input.cheap_baselines.iter().map(compare).collect::<Result<_>>()?,
        human_ceiling: human_ceiling(&frame, &input.options)?,
        champion: input.champion.map(compare).transpose()?,
        before: input.before.map(compare).transpose()?,
        rounded: rounded(input, &frame, &model)?,
        error_spread: error_spreads(&frame),
        slices: slices(&frame, confidence)?,
        inputs: input.inputs.clone(),
        ..ValidationResults::default()
    };
    results.judge();
    results.power = power(&results);
    results.warnings = warnings(&results, &table);
    Ok(Evaluation { results, details: details(&frame, &table) })
}

/// How well the model tells which criteria apply, for those of which it says so.
fn applicability(frame: &Frame<'_>) -> BTreeMap<String, f64> {
    let told = |item: &&Item, key: &str| {
        let p = *item.prediction.applies.get(key)?;
        match item.label.target(key) {
            Target::Scored(_) => Some((p, true)),
            Target::NotApplicable { .. } => Some((p, false)),
            Target::Missing => None,
        }
    };
    let of = |key: &&str| {
        let told: Vec<(f64, bool)> = frame.items.iter().filter_map(|item| told(item, key)).collect();
        applicability_measures(key, &told)
    };
    frame.keys.iter().flat_map(of).collect()
}

/// The same model with its means rounded, where it gives other scores than that.
fn rounded(input: &EvaluationInput<'_>, frame: &Frame<'_>, model: &Model<'_>) -> Result<Option<Comparison>> {
    let plainly = |item: &Item| {
        let mut prediction = item.prediction.clone();
        prediction.undecide();
        prediction
    };
    let predictions: Vec<Prediction> = input.items.iter().map(plainly).collect();
    let differs = |(item, plain): (&Item, &Prediction)| {
        item.prediction
            .chosen
            .iter()
            .any(|(key, score)| plain.score(key).is_some_and(|plain| plain != *score))
    };
    if !input.items.iter().zip(&predictions).any(differs) {
        return Ok(None);
    }
    Rater { name: ROUNDED.to_owned(), predictions }.compare(frame, model).map(Some)
}

/// The best constant, measured as the model is.
fn baseline(input: &EvaluationInput<'_>, frame: &Frame<'_>, model: &Model<'_>) -> Result<Baseline> {
    let (constants, chosen_on) = constants(input, frame);
    let of = |key: &str| constants.get(key).copied().unwrap_or(Score::MIN);
    let table = frame.rated(&|_, key| Ok(sure(of(key))))?;
    let measured = table.measured();
    Ok(Baseline {
        chosen_on,
        constants: constants.iter().map(|(key, score)| (key.clone(), score.get())).collect(),
        metrics: meaningful_for_constants(table.metrics()),
        intervals: meaningful_for_constants(intervals(&table, &measured, model.confidence)),
        gains: gains(model, &measured),
        relative_gains: relative_gains(model, &measured),
    })
}

fn constants(input: &EvaluationInput<'_>, frame: &Frame<'_>) -> (BTreeMap<String, Score>, String) {
    let evaluated = best_constants(input.rubric, labels(&frame.items));
    match input.train_labels {
        // A criterion that only the evaluated labels rate still needs a constant to be compared with.
        Some(labels) => {
            let mut constants = evaluated;
            constants.extend(best_constants(input.rubric, labels));
            (constants, "train".to_owned())
        }
        None => (evaluated, "evaluated".to_owned()),
    }
}

/// A constant has no ranks and no confidence.
fn meaningful_for_constants<T>(mut metrics: BTreeMap<String, T>) -> BTreeMap<String, T> {
    metrics.retain(|name, _| !["_spearman", "_kendall", "_ece"].iter().any(|end| name.ends_with(end)));
    metrics
}

/// Scores that people gave and the model did not.
fn never_given(table: &Table<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, pool) in table.pools.iter().filter(|(_, pool)| !pool.ratings.is_empty()) {
        let count = |of: &dyn Fn(&crate::pool::Rating) -> bool| pool.ratings.iter().filter(|r| of(r)).count();
        for score in (1..=5).filter_map(Score::new) {
            let (people, model) = (count(&|r| r.actual == score), count(&|r| r.predicted == score));
            if *key != "overall" && people > 0 && model == 0 {
                warnings
                    .push(format!("{key}: the model never gives {}; people did {people} times", score.get()));
            }
        }
    }
    warnings
}

/// What limits the numbers, in words.
fn warnings(results: &ValidationResults, table: &Table<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if results.sizes.groups == 1 {
        warnings.push("all slides are of one deck: how the numbers vary between decks is unknown".to_owned());
    }
    if results.baseline.as_ref().is_some_and(|baseline| baseline.chosen_on == "evaluated") {
        warnings.push("the best constant was chosen on the evaluated labels, which flatters it".to_owned());
    }
    warnings.extend(never_given(table));
    for cheap in &results.cheap_baselines {
        let gain = cheap.gains.get("overall_mae").and_then(|gain| gain.interval);
        if gain.is_none_or(|interval| interval.low <= 0.0) {
            warnings.push(format!("the model is not shown to err less than a cheap one: {}", cheap.name));
        }
    }
    warnings
}

fn details(frame: &Frame<'_>, table: &Table<'_>) -> Details {
    Details {
        criteria: table.pools.iter().map(|(key, pool)| detail(key, &pool.ratings)).collect(),
        errors: error_histogram(&table.overall().ratings),
        misses: worst_first(frame.items.iter().map(|item| miss(item, &frame.keys)).collect()),
    }
}

fn miss(item: &Item, keys: &[&str]) -> Miss {
    let pair = |key: &&str| {
        let predicted = item.prediction.score(key)?;
        Some(((*key).to_owned(), (item.label.score(key)?, predicted)))
    };
    let scores: BTreeMap<String, (Score, Score)> = keys.iter().filter_map(pair).collect();
    let errors = || scores.values().map(|(a, p)| u32::from(a.get().abs_diff(p.get())));
    Miss {
        slide_id: item.slide_id.clone(),
        group: item.group.clone(),
        error: errors().sum(),
        largest: errors().max().unwrap_or(0),
        scores: scores.clone(),
    }
}
