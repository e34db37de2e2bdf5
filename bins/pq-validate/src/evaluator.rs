//! An adapter held against people on the test slides.

use std::collections::BTreeMap;

use anyhow::Result;
use project_files::RunFiles;
use slide_data::Label;
use slide_scorer::{LabelledSlide, Settings, SlideScorer};
use vlm_eval::{BootstrapOptions, Comparison, Evaluation, EvaluationInput, EvaluationOptions, Gate, Item};

use crate::score;

/// What stays the same for the adapter, the base and the champion.
pub(crate) struct Evaluator {
    pub(crate) test: Vec<LabelledSlide>,
    pub(crate) train_labels: Vec<Label>,
    pub(crate) gate: Gate,
}

/// What the results are shown beside, and what they were made from.
pub(crate) struct Beside<'a> {
    pub(crate) champion: Option<&'a Comparison>,
    pub(crate) before: Option<&'a Comparison>,
    pub(crate) inputs: &'a BTreeMap<String, String>,
}

impl Evaluator {
    /// Scores the test slides and evaluates the scores.
    pub(crate) fn evaluate(
        &self,
        settings: &Settings,
        adapter: Option<&RunFiles>,
        name: &str,
        beside: &Beside<'_>,
    ) -> Result<Evaluation> {
        let scorer = SlideScorer::open(settings, adapter, name)?;
        let predictions = score::all(&scorer, &self.test, name)?;
        let items: Vec<Item> = self
            .test
            .iter()
            .zip(predictions)
            .map(|(slide, prediction)| Item {
                slide_id: slide.record.slide_id.clone(),
                group: slide.record.group.clone(),
                label: slide.label.clone(),
                prediction,
            })
            .collect();
        let input = EvaluationInput {
            rubric: &settings.rubric,
            items: &items,
            train_labels: Some(&self.train_labels),
            champion: beside.champion,
            before: beside.before,
            model_version: name,
            inputs: beside.inputs,
            options: EvaluationOptions { gate: self.gate, bootstrap: BootstrapOptions::default() },
            now: jiff::Timestamp::now(),
        };
        Ok(vlm_eval::evaluate(&input)?)
    }

    /// The results of the adapter, to show beside others.
    pub(crate) fn comparison(
        &self,
        settings: &Settings,
        adapter: Option<&RunFiles>,
        name: &str,
    ) -> Result<Comparison> {
        let beside = Beside { champion: None, before: None, inputs: &BTreeMap::new() };
        Ok(self.evaluate(settings, adapter, name, &beside)?.results.comparison(name))
    }
}
