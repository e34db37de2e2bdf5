//! The optimizer steps of transformers' Trainer.

use std::path::Path;
use std::sync::Arc;

use pq_testing::max_difference;
use serde_json::Value;
use vlm_lora::backend::Backend;
use vlm_lora::{Observer, Resume, SamplingStrategy, StepReport, Trainer, TrainingConfig};

use crate::case::{Case, Report, cases, json, on_device};

struct Steps<'a>(&'a mut Vec<StepReport>);

impl Observer for Steps<'_> {
    fn on_step(&mut self, step: &StepReport) {
        self.0.push(*step);
    }
}

#[test]
fn the_steps_of_the_reference_trainer_are_reproduced() {
    on_device!(check_steps);
}

fn check_steps<B: Backend>(backend: &Arc<B>) {
    let failures: Vec<String> =
        cases().iter().flat_map(|dir| compare_steps(&Case::open(dir), backend)).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The settings of the reference's run.
fn configuration(reference: &Value, output_dir: &Path) -> TrainingConfig {
    let own = TrainingConfig {
        output_dir: output_dir.to_owned(),
        train_sampling_strategy: SamplingStrategy::Sequential,
        ..TrainingConfig::default()
    };
    let mut config = serde_json::to_value(own).unwrap();
    for (key, value) in reference["hyperparameters"].as_object().unwrap() {
        // transformers says -1 where the number of epochs decides
        config[key] = if *value == -1 { 0.into() } else { value.clone() };
    }
    serde_json::from_value(config).unwrap()
}

fn note_steps(report: &mut Report, steps: &[StepReport], log: &Value) {
    let log = log.as_array().unwrap();
    assert_eq!(steps.len(), log.len());
    for (step, log) in steps.iter().zip(log) {
        let expected = |key: &str| log[key].as_f64().unwrap();
        assert_eq!(log["step"], step.step);
        let place = format!("step {}", step.step);
        report.note("loss of a step", (step.loss - expected("loss")).abs(), 1e-4, &place);
        report.note("gradient norm", (step.grad_norm / expected("grad_norm") - 1.0).abs(), 1e-3, &place);
        report.note("learning rate", (step.learning_rate - expected("learning_rate")).abs(), 1e-12, &place);
    }
}

/// `resume_from_checkpoint` with another `max_steps`: the first step keeps the learning rate that the optimizer brought along, the
/// others have that of the new schedule.
#[test]
fn a_run_is_extended_as_by_the_reference_trainer() {
    on_device!(check_extended);
}

fn check_extended<B: Backend>(backend: &Arc<B>) {
    let extended = cases().into_iter().filter(|dir| dir.join("extended.json").exists());
    let failures: Vec<String> =
        extended.flat_map(|dir| compare_extended(&Case::open(&dir), backend)).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

fn compare_extended<B: Backend>(case: &Case, backend: &Arc<B>) -> Vec<String> {
    let reference = json(&case.dir.join("extended.json"));
    let mut report = Report::new(case);
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    for extended in reference["runs"].as_array().unwrap() {
        let run = tempfile::tempdir().unwrap();
        let config = configuration(&reference, run.path());
        let at = number(&extended["resumed_at"]);
        let began =
            TrainingConfig { max_steps: number(&extended["began_with"]), save_steps: at, ..config.clone() };
        let (mut model, mut steps) = (case.model(backend), Vec::new());
        model.attach_adapter(&case.adapter("adapter")).unwrap();
        Trainer::new(&mut model, began).unwrap().run(&case.samples).unwrap();

        let now = TrainingConfig { max_steps: number(&extended["max_steps"]), ..config };
        let checkpoint = run.path().join(format!("checkpoints/step-{at}"));
        let trainer = Trainer::new(&mut model, now).unwrap().resume(Resume::From(checkpoint));
        let outcome = trainer.observer(Steps(&mut steps)).run(&case.samples).unwrap();
        let extensions: Vec<_> = outcome.extensions.iter().map(|e| (e.at, e.total_steps_before)).collect();
        assert_eq!(extensions, [(at, number(&extended["began_with"]))]);
        note_steps(&mut report, &steps, &extended["log"]);
    }
    report.finish()
}

fn compare_steps<B: Backend>(case: &Case, backend: &Arc<B>) -> Vec<String> {
    let (reference, run) = (json(&case.dir.join("training.json")), tempfile::tempdir().unwrap());
    let config = configuration(&reference, run.path());
    let (mut model, mut steps) = (case.model(backend), Vec::new());
    model.attach_adapter(&case.adapter("adapter")).unwrap();
    Trainer::new(&mut model, config).unwrap().observer(Steps(&mut steps)).run(&case.samples).unwrap();

    let mut report = Report::new(case);
    note_steps(&mut report, &steps, &reference["log"]);
    let (trained, expected) = (model.adapter().unwrap(), case.adapter("adapter_trained"));
    assert_eq!(trained.modules.len(), expected.modules.len());
    for (ours, theirs) in trained.modules.iter().zip(&expected.modules) {
        assert_eq!(ours.spec.module, theirs.spec.module);
        let values = |module: &vlm_lora::AdapterWeights| {
            [&module.a[..], &module.b[..], module.magnitude.as_deref().unwrap_or_default()].concat()
        };
        report.note("trained adapter", max_difference(values(ours), values(theirs)), 1e-3, &ours.spec.module);
    }
    assert!(trained.biases.keys().eq(expected.biases.keys()));
    // The bias of keys has no effect and no gradient but rounding, which AdamW makes whole steps of.
    let pairs = trained.biases.iter().zip(expected.biases.values());
    for ((name, ours), theirs) in pairs.filter(|((name, _), _)| !name.ends_with("k_proj.bias")) {
        report.note("trained biases", max_difference(ours, theirs), 1e-3, name);
    }
    report.finish()
}
