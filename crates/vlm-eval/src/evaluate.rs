use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use slide_data::{Label, Prediction, Rubric, Score, expected_score};

use crate::detail::{detail, error_histogram, worst_first};
use project_files::{Contract as _, Gain};

use crate::measures::{Pool, Rating, rounded};
use crate::{
    Baseline, BootstrapOptions, Comparison, Details, Error, Gate, Interval, Measures, Miss, Result, Sizes,
    ValidationResults, best_constants, bootstrap, human_ceiling,
};

/// One slide: what people said and what the model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The slide.
    pub slide_id: String,
    /// Slides of one group (a deck with its near-duplicates) are resampled together.
    pub group: String,
    /// What people say; its point scores are what is measured against.
    pub label: Label,
    /// The model's distributions.
    pub prediction: Prediction,
}

/// How to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EvaluationOptions {
    /// What must be reached.
    pub gate: Gate,
    /// How intervals are made.
    pub bootstrap: BootstrapOptions,
}

/// Everything an evaluation looks at.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationInput<'a> {
    /// The criteria.
    pub rubric: &'a Rubric,
    /// The evaluated slides, in any order.
    pub items: &'a [Item],
    /// Labels that the best constant is chosen on; where none are given it is chosen on the evaluated ones, which flatters it.
    pub train_labels: Option<&'a [Label]>,
    /// The released model's metrics on the same slides.
    pub champion: Option<&'a Comparison>,
    /// The untrained base's metrics on the same slides.
    pub before: Option<&'a Comparison>,
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

/// Compares predictions with labels.
///
/// # Errors
/// When nothing is rated, a slide is repeated or paired with another's prediction, or a rated criterion has no valid
/// distribution.
pub fn evaluate(input: &EvaluationInput<'_>) -> Result<Evaluation> {
    input.options.bootstrap.validate()?;
    let table = Table::collect(input.rubric, input.items)?;
    let (baseline_constants, chosen_on) = constants(input);
    let constant = table.constant(&baseline_constants);
    let groups = table.groups;
    let statistic = |weights: &[f64]| {
        let mut values = table.values(weights);
        values.push(mae_gain(&constant.overall, &table.overall, weights));
        values
    };
    let once = vec![1.0; groups];
    let values = statistic(&once);
    let intervals = bootstrap::intervals(groups, &input.options.bootstrap, statistic);
    let names = table.names();
    let metrics = named(&names, &values);
    let gain_interval = intervals.last().copied().flatten();
    let baseline = Baseline {
        chosen_on,
        constants: baseline_constants.iter().map(|(key, score)| (key.clone(), score.get())).collect(),
        metrics: meaningful_for_constants(named(&names, &constant.values(&once))),
        intervals: BTreeMap::new(),
        gains: values
            .last()
            .copied()
            .flatten()
            .map(|value| ("overall_mae".to_owned(), Gain { value, interval: gain_interval }))
            .into_iter()
            .collect(),
        relative_gains: BTreeMap::new(),
    };
    let intervals = named(&names, &intervals);
    let labels = input.items.iter().map(|item| &item.label);
    let results = assemble(input, &table, baseline, metrics, intervals);
    let mut results = ValidationResults { human_ceiling: human_ceiling(input.rubric, labels), ..results };
    results.judge();
    Ok(Evaluation { results, details: table.details(input.items) })
}

fn constants(input: &EvaluationInput<'_>) -> (BTreeMap<String, Score>, String) {
    let evaluated = best_constants(input.rubric, input.items.iter().map(|item| &item.label));
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
fn meaningful_for_constants(mut metrics: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    metrics.retain(|name, _| !name.ends_with("_spearman") && !name.ends_with("_ece"));
    metrics
}

fn mae_gain(constant: &Pool, model: &Pool, weights: &[f64]) -> Option<f64> {
    Some(constant.confusion(weights).mae()? - model.confusion(weights).mae()?)
}

fn named<T: Copy>(names: &[String], values: &[Option<T>]) -> BTreeMap<String, T> {
    names.iter().zip(values).filter_map(|(name, value)| Some((name.clone(), (*value)?))).collect()
}

fn assemble(
    input: &EvaluationInput<'_>,
    table: &Table<'_>,
    baseline: Baseline,
    metrics: BTreeMap<String, f64>,
    intervals: BTreeMap<String, Interval>,
) -> ValidationResults {
    let metric = |metrics: &BTreeMap<String, f64>, name: &str| metrics.get(name).copied().unwrap_or(f64::NAN);
    let gate = input.options.gate;
    let sizes = table.sizes();
    let warnings = limits(&sizes, &baseline);
    ValidationResults {
        schema_version: ValidationResults::VERSION,
        created_at: input.now,
        model_version: input.model_version.to_owned(),
        human_agreement: metric(&metrics, "overall_within_1"),
        threshold: gate.min_human_agreement,
        metrics,
        intervals,
        confidence: input.options.bootstrap.confidence,
        sizes,
        gate,
        warnings,
        baseline: Some(baseline),
        human_ceiling: None,
        champion: input.champion.cloned(),
        before: input.before.cloned(),
        inputs: input.inputs.clone(),
        ..ValidationResults::default()
    }
}

/// Below this many decks the resampled decks repeat so much that percentile intervals come out too narrow.
const FEW_GROUPS: usize = 10;

fn limits(sizes: &Sizes, baseline: &Baseline) -> Vec<String> {
    let mut limits = Vec::new();
    match sizes.groups {
        1 => limits
            .push("all slides are of one deck: how the numbers vary between decks is unknown".to_owned()),
        groups if groups < FEW_GROUPS => {
            limits.push(format!("only {groups} decks were evaluated: the intervals are too narrow"));
        }
        _ => {}
    }
    if baseline.chosen_on == "evaluated" {
        limits.push("the best constant was chosen on the evaluated labels, which flatters it".to_owned());
    }
    limits
}

/// The ratings of all slides, per criterion and pooled.
struct Table<'a> {
    keys: Vec<&'a str>,
    criteria: Vec<Pool>,
    overall: Pool,
    groups: usize,
    slides: usize,
}

impl<'a> Table<'a> {
    fn collect(rubric: &'a Rubric, items: &[Item]) -> Result<Self> {
        let keys: Vec<&str> = rubric.keys().collect();
        let mut sorted = each_once(items)?;
        sorted.retain(|item| keys.iter().any(|key| actual(item, key).is_some()));
        let names: BTreeSet<&str> = sorted.iter().map(|item| item.group.as_str()).collect();
        let groups: BTreeMap<&str, usize> = names.into_iter().zip(0..).collect();
        let mut criteria = vec![Vec::new(); keys.len()];
        for item in &sorted {
            for (key, ratings) in keys.iter().zip(&mut criteria) {
                ratings.extend(rating(item, key, groups[item.group.as_str()])?);
            }
        }
        let pooled: Vec<Rating> = criteria.iter().flatten().copied().collect();
        if pooled.is_empty() {
            return Err(Error::Empty { slides: items.len() });
        }
        let criteria = criteria.into_iter().map(Pool::new).collect();
        Ok(Self { keys, criteria, overall: Pool::new(pooled), groups: groups.len(), slides: sorted.len() })
    }

    /// The same ratings, predicted by constants.
    fn constant(&self, constants: &BTreeMap<String, Score>) -> Self {
        let replace = |pool: &Pool, key: &str| -> Vec<Rating> {
            let constant = constants.get(key).copied().unwrap_or(Score::MIN);
            pool.ratings.iter().map(|rating| Rating { predicted: constant, ..*rating }).collect()
        };
        let criteria: Vec<Vec<Rating>> =
            self.criteria.iter().zip(&self.keys).map(|(pool, key)| replace(pool, key)).collect();
        let overall = Pool::new(criteria.iter().flatten().copied().collect());
        Self {
            keys: self.keys.clone(),
            criteria: criteria.into_iter().map(Pool::new).collect(),
            overall,
            ..*self
        }
    }

    fn pools(&self) -> impl Iterator<Item = (&'a str, &Pool)> {
        std::iter::once(("overall", &self.overall)).chain(self.keys.iter().copied().zip(&self.criteria))
    }

    fn names(&self) -> Vec<String> {
        self.pools().flat_map(|(key, _)| Measures::NAMES.map(|name| format!("{key}_{name}"))).collect()
    }

    /// The measures in the order of [`names`](Self::names).
    fn values(&self, group_weights: &[f64]) -> Vec<Option<f64>> {
        self.pools().flat_map(|(_, pool)| pool.measure(group_weights).values()).collect()
    }

    fn sizes(&self) -> Sizes {
        let criteria =
            self.keys.iter().zip(&self.criteria).map(|(key, pool)| ((*key).to_owned(), pool.ratings.len()));
        Sizes {
            slides: self.slides,
            groups: self.groups,
            ratings: self.overall.ratings.len(),
            criteria: criteria.collect(),
            ..Sizes::default()
        }
    }

    fn details(&self, items: &[Item]) -> Details {
        Details {
            criteria: self.pools().map(|(key, pool)| detail(key, &pool.ratings)).collect(),
            errors: error_histogram(&self.overall.ratings),
            misses: worst_first(items.iter().map(|item| miss(item, &self.keys)).collect()),
        }
    }
}

fn actual(item: &Item, key: &str) -> Option<Score> {
    item.label.score(key)
}

fn rating(item: &Item, key: &str, group: usize) -> Result<Option<Rating>> {
    let Some(actual) = actual(item, key) else { return Ok(None) };
    let prediction = &item.prediction;
    if prediction.slide_id != item.slide_id {
        let (expected, actual) = (item.slide_id.clone(), prediction.slide_id.clone());
        return Err(Error::Mismatch { expected, actual });
    }
    let distribution = prediction
        .distributions
        .get(key)
        .ok_or_else(|| Error::Missing { slide_id: item.slide_id.clone(), criterion: key.to_owned() })?;
    if !is_distribution(distribution) {
        let (slide_id, criterion) = (item.slide_id.clone(), key.to_owned());
        return Err(Error::Distribution { slide_id, criterion, actual: *distribution });
    }
    let (mode, confidence) = mode(distribution);
    Ok(Some(Rating {
        group,
        actual,
        predicted: rounded(distribution),
        expected: expected_score(distribution),
        confidence,
        is_correct: mode == actual.index(),
    }))
}

/// Probabilities written in f32 sum to 1 within a few millionths; a hundredth is a different file.
fn is_distribution(distribution: &[f64; Score::LEVELS]) -> bool {
    distribution.iter().all(|p| p.is_finite() && *p >= 0.0)
        && (distribution.iter().sum::<f64>() - 1.0).abs() < 1e-2
}

/// The index and probability of the most probable score; of equals the lowest.
fn mode(distribution: &[f64; Score::LEVELS]) -> (usize, f64) {
    distribution
        .iter()
        .copied()
        .enumerate()
        .fold((0, 0.0), |best, (i, p)| if p > best.1 { (i, p) } else { best })
}

fn miss(item: &Item, keys: &[&str]) -> Miss {
    let pair = |key: &&str| {
        let predicted = rounded(item.prediction.distributions.get(*key)?);
        Some(((*key).to_owned(), (actual(item, key)?, predicted)))
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

/// The items in the order of their slides.
fn each_once(items: &[Item]) -> Result<Vec<&Item>> {
    let mut sorted: Vec<&Item> = items.iter().collect();
    sorted.sort_by_key(|item| &item.slide_id);
    match sorted.windows(2).find(|pair| pair[0].slide_id == pair[1].slide_id) {
        Some(pair) => Err(Error::Repeated { slide_id: pair[0].slide_id.clone() }),
        None => Ok(sorted),
    }
}
