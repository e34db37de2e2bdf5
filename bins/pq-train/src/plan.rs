//! What `--plan` says, and the check before a run.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Result, bail};
use pq_cli::{Hint, Verdict};
use slide_scorer::{Base, Settings, SlideSamples, open_base};
use vlm_lora::backend::{Backend, OnDevice};
use vlm_lora::plan::{Largest, Rated, Remedy, RunDevice, RunPlan, RunSettings, Seconds};
use vlm_lora::{BaseModelConfig, MemoryPlan, ModelDtype, Place, Sample, memory};

use crate::training::attach;

const MIB: f64 = 1024.0 * 1024.0;

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

/// What the plan is made for.
fn device(settings: &Settings, base: &Base, is_here: bool) -> RunDevice {
    let is_gpu = !is_here || base.device.is_gpu();
    let (free, total) = match base.device.gpu_memory() {
        _ if !is_here => (None, None),
        Some((free, total)) => (Some(free), Some(total)),
        None => (memory::available_bytes(), memory::total_bytes()),
    };
    let name = if is_here { base.device.name() } else { settings.model.device.clone() };
    RunDevice { name, is_here, place: if is_gpu { Place::Gpu } else { Place::Cpu }, free, total }
}

fn run_settings(settings: &Settings) -> RunSettings<'_> {
    RunSettings { model: &settings.model, lora: &settings.lora, training: &settings.training }
}

/// What the settings ask for, before anything runs, and the largest samples.
pub(crate) fn plan(
    settings: &Settings,
    base: &Base,
    is_here: bool,
    train: &SlideSamples<'_>,
) -> Result<(RunPlan, Vec<Sample>)> {
    let device = device(settings, base, is_here);
    Ok(RunPlan::new(run_settings(settings), &base.checkpoint, device, train)?)
}

/// Whether more memory is free than the run takes; says what to change where it is not, and goes on, since the plan is an
/// estimate and others may give memory back.
///
/// # Errors
/// When the run takes more than the device has.
pub(crate) fn check(plan: &RunPlan, settings: &Settings) -> Result<bool> {
    let gib = |bytes: usize| bytes as f64 / MIB / 1024.0;
    let remedy = || in_words(plan.remedy(run_settings(settings)));
    if let Some(total) = plan.memory_of_device
        && plan.memory_total > total
    {
        let (takes, has) = (gib(plan.memory_total), gib(total));
        let what =
            format!("the run takes about {takes:.1} GiB of memory and {} has {has:.1} GiB", plan.device);
        bail!(Hint::new(what, remedy()))
    }
    let Some(available) = plan.memory_available.filter(|&available| plan.memory_total > available) else {
        return Ok(true);
    };
    let (takes, free) = (gib(plan.memory_total), gib(available));
    tracing::warn!(
        "the run takes about {takes:.1} GiB of memory and {free:.1} GiB is free: should it not suffice, {}",
        remedy()
    );
    Ok(false)
}

/// What to set.
fn in_words(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::SmallerBatches => {
            "lower `training.per_device_train_batch_size` and raise `training.gradient_accumulation_steps` by as much"
        }
        Remedy::GradientCheckpointing => {
            "set `training.gradient_checkpointing = true`: a step takes a third more time"
        }
        Remedy::Bfloat16 => "set `model.dtype = \"bfloat16\"`",
        Remedy::EightBits => "set `model.load_in_8bit = true`",
        Remedy::SmallerImages => "lower `processor.longest_edge`",
    }
}

/// Measures a step where the memory suffices for it, and prints the plan.
pub(crate) struct Show<'a> {
    pub(crate) plan: RunPlan,
    pub(crate) settings: &'a Settings,
    pub(crate) base: &'a Base,
    pub(crate) samples: Vec<Sample>,
    /// What is rated beside the steps.
    pub(crate) rated: Rated,
    pub(crate) json: bool,
}

impl OnDevice for Show<'_> {
    type Output = Result<Verdict>;

    fn run<B: Backend>(self, backend: &Arc<B>) -> Result<Verdict> {
        let Self { mut plan, settings, base, samples, rated, json } = self;
        let mut model = base.model(backend)?;
        attach(&mut model, settings, base)?;
        let fits = check(&plan, settings);
        if plan.device_is_here && *fits.as_ref().unwrap_or(&false) {
            plan.measure(run_settings(settings), &mut model, &samples, rated)?;
        }
        let verdict = print(&plan, json)?;
        fits.map(|_| verdict)
    }
}

/// Prints the plan.
fn print(plan: &RunPlan, json: bool) -> Result<Verdict> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(plan)?)?;
        return Ok(Verdict::Pass);
    }
    let Largest { of, tokens, targets, tiles } = plan.largest;
    let absent = if plan.device_is_here { "" } else { " (not in this machine)" };
    writeln!(out, "on {}{absent}", plan.device)?;
    writeln!(
        out,
        "{} slides, {} steps; the largest of {of} slides has {tiles} tiles, {tokens} tokens, {targets} of them supervised\n",
        plan.slides, plan.steps
    )?;
    print_sizes(&mut out, plan)?;
    if let Some(seconds) = plan.seconds {
        print_seconds(&mut out, seconds)?;
    }
    Ok(Verdict::Pass)
}

fn print_sizes(out: &mut impl Write, plan: &RunPlan) -> Result<()> {
    let mib = |bytes: usize| format!("{:>8.0} MiB", bytes as f64 / MIB);
    let MemoryPlan { weights, adapter, activations, working, images, process } = plan.memory;
    for (name, bytes) in [
        ("weights of the base", weights),
        ("adapter, gradients, optimizer", adapter),
        ("activations", activations),
        ("working memory", working),
        ("images", images),
        ("process", process),
        ("memory, at its highest", plan.memory_total),
        ("disk: feature cache", plan.disk.feature_cache),
        ("disk: checkpoints", plan.disk.checkpoints),
        ("disk: adapter", plan.disk.adapter),
    ] {
        writeln!(out, "{name:<30}{}", mib(bytes))?;
    }
    Ok(())
}

fn print_seconds(out: &mut impl Write, seconds: Seconds) -> Result<()> {
    let Seconds { vision_of_a_slide, step, first_epoch, run, evaluations, afterwards } = seconds;
    writeln!(out, "\nvision tower, a slide         {vision_of_a_slide:>8.2} s")?;
    writeln!(out, "optimizer step                {step:>8.2} s")?;
    writeln!(out, "first epoch                   {:>8.1} min", first_epoch / 60.0)?;
    writeln!(out, "run, without evaluation       {:>8.1} min", run / 60.0)?;
    writeln!(out, "evaluations                   {:>8.1} min", evaluations / 60.0)?;
    writeln!(out, "after the last step           {:>8.1} min", afterwards / 60.0)?;
    Ok(())
}
