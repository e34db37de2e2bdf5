//! LoRA fine-tuning, scoring and merging of SmolVLM (Idefics3) vision-language models.
//!
//! The passes are explicit: every block has a `forward` that keeps exactly what its `backward` needs, over a small
//! [`backend`] trait. The frozen base never gets a gradient. The library prints nothing, reads no environment variable and
//! holds no global state.

pub mod backend;
mod cache;
mod checkpoint;
mod config;
mod error;
mod files;
mod infer;
mod lora;
mod model;
mod processor;
mod sample;
mod train;

pub use cache::{FeatureCache, FeatureKey, FeaturePrecision};
pub use checkpoint::Checkpoint;
pub use config::{ModelConfig, TextConfig, VisionConfig};
pub use error::{Error, Result};
pub use infer::{
    ChoiceAnswer, ChoiceTokens, Distribution, Generation, Scorer, Slot, choice_probabilities, generate,
};
pub use lora::{
    AdapterSpec, AdapterWeights, InitLoraWeights, LoraConfig, Module, OneOrMany, PeftAdapter, TEXT_LINEARS,
    merge, unmerge,
};
pub use model::{Features, Item, KvCache, LossSum, Model, Param, Prompt, StepMode};
pub use processor::{Encoded, Processor, pixel_values};
pub use sample::{Sample, Target, Tiles};
pub use train::{
    BaseModelConfig, BestMetric, CheckpointReport, Dataset, EvaluationReport, Evaluator, LogReport,
    LrSchedule, LrSchedulerType, Metrics, ModelDtype, Observer, Resume, RunStart, RunStatus,
    SamplingStrategy, StepReport, TrainOutcome, Trainer, TrainingConfig,
};
