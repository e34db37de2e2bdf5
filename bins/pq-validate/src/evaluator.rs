//! An adapter held against people on the test slides.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use project_files::{RunFiles, ScoreDecision};
use slide_data::{Label, Prediction};
use slide_scorer::{LabelledSlide, Settings, SlideScorer};
use vlm_eval::{Evaluation, EvaluationInput, EvaluationOptions, Gate, Item, KnownSlide, Override, Rater};

use crate::{cheap, score};

/// What stays the same for the adapter, the base and the champion.
pub(crate) struct Evaluator {
    pub(crate) test: Vec<LabelledSlide>,
    pub(crate) train: Vec<LabelledSlide>,
    pub(crate) val: Vec<LabelledSlide>,
    /// Where what the frozen vision tower says of images is kept.
    pub(crate) features: PathBuf,
    /// When the data was read.
    pub(crate) now: jiff::Timestamp,
    pub(crate) gate: Gate,
    pub(crate) overrides: Vec<Override>,
}

/// What the results are shown beside, and what they were made from.
pub(crate) struct Beside<'a> {
    pub(crate) champion: Option<&'a Rater>,
    pub(crate) before: Option<&'a Rater>,
    pub(crate) cheap: &'a [Rater],
    pub(crate) inputs: &'a BTreeMap<String, String>,
}

impl Evaluator {
    /// Scores the test slides with an adapter, or with the base alone.
    pub(crate) fn rate(&self, settings: &Settings, adapter: Option<&RunFiles>, name: &str) -> Result<Rater> {
        self.rate_with(&self.open(settings, adapter, name)?, name)
    }

    /// Loads an adapter, or the base alone; what one of them sees another of the same base need not look at again.
    pub(crate) fn open(
        &self,
        settings: &Settings,
        adapter: Option<&RunFiles>,
        name: &str,
    ) -> Result<SlideScorer> {
        Ok(SlideScorer::open(settings, adapter, name)?.with_feature_cache(&self.features))
    }

    /// Scores the test slides. A criterion that the model holds not to apply to a slide, where people rated it, is asked for on its
    /// own: the score is measured, and so is whether the model knows what applies.
    pub(crate) fn rate_with(&self, scorer: &SlideScorer, name: &str) -> Result<Rater> {
        let mut predictions = score::in_batches(&self.test, name, |images| scorer.rate(images))?;
        let lacks = |(slide, said): (&LabelledSlide, &Prediction)| {
            slide.label.scored().any(|(key, _)| !said.distributions.contains_key(key))
        };
        let lacking: Vec<usize> =
            (0..predictions.len()).filter(|at| lacks((&self.test[*at], &predictions[*at]))).collect();
        if lacking.is_empty() {
            return Ok(Rater { name: name.to_owned(), predictions });
        }
        let slides: Vec<LabelledSlide> = lacking.iter().map(|at| self.test[*at].clone()).collect();
        let what = "criteria that were held not to apply";
        let whole = score::in_batches(&slides, what, |images| scorer.rate_all_criteria(images))?;
        for (at, whole) in lacking.into_iter().zip(whole) {
            let scored: Vec<String> = self.test[at].label.scored().map(|(key, _)| key.to_owned()).collect();
            complete(&mut predictions[at], whole, &scored, scorer.decision());
        }
        Ok(Rater { name: name.to_owned(), predictions })
    }

    /// What cheap models say of the test slides, which learn what the base sees of the training slides; and what they learn from.
    pub(crate) fn rate_cheaply(
        &self,
        settings: &Settings,
        scorer: &SlideScorer,
        predictions: &[Prediction],
    ) -> Result<(Vec<Rater>, Vec<KnownSlide>)> {
        let base =
            if scorer.sees_as_its_base() { None } else { Some(self.open(settings, None, "the base")?) };
        let scorer = base.as_ref().unwrap_or(scorer);
        let known = cheap::known(scorer, &self.train)?;
        Ok((cheap::rate(scorer, &known, &self.test, predictions)?, known))
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
        let labels: Vec<Label> = self.train.iter().map(|slide| slide.label.clone()).collect();
        let input = EvaluationInput {
            rubric: &settings.rubric,
            items: &items,
            train_labels: Some(&labels),
            champion: beside.champion,
            before: beside.before,
            cheap_baselines: beside.cheap,
            overrides: &self.overrides,
            model_version: &model.name,
            inputs: beside.inputs,
            options: EvaluationOptions { gate: self.gate, ..EvaluationOptions::default() },
            now: self.now,
        };
        Ok(vlm_eval::evaluate(&input)?)
    }
}

/// Adds what is missing of these criteria.
fn complete(
    prediction: &mut Prediction,
    whole: Prediction,
    scored: &[String],
    decision: Option<&ScoreDecision>,
) {
    let is_missing = |key: &String| scored.contains(key) && !prediction.distributions.contains_key(key);
    let added: Vec<_> = whole.distributions.into_iter().filter(|(key, _)| is_missing(key)).collect();
    prediction.distributions.extend(added);
    prediction.decide(decision);
}
