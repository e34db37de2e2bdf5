//! The report, for people and as JSON.

use std::io::Write;

use anyhow::Result;

use super::gpu::{Gpu, Gpus, Library};
use super::{Cpu, Memory, Report};

pub(super) fn print(report: &Report, json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    print_cpu(&mut out, report)?;
    print_gpus(&mut out, &report.gpus)?;
    let used = report.device.used.as_deref().unwrap_or("nothing");
    writeln!(
        out,
        "\n`model.device = \"{}\"` computes on {used}: {}",
        report.device.configured, report.device.why
    )?;
    for hint in &report.hints {
        writeln!(out, "hint: {hint}")?;
    }
    Ok(())
}

fn gib(bytes: Option<usize>) -> String {
    bytes
        .map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)))
}

fn print_cpu(out: &mut impl Write, report: &Report) -> Result<()> {
    let Cpu { model, architecture, instruction_sets, widest, bf16_kernels, integer_kernels } = &report.cpu;
    let Memory { total, available } = report.memory;
    writeln!(out, "pq-train {}", report.version)?;
    writeln!(out, "processor          {} ({architecture})", model.as_deref().unwrap_or("unknown"))?;
    writeln!(out, "instruction sets   {}; loops are compiled for {widest}", instruction_sets.join(" "))?;
    writeln!(out, "products in bf16   {}, then {}", bf16_kernels[0], bf16_kernels[1..].join(", "))?;
    writeln!(out, "products in 8 bit  {}, then {}", integer_kernels[0], integer_kernels[1..].join(", "))?;
    writeln!(out, "threads            {} of {}", report.threads.used, report.threads.available)?;
    writeln!(out, "memory             {}, {} of it free", gib(total), gib(available))?;
    Ok(())
}

fn print_gpus(out: &mut impl Write, gpus: &Gpus) -> Result<()> {
    if !gpus.in_this_build {
        writeln!(out, "CUDA               not in this build")?;
        return Ok(());
    }
    let Some(driver) = &gpus.driver else {
        writeln!(out, "CUDA driver        none that starts")?;
        return Ok(());
    };
    writeln!(out, "CUDA driver        runs CUDA {driver}")?;
    for Library { name, version, path } in &gpus.libraries {
        let (version, path) =
            (version.as_deref().unwrap_or("?"), path.as_deref().unwrap_or("where the loader looks"));
        writeln!(out, "{name:<18} {version}, {path}")?;
    }
    for Gpu { ordinal, model, compute_capability, memory, free, opened, .. } in &gpus.devices {
        let state = if opened.is_some() { "can be used" } else { "cannot be used" };
        let (memory, free) = (gib(Some(*memory)), gib(*free));
        writeln!(
            out,
            "cuda:{ordinal:<13} {model}, compute capability {compute_capability}, {memory}, {free} of it free: {state}"
        )?;
    }
    Ok(())
}
