//! Several processes train what one does: losses, resumption on another number of them, failures. The processes are threads here; what
//! carries the numbers between real ones has tests of its own.

#![expect(clippy::unwrap_used, reason = "whatever cannot be unwrapped fails its test")]

mod common;

use std::path::Path;

use common::{model, samples, write_checkpoint};
use process_group::{ProcessGroup, ThreadGroup, threads};
use vlm_lora::{
    Dataset, Error, EvaluationReport, FeatureCache, FeaturePrecision, Fingerprint, LoraConfig, Observer,
    Result, Resume, RunStatus, Sample, StepReport, TrainOutcome, Trainer, TrainingConfig,
};

/// As far as losses may lie apart where gradients are added in another order.
const TOLERANCE: f64 = 1e-5;

fn base() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_checkpoint(dir.path());
    dir
}

/// Dropout on: a mask that depended on the number of processes would show at once.
fn lora() -> LoraConfig {
    toml::from_str("r = 2\nlora_alpha = 4\nlora_dropout = 0.2\nuse_dora = true").unwrap()
}

/// Eleven samples make windows of four batches and of two, the last of them half full.
const SAMPLES: usize = 11;

fn config(output_dir: &Path, steps: usize) -> TrainingConfig {
    TrainingConfig {
        output_dir: output_dir.to_owned(),
        max_steps: steps,
        per_device_train_batch_size: 2,
        gradient_accumulation_steps: 4,
        learning_rate: 2e-3,
        logging_steps: 1,
        eval_steps: 10,
        save_steps: 10,
        loraplus_lr_ratio: 4.0,
        ..TrainingConfig::default()
    }
}

/// Losses by step, and evaluations.
#[derive(Default)]
struct Course {
    losses: Vec<f64>,
    evaluations: Vec<f64>,
    tokens: usize,
    stop_after: Option<usize>,
}

impl Observer for Course {
    fn on_step(&mut self, step: &StepReport) {
        self.losses.push(step.loss);
        self.tokens += step.tokens;
    }
    fn on_evaluate(&mut self, evaluation: &EvaluationReport<'_>) {
        self.evaluations.extend(evaluation.metrics.iter().map(|(_, value)| *value));
    }
    fn should_stop(&self) -> bool {
        self.stop_after.is_some_and(|last| self.losses.len() >= last)
    }
}

/// One process's part of a run.
fn part(
    base: &Path,
    config: &TrainingConfig,
    group: Option<&ThreadGroup>,
    data: &dyn Dataset,
    course: &mut Course,
    resume: Resume,
) -> Result<(TrainOutcome, Vec<u8>)> {
    let (mut model, validation) = (model(base, &lora()), samples(3));
    let cache = FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Float32);
    let mut trainer = Trainer::new(&mut model, config.clone())?
        .validation(&validation)
        .feature_cache(&cache)
        .observer(course)
        .resume(resume);
    if let Some(group) = group {
        trainer = trainer.group(group);
    }
    let outcome = trainer.run(data)?;
    if let Some(group) = group {
        group.leave();
    }
    let values = model.params().iter().flat_map(|param| param.value.to_vec());
    Ok((outcome, values.flat_map(f32::to_le_bytes).collect()))
}

type Parts = Vec<(Course, Result<(TrainOutcome, Vec<u8>)>)>;

/// A run of so many processes; the one of number `stops` asks for the end after so many steps.
fn run(
    base: &Path,
    config: &TrainingConfig,
    size: usize,
    stops: Option<(usize, usize)>,
    resume: &Resume,
) -> Parts {
    let data = samples(SAMPLES);
    std::thread::scope(|scope| {
        let process = |group: ThreadGroup| {
            let data = &data;
            scope.spawn(move || {
                let stop_after = stops.filter(|(rank, _)| *rank == group.rank()).map(|(_, after)| after);
                let mut course = Course { stop_after, ..Course::default() };
                let outcome = part(base, config, Some(&group), data, &mut course, resume.clone());
                (course, outcome)
            })
        };
        let processes: Vec<_> = threads(size).into_iter().map(process).collect();
        processes.into_iter().map(|process| process.join().unwrap()).collect()
    })
}

fn alone(base: &Path, config: &TrainingConfig, resume: Resume) -> (Course, TrainOutcome) {
    let mut course = Course::default();
    let (outcome, _) = part(base, config, None, &samples(SAMPLES), &mut course, resume).unwrap();
    (course, outcome)
}

fn assert_near(actual: &[f64], expected: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let apart = pq_testing::max_difference(actual, expected);
    assert!(apart <= TOLERANCE, "{what}: {apart:e} apart");
}

#[test]
fn any_number_of_processes_makes_the_steps_of_one() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let whole = alone(base.path(), &config(&dir.path().join("one"), 50), Resume::Never);
    assert_eq!(whole.0.losses.len(), 50);
    for size in [1, 2, 3, 4] {
        let config = |name: &str| config(&dir.path().join(format!("{size}-{name}")), 50);
        let parts = run(base.path(), &config("a"), size, None, &Resume::Never);
        for (course, outcome) in &parts {
            let (outcome, adapter) = outcome.as_ref().unwrap();
            assert_near(&course.losses, &whole.0.losses, &format!("losses of {size} processes"));
            assert_near(
                &course.evaluations,
                &whole.0.evaluations,
                &format!("evaluations of {size} processes"),
            );
            assert_eq!((course.tokens, outcome.steps), (whole.0.tokens, whole.1.steps));
            assert!(*adapter == parts[0].1.as_ref().unwrap().1, "every process ends with the same adapter");
        }
        // The same number of processes gives the same bits.
        let again = run(base.path(), &config("b"), size, None, &Resume::Never);
        assert_eq!(again[0].0.losses, parts[0].0.losses);
        assert!(again[0].1.as_ref().unwrap().1 == parts[0].1.as_ref().unwrap().1);
        let read =
            |name: &str| std::fs::read(config(name).output_dir.join("adapter_model.safetensors")).unwrap();
        assert!(read("a") == read("b"));
    }
    let of_one = std::fs::read(dir.path().join("one/adapter_model.safetensors")).unwrap();
    let of_group = std::fs::read(dir.path().join("1-a/adapter_model.safetensors")).unwrap();
    assert!(of_one == of_group, "a group of one is a process alone, to the bit");
}

#[test]
fn a_run_goes_on_with_another_number_of_processes() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let (whole, _) = alone(base.path(), &config(&dir.path().join("whole"), 24), Resume::Never);
    for (before, after, asks) in [(2, 1, 1), (1, 2, 0), (2, 3, 0), (4, 2, 3)] {
        let config = config(&dir.path().join(format!("{before}-{after}")), 24);
        // Any of the processes may be the one that is told to stop; all end at the same step.
        let begun = run(base.path(), &config, before, Some((asks, 13)), &Resume::Never);
        let ended = begun.iter().map(|(_, outcome)| outcome.as_ref().unwrap().0.clone());
        assert!(
            ended.map(|outcome| (outcome.status, outcome.steps)).all(|end| end == (RunStatus::Stopped, 13))
        );
        assert!(config.output_dir.join("checkpoints/step-13").is_dir());
        let rest = run(base.path(), &config, after, None, &Resume::Latest);
        for (course, outcome) in &rest {
            assert_eq!(outcome.as_ref().unwrap().0.status, RunStatus::Finished);
            assert_near(&course.losses, &whole.losses[13..], &format!("{before} processes, then {after}"));
        }
    }
}

/// Data of which one sample cannot be read.
struct Broken<'a>(&'a [Sample], Option<usize>);

impl Dataset for Broken<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn sample(&self, index: usize) -> Result<Sample> {
        if self.1 == Some(index) {
            return Err(Error::Image { reason: "it is torn".to_owned() });
        }
        Ok(self.0[index].clone())
    }
    fn fingerprint(&self) -> String {
        "eleven".to_owned()
    }
}

/// A process that fails ends the run in all of them, with the last whole step saved.
#[test]
fn one_that_fails_ends_the_run_with_a_checkpoint() {
    let (base, dir, all) = (base(), tempfile::tempdir().unwrap(), samples(SAMPLES));
    let mut sequential = config(&dir.path().join("whole"), 8);
    sequential.train_sampling_strategy = vlm_lora::SamplingStrategy::Sequential;
    let mut whole = Course::default();
    part(base.path(), &sequential, None, &Broken(&all, None), &mut whole, Resume::Never).unwrap();
    sequential.output_dir = dir.path().join("failed");
    let failed: Vec<Error> = std::thread::scope(|scope| {
        let (base, config, all) = (base.path(), &sequential, &all);
        let process = |group: ThreadGroup| {
            scope.spawn(move || {
                // Of the second window, of which the second process has the second batch.
                let data = Broken(all, (group.rank() == 1).then_some(10));
                let mut course = Course::default();
                part(base, config, Some(&group), &data, &mut course, Resume::Never).unwrap_err()
            })
        };
        let processes: Vec<_> = threads(2).into_iter().map(process).collect();
        processes.into_iter().map(|process| process.join().unwrap()).collect()
    });
    assert!(matches!(&failed[1], Error::Image { .. }), "{}", failed[1]);
    let told = failed[0].to_string();
    assert!(told.contains("process 1 of 2") && told.contains("it is torn"), "{told}");
    assert!(sequential.output_dir.join("checkpoints/step-1").is_dir(), "the last whole step is saved");
    let mut rest = Course::default();
    part(base.path(), &sequential, None, &Broken(&all, None), &mut rest, Resume::Latest).unwrap();
    assert_near(&rest.losses, &whole.losses[1..], "resumed by one process");
}

#[test]
fn processes_that_train_something_else_are_named() {
    let (base, dir, data) = (base(), tempfile::tempdir().unwrap(), samples(SAMPLES));
    let failed: Vec<String> = std::thread::scope(|scope| {
        let (base, dir, data) = (base.path(), dir.path(), &data);
        let process = |group: ThreadGroup| {
            scope.spawn(move || {
                let config = TrainingConfig { seed: 42 + group.rank() as u64 / 2, ..config(dir, 8) };
                let mut course = Course::default();
                part(base, &config, Some(&group), data, &mut course, Resume::Never).unwrap_err().to_string()
            })
        };
        let processes: Vec<_> = threads(3).into_iter().map(process).collect();
        processes.into_iter().map(|process| process.join().unwrap()).collect()
    });
    for told in failed {
        assert!(told.contains("process 2") && told.contains("`training.seed` is 43, not 42"), "{told}");
    }
    assert!(!dir.path().join("adapter_model.safetensors").exists());
}

#[test]
fn more_processes_than_passes_are_refused() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    for (_, outcome) in run(base.path(), &config(dir.path(), 8), 5, None, &Resume::Never) {
        let told = outcome.unwrap_err().to_string();
        assert!(told.contains("gradient_accumulation_steps") && told.contains("at least 5"), "{told}");
    }
}
