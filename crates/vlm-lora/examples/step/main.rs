//! Times optimizer steps, a run, or scoring, on SmolVLM-500M's geometry with random weights, and prints one JSON line.
//!
//! ```text
//! cargo run --release -p vlm-lora --example step -- --dtype bfloat16 --edge 1024 --steps 3
//!     [--batch N] [--passes N] [--rank R --of N --port P] [--answer N] [--threads N] [--ckpt] [--cached] [--forward-only] [--load-in-8bit]
//!     [--isa plain|avx2|avx512] [--integers KERNEL] [--device cpu|cuda|cuda:N] [--profile] [--without-cudnn] [--slides N --epochs E] [--model DIR] [--write DIR] [--rate]
//! ```
//! `--edge 2048` is 13 tiles of a 16:9 slide, 1024 is 5, 512 is 1. `--cached` keeps the output of the vision tower after the
//! first step. `--slides` trains on so many different slides to the saved adapter. `--forward-only` times the scoring of five
//! criteria. `--write` writes random weights with an adapter to a directory and ends; `--model` takes them from there. `--rate`
//! times matrix products instead. `--integers avx2` takes products of integers from this kernel where the base has them. `--device cuda`
//! takes a build with `--features cuda`; `peak_mib` is then memory of the GPU.
//! `--profile` times every kernel and product on the GPU, and prints them with what went another way: products that found no plan, attention
//! without cuDNN; `--without-cudnn` leaves all of it to the kernels.
//! `--rank` and `--of` make it one of several processes on this machine that share the passes of a step and meet at the port.
//! `benches/peer` runs this beside the Python peer.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the measurement is the output")]

mod inputs;
mod measure;
mod options;
mod random;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use vlm_lora::backend::{Backend, Cpu, CpuOptions, Device, GpuProfile, OnDevice, ProfileLine};
use vlm_lora::{BaseModelConfig, Checkpoint, Dataset as _, GpuSettings, Model, PeftAdapter};

use inputs::Slides;
use measure::Steps;
use options::Options;

type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;

/// The device that the options ask for. Kernels for a GPU are kept between runs, as the commands keep them.
fn open_device(options: &Options, checkpoint: &Checkpoint) -> AnyResult<Device> {
    let base = BaseModelConfig {
        dtype: options.dtype,
        device: options.device.clone(),
        load_in_8bit: options.load_in_8bit,
        ..BaseModelConfig::default()
    };
    if options.is_gpu() {
        if options.isa.is_some() {
            return Err("--isa is an option of the cpu".into());
        }
        let kernel_cache =
            std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/pitchquest/kernels"));
        let Options { profile, without_cudnn, .. } = *options;
        let library_folders = library_folders();
        let settings = GpuSettings { kernel_cache, library_folders, profile, without_cudnn };
        return Ok(base.open_device(checkpoint, &settings)?.device);
    }
    let cpu = CpuOptions { isa: options.isa, integers: options.integers, ..base.cpu_options(checkpoint)? };
    Ok(Device::Cpu(Arc::new(Cpu::with_options(cpu)?)))
}

#[cfg(feature = "cuda")]
fn library_folders() -> Vec<PathBuf> {
    vlm_lora::backend::cuda::library_folders(|name| std::env::var_os(name))
}

#[cfg(not(feature = "cuda"))]
fn library_folders() -> Vec<PathBuf> {
    Vec::new()
}

/// A table of what took longest, for people.
fn print_profile(profile: &GpuProfile) {
    let all: f64 = profile.lines.iter().map(|line| line.milliseconds).sum();
    for ProfileLine { name, calls, milliseconds } in &profile.lines {
        let (share, each) = (100.0 * milliseconds / all, 1e3 * milliseconds / *calls as f64);
        eprintln!("{milliseconds:>10.2} ms {share:>5.1} % {calls:>7} x {each:>9.1} us  {name}");
    }
    for (what, times) in &profile.fallbacks {
        eprintln!("another way, {times} times: {what}");
    }
}

/// Writes random weights of the usual kind where none are given, and opens them.
fn open_checkpoint(options: &Options, random: &Path) -> AnyResult<(PathBuf, Checkpoint)> {
    let dir = options.model.clone().unwrap_or_else(|| random.to_owned());
    if options.model.is_none() {
        inputs::write(&dir)?;
    }
    let checkpoint = Checkpoint::open(&dir)?;
    Ok((dir, checkpoint))
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
    let options = Options::parse()?;
    if let Some(dir) = &options.write {
        return inputs::write(dir);
    }
    rayon::ThreadPoolBuilder::new().num_threads(options.threads).build_global()?;
    let random = tempfile::tempdir()?;
    let (dir, checkpoint) = open_checkpoint(&options, random.path())?;
    let begin = Instant::now();
    let device = open_device(&options, &checkpoint)?;
    device.run(Measurement { options: &options, device: &device, dir, checkpoint, begin })
}

/// What is measured, on the device that was opened.
struct Measurement<'a> {
    options: &'a Options,
    device: &'a Device,
    dir: PathBuf,
    checkpoint: Checkpoint,
    /// When the weights lay on disk.
    begin: Instant,
}

impl OnDevice for Measurement<'_> {
    type Output = AnyResult<()>;

    fn run<B: Backend>(self, backend: &Arc<B>) -> AnyResult<()> {
        let Self { options, device, dir, checkpoint, begin } = self;
        if options.rate {
            println!("{}", serde_json::json!({"rate": measure::rate(options, backend.as_ref())?}));
            return Ok(());
        }
        let mut model = Model::load(Arc::clone(backend), &checkpoint)?;
        model.attach_adapter(&PeftAdapter::open(dir.join("adapter"), checkpoint.config())?)?;
        drop(checkpoint);
        let (load_s, load_peak_mib) = (begin.elapsed().as_secs_f64(), peak_mib());
        let sample = Slides(options).sample(0)?;
        let before_s = begin.elapsed().as_secs_f64();
        let steps = if options.forward_only {
            measure::score(options, &model)?
        } else {
            measure::train(options, &mut model)?
        };
        let total_s = begin.elapsed().as_secs_f64();
        let Steps { times, losses, norms } = steps;
        let step_s = median(times.get(1..).unwrap_or_default());
        let profile = device.profile();
        if let Some(profile) = &profile {
            print_profile(profile);
        }
        let on_gpu = device.peak_bytes().map(|bytes| bytes >> 20);
        let line = serde_json::json!({
            "dtype": options.dtype, "device": options.device, "load_in_8bit": options.load_in_8bit, "edge": options.edge,
            "tiles": sample.tiles.count(), "tokens": sample.input_ids.len() * options.batch * options.passes, "batch": options.batch, "of": options.of,
            "ckpt": options.ckpt, "cached": options.cached, "slides": options.slides, "epochs": options.epochs,
            "params": model.base_parameters(), "trainable": model.trainable_parameters(),
            "forward_only": options.forward_only, "threads": options.threads,
            "backend": device.name(), "losses": losses, "grad_norms": norms,
            "load_s": load_s, "to_first_step_s": before_s + times[0], "first_s": times[0], "step_s": step_s,
            "total_s": total_s, "times_s": times, "peak_mib": on_gpu.unwrap_or_else(peak_mib),
            "host_peak_mib": peak_mib(), "load_peak_mib": load_peak_mib, "profile": profile,
        });
        println!("{line}");
        Ok(())
    }
}
