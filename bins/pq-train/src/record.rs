use anyhow::Result;
use project_files::{
    BestCheckpoint, Contract as _, DataSummary, Hardware, LearningVerdict, Outlook, RunFiles, RunRecord,
    StartedFrom, TestSet, TrainingSummary,
};
use serde_json::Value;
use slide_data::{Authority, Rubric, Split, Target, sha256_hex};
use slide_scorer::{Base, LabelledSlide, Settings, Store, base_inputs, processor_files};
use std::collections::{BTreeMap, BTreeSet};
use vlm_lora::backend::Isa;
use vlm_lora::{Observer, RunStart, TrainOutcome};

use crate::code::{self, Snapshot};
use crate::run::RunDir;

/// `run.json` of this run. Written when the first step begins, so that a run that is killed says what it was made from, and a
/// refused `--resume` leaves the record that is there. Beside it copies of what it read are kept, so that it can be trained again
/// after people have rated on.
pub(crate) struct Record {
    files: RunFiles,
    content: RunRecord,
    snapshot: Snapshot,
    problem: Option<project_files::Error>,
}

impl Record {
    /// What the run is made from.
    pub(crate) fn new(
        dir: &RunDir,
        settings: &Settings,
        base: &Base,
        store: &Store,
        slides: &[LabelledSlide],
        untaught: &[String],
    ) -> Result<Self> {
        let snapshot = Snapshot::take(&store.inputs())?;
        let mut inputs: BTreeMap<String, String> = snapshot.hashes().collect();
        inputs.extend(base_inputs(&base.identity()?.checkpoint));
        let all = slides;
        let slides: Vec<&LabelledSlide> = all.iter().filter(|slide| slide.has_score()).collect();
        let count = |split: Split| slides.iter().filter(|slide| slide.split == split).count();
        let decks: BTreeSet<&str> = slides.iter().map(|slide| slide.record.deck_id.as_str()).collect();
        let record = RunRecord {
            schema_version: RunRecord::VERSION,
            run_id: dir.name.clone(),
            started_at: jiff::Timestamp::now(),
            finished_at: None,
            base_model: settings.model.name.clone(),
            base_is_hub_id: base.is_hub_id,
            inputs,
            processor_files: processor_files(&base.dir)?,
            data: DataSummary {
                slides: slides.len(),
                decks: decks.len(),
                raters_per_slide_at_most: slides
                    .iter()
                    .map(|slide| slide.label.annotators)
                    .max()
                    .unwrap_or(0),
                train_slides: count(Split::Train),
                val_slides: count(Split::Val),
                test_slides: count(Split::Test),
            },
            corrections: obeyed(all),
            test_set: Some(test_set(all, &settings.rubric)),
            untaught: untaught.to_vec(),
            started_from: None,
            outlook: None,
            training: None,
            versions: [("pitchquest".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
            code: Some(code::state()),
            seed: Some(settings.training.seed),
            hardware: hardware(base),
        };
        Ok(Self { files: dir.files.clone(), content: record, snapshot, problem: None })
    }

    /// What the run began with.
    pub(crate) fn started_from(&mut self, adapter: StartedFrom) {
        self.content.started_from = Some(adapter);
    }

    /// How many processes compute it.
    pub(crate) fn processes(&mut self, count: usize) {
        self.content.hardware.processes = count;
    }

    /// What was measured before the first step. A run that is resumed keeps what was measured then.
    ///
    /// # Errors
    /// When `measure` fails.
    pub(crate) fn outlook(&mut self, measure: impl FnOnce() -> Result<Outlook>) -> Result<Outlook> {
        let before = RunRecord::read_if_present(&self.files.record()).ok().flatten();
        if let Some(StartedFrom { name, sha256 }) = before.as_ref().and_then(|run| run.started_from.clone()) {
            self.content.started_from.get_or_insert(StartedFrom { name, sha256 });
        }
        let outlook = match before.and_then(|run| run.outlook) {
            Some(known) => known,
            None => measure()?,
        };
        self.content.outlook = Some(outlook);
        Ok(outlook)
    }

    /// What is known before training: hashes of what is read, sizes of the data, versions, the machine.
    pub(crate) fn facts(&self) -> Value {
        let RunRecord { inputs, data, versions, code, hardware, .. } = &self.content;
        serde_json::json!({
            "inputs": inputs, "data": data, "versions": versions, "code": code, "hardware": hardware,
        })
    }

    /// Says what the run is made from, before its first step.
    ///
    /// # Errors
    /// When the record or the copies of what was read cannot be written.
    pub(crate) fn begin(&self) -> Result<()> {
        Ok(self.write()?)
    }

    fn write(&self) -> project_files::Result<()> {
        self.snapshot.write(&self.files)?;
        self.content.write(&self.files.record())
    }

    pub(crate) fn finish(mut self, outcome: &TrainOutcome, verdict: Option<LearningVerdict>) -> Result<()> {
        if let Some(problem) = self.problem {
            return Err(problem.into());
        }
        let round = |seconds: f64| (seconds * 10.0).round() / 10.0;
        let status = match serde_json::to_value(outcome.status)? {
            Value::String(status) => status,
            other => other.to_string(),
        };
        self.content.training = Some(TrainingSummary {
            status,
            steps: outcome.steps,
            epochs: outcome.epochs,
            train_loss: outcome.train_loss,
            train_seconds: round(outcome.train_seconds),
            eval_seconds: round(outcome.eval_seconds),
            trainable_parameters: outcome.trainable_parameters,
            base_parameters: outcome.base_parameters,
            best: outcome.best.as_ref().map(|best| BestCheckpoint {
                metric: best.metric.clone(),
                value: best.value,
                step: best.step,
            }),
            extended_at: outcome.extensions.iter().map(|extension| extension.at).collect(),
            verdict,
        });
        self.content.finished_at = Some(jiff::Timestamp::now());
        Ok(self.content.write(&self.files.record())?)
    }
}

/// The corrections that decide what is taught, each with its slide.
fn obeyed(slides: &[LabelledSlide]) -> BTreeMap<String, String> {
    let trained_on = slides.iter().filter(|slide| slide.split == Split::Train);
    let decisions = trained_on.flat_map(|slide| slide.label.decided.values().map(move |by| (slide, by)));
    let corrections = decisions.filter(|(_, decision)| decision.by == Authority::Correction);
    corrections.map(|(slide, decision)| (decision.id.clone(), slide.record.slide_id.clone())).collect()
}

/// The slides that are kept for the test, with all that is measured against.
fn test_set(slides: &[LabelledSlide], rubric: &Rubric) -> TestSet {
    let mut test: Vec<&LabelledSlide> = slides.iter().filter(|slide| slide.split == Split::Test).collect();
    test.sort_by_key(|slide| &slide.record.slide_id);
    let of = |slide: &&LabelledSlide| {
        let targets: Vec<(&str, Target)> = rubric.keys().map(|key| (key, slide.label.target(key))).collect();
        serde_json::json!([slide.record.slide_id, slide.record.sha256, targets])
    };
    let all: Vec<Value> = test.iter().map(of).collect();
    TestSet { slides: test.len(), sha256: sha256_hex(Value::Array(all).to_string().as_bytes()) }
}

/// The machine.
fn hardware(base: &Base) -> Hardware {
    Hardware {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        threads: rayon::current_num_threads(),
        os: std::env::consts::OS.to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        instructions: Isa::detected().name().to_owned(),
        device: base.device.name(),
        processes: 1,
    }
}

impl Observer for Record {
    fn on_start(&mut self, _start: &RunStart) {
        self.problem = self.write().err();
    }

    fn should_stop(&self) -> bool {
        self.problem.is_some()
    }
}
