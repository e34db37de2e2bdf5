//! `pq-train sync`: sends what Weights & Biases has not got of the runs on disk.

use std::io::Write as _;

use anyhow::{Result, bail};
use pq_cli::{Hint, Layout, ProjectConfig, Verdict};
use project_files::{RunFiles, with_causes};
use registry::wandb::{Spooled, WandbMode, WandbOptions, is_of, spooled, sync, write_offline};
use serde_json::json;

use crate::track::Services;

/// Sends one run, or all that lack something; where there is no key, or offline is asked for, writes files for `wandb sync`.
pub(crate) fn run(project: &ProjectConfig, name: Option<&str>, is_json: bool) -> Result<Verdict> {
    let services = Services::of(project)?;
    if services.wandb.mode == WandbMode::Disabled {
        bail!(Hint::new("tracking is disabled", "set `wandb.mode` or WANDB_MODE to online or offline"));
    }
    let layout = project.layout()?;
    let mut is_complete = true;
    for files in runs(&layout, name)? {
        let options = services.options(files.tracking());
        let is_offline = services.wandb.mode == WandbMode::Offline || options.api_key.is_none();
        for spool in spooled(&options.folder)?.iter().filter(|spool| name.is_some() || !spool.is_whole) {
            is_complete &= one(&files, spool, &options, is_offline, is_json)?;
        }
    }
    Ok(if is_complete { Verdict::Pass } else { Verdict::Fail })
}

/// The run of that name, or all of them, by name.
fn runs(layout: &Layout, name: Option<&str>) -> Result<Vec<RunFiles>> {
    let Some(name) = name else {
        layout.require_outputs()?;
        let entries = std::fs::read_dir(layout.outputs())?.flatten().map(|entry| entry.path());
        let mut found: Vec<_> = entries.filter(|path| !path.is_symlink()).collect();
        found.sort();
        return Ok(found.into_iter().map(RunFiles::new).filter(|run| run.tracking().is_dir()).collect());
    };
    let files = layout.run(name);
    if files.tracking().is_dir() {
        return Ok(vec![files]);
    }
    let message = format!("nothing was tracked of a run `{name}` in `{}`", layout.outputs().display());
    bail!(Hint::new(message, "name a run's folder, or leave the name out to send all"))
}

/// Sends one run; whether the service, or the offline file, now has all of it.
fn one(
    files: &RunFiles,
    spool: &Spooled,
    options: &WandbOptions,
    is_offline: bool,
    is_json: bool,
) -> Result<bool> {
    let name = files.name()?;
    let mut out = std::io::stdout().lock();
    if is_offline {
        let folder = write_offline(spool, options)?;
        if is_json {
            writeln!(out, "{}", json!({"run": name, "id": spool.id, "offline": folder}))?;
        } else {
            writeln!(out, "{name}: there is no key; `wandb sync {}` sends it", folder.display())?;
        }
        return Ok(true);
    }
    if !is_of(spool, options) {
        // The key is for the address that is configured, not for one that a file names.
        tracing::warn!("{name} was begun for {}: set WANDB_BASE_URL to send it there", spool.base_url);
        return Ok(false);
    }
    tracing::info!("sending {name}; Ctrl-C ends that, and what was sent stays");
    let synced = match sync(spool, options, &pq_cli::interrupted) {
        Ok(synced) => synced,
        Err(error @ registry::Error::SpoolBusy { .. }) => {
            tracing::warn!("{name}: {}", with_causes(&error));
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    let done = synced.finished;
    if done.damaged_lines > 0 {
        tracing::warn!("{name}: {} damaged lines of its spool are passed over", done.damaged_lines);
    }
    if is_json {
        let line = json!({"run": name, "id": synced.id, "url": done.url, "lines": done.sent_lines,
            "complete": done.complete, "problem": done.problem});
        writeln!(out, "{line}")?;
    } else {
        let state = if done.complete { "complete" } else { "not complete" };
        let url = done.url.as_deref().unwrap_or("no page yet");
        let problem = done.problem.filter(|_| !done.complete).map(|problem| format!(": {problem}"));
        let lines = done.sent_lines;
        writeln!(out, "{name}: {lines} lines sent, {state} ({url}){}", problem.unwrap_or_default())?;
    }
    Ok(done.complete)
}
