use std::io::Write as _;
use std::time::Instant;

use anyhow::{Result, bail};
use pq_cli::{Hint, Verdict};
use slide_scorer::{Base, Settings, SlideSamples, open_base};
use serde::Serialize;
use vlm_lora::backend::Backend;
use vlm_lora::{
    BaseModelConfig, BatchSize, Dataset as _, Features, Item, MemoryPlan, Model, ModelDtype, Place, Sample,
    StepMode, Tiles, TrainingConfig, memory,
};

/// Slides that are looked at for the largest one.
const LOOKED_AT: usize = 8;
const MIB: f64 = 1024.0 * 1024.0;

/// What a run will take.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    device: String,
    /// Whether the device that is configured is in this machine.
    device_is_here: bool,
    slides: usize,
    steps: usize,
    largest: Largest,
    memory: MemoryPlan,
    base_parameters: usize,
    memory_total: usize,
    memory_available: Option<usize>,
    /// What the device has.
    memory_of_device: Option<usize>,
    disk: Disk,
    seconds: Option<Seconds>,
}

/// The largest of the slides that were looked at.
#[derive(Debug, Serialize)]
struct Largest {
    of: usize,
    tokens: usize,
    targets: usize,
    tiles: usize,
}

#[derive(Debug, Serialize)]
struct Disk {
    feature_cache: usize,
    checkpoints: usize,
    adapter: usize,
}

/// Measured on the largest slides.
#[derive(Debug, Serialize)]
struct Seconds {
    vision_of_a_slide: f64,
    step: f64,
    first_epoch: f64,
    run: f64,
}

/// The base on the device that is configured, or where that is not in this machine on the CPU; and whether it is.
pub(crate) fn open(config: &BaseModelConfig) -> Result<(Base, bool)> {
    let is_cpu = matches!(config.device.as_str(), "auto" | "cpu");
    match open_base(config) {
        Err(error) if !is_cpu => {
            let dtype = if config.dtype == ModelDtype::Float16 { ModelDtype::Bfloat16 } else { config.dtype };
            let on_cpu = BaseModelConfig { device: "cpu".to_owned(), dtype, ..config.clone() };
            let base = open_base(&on_cpu).map_err(|_| error.context("nothing can be planned"))?;
            tracing::warn!(
                "`{}` is not in this machine: its memory is not known, and no time is measured",
                config.device
            );
            Ok((base, false))
        }
        opened => Ok((opened?, true)),
    }
}

/// Bytes that are free and that there are, on the device that computes.
fn memory_of(base: &Base) -> (Option<usize>, Option<usize>) {
    match base.backend.gpu_memory() {
        Some((free, total)) => (Some(free), Some(total)),
        None => (memory::available_bytes(), memory::total_bytes()),
    }
}

impl Plan {
    /// What the settings ask for, before anything runs.
    pub(crate) fn new(
        settings: &Settings,
        base: &Base,
        is_here: bool,
        train: &SlideSamples<'_>,
    ) -> Result<(Self, Vec<Sample>)> {
        let step = train.len().div_ceil(LOOKED_AT).max(1);
        let mut samples =
            (0..train.len()).step_by(step).map(|i| train.sample(i)).collect::<Result<Vec<_>, _>>()?;
        let of = samples.len();
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.input_ids.len()));
        let training = &settings.training;
        samples.truncate(training.per_device_train_batch_size);
        let Some(largest) = samples.first() else { bail!("there is no slide to train on") };
        let config = base.checkpoint.config();
        let specs = settings.lora.adapters(config)?;
        let size = BatchSize::of(largest, training.per_device_train_batch_size.min(train.len()));
        let is_gpu = !is_here || base.backend.is_gpu();
        let place = if is_gpu { Place::Gpu } else { Place::Cpu };
        let memory = MemoryPlan::new(
            config,
            &specs,
            training,
            (place, settings.model.base_dtype(&base.checkpoint)?),
            size,
        );
        let (available, total) = if is_here { memory_of(base) } else { (None, None) };
        let adapter = memory.adapter / 4;
        let kept = match training.save_total_limit {
            0 => training.total_steps(train.len()).div_ceil(training.save_steps.max(1)),
            limit => limit + 1,
        };
        let rows = largest.input_ids.iter().filter(|id| **id == config.image_token_id).count();
        let cached = if training.cache_vision_features { rows * config.text.hidden_size * 4 } else { 0 };
        let plan = Self {
            device: if is_here { base.backend.name() } else { settings.model.device.clone() },
            device_is_here: is_here,
            slides: train.len(),
            steps: training.total_steps(train.len()),
            largest: Largest {
                of,
                tokens: largest.input_ids.len(),
                targets: largest.targets.len(),
                tiles: largest.tiles.count(),
            },
            memory,
            base_parameters: config.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum(),
            memory_total: memory.total(),
            memory_available: available,
            memory_of_device: total,
            disk: Disk { feature_cache: cached * train.len(), checkpoints: kept * 3 * adapter, adapter },
            seconds: None,
        };
        Ok((plan, samples))
    }

    /// Whether more memory is free than the run takes; says what to change where it is not, and goes on, since the plan is an
    /// estimate and others may give memory back.
    ///
    /// # Errors
    /// When the run takes more than the device has.
    pub(crate) fn check(&self, settings: &Settings) -> Result<bool> {
        let gib = |bytes: usize| bytes as f64 / MIB / 1024.0;
        let training = &settings.training;
        let is_narrow = self.memory.weights < 3 * self.base_parameters;
        let remedy = || remedy(training, settings.model.load_in_8bit, is_narrow, &self.memory);
        if let Some(total) = self.memory_of_device
            && self.memory.total() > total
        {
            let (takes, has) = (gib(self.memory.total()), gib(total));
            let what =
                format!("the run takes about {takes:.1} GiB of memory and {} has {has:.1} GiB", self.device);
            bail!(Hint::new(what, remedy()))
        }
        let Some(available) = self.memory_available.filter(|&available| self.memory_total > available) else {
            return Ok(true);
        };
        let (takes, free) = (gib(self.memory_total), gib(available));
        tracing::warn!(
            "the run takes about {takes:.1} GiB of memory and {free:.1} GiB is free: should it not suffice, {}",
            remedy()
        );
        Ok(false)
    }

    /// Measures a step on the largest slides.
    fn measure<B: Backend>(
        &mut self,
        settings: &Settings,
        model: &mut Model<B>,
        samples: &[Sample],
    ) -> Result<()> {
        let training = &settings.training;
        let trains_vision =
            settings.lora.adapters(model.config())?.iter().any(|spec| !spec.module.contains("text_model"));
        let tiles: Vec<&Tiles> = samples.iter().map(|sample| &*sample.tiles).collect();
        let started = Instant::now();
        let features: Vec<Option<Features>> = if trains_vision {
            vec![None; samples.len()]
        } else {
            model.image_features(&tiles)?.into_iter().map(Some).collect()
        };
        let vision = started.elapsed().as_secs_f64() / samples.len() as f64;
        let items: Vec<Item<'_>> = samples
            .iter()
            .zip(&features)
            .map(|(sample, features)| Item { sample, features: features.as_ref() })
            .collect();
        let mode = StepMode { dropout: Some(1), gradient_checkpointing: training.gradient_checkpointing };
        let started = Instant::now();
        model.loss_and_gradients(&items, 1.0, mode)?;
        let batch = started.elapsed().as_secs_f64() / samples.len() as f64;
        let window = training.per_device_train_batch_size * training.gradient_accumulation_steps;
        let slide = if training.cache_vision_features { batch } else { batch + vision };
        let first_epoch = self.slides as f64 * (batch + vision);
        let visits = (self.steps * window) as f64;
        let rest = (visits - self.slides as f64).max(0.0) * slide;
        let step = window as f64 * slide;
        self.seconds = Some(Seconds {
            vision_of_a_slide: vision,
            step,
            first_epoch,
            run: first_epoch.min(visits * (batch + vision)) + rest,
        });
        Ok(())
    }

    /// Measures a step where the memory suffices for it, and prints the plan.
    pub(crate) fn show<B: Backend>(
        mut self,
        settings: &Settings,
        model: &mut Model<B>,
        samples: &[Sample],
        json: bool,
    ) -> Result<Verdict> {
        let fits = self.check(settings);
        if self.device_is_here && *fits.as_ref().unwrap_or(&false) {
            self.measure(settings, model, samples)?;
        }
        let verdict = self.print(json)?;
        fits.map(|_| verdict)
    }

    /// Prints the plan.
    fn print(&self, json: bool) -> Result<Verdict> {
        let mut out = std::io::stdout().lock();
        if json {
            writeln!(out, "{}", serde_json::to_string(self)?)?;
            return Ok(Verdict::Pass);
        }
        let mib = |bytes: usize| format!("{:>8.0} MiB", bytes as f64 / MIB);
        let Largest { of, tokens, targets, tiles } = self.largest;
        let absent = if self.device_is_here { "" } else { " (not in this machine)" };
        writeln!(out, "on {}{absent}", self.device)?;
        writeln!(
            out,
            "{} slides, {} steps; the largest of {of} slides has {tiles} tiles, {tokens} tokens, {targets} of them supervised\n",
            self.slides, self.steps
        )?;
        let MemoryPlan { weights, adapter, activations, working, images, process } = self.memory;
        for (name, bytes) in [
            ("weights of the base", weights),
            ("adapter, gradients, optimizer", adapter),
            ("activations", activations),
            ("working memory", working),
            ("images", images),
            ("process", process),
            ("memory, at its highest", self.memory_total),
            ("disk: feature cache", self.disk.feature_cache),
            ("disk: checkpoints", self.disk.checkpoints),
            ("disk: adapter", self.disk.adapter),
        ] {
            writeln!(out, "{name:<30}{}", mib(bytes))?;
        }
        if let Some(Seconds { vision_of_a_slide, step, first_epoch, run }) = self.seconds {
            writeln!(out, "\nvision tower, a slide         {vision_of_a_slide:>8.2} s")?;
            writeln!(out, "optimizer step                {step:>8.2} s")?;
            writeln!(out, "first epoch                   {:>8.1} min", first_epoch / 60.0)?;
            writeln!(out, "run, without evaluation       {:>8.1} min", run / 60.0)?;
        }
        Ok(Verdict::Pass)
    }
}

/// The setting that gives the most memory back for the least.
fn remedy(
    training: &TrainingConfig,
    load_in_8bit: bool,
    is_narrow: bool,
    memory: &MemoryPlan,
) -> &'static str {
    if training.per_device_train_batch_size > 1 {
        "lower `training.per_device_train_batch_size` and raise `training.gradient_accumulation_steps` by as much"
    } else if !training.gradient_checkpointing && memory.activations > memory.weights / 4 {
        "set `training.gradient_checkpointing = true`: a step takes a third more time"
    } else if !is_narrow {
        "set `model.dtype = \"bfloat16\"`"
    } else if !load_in_8bit {
        "set `model.load_in_8bit = true`"
    } else {
        "lower `processor.longest_edge`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_costs_least_is_named_first() {
        let memory = MemoryPlan { weights: 100, activations: 60, ..MemoryPlan::default() };
        let mut training = TrainingConfig::default();
        let named = |training: &TrainingConfig, eight, narrow| remedy(training, eight, narrow, &memory);
        assert!(named(&training, false, false).contains("per_device_train_batch_size"));
        training.per_device_train_batch_size = 1;
        assert!(named(&training, false, false).contains("gradient_checkpointing"));
        training.gradient_checkpointing = true;
        assert!(named(&training, false, false).contains("bfloat16"));
        assert!(named(&training, false, true).contains("load_in_8bit"));
        assert!(named(&training, true, true).contains("longest_edge"));
    }
}
