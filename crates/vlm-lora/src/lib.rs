//! LoRA fine-tuning, scoring and merging of SmolVLM (Idefics3) vision-language models.
//!
//! The passes are explicit: every block has a `forward` that keeps exactly what its `backward` needs, over a small
//! [`backend`] trait. The frozen base never gets a gradient. The library prints nothing, reads no environment variable
//! and keeps no setting for the whole process.
//!
//! A frozen projection computes `y = x·Wᵀ`; its adapter adds `(lora_alpha / r)·(x·Aᵀ)·Bᵀ` with `A: (r, in)` and
//! `B: (out, r)`. Checkpoints are Hugging Face directories, adapters are PEFT's files, settings carry the names that
//! transformers and PEFT give them.
//!
//! From a checkpoint and an image to a trained adapter, scores and a merged model:
//!
//! ```
//! use std::sync::Arc;
//! use vlm_lora::backend::Cpu;
//! use vlm_lora::{
//!     Checkpoint, ChoiceAnswer, Item, LoraConfig, Model, Observer, Processor, Scorer, StepReport, Trainer,
//!     TrainingConfig, merge,
//! };
//!
//! /// Is told what the run does.
//! struct Losses(Vec<f64>);
//!
//! impl Observer for Losses {
//!     fn on_step(&mut self, step: &StepReport) {
//!         self.0.push(step.loss);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/parity/text-all/model");
//! # let out = tempfile::tempdir()?;
//! # let output_dir = out.path().join("run");
//! // load
//! let checkpoint = Checkpoint::open(model_dir)?;
//! let mut model = Model::load(Arc::new(Cpu::<f32>::new()), &checkpoint)?;
//!
//! // process: an image and what should be said about it
//! let processor = Processor::open(model_dir, Some(128))?;
//! let answer = ChoiceAnswer::lines(&["Clarity", "Design"], &["1", "2", "3", "4", "5"])?;
//! let tiles = Arc::new(processor.tiles(&image::DynamicImage::new_rgb8(320, 180))?);
//! let mut sample = processor.sample(&tiles, "Rate this.", Some(&answer.text(&[Some(3), Some(0)])))?;
//!
//! // two of three raters said 4 for clarity: the slots learn distributions
//! let tokens = answer.tokens(&[true, true], |text| processor.answer_ids(text))?;
//! let raters = [vec![0.0, 0.0, 1.0 / 3.0, 2.0 / 3.0, 0.0], vec![1.0, 0.0, 0.0, 0.0, 0.0]];
//! tokens.set_soft_targets(&mut sample, &raters, 2.0)?;
//!
//! // adapt and train
//! model.attach(&LoraConfig::default(), &checkpoint, 42)?;
//! let config = TrainingConfig { max_steps: 4, learning_rate: 1e-2, output_dir, ..TrainingConfig::default() };
//! let mut losses = Losses(Vec::new());
//! let outcome = Trainer::new(&mut model, config)?.observer(&mut losses).run(&vec![sample])?;
//! assert_eq!(outcome.steps, 4);
//! assert!(losses.0[3] < losses.0[0]);
//!
//! // score: one distribution over 1 to 5 for each line
//! let question = processor.sample(&tiles, "Rate this.", None)?;
//! let scores = Scorer::new(&model, &tokens).score(&[Item { sample: &question, features: None }])?;
//! assert!((scores[0][0].iter().sum::<f64>() - 1.0).abs() < 1e-9);
//!
//! // merge into a checkpoint that needs no adapter
//! # let merged_dir = out.path().join("merged");
//! merge(&checkpoint, &model.adapter()?, merged_dir)?;
//! # Ok(())
//! # }
//! ```

pub mod backend;
#[cfg(feature = "candle")]
mod candle;
mod checkpoint;
mod config;
mod error;
mod feature_cache;
mod files;
mod fingerprint;
#[cfg(feature = "hub")]
pub mod hub;
mod infer;
mod key;
mod lora;
pub mod memory;
mod model;
mod patches;
mod processor;
mod rotary;
mod sample;
mod stored;
mod train;

#[cfg(feature = "candle")]
pub use candle_core;
pub use checkpoint::Checkpoint;
pub use config::{ModelConfig, TextConfig, VisionConfig};
pub use error::{Error, Result};
pub use feature_cache::{FeatureCache, FeatureKey, FeaturePrecision, FeatureTally, prune_features};
pub use fingerprint::{
    BaseIdentity, CheckpointFingerprint, ElementType, Fingerprint, FingerprintCache, FingerprintError,
    FingerprintScheme, WeightDevice, WeightFormat,
};
pub use infer::{
    ChoiceAnswer, ChoiceTokens, Distribution, Generation, Scorer, Slot, choice_probabilities, generate,
};
pub use lora::{
    AdapterOrigin, AdapterSpec, AdapterWeights, InitLoraWeights, LoraConfig, Module, OneOrMany, PeftAdapter,
    Principal, TEXT_LINEARS, merge, unmerge,
};
pub use model::{Features, IntegerCheck, Item, KvCache, LossSum, Model, Param, Prompt, StepMode};
pub use processor::{Encoded, Processor, pixel_values};
pub use rotary::{Llama3Scaling, Rotary};
pub use safetensors;
pub use sample::{Sample, Target, Tiles};
pub use stored::Stored;
pub use train::run_plan as plan;
pub use train::{
    BaseModelConfig, BatchSize, BestMetric, CheckpointReport, ChosenDevice, Dataset, EvaluationReport,
    Evaluator, Extension, GpuSettings, LogReport, LrSchedule, LrSchedulerType, MemoryPlan, Metrics,
    ModelDtype, Observer, Place, Resume, RunStart, RunStatus, SamplingStrategy, StepReport, TrainOutcome,
    Trainer, TrainingConfig,
};
