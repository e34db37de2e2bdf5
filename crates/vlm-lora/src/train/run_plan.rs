//! What a run will take, before it begins: memory and disk by its sizes, time by a step that is measured.

use std::time::Instant;

use serde::Serialize;

use super::{BaseModelConfig, BatchSize, Dataset, MemoryPlan, Place, TrainingConfig};
use crate::backend::Backend;
use crate::{Checkpoint, Error, Features, Item, LoraConfig, Model, Result, Sample, StepMode, Tiles};

/// Samples that are looked at for the largest one.
const LOOKED_AT: usize = 8;

/// What a run is planned from.
#[derive(Debug, Clone, Copy)]
pub struct RunSettings<'a> {
    /// How the base is loaded.
    pub model: &'a BaseModelConfig,
    /// The adapter.
    pub lora: &'a LoraConfig,
    /// The training.
    pub training: &'a TrainingConfig,
}

/// The device that a run is planned for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDevice {
    /// Its name.
    pub name: String,
    /// Whether it is in this machine.
    pub is_here: bool,
    /// Where the memory is that the run takes.
    pub place: Place,
    /// Bytes of it that are free, where that is known.
    pub free: Option<usize>,
    /// Bytes that there are.
    pub total: Option<usize>,
}

/// What a run will take; sizes in bytes, times in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct RunPlan {
    /// The device.
    pub device: String,
    /// Whether the device that is configured is in this machine.
    pub device_is_here: bool,
    /// Training samples.
    pub slides: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// The largest of the samples that were looked at.
    pub largest: Largest,
    /// Memory by its use.
    pub memory: MemoryPlan,
    /// Values of the base model.
    pub base_parameters: usize,
    /// All of [`memory`](Self::memory).
    pub memory_total: usize,
    /// Free memory of the device.
    pub memory_available: Option<usize>,
    /// What the device has.
    pub memory_of_device: Option<usize>,
    /// Disk by its use.
    pub disk: Disk,
    /// Measured on the largest samples; `None` before [`measure`](Self::measure).
    pub seconds: Option<Seconds>,
}

/// The largest of some samples.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Largest {
    /// How many were looked at.
    pub of: usize,
    /// Tokens of prompt and answer.
    pub tokens: usize,
    /// Supervised tokens.
    pub targets: usize,
    /// Tiles of its image.
    pub tiles: usize,
}

/// Bytes on disk.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Disk {
    /// Image features of all samples.
    pub feature_cache: usize,
    /// Checkpoints that are kept, with the optimizer's state.
    pub checkpoints: usize,
    /// The adapter.
    pub adapter: usize,
}

/// Times, measured on the largest samples.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Seconds {
    /// The frozen vision tower on one sample.
    pub vision_of_a_slide: f64,
    /// An optimizer step.
    pub step: f64,
    /// The first epoch, in which features are computed.
    pub first_epoch: f64,
    /// The run without evaluations.
    pub run: f64,
    /// All evaluations, that before the first step among them.
    pub evaluations: f64,
    /// What is seen and rated after the last step.
    pub afterwards: f64,
}

/// How many samples are rated beside those that are trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rated {
    /// At each evaluation, and once more after the last step.
    pub validation: usize,
    /// How often one is only looked at after the last step, which takes no time where its features are kept.
    pub seen_afterwards: usize,
}

/// The setting that gives the most memory back for the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// A lower `per_device_train_batch_size`, with as many more `gradient_accumulation_steps`.
    SmallerBatches,
    /// `gradient_checkpointing`.
    GradientCheckpointing,
    /// `dtype = "bfloat16"`.
    Bfloat16,
    /// `load_in_8bit`.
    EightBits,
    /// Smaller images.
    SmallerImages,
}

impl RunPlan {
    /// What the settings ask for, before anything runs, and the largest samples, for [`measure`](Self::measure).
    ///
    /// # Errors
    /// When there is no sample, a sample cannot be made, or the settings do not fit the checkpoint.
    pub fn new<D: Dataset>(
        settings: RunSettings<'_>,
        checkpoint: &Checkpoint,
        device: RunDevice,
        data: &D,
    ) -> Result<(Self, Vec<Sample>)> {
        let RunSettings { model, lora, training } = settings;
        let (samples, of) = largest_samples(data, training.per_device_train_batch_size)?;
        let Some(largest) = samples.first() else {
            return Err(Error::Unsupported { what: "a run without a sample to train on".to_owned() });
        };
        let config = checkpoint.config();
        let specs = lora.adapters(config)?;
        let size = BatchSize::of(largest, training.per_device_train_batch_size.min(data.len()));
        let memory =
            MemoryPlan::new(config, &specs, training, device.place, model.base_dtype(checkpoint)?, size);
        let adapter = memory.adapter / 4;
        let kept = match training.save_total_limit {
            0 => training.total_steps(data.len()).div_ceil(training.save_steps.max(1)),
            limit => limit + 1,
        };
        let rows = largest.input_ids.iter().filter(|id| **id == config.image_token_id).count();
        let cached = if training.cache_vision_features { rows * config.text.hidden_size * 4 } else { 0 };
        let plan = Self {
            device: device.name,
            device_is_here: device.is_here,
            slides: data.len(),
            steps: training.total_steps(data.len()),
            largest: Largest {
                of,
                tokens: largest.input_ids.len(),
                targets: largest.targets.len(),
                tiles: largest.tiles.count(),
            },
            memory,
            base_parameters: config.parameters(),
            memory_total: memory.total(),
            memory_available: device.free,
            memory_of_device: device.total,
            disk: Disk { feature_cache: cached * data.len(), checkpoints: kept * 3 * adapter, adapter },
            seconds: None,
        };
        Ok((plan, samples))
    }

    /// The setting that gives the most memory back for the least.
    pub fn remedy(&self, settings: RunSettings<'_>) -> Remedy {
        let is_bf16 = self.memory.weights < 3 * self.base_parameters;
        remedy(settings.training, settings.model.load_in_8bit, is_bf16, &self.memory)
    }

    /// Measures a step and a rating on the largest samples.
    ///
    /// # Errors
    /// When a sample does not fit the model, or the backend fails.
    pub fn measure<B: Backend>(
        &mut self,
        settings: RunSettings<'_>,
        model: &mut Model<B>,
        samples: &[Sample],
        rated: Rated,
    ) -> Result<()> {
        let training = settings.training;
        let mode = StepMode { dropout: Some(1), gradient_checkpointing: training.gradient_checkpointing };
        let per_slide = PerSlide::measure(model, samples, mode)?;
        self.seconds = Some(self.seconds_of(training, per_slide, rated));
        Ok(())
    }

    /// How often the run is evaluated, before its first step too.
    fn evaluations(&self, training: &TrainingConfig) -> usize {
        let every = match training.eval_steps {
            0 => training.steps_per_epoch(self.slides).max(1),
            steps => steps,
        };
        self.steps.div_ceil(every) + 1
    }

    /// The times of the run, of those of one sample.
    fn seconds_of(&self, training: &TrainingConfig, per_slide: PerSlide, rated: Rated) -> Seconds {
        let PerSlide { vision, batch, forward, trains_vision } = per_slide;
        let window = training.per_device_train_batch_size * training.gradient_accumulation_steps;
        let slide = if training.cache_vision_features { batch } else { batch + vision };
        let first_epoch = self.slides as f64 * (batch + vision);
        let visits = (self.steps * window) as f64;
        let rest = (visits - self.slides as f64).max(0.0) * slide;
        let (evaluations, validation) = (self.evaluations(training) as f64, rated.validation as f64);
        let again = if training.cache_vision_features { 0.0 } else { vision };
        let seen = if trains_vision { forward } else { again };
        // An evaluation takes the loss of each sample and rates it, which is a forward pass as well.
        let evaluation = validation * 2.0 * (forward + again);
        Seconds {
            vision_of_a_slide: vision,
            step: window as f64 * slide,
            first_epoch,
            run: first_epoch.min(visits * (batch + vision)) + rest,
            evaluations: evaluations * evaluation + validation * vision,
            afterwards: validation * (forward + again) + rated.seen_afterwards as f64 * seen,
        }
    }
}

/// Seconds that one of the largest samples takes.
#[derive(Debug, Clone, Copy)]
struct PerSlide {
    /// In the frozen vision tower.
    vision: f64,
    /// Forward and back through the rest.
    batch: f64,
    /// Forward through the rest.
    forward: f64,
    /// Whether the tower is part of the rest, so that no features are kept: seeing a sample takes at most `forward`.
    trains_vision: bool,
}

impl PerSlide {
    fn measure<B: Backend>(model: &mut Model<B>, samples: &[Sample], mode: StepMode) -> Result<Self> {
        let tiles: Vec<&Tiles> = samples.iter().map(|sample| &*sample.tiles).collect();
        let started = Instant::now();
        let features: Vec<Option<Features>> = if model.trains_vision() {
            vec![None; samples.len()]
        } else {
            model.image_features(&tiles)?.into_iter().map(Some).collect()
        };
        let vision = started.elapsed().as_secs_f64() / samples.len() as f64;
        let pairs = samples.iter().zip(&features);
        let items: Vec<Item<'_>> =
            pairs.map(|(sample, features)| Item { sample, features: features.as_ref() }).collect();
        let started = Instant::now();
        model.loss_and_gradients(&items, 1.0, mode)?;
        let batch = started.elapsed().as_secs_f64() / samples.len() as f64;
        let started = Instant::now();
        model.loss(&items, 1.0)?;
        let forward = started.elapsed().as_secs_f64() / samples.len() as f64;
        Ok(Self { vision, batch, forward, trains_vision: model.trains_vision() })
    }
}

/// The largest of some samples, the largest first, as many as a batch takes; and how many were looked at.
fn largest_samples<D: Dataset>(data: &D, batch: usize) -> Result<(Vec<Sample>, usize)> {
    let step = data.len().div_ceil(LOOKED_AT).max(1);
    let mut samples =
        (0..data.len()).step_by(step).map(|index| data.sample(index)).collect::<Result<Vec<_>>>()?;
    let of = samples.len();
    samples.sort_by_key(|sample| std::cmp::Reverse(sample.input_ids.len()));
    samples.truncate(batch);
    Ok((samples, of))
}

fn remedy(training: &TrainingConfig, load_in_8bit: bool, is_bf16: bool, memory: &MemoryPlan) -> Remedy {
    if training.per_device_train_batch_size > 1 {
        Remedy::SmallerBatches
    } else if !training.gradient_checkpointing && memory.activations > memory.weights / 4 {
        Remedy::GradientCheckpointing
    } else if !is_bf16 {
        Remedy::Bfloat16
    } else if !load_in_8bit {
        Remedy::EightBits
    } else {
        Remedy::SmallerImages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_costs_least_is_named_first() {
        let memory = MemoryPlan { weights: 100, activations: 60, ..MemoryPlan::default() };
        let mut training = TrainingConfig::default();
        let named = |training: &TrainingConfig, eight, is_bf16| remedy(training, eight, is_bf16, &memory);
        assert_eq!(named(&training, false, false), Remedy::SmallerBatches);
        training.per_device_train_batch_size = 1;
        assert_eq!(named(&training, false, false), Remedy::GradientCheckpointing);
        training.gradient_checkpointing = true;
        assert_eq!(named(&training, false, false), Remedy::Bfloat16);
        assert_eq!(named(&training, false, true), Remedy::EightBits);
        assert_eq!(named(&training, true, true), Remedy::SmallerImages);
    }
}
