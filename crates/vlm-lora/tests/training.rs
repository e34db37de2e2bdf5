//! The training loop on a tiny random model: resumption to the bit, early stopping, limits, refusals.

#![expect(clippy::unwrap_used, reason = "whatever cannot be unwrapped fails its test")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::{model, samples, write_checkpoint};
use vlm_lora::backend::Cpu;
use vlm_lora::{
    BaseIdentity, Checkpoint, CheckpointFingerprint, Error, FeatureCache, FeaturePrecision, Fingerprint,
    LoraConfig, Metrics, Model, Observer, Result, Resume, RunStatus, Sample, StepReport, TrainOutcome,
    Trainer, TrainingConfig, WeightFormat,
};

fn base() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_checkpoint(dir.path());
    dir
}

/// Dropout on, so that a wrong seed after a resumption would show.
fn lora() -> LoraConfig {
    lora_of_rank(2)
}

fn lora_of_rank(r: usize) -> LoraConfig {
    toml::from_str(&format!("r = {r}\nlora_alpha = 4\nlora_dropout = 0.2\nuse_dora = true")).unwrap()
}

fn config(output_dir: &Path) -> TrainingConfig {
    TrainingConfig {
        output_dir: output_dir.to_owned(),
        num_train_epochs: 3.0,
        per_device_train_batch_size: 2,
        gradient_accumulation_steps: 2,
        learning_rate: 5e-3,
        warmup_ratio: 0.2,
        logging_steps: 2,
        eval_steps: 3,
        save_steps: 4,
        loraplus_lr_ratio: 4.0,
        ..TrainingConfig::default()
    }
}

/// Asks for the end after so many steps.
struct StopAfter(usize, usize);

impl Observer for StopAfter {
    fn on_step(&mut self, step: &StepReport) {
        self.1 = step.step;
    }
    fn should_stop(&self) -> bool {
        self.1 >= self.0
    }
}

fn run(base: &Path, config: &TrainingConfig, stop: usize, resume: Resume) -> Result<TrainOutcome> {
    let (mut model, data, validation) = (model(base, &lora()), samples(7), samples(3));
    Trainer::new(&mut model, config.clone())?
        .validation(&validation)
        .observer(StopAfter(stop, 0))
        .resume(resume)
        .run(&data)
}

/// The files of a run that must not depend on interruptions, without measured times.
fn traces(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: &str| (name.to_owned(), std::fs::read(dir.join(name)).unwrap());
    let mut files: BTreeMap<_, _> = ["adapter_model.safetensors", "adapter_config.json"].map(read).into();
    let metrics = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    for (index, line) in metrics.lines().enumerate() {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("tokens_per_second");
        files.insert(format!("metrics {index}"), line.to_string().into_bytes());
    }
    files
}

#[test]
fn a_run_that_is_stopped_after_any_step_and_resumed_equals_the_whole_run_to_the_bit() {
    let (base, whole) = (base(), tempfile::tempdir().unwrap());
    let outcome = run(base.path(), &config(whole.path()), usize::MAX, Resume::Never).unwrap();
    assert_eq!((outcome.status, outcome.steps, outcome.total_steps), (RunStatus::Finished, 6, 6));
    let expected = traces(whole.path());
    assert!(expected.len() >= 2 + 3 + 2);
    for stop in 1..6 {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let part = run(base.path(), &config, stop, Resume::Never).unwrap();
        assert_eq!((part.status, part.steps), (RunStatus::Stopped, stop));
        let rest = run(base.path(), &config, usize::MAX, Resume::Latest).unwrap();
        assert_eq!(
            (rest.status, &rest.best, rest.tokens),
            (RunStatus::Finished, &outcome.best, outcome.tokens)
        );
        assert_eq!(rest.train_loss.to_bits(), outcome.train_loss.to_bits());
        assert!(traces(dir.path()) == expected, "stopped after step {stop}");
    }
}

#[test]
fn a_run_can_go_back_to_an_earlier_checkpoint() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let config = TrainingConfig { save_steps: 2, save_total_limit: 0, ..config(dir.path()) };
    run(base.path(), &config, usize::MAX, Resume::Never).unwrap();
    let expected = traces(dir.path());
    let earlier = Resume::From(dir.path().join("checkpoints/step-2"));
    run(base.path(), &config, usize::MAX, earlier).unwrap();
    assert!(traces(dir.path()) == expected);
}

#[test]
fn recomputation_decoding_threads_and_logging_do_not_change_a_run() {
    let (base, one, two) = (base(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(base.path(), &config(one.path()), usize::MAX, Resume::Never).unwrap();
    let other = TrainingConfig {
        gradient_checkpointing: true,
        dataloader_num_workers: 5,
        save_total_limit: 1,
        ..config(two.path())
    };
    run(base.path(), &other, usize::MAX, Resume::Never).unwrap();
    assert!(traces(one.path()) == traces(two.path()));
}

#[test]
fn cached_features_do_not_change_a_run() {
    let (base, one, two) = (base(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (data, validation, kept) = (samples(7), samples(3), tempfile::tempdir().unwrap());
    let train = |dir: &Path, cache: Option<&FeatureCache>| {
        let mut model = model(base.path(), &lora());
        let trainer = Trainer::new(&mut model, config(dir)).unwrap().validation(&validation);
        match cache {
            Some(cache) => trainer.feature_cache(cache).run(&data),
            None => trainer.run(&data),
        }
        .unwrap();
        traces(dir)
    };
    let plain = train(one.path(), None);
    for (pass, budget) in [(0, 0), (1, 0), (2, 1 << 20)] {
        let cache = FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Float32)
            .on_disk(kept.path())
            .memory_budget(budget);
        let dir = two.path().join(pass.to_string());
        assert!(train(&dir, Some(&cache)) == plain, "pass {pass}");
    }
}

#[test]
fn a_run_is_not_resumed_over_other_inputs() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let config = config(dir.path());
    run(base.path(), &config, 2, Resume::Never).unwrap();
    let message = |error: Result<TrainOutcome>| error.unwrap_err().to_string();

    let faster = TrainingConfig { learning_rate: 1.0, ..config.clone() };
    let text = message(run(base.path(), &faster, usize::MAX, Resume::Latest));
    assert!(text.contains("`training.learning_rate` was 0.005 and is now 1.0"), "{text}");
    let text = message(run(base.path(), &config, usize::MAX, Resume::Never));
    assert!(text.contains("in use"), "{text}");

    let (mut narrow, data) = (model(base.path(), &lora()), samples(7));
    let resumed = Trainer::new(&mut narrow, config.clone()).unwrap().resume(Resume::Latest);
    assert!(message(resumed.run(&data)).contains("the validation data"));
    let (mut wide, validation) = (model(base.path(), &lora_of_rank(3)), samples(3));
    let resumed =
        Trainer::new(&mut wide, config.clone()).unwrap().validation(&validation).resume(Resume::Latest);
    assert!(message(resumed.run(&data)).contains("`lora.r` was 2 and is now 3"));
    let mut named = model(base.path(), &lora());
    let checkpoint = Checkpoint::open(base.path()).unwrap();
    let checkpoint = CheckpointFingerprint {
        weights: checkpoint.fingerprint(),
        processor: Fingerprint::of_bytes(b"processor"),
    };
    let resumed = Trainer::new(&mut named, config.clone()).unwrap().resume(Resume::Latest);
    let resumed = resumed
        .validation(&validation)
        .base_identity(BaseIdentity { checkpoint, format: WeightFormat::default() });
    assert!(message(resumed.run(&data)).contains("base model"));
    let empty = tempfile::tempdir().unwrap();
    let nothing = TrainingConfig { output_dir: empty.path().to_owned(), ..config };
    assert!(message(run(base.path(), &nothing, usize::MAX, Resume::Latest)).contains("no checkpoint"));
}

/// The first version hashed only the beginnings of the base's files, so its runs cannot be told from those of another base.
#[test]
fn a_run_of_the_first_version_is_refused_in_words() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let config = config(dir.path());
    run(base.path(), &config, 2, Resume::Never).unwrap();
    let path = dir.path().join("checkpoints/step-2/trainer_state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(state["schema_version"], 2);
    state["schema_version"] = 1.into();
    state["identity"]["base"] = "cfa5939579cd463e".into();
    state["identity"]["adapter"] = "0f".repeat(32).into();
    std::fs::write(&path, state.to_string()).unwrap();
    let error =
        run(base.path(), &config, usize::MAX, Resume::From(path.parent().unwrap().into())).unwrap_err();
    assert!(matches!(error, Error::Resume { .. }), "{error}");
    assert!(
        error.to_string().contains("an earlier version") && error.to_string().contains("begin a new run")
    );
}

/// An evaluator that gives these values one after the other.
fn scripted(values: &'static [f64]) -> impl FnMut(&Model<Cpu<f32>>) -> Result<Metrics> {
    let mut next = values.iter();
    move |_| Ok(vec![("mae".to_owned(), *next.next().unwrap()), ("share".to_owned(), 0.5)])
}

#[test]
fn the_best_adapter_is_kept_and_a_run_without_improvement_ends_early() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let config = TrainingConfig {
        max_steps: 20,
        eval_steps: 1,
        save_steps: 1,
        save_total_limit: 1,
        early_stopping_patience: 3,
        ..config(dir.path())
    };
    let (mut model, data) = (model(base.path(), &lora()), samples(4));
    let outcome = Trainer::new(&mut model, config)
        .unwrap()
        .evaluator(scripted(&[0.9, 0.5, f64::NAN, 0.6, 0.5, 0.1]))
        .run(&data)
        .unwrap();
    assert_eq!((outcome.status, outcome.steps), (RunStatus::EarlyStopped, 5));
    let best = outcome.best.unwrap();
    assert_eq!((best.metric.as_str(), best.value, best.step), ("eval_mae", 0.5, 2));
    let mut kept: Vec<String> = std::fs::read_dir(dir.path().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["step-2", "step-5"]);
    let weights = |path: &str| std::fs::read(dir.path().join(path)).unwrap();
    let best = weights("checkpoints/step-2/adapter_model.safetensors");
    assert!(weights("adapter_model.safetensors") == best);
    assert!(weights("checkpoints/step-5/adapter_model.safetensors") != best);
    let saved = tempfile::tempdir().unwrap();
    model.adapter().unwrap().save(saved.path()).unwrap();
    assert!(std::fs::read(saved.path().join("adapter_model.safetensors")).unwrap() == best);
}

#[test]
fn a_flag_stops_a_run_before_its_first_step_and_it_can_be_resumed() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let (mut model, data, flag) = (model(base.path(), &lora()), samples(4), Arc::new(AtomicBool::new(true)));
    let outcome =
        Trainer::new(&mut model, config(dir.path())).unwrap().observer(Arc::clone(&flag)).run(&data).unwrap();
    assert_eq!((outcome.status, outcome.steps), (RunStatus::Stopped, 0));
    flag.store(false, Ordering::Relaxed);
    let trainer = Trainer::new(&mut model, config(dir.path())).unwrap().observer(flag).resume(Resume::Latest);
    assert_eq!(trainer.run(&data).unwrap().status, RunStatus::Finished);
}

/// Samples that fail from the given call on.
struct Failing(Vec<Sample>, AtomicUsize);

impl vlm_lora::Dataset for Failing {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn sample(&self, index: usize) -> Result<Sample> {
        if self.1.fetch_add(1, Ordering::Relaxed) >= 9 {
            return Err(Error::Image { reason: "the disk is gone".to_owned() });
        }
        Ok(self.0[index].clone())
    }
    fn fingerprint(&self) -> String {
        "seven".to_owned()
    }
}

#[test]
fn a_failing_sample_ends_the_run_with_its_error_and_a_checkpoint() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let mut model = model(base.path(), &lora());
    let data = Failing(samples(7), AtomicUsize::new(0));
    let config = TrainingConfig { dataloader_num_workers: 1, ..config(dir.path()) };
    let error = Trainer::new(&mut model, config).unwrap().run(&data).unwrap_err();
    assert!(error.to_string().contains("the disk is gone"));
    assert!(dir.path().join("checkpoints/step-2/trainer_state.json").exists());
}

#[test]
fn numbers_that_are_not_finite_end_the_run_before_they_reach_the_adapter() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let (mut model, mut data) = (model(base.path(), &lora()), samples(4));
    data[2].targets[0].weight = f32::MAX;
    let config = TrainingConfig { max_grad_norm: 0.0, ..config(dir.path()) };
    let finite = Trainer::new(&mut model, config.clone()).unwrap().run(&data).unwrap();
    assert!(finite.train_loss.is_finite());

    let backend = Arc::clone(model.backend());
    let wild = vec![f32::MAX; model.params()[0].elements()];
    model.params_mut()[0].value = vlm_lora::backend::Kernels::upload(&*backend, &wild).unwrap();
    let config = TrainingConfig { output_dir: dir.path().join("second"), ..config };
    let error = Trainer::new(&mut model, config).unwrap().run(&samples(4)).unwrap_err();
    assert!(matches!(error, Error::NotFinite { step: 1, .. }), "{error}");
}

#[test]
fn samples_without_supervision_and_empty_datasets_are_refused() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let mut model = model(base.path(), &lora());
    let mut data = samples(2);
    for sample in &mut data {
        sample.targets.clear();
    }
    let error = Trainer::new(&mut model, config(dir.path())).unwrap().run(&data).unwrap_err().to_string();
    assert!(error.contains("no supervised token"), "{error}");
    let none: Vec<Sample> = Vec::new();
    assert!(Trainer::new(&mut model, config(dir.path())).unwrap().run(&none).is_err());
    model.detach();
    assert!(Trainer::new(&mut model, config(dir.path())).is_err());
}

#[test]
fn a_tiny_model_overfits_one_batch() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let lora: LoraConfig = toml::from_str("r = 8\nlora_alpha = 16\nlora_dropout = 0.0").unwrap();
    let (mut model, data) = (model(base.path(), &lora), samples(4));
    let config = TrainingConfig {
        max_steps: 400,
        per_device_train_batch_size: 4,
        gradient_accumulation_steps: 1,
        learning_rate: 1e-2,
        weight_decay: 0.0,
        eval_steps: 400,
        save_steps: 400,
        ..config(dir.path())
    };
    let outcome = Trainer::new(&mut model, config).unwrap().validation(&data).run(&data).unwrap();
    let loss = outcome.best.unwrap().value;
    assert!(loss < 0.02, "{loss}");
}

#[test]
fn soft_targets_are_learnt_as_distributions() {
    let (base, dir) = (base(), tempfile::tempdir().unwrap());
    let lora: LoraConfig = toml::from_str("r = 8\nlora_alpha = 16\nlora_dropout = 0.0").unwrap();
    let (mut model, mut data) = (model(base.path(), &lora), samples(1));
    data[0].targets.truncate(1);
    data[0].targets[0].tokens = vec![(10, 0.5), (11, 0.3), (12, 0.2)];
    let position = data[0].targets[0].position;
    let config = TrainingConfig {
        max_steps: 800,
        learning_rate: 1e-2,
        weight_decay: 0.0,
        eval_steps: 800,
        save_steps: 800,
        ..config(dir.path())
    };
    Trainer::new(&mut model, config).unwrap().run(&data).unwrap();
    let item = vlm_lora::Item { sample: &data[0], features: None };
    let logits = model.logits(item, &[position - 1]).unwrap();
    let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
    for (token, expected) in [(10, 0.5), (11, 0.3), (12, 0.2)] {
        let actual = logits[token].exp() / sum;
        assert!((actual - expected).abs() < 0.03, "token {token}: {actual}");
    }
}
