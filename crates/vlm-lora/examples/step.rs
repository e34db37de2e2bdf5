//! Times optimizer steps, or scoring, on SmolVLM-500M's geometry with random weights, and prints one JSON line.
//!
//! ```text
//! cargo run --release -p vlm-lora --example step -- --dtype bfloat16 --edge 1024 --steps 3
//!     [--batch N] [--answer N] [--threads N] [--ckpt] [--cached] [--forward-only] [--model DIR]
//! ```
//! `--edge 2048` is 13 tiles of a 16:9 slide, 1024 is 5, 512 is 1. `--cached` keeps the output of the vision tower after the
//! first step. `--forward-only` times the scoring of five criteria. `--model` takes weights from a checkpoint.
#![expect(clippy::print_stdout, reason = "the measurement is the output")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use vlm_lora::backend::Cpu;
use vlm_lora::{
    BaseModelConfig, Checkpoint, ChoiceAnswer, FeatureCache, FeaturePrecision, Item, LoraConfig, Model,
    ModelConfig, ModelDtype, Observer, Sample, Scorer, StepReport, Target, Tiles, Trainer, TrainingConfig,
};

type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;

const CONFIG: &str = r#"{
  "model_type": "idefics3", "image_token_id": 49190, "scale_factor": 4, "tie_word_embeddings": false,
  "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                    "image_size": 512, "patch_size": 16, "layer_norm_eps": 1e-6},
  "text_config": {"model_type": "llama", "vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560,
                  "num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 64,
                  "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "max_position_embeddings": 8192}
}"#;

#[derive(Debug, Clone)]
struct Options {
    dtype: ModelDtype,
    edge: usize,
    steps: usize,
    batch: usize,
    answer: usize,
    threads: usize,
    ckpt: bool,
    cached: bool,
    forward_only: bool,
    model: Option<PathBuf>,
}

impl Options {
    fn parse() -> AnyResult<Self> {
        let mut options = Self {
            dtype: ModelDtype::Float32,
            edge: 2048,
            steps: 3,
            batch: 1,
            answer: 40,
            threads: 2,
            ckpt: false,
            cached: false,
            forward_only: false,
            model: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--dtype" => options.dtype = serde_json::from_value(value()?.into())?,
                "--edge" => options.edge = value()?.parse()?,
                "--steps" => options.steps = value()?.parse()?,
                "--batch" => options.batch = value()?.parse()?,
                "--answer" => options.answer = value()?.parse()?,
                "--threads" => options.threads = value()?.parse()?,
                "--model" => options.model = Some(value()?.into()),
                "--device" => drop(value()?), // the CPU is the only one here
                "--ckpt" => options.ckpt = true,
                "--cached" => options.cached = true,
                "--forward-only" => options.forward_only = true,
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(options)
    }

    /// Rows and columns of the split of a 16:9 slide, as the peer's timer counts them.
    fn grid(&self) -> (usize, usize) {
        let (rows, cols) = ((self.edge * 9 / 16).div_ceil(512), (self.edge / 512).max(1));
        if rows * cols > 1 { (rows, cols) } else { (0, 0) }
    }

    /// The peer's tokens: markers, picture, 110 prompt tokens, the answer.
    fn sample(&self) -> Sample {
        let (rows, cols) = self.grid();
        let mut input_ids = vec![1];
        for row in 0..rows {
            for col in 0..cols {
                input_ids.extend([49189, 49152 + (row * 6 + col) as u32]);
                input_ids.extend([49190; 64]);
            }
            input_ids.push(198);
        }
        input_ids.extend([49189, 49152 + 40]);
        input_ids.extend([49190; 64]);
        input_ids.push(49189);
        input_ids.extend(100..210);
        let prompt = input_ids.len();
        input_ids.extend((0..self.answer).map(|i| 500 + i as u32));
        let hard =
            |position: usize| Target { position, tokens: vec![(input_ids[position], 1.0)], weight: 1.0 };
        let targets = (prompt..input_ids.len()).map(hard).collect();
        let mut noise = 1_u64;
        let data = (0..(rows * cols + 1) * 512 * 512 * 3).map(|_| (next(&mut noise) >> 56) as u8).collect();
        let tiles = Arc::new(Tiles { rows, cols, side: 512, data });
        Sample { input_ids, tiles, targets }
    }
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state
}

/// A checkpoint of random weights with the spread that transformers initialises with.
fn write_checkpoint(dir: &Path, dtype: ModelDtype) -> AnyResult<()> {
    std::fs::write(dir.join("config.json"), CONFIG)?;
    let (name, size) = if dtype == ModelDtype::Float32 { ("F32", 4) } else { ("BF16", 2) };
    let tensors = ModelConfig::open(dir)?.tensors();
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (tensor, shape) in &tensors {
        let start = end;
        end += shape.iter().product::<usize>() * size;
        let entry = serde_json::json!({"dtype": name, "shape": shape, "data_offsets": [start, end]});
        header.insert(tensor.clone(), entry);
    }
    let header = serde_json::to_vec(&header)?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(dir.join("model.safetensors"))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let mut noise = 7_u64;
    for (tensor, shape) in &tensors {
        let mean = f32::from(u8::from(tensor.contains("norm") && tensor.ends_with("weight")));
        let spread = if shape.len() == 1 { 0.0 } else { 0.02 * 3_f32.sqrt() };
        for _ in 0..shape.iter().product() {
            let uniform = (next(&mut noise) >> 40) as f32 / (1 << 23) as f32 - 1.0;
            let bits = (mean + spread * uniform).to_bits();
            file.write_all(&bits.to_le_bytes()[4 - size..])?;
        }
    }
    Ok(file.flush()?)
}

/// Keeps the time of each step.
struct Times<'a>(&'a mut Vec<f64>, &'a mut f64);

impl Observer for Times<'_> {
    fn on_step(&mut self, step: &StepReport) {
        self.0.push(step.elapsed.as_secs_f64());
        *self.1 = step.loss;
    }
}

/// Times of `steps` optimizer steps after a first one, and the last loss.
fn train(options: &Options, model: &mut Model<Cpu<f32>>, data: &Vec<Sample>) -> AnyResult<(Vec<f64>, f64)> {
    let dir = tempfile::tempdir()?;
    let config = TrainingConfig {
        max_steps: options.steps + 1,
        per_device_train_batch_size: options.batch,
        gradient_accumulation_steps: 1,
        save_steps: options.steps + 1,
        gradient_checkpointing: options.ckpt,
        output_dir: dir.path().to_owned(),
        ..TrainingConfig::default()
    };
    let cache = FeatureCache::new("random", FeaturePrecision::Bfloat16);
    let (mut times, mut loss) = (Vec::new(), 0.0);
    let trainer = Trainer::new(model, config)?.observer(Times(&mut times, &mut loss));
    if options.cached { trainer.feature_cache(&cache) } else { trainer }.run(data)?;
    Ok((times, loss))
}

/// Times of `steps` scorings of a batch on five criteria after a first one.
fn score(options: &Options, model: &Model<Cpu<f32>>, data: &[Sample]) -> AnyResult<Vec<f64>> {
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
    (0..=options.steps).map(|_| time()).collect()
}

/// Largest resident memory since it was last reset; 0 where the system does not say.
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
    let options = Options::parse()?;
    rayon::ThreadPoolBuilder::new().num_threads(options.threads).build_global()?;
    let (random, started) = (tempfile::tempdir()?, Instant::now());
    let dir = options.model.clone().unwrap_or_else(|| random.path().to_owned());
    if options.model.is_none() {
        write_checkpoint(&dir, options.dtype)?;
    }
    let write_s = started.elapsed().as_secs_f64();
    let checkpoint = Checkpoint::open(&dir)?;
    let base = BaseModelConfig { dtype: options.dtype, ..BaseModelConfig::default() };
    let backend = Cpu::<f32>::with_options(base.cpu_options(&checkpoint)?)?;
    let mut model = Model::load(Arc::new(backend), &checkpoint)?;
    let lora: LoraConfig = serde_json::from_str(r#"{"lora_dropout": 0.0}"#)?;
    model.attach(&lora, &checkpoint, 0)?;
    drop(checkpoint);
    let (load_s, load_peak_mib) = (started.elapsed().as_secs_f64() - write_s, peak_mib());
    let _ = std::fs::write("/proc/self/clear_refs", "5"); // the mapped file is not part of a step's memory

    let data = vec![options.sample(); options.batch];
    let (times, loss) = if options.forward_only {
        (score(&options, &model, &data)?, f64::NAN)
    } else {
        train(&options, &mut model, &data)?
    };
    let (rows, cols) = options.grid();
    let line = serde_json::json!({
        "dtype": options.dtype, "edge": options.edge, "tiles": rows * cols + 1, "tokens": data[0].input_ids.len(),
        "batch": options.batch, "ckpt": options.ckpt, "cached": options.cached,
        "params": model.config().tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>(),
        "trainable": model.trainable_parameters(), "forward_only": options.forward_only, "threads": options.threads,
        "backend": vlm_lora::backend::Backend::name(&**model.backend()), "loss": loss, "load_s": load_s,
        "first_s": times[0], "step_s": median(&times[1..]), "peak_mib": peak_mib(), "load_peak_mib": load_peak_mib,
    });
    println!("{line}");
    Ok(())
}
