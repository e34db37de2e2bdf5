//! An adapter held against people on the test slides.

use std::collections::BTreeMap;

use anyhow::Result;
use project_files::RunFiles;
use slide_data::{Label, Prediction};
use slide_scorer::{LabelledSlide, Settings, SlideScorer};
use vlm_eval::{Evaluation, EvaluationInput, EvaluationOptions, Gate, Item, Override, Rater};

use crate::score;

/// What stays the same for the adapter, the base and the champion.
pub(crate) struct Evaluator {
    pub(crate) test: Vec<LabelledSlide>,
    pub(crate) train_labels: Vec<Label>,
    pub(crate) gate: Gate,
    pub(crate) overrides: Vec<Override>,
}

/// What the results are shown beside, and what they were made from.
pub(crate) struct Beside<'a> {
    pub(crate) champion: Option<&'a Rater>,
    pub(crate) before: Option<&'a Rater>,
    pub(crate) inputs: &'a BTreeMap<String, String>,
}

impl Evaluator {
    /// Scores the test slides with an adapter, or with the base alone.
    pub(crate) fn rate(&self, settings: &Settings, adapter: Option<&RunFiles>, name: &str) -> Result<Rater> {
        let scorer = SlideScorer::open(settings, adapter, name)?;
        Ok(Rater { name: name.to_owned(), predictions: score::all(&scorer, &self.test, name)? })
    }

    /// Holds scores of the test slides, in their order, against people's.
    pub(crate) fn evaluate(
        &self,
        settings: &Settings,
        model: &Rater,
        beside: &Beside<'_>,
    ) -> Result<Evaluation> {
        let item = |(slide, prediction): (&LabelledSlide, &Prediction)| Item {
            slide_id: slide.record.slide_id.clone(),
            group: slide.record.group.clone(),
            label: slide.label.clone(),
            prediction: prediction.clone(),
        };
        let items: Vec<Item> = self.test.iter().zip(&model.predictions).map(item).collect();
        let input = EvaluationInput {
            rubric: &settings.rubric,
            items: &items,
            train_labels: Some(&self.train_labels),
            champion: beside.champion,
            before: beside.before,
            cheap_baselines: &[],
            overrides: &self.overrides,
            model_version: &model.name,
            inputs: beside.inputs,
            options: EvaluationOptions { gate: self.gate, ..EvaluationOptions::default() },
            now: jiff::Timestamp::now(),
        };
        Ok(vlm_eval::evaluate(&input)?)
    }
}
