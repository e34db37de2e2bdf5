//! Times optimizer steps, or scoring, on SmolVLM-500M's geometry with random weights, and prints one JSON line.
//!
//! ```text
//! cargo run --release -p vlm-lora --example step -- --dtype bfloat16 --edge 1024 --steps 3
//!     [--batch N] [--answer N] [--threads N] [--ckpt] [--cached] [--forward-only] [--load-in-8bit]
//!     [--isa plain|avx2|avx512] [--model DIR] [--write DIR] [--rate]
//! ```
//! `--edge 2048` is 13 tiles of a 16:9 slide, 1024 is 5, 512 is 1. `--cached` keeps the output of the vision tower after the
//! first step. `--forward-only` times the scoring of five criteria. `--write` writes random weights with an adapter to a
//! directory and ends; `--model` takes them from there. `--rate` times matrix products instead. `benches/peer` runs this beside the Python peer.
#![expect(clippy::print_stdout, reason = "the measurement is the output")]

mod inputs;
mod options;
mod random;

use std::sync::Arc;
use std::time::Instant;

use vlm_lora::backend::{Backend as _, BaseDtype, Cpu, CpuOptions, Stored};
use vlm_lora::candle_core::DType;
use vlm_lora::{
    BaseModelConfig, Checkpoint, ChoiceAnswer, FeatureCache, FeaturePrecision, Item, LrSchedulerType, Model,
    ModelDtype, Observer, PeftAdapter, Sample, Scorer, StepReport, Tiles, Trainer, TrainingConfig,
};

use options::Options;

type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;

/// Time, loss and gradient norm of each step.
#[derive(Default)]
struct Steps {
    times: Vec<f64>,
    losses: Vec<f64>,
    norms: Vec<f64>,
}

struct Watch<'a>(&'a mut Steps);

impl Observer for Watch<'_> {
    fn on_step(&mut self, step: &StepReport) {
        self.0.times.push(step.elapsed.as_secs_f64());
        self.0.losses.push(step.loss);
        self.0.norms.push(step.grad_norm);
    }
}

/// A first optimizer step and `steps` more.
fn train(options: &Options, model: &mut Model<Cpu<f32>>, data: &Vec<Sample>) -> AnyResult<Steps> {
    let dir = tempfile::tempdir()?;
    let config = TrainingConfig {
        max_steps: options.steps + 1,
        per_device_train_batch_size: options.batch,
        gradient_accumulation_steps: 1,
        lr_scheduler_type: LrSchedulerType::Constant,
        warmup_ratio: 0.0,
        save_steps: options.steps + 1,
        eval_steps: options.steps + 1,
        gradient_checkpointing: options.ckpt,
        output_dir: dir.path().to_owned(),
        ..TrainingConfig::default()
    };
    let cache = FeatureCache::new("random", FeaturePrecision::Bfloat16);
    let mut steps = Steps::default();
    let trainer = Trainer::new(model, config)?.observer(Watch(&mut steps));
    if options.cached { trainer.feature_cache(&cache) } else { trainer }.run(data)?;
    Ok(steps)
}

/// Times of `steps` scorings of a batch on five criteria after a first one.
fn score(options: &Options, model: &Model<Cpu<f32>>, data: &[Sample]) -> AnyResult<Steps> {
    let names = ["Clarity", "Design", "Data visualization", "Readability", "Content quality"];
    let answer = ChoiceAnswer::lines(&names, &["1", "2", "3", "4", "5"])?;
    // about as many tokens as the real tokenizer makes: a word, a colon, a space, a digit, a newline
    let id = |piece: &str| 300 + piece.bytes().fold(0, |hash, byte| (hash * 31 + u32::from(byte)) % 4000);
    let pieces = |text: &str| Ok(text.split_inclusive([' ', ':', '\n']).map(id).collect());
    let tokens = answer.tokens(&[true; 5], pieces)?;
    let bare = |sample: &Sample| {
        let prompt = sample.targets.first().map_or(sample.input_ids.len(), |target| target.position);
        Sample { input_ids: sample.input_ids[..prompt].to_vec(), targets: Vec::new(), ..sample.clone() }
    };
    let questions: Vec<Sample> = data.iter().map(bare).collect();
    let features: Vec<_> = if options.cached {
        let tiles: Vec<&Tiles> = questions.iter().map(|sample| &*sample.tiles).collect();
        model.image_features(&tiles)?.into_iter().map(Some).collect()
    } else {
        vec![None; questions.len()]
    };
    let items: Vec<Item<'_>> = questions
        .iter()
        .zip(&features)
        .map(|(sample, features)| Item { sample, features: features.as_ref() })
        .collect();
    let scorer = Scorer::new(model, &tokens);
    let time = || {
        let started = Instant::now();
        scorer.score(&items)?;
        Ok(started.elapsed().as_secs_f64())
    };
    let times = (0..=options.steps).map(|_| time()).collect::<AnyResult<_>>()?;
    Ok(Steps { times, ..Steps::default() })
}

/// The fastest of some products of a batch with a frozen matrix, in GFLOP/s.
fn rate(options: &Options) -> AnyResult<f64> {
    let base = if options.dtype == ModelDtype::Bfloat16 { BaseDtype::Bf16 } else { BaseDtype::Full };
    let backend = Cpu::<f32>::with_options(CpuOptions { base, isa: options.isa, ..CpuOptions::default() })?;
    let mut best = 0.0_f64;
    for (m, n, k) in [(1024, 2560, 960), (2048, 2048, 2048)] {
        let bytes: Vec<u8> = (0..2 * n * k).map(|i| if i % 2 == 0 { 0 } else { 0x3f }).collect();
        let weight = backend.weight(Stored { dtype: DType::BF16, bytes: &bytes }, n, k, true)?;
        let (x, mut y) = (backend.upload(&vec![0.5; m * k])?, backend.zeros(m * n)?);
        for _ in 0..20 {
            let started = Instant::now();
            backend.linear(&x, m, &weight, None, &mut y)?;
            best = best.max(2e-9 * (m * n * k) as f64 / started.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}

/// Largest resident memory of the process; 0 where the system does not say.
fn peak_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) / 1024
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> AnyResult<()> {
    let (options, started) = (Options::parse()?, Instant::now());
    if let Some(dir) = &options.write {
        return inputs::write(dir);
    }
    rayon::ThreadPoolBuilder::new().num_threads(options.threads).build_global()?;
    if options.rate {
        println!("{}", serde_json::json!({"rate": rate(&options)?}));
        return Ok(());
    }
    let random = tempfile::tempdir()?;
    let dir = options.model.as_deref().unwrap_or(random.path());
    if options.model.is_none() {
        inputs::write(dir)?;
    }
    let write_s = started.elapsed().as_secs_f64();
    let checkpoint = Checkpoint::open(dir)?;
    let base = BaseModelConfig {
        dtype: options.dtype,
        load_in_8bit: options.load_in_8bit,
        ..BaseModelConfig::default()
    };
    let backend = CpuOptions { isa: options.isa, ..base.cpu_options(&checkpoint)? };
    let mut model = Model::load(Arc::new(Cpu::<f32>::with_options(backend)?), &checkpoint)?;
    model.attach_adapter(&PeftAdapter::open(dir.join("adapter"), checkpoint.config())?)?;
    drop(checkpoint);
    let (load_s, load_peak_mib) = (started.elapsed().as_secs_f64() - write_s, peak_mib());

    let data = vec![inputs::sample(&options); options.batch];
    let before_s = started.elapsed().as_secs_f64() - write_s;
    let steps = if options.forward_only {
        score(&options, &model, &data)?
    } else {
        train(&options, &mut model, &data)?
    };
    let Steps { times, losses, norms } = steps;
    let tokens = data[0].input_ids.len() * options.batch;
    let (tiles, step_s) = (data[0].tiles.count(), median(&times[1..]));
    let line = serde_json::json!({
        "dtype": options.dtype, "load_in_8bit": options.load_in_8bit, "edge": options.edge, "tiles": tiles,
        "tokens": tokens, "batch": options.batch, "ckpt": options.ckpt, "cached": options.cached,
        "params": model.base_parameters(), "trainable": model.trainable_parameters(),
        "forward_only": options.forward_only, "threads": options.threads,
        "backend": model.backend().name(), "losses": losses, "grad_norms": norms,
        "load_s": load_s, "to_first_step_s": before_s + times[0], "first_s": times[0], "step_s": step_s,
        "times_s": times, "peak_mib": peak_mib(), "load_peak_mib": load_peak_mib,
    });
    println!("{line}");
    Ok(())
}
