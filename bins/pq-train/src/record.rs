use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use pq_model::{
    Base, LabelledSlide, Questionnaire, Settings, SlidePicture, SlideSamples, Store, base_inputs, predict,
};
use serde_json::{Value, json};
use slide_data::{Split, sha256_hex, write_json};
use vlm_lora::backend::Backend;
use vlm_lora::{Model, TrainOutcome};

use crate::run::RunDir;

/// At most this many training slides stand for the training data when drift is measured.
const REFERENCE_SLIDES: usize = 400;

/// `run.json`: what the run was made from, with what and how it went.
pub(crate) struct Record {
    path: PathBuf,
    value: Value,
}

impl Record {
    pub(crate) fn start(
        dir: &RunDir,
        settings: &Settings,
        base: &Base,
        store: &Store,
        slides: &[LabelledSlide],
    ) -> Result<Self> {
        let mut inputs = BTreeMap::new();
        for (name, path) in store.inputs() {
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            inputs.insert(name, sha256_hex(&bytes));
        }
        inputs.extend(base_inputs(&base.identity()?.checkpoint));
        let count = |split: Split| slides.iter().filter(|slide| slide.split == split).count();
        let decks: BTreeSet<&str> = slides.iter().map(|slide| slide.record.deck_id.as_str()).collect();
        let raters = slides.iter().map(|slide| slide.label.annotators).max().unwrap_or(0);
        let value = json!({
            "schema_version": 1,
            "run_id": dir.name,
            "started_at": jiff::Timestamp::now(),
            "base_model": settings.model.name,
            "base_is_hub_id": base.is_hub_id,
            "inputs": inputs,
            "data": {
                "slides": slides.len(), "decks": decks.len(), "raters_per_slide_at_most": raters,
                "train_slides": count(Split::Train), "val_slides": count(Split::Val), "test_slides": count(Split::Test),
            },
            "versions": {"pitchquest": env!("CARGO_PKG_VERSION")},
            "hardware": {"cores": std::thread::available_parallelism().map_or(0, usize::from), "os": std::env::consts::OS,
                "architecture": std::env::consts::ARCH, "device": base.backend.name()},
        });
        Ok(Self { path: dir.path.join("run.json"), value })
    }

    pub(crate) fn finish(mut self, outcome: &TrainOutcome) -> Result<()> {
        let round = |seconds: f64| (seconds * 10.0).round() / 10.0;
        let mut training = json!({
            "status": outcome.status, "steps": outcome.steps, "epochs": outcome.epochs, "train_loss": outcome.train_loss,
            "train_seconds": round(outcome.train_seconds), "eval_seconds": round(outcome.eval_seconds),
            "trainable_parameters": outcome.trainable_parameters, "base_parameters": outcome.base_parameters,
        });
        if let Some(best) = &outcome.best {
            training["best_step"] = json!(best.step);
            training[&format!("best_{}", best.metric)] = json!(best.value);
        }
        self.value["training"] = training;
        self.value["finished_at"] = json!(jiff::Timestamp::now());
        Ok(write_json(&self.path, &self.value)?)
    }
}

/// Scores slides of training and validation once, so that production can be compared with them.
pub(crate) fn reference_predictions<B: Backend>(
    questionnaire: &Questionnaire,
    model: &Model<B>,
    train: &SlideSamples<'_>,
    val: &SlideSamples<'_>,
    dir: &RunDir,
) -> Result<()> {
    let step = train.slides().len().div_ceil(REFERENCE_SLIDES).max(1);
    let slides: Vec<&LabelledSlide> = train.slides().iter().step_by(step).chain(val.slides()).collect();
    let mut lines = Vec::new();
    for batch in slides.chunks(8) {
        let pictures = batch.iter().map(|slide| slide.picture()).collect::<Result<Vec<SlidePicture>>>()?;
        for (slide, mut prediction) in batch.iter().zip(predict(questionnaire, model, &pictures, &dir.name)?)
        {
            if slide.split == Split::Train {
                // The model is surer of slides it was trained on than of new ones: only their pictures are comparable.
                prediction.distributions.clear();
                prediction.expected.clear();
            }
            serde_json::to_writer(&mut lines, &prediction)?;
            lines.push(b'\n');
        }
    }
    Ok(slide_data::write_atomic(&dir.path.join("reference_predictions.jsonl"), &lines)?)
}
