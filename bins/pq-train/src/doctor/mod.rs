//! `pq-train doctor`: what this machine computes with, and why.

mod gpu;
mod print;

use anyhow::Result;
use pq_cli::{CommonArgs, ConfigError, Verdict};
use serde::Serialize;
use slide_scorer::BaseModelConfig;
use vlm_lora::backend::{Bf16Kernel, IntegerKernel, Isa};
use vlm_lora::memory;

use gpu::Gpus;

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    cpu: Cpu,
    threads: Threads,
    memory: Memory,
    gpus: Gpus,
    device: Choice,
    /// What would help, each with what to do.
    hints: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Cpu {
    /// As the processor names itself, where the system says.
    model: Option<String>,
    architecture: &'static str,
    /// Those that kernels are written for and this processor has.
    instruction_sets: Vec<&'static str>,
    /// What loops and products in f32 are compiled for.
    widest: &'static str,
    /// How products are taken with a base in bf16 and in 8 bits, the first of what there is.
    bf16_kernels: Vec<&'static str>,
    integer_kernels: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Threads {
    used: usize,
    available: usize,
}

/// Bytes, where the system says.
#[derive(Debug, Serialize)]
struct Memory {
    total: Option<usize>,
    available: Option<usize>,
}

/// What trains and scores here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Choice {
    /// `model.device`.
    configured: String,
    /// `None` where what is configured cannot be used.
    used: Option<String>,
    why: String,
}

/// Prints what this machine has. It fails where the device that is configured cannot be used.
pub(crate) fn run(common: &CommonArgs) -> Result<Verdict> {
    let project = common.configuration()?;
    let model = project.section("model", |_: &BaseModelConfig| Ok::<(), ConfigError>(()))?;
    let report = report(&model);
    print::print(&report, common.json)?;
    Ok(if report.device.used.is_some() { Verdict::Pass } else { Verdict::Fail })
}

fn report(model: &BaseModelConfig) -> Report {
    let cpu = cpu();
    let gpus = Gpus::look(model);
    let device = choose(&model.device, &gpus, &cpu);
    let hints = gpus.hints(&device);
    Report {
        version: env!("CARGO_PKG_VERSION"),
        cpu,
        threads: threads(),
        memory: memory_of_machine(),
        gpus,
        device,
        hints,
    }
}

fn cpu() -> Cpu {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned()));
    Cpu {
        model,
        architecture: std::env::consts::ARCH,
        instruction_sets: instruction_sets(),
        widest: Isa::detected().name(),
        bf16_kernels: Bf16Kernel::available().into_iter().map(Bf16Kernel::name).collect(),
        integer_kernels: IntegerKernel::available().into_iter().map(IntegerKernel::name).collect(),
    }
}

#[cfg(target_arch = "x86_64")]
fn instruction_sets() -> Vec<&'static str> {
    let sets = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avxvnni", is_x86_feature_detected!("avxvnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    sets.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_sets() -> Vec<&'static str> {
    Vec::new()
}

fn threads() -> Threads {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    Threads { used: rayon::current_num_threads(), available }
}

fn memory_of_machine() -> Memory {
    Memory { total: memory::total_bytes(), available: memory::available_bytes() }
}

/// What a command computes on with this setting, as it chooses by itself.
fn choose(configured: &str, gpus: &Gpus, cpu: &Cpu) -> Choice {
    let configured = configured.to_owned();
    let on_cpu = format!(
        "cpu ({}; bf16 by {}, 8 bits by {})",
        cpu.widest, cpu.bf16_kernels[0], cpu.integer_kernels[0]
    );
    if configured == "cpu" {
        return Choice { configured, used: Some(on_cpu), why: "it is configured".to_owned() };
    }
    if configured == "auto" {
        return match gpus.first_usable() {
            Some(opened) => {
                Choice { configured, used: Some(opened), why: "the first GPU that can be used".to_owned() }
            }
            None => Choice { configured, used: Some(on_cpu), why: gpus.why_none() },
        };
    }
    let ordinal = configured.strip_prefix("cuda").and_then(|rest| match rest.strip_prefix(':') {
        None => rest.is_empty().then_some(0),
        Some(number) => number.parse().ok(),
    });
    let (used, why) = match ordinal.map(|ordinal| gpus.opened(ordinal)) {
        None => (None, "it is none of auto, cpu, cuda and cuda:N".to_owned()),
        Some(Ok(opened)) => (Some(opened), "it is configured".to_owned()),
        Some(Err(why)) => (None, why),
    };
    Choice { configured, used, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpu::Gpu;

    fn gpus(opened: &[Result<&str, &str>]) -> Gpus {
        let gpu = |(ordinal, opened): (usize, &Result<&str, &str>)| Gpu {
            ordinal,
            opened: opened.ok().map(str::to_owned),
            problem: opened.err().map(str::to_owned),
            ..Gpu::default()
        };
        Gpus {
            in_this_build: true,
            driver: Some("13.0".to_owned()),
            devices: opened.iter().enumerate().map(gpu).collect(),
            ..Gpus::default()
        }
    }

    #[test]
    fn the_device_is_the_one_that_a_command_takes() {
        let cpu = cpu();
        let used = |device: &str, gpus: &Gpus| choose(device, gpus, &cpu);
        let two = gpus(&[Err("full"), Ok("cuda:1 Stand-in")]);
        assert_eq!(used("auto", &two).used.as_deref(), Some("cuda:1 Stand-in"));
        assert!(used("cpu", &two).used.unwrap().starts_with("cpu ("));
        assert_eq!(used("cuda:1", &two).used.as_deref(), Some("cuda:1 Stand-in"));
        let first = used("cuda", &two);
        assert_eq!((first.used, first.why.as_str()), (None, "full"));
        assert!(used("cuda:7", &two).why.contains("no GPU 7"));
        assert!(used("gpu", &two).used.is_none());
        let none = used("auto", &gpus(&[Err("full"), Err("old")]));
        assert!(none.used.unwrap().starts_with("cpu (") && none.why.contains("full"), "{}", none.why);
    }

    #[test]
    fn what_would_help_is_said_once() {
        let mut one = gpus(&[Err("libnvrtc is missing: `pip install it`")]);
        one.problems = vec!["libnvrtc is missing: `pip install it`".to_owned()];
        let hints = one.hints(&choose("auto", &one, &cpu()));
        assert_eq!(hints, ["libnvrtc is missing: `pip install it`"]);
        let several = gpus(&[Ok("one"), Ok("two")]);
        let hints = several.hints(&choose("auto", &several, &cpu()));
        assert!(hints[0].contains("torchrun"), "{hints:?}");
        let without = Gpus { nvidia_in_machine: true, ..Gpus::default() };
        let hints = without.hints(&choose("auto", &without, &cpu()));
        assert!(hints[0].contains("--features cuda"), "{hints:?}");
    }
}
