//! What is timed: optimizer steps, a whole run, scoring, products.

use std::time::{Duration, Instant};

use process_group::{ProcessGroup as _, TcpGroup, TcpOptions};
use safetensors::Dtype;
use vlm_lora::Stored;
use vlm_lora::backend::Backend;
use vlm_lora::{
    ChoiceAnswer, Dataset, FeatureCache, FeaturePrecision, Fingerprint, Item, LrSchedulerType, Model,
    Observer, Sample, Scorer, StepReport, Tiles, Trainer, TrainingConfig,
};

use super::AnyResult;
use super::inputs::Slides;
use super::options::Options;

/// Time, loss and gradient norm of each step.
#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) times: Vec<f64>,
    pub(crate) losses: Vec<f64>,
    pub(crate) norms: Vec<f64>,
}

struct Watch<'a>(&'a mut Steps);

impl Observer for Watch<'_> {
    fn on_step(&mut self, step: &StepReport) {
        self.0.times.push(step.elapsed.as_secs_f64());
        self.0.losses.push(step.loss);
        self.0.norms.push(step.grad_norm);
    }
}

/// A first optimizer step and `steps` more, or with `--slides` all steps of a run that ends with a saved adapter.
pub(crate) fn train<B: Backend>(options: &Options, model: &mut Model<B>) -> AnyResult<Steps> {
    let dir = tempfile::tempdir()?;
    let is_run = options.slides > 0;
    let max_steps = if is_run { 0 } else { options.steps + 1 };
    let config = TrainingConfig {
        max_steps,
        num_train_epochs: options.epochs,
        per_device_train_batch_size: options.batch,
        gradient_accumulation_steps: options.passes,
        lr_scheduler_type: LrSchedulerType::Constant,
        warmup_ratio: 0.0,
        save_steps: max_steps,
        eval_steps: max_steps,
        dataloader_num_workers: if is_run { options.threads.max(1) } else { 2 },
        gradient_checkpointing: options.ckpt,
        output_dir: dir.path().to_owned(),
        ..TrainingConfig::default()
    };
    let cache = FeatureCache::new(Fingerprint::of_bytes(b"random"), FeaturePrecision::Bfloat16);
    let mut steps = Steps::default();
    let trainer = Trainer::new(model, config)?.observer(Watch(&mut steps));
    let trainer = if options.cached { trainer.feature_cache(&cache) } else { trainer };
    let group = if options.of > 1 { Some(join(options)?) } else { None };
    let trainer = match &group {
        Some(group) => trainer.group(group),
        None => trainer,
    };
    if is_run {
        trainer.run(&Slides(options))?;
    } else {
        trainer.run(&vec![Slides(options).sample(0)?; options.batch * options.passes])?;
    }
    if let Some(group) = group {
        group.leave();
    }
    Ok(steps)
}

/// The other processes of a run on this machine.
fn join(options: &Options) -> AnyResult<TcpGroup> {
    let (host, job, patience) = ("127.0.0.1".to_owned(), "step".to_owned(), Duration::from_mins(2));
    let &Options { rank, of: size, port, .. } = options;
    Ok(TcpGroup::join(&TcpOptions { rank, size, host, port, job, patience })?)
}

/// Times of `steps` scorings of a batch on five criteria after a first one.
pub(crate) fn score<B: Backend>(options: &Options, model: &Model<B>) -> AnyResult<Steps> {
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
    let questions = vec![bare(&Slides(options).sample(0)?); options.batch];
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

/// Rounds of products that are timed, and products in each. A GPU is waited for at the end of a round.
const CPU_ROUNDS: (usize, usize) = (20, 1);
const GPU_ROUNDS: (usize, usize) = (5, 50);

/// The fastest of some products of a batch with a frozen matrix, in GFLOP/s.
pub(crate) fn rate<B: Backend>(options: &Options, backend: &B) -> AnyResult<f64> {
    let is_gpu = options.is_gpu();
    let shapes = if is_gpu {
        [(8192, 2560, 960), (8192, 8192, 8192)]
    } else {
        [(1024, 2560, 960), (2048, 2048, 2048)]
    };
    let (rounds, each) = if is_gpu { GPU_ROUNDS } else { CPU_ROUNDS };
    let (mut best, one) = (0.0_f64, backend.zeros(1)?);
    for (m, n, k) in shapes {
        let bytes: Vec<u8> = (0..2 * n * k).map(|i| if i % 2 == 0 { 0 } else { 0x3f }).collect();
        let weight = backend.weight(Stored { dtype: Dtype::BF16, bytes: &bytes }, n, k)?;
        let (x, mut y) = (backend.upload(&vec![0.5; m * k])?, backend.zeros(m * n)?);
        for _ in 0..rounds {
            let started = Instant::now();
            for _ in 0..each {
                backend.linear(&x, m, &weight, None, &mut y)?;
            }
            if is_gpu {
                backend.sum_squares(&[&one])?.wait()?; // waits for what is queued
            }
            best = best.max(2e-9 * (each * m * n * k) as f64 / started.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}
