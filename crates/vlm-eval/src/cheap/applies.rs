//! Which criteria apply to a slide, learned from how many people said that they do.

use std::collections::BTreeMap;

use project_files::{Applicability, ApplicabilityHead, Contract as _};
use slide_data::{Rubric, Target};

use super::gram::{Gram, Scale};
use super::logistic::{Logistic, PENALTIES, log_loss};
use super::{KnownSlide, features, folds, measured, thinned};
use crate::ranks::auc;

/// Fewer slides than this of either kind say too little of when a criterion applies.
const FEWEST: usize = 5;

/// Learns from the training slides for which criteria people say "not applicable", and when. A criterion that too few slides lack,
/// or that too few have, is left out: it applies to every slide.
///
/// # Panics
/// When the features of two slides are not equally many.
pub fn fit_applicability(rubric: &Rubric, slides: &[KnownSlide]) -> Applicability {
    let known = thinned(slides);
    let row = |slide: &&KnownSlide| [features(&slide.numbers), measured(&slide.numbers)].concat();
    let mut rows: Vec<Vec<f32>> = known.iter().map(row).collect();
    let scale = Scale::of(&rows);
    for row in &mut rows {
        scale.apply(row);
    }
    let gram = Gram::of(&rows);
    let all = All { known: &known, rows: &rows, scale: &scale, gram: &gram };
    let heads = rubric.keys().filter_map(|key| Some((key.to_owned(), all.head(key)?)));
    let properties = known.first().map(|slide| slide.numbers.properties.keys().cloned().collect());
    Applicability {
        schema_version: Applicability::VERSION,
        criteria: heads.collect(),
        properties: properties.unwrap_or_default(),
    }
}

struct All<'a> {
    known: &'a [&'a KnownSlide],
    rows: &'a [Vec<f32>],
    scale: &'a Scale,
    gram: &'a Gram,
}

/// The slides of which somebody said whether a criterion applies.
struct Said {
    slides: Vec<usize>,
    /// The share of people who say that it does.
    targets: Vec<f64>,
}

impl All<'_> {
    fn head(&self, key: &str) -> Option<ApplicabilityHead> {
        let said = self.said(key);
        let applies = said.targets.iter().filter(|target| **target >= 0.5).count();
        let not_applicable = said.targets.len() - applies;
        if applies.min(not_applicable) < FEWEST {
            return None;
        }
        let groups: Vec<&str> = said.slides.iter().map(|slide| self.known[*slide].group.as_str()).collect();
        let (penalty, auc) = self.best_penalty(&said, &folds(&groups)?)?;
        let (weights, intercept) =
            Logistic::fit(self.gram, &said.slides, &said.targets, penalty)?.primal(self.rows);
        let (weights, intercept) = self.scale.undo(&weights, intercept);
        Some(ApplicabilityHead { weights, intercept, slides: said.slides.len(), not_applicable, auc })
    }

    fn said(&self, key: &str) -> Said {
        let (slides, targets) = (0..)
            .zip(self.known)
            .filter_map(|(at, slide)| match slide.label.target(key) {
                Target::Scored(target) => Some((at, 1.0 - target.not_applicable())),
                Target::NotApplicable { share } => Some((at, 1.0 - share)),
                Target::Missing => None,
            })
            .unzip();
        Said { slides, targets }
    }

    /// The penalty under which groups that were left out are most likely, and how well it tells there what applies.
    fn best_penalty(&self, said: &Said, folds: &[Vec<usize>]) -> Option<(f64, Option<f64>)> {
        let told = |penalty: f64| {
            let mut odds = vec![0.0; said.slides.len()];
            for held_out in folds {
                let learned: Vec<usize> =
                    (0..said.slides.len()).filter(|place| !held_out.contains(place)).collect();
                let rows: Vec<usize> = learned.iter().map(|place| said.slides[*place]).collect();
                let targets: Vec<f64> = learned.iter().map(|place| said.targets[*place]).collect();
                let fit = Logistic::fit(self.gram, &rows, &targets, penalty)?;
                for place in held_out {
                    odds[*place] = fit.log_odds(said.slides[*place]);
                }
            }
            let loss: f64 =
                odds.iter().zip(&said.targets).map(|(odds, target)| log_loss(*odds, *target)).sum();
            Some((loss, penalty, odds))
        };
        let best = PENALTIES.iter().filter_map(|penalty| told(*penalty)).min_by(|a, b| a.0.total_cmp(&b.0));
        let (_, penalty, odds) = best?;
        let is_applicable: Vec<bool> = said.targets.iter().map(|target| *target >= 0.5).collect();
        Some((penalty, auc(&odds, &is_applicable)))
    }
}

/// How well probabilities tell to which slides a criterion applies: names and values.
pub(crate) fn measures(key: &str, told: &[(f64, bool)]) -> BTreeMap<String, f64> {
    let (p, is): (Vec<f64>, Vec<bool>) = told.iter().copied().unzip();
    let mut measures = BTreeMap::new();
    if !told.is_empty() {
        let right = told.iter().filter(|(p, applies)| (*p >= 0.5) == *applies).count();
        measures.insert(format!("{key}_applies_accuracy"), right as f64 / told.len() as f64);
    }
    measures.extend(auc(&p, &is).map(|auc| (format!("{key}_applies_auc"), auc)));
    measures
}
