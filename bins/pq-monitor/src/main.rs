//! Reports drift and performance.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use drift::{DriftStatus, MonitoringConfig, write_drift_report, write_performance_report};
use jiff::Timestamp;
use pq_cli::{CommonArgs, HasCommon, Layout, Verdict, WithHint as _};
use project_files::Contract as _;
use slide_data::{Audit, KeptConfig, write_atomic};

mod bucket;
mod examples;
mod inputs;
mod look;
mod print;
mod segments;

use inputs::Inputs;
use look::look;

/// Compares the slides that the version in use scored lately with those of training, and its scores with people's.
///
/// Draws slides at random from the log of scored slides for people to rate, into `audits.jsonl`; reads that log, the predictions on the
/// training slides and labels; takes the logs of several scoring services together; moves days that are over from a large log into segments; writes `drift_reports/latest_drift.json` (and `.html`) and
/// `performance_metrics/latest_metrics.json` below the monitoring folder, which `pq-trigger` then looks at. Too little data is
/// said, and counts neither as healthy nor as drift.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 the reports are written, 1 with --exit-code: drift, a drop of accuracy or too much of the log unreadable, 2 could not run.\n\nExamples:\n  pq-monitor\n  pq-monitor --exit-code --set drift.window_days=7\n  pq-monitor --model-version v3 --at 2025-06-01T00:00:00Z\n  pq-monitor --compact"
)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Folder with predictions.jsonl; the reports go below it [default: `storage.monitoring_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    monitoring: Option<PathBuf>,
    /// Folder with labels, splits and the manifest [default: `storage.data_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of the released versions [default: `storage.registry_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
    /// Run to compare with [default: the one that was released as the version, else the latest one]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Version whose scores are looked at [default: the one in use, else the one that scored last]
    #[arg(long, value_name = "VERSION")]
    model_version: Option<String>,
    /// Move the days that are over from the log into segments, whatever its size, and report nothing.
    #[arg(long, conflicts_with_all = ["run", "model_version", "at", "exit_code"])]
    compact: bool,
    /// Folder in a bucket from which what scoring services shipped (`pq-score serve --ship`) is taken into the log first, as in
    /// `s3://bucket/scored`.
    #[arg(long, value_name = "URL")]
    bucket: Option<String>,
    /// Report as of this time instead of now, as in `2025-06-01T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// End with status 1 where slides drifted, accuracy fell by more than allowed, or too much of the log cannot be read.
    #[arg(long)]
    exit_code: bool,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

fn main() -> ExitCode {
    pq_cli::run(run)
}

fn run(args: &Args) -> Result<Verdict> {
    let project = args.common.configuration()?;
    let config: MonitoringConfig = project.file("monitoring", MonitoringConfig::validate)?;
    let layout = project
        .layout()?
        .with_data(args.data.as_deref())?
        .with_monitoring(args.monitoring.as_deref(), true)?
        .with_registry(args.registry.as_deref(), true)?;
    if let Some(url) = &args.bucket {
        let kept: KeptConfig = project.section("kept_slides", KeptConfig::validate)?;
        bucket::take_in_shipped(&layout, url, &kept)?;
    }
    let remedy = "run the command in the project's folder, or mend the setting";
    layout
        .require_data()
        .and_then(|()| layout.require_monitoring())
        .hint("there is nothing to look at", remedy)?;
    segments::gather_replicas(&layout)?;
    if args.compact {
        segments::move_days(&layout)?;
        return Ok(Verdict::Pass);
    }
    layout.require_registry().hint("the versions in use cannot be told", remedy)?;
    segments::move_days_of_large_log(&layout);
    segments::drop_old_failures(&layout, config.drift.window_days);
    let now = args.at.unwrap_or_else(Timestamp::now);
    let (run, model_version) = (args.run.as_deref(), args.model_version.as_deref());
    let draws = model_version.is_none() && args.at.is_none_or(|at| at <= Timestamp::now());
    let mut inputs = inputs::read(&layout, &config, inputs::Choice { run, model_version, draws, now })?;
    keep_audits(&layout, &mut inputs)?;
    let (drift, performance) = look(&inputs, &config, now);
    let advice = "check that the monitoring folder can be written and that the disk is not full";
    let page = report_pages::render_drift_report(&drift, &examples::images(&layout, &drift))?;
    write_atomic(&layout.latest_drift().with_extension("html"), page.as_bytes())
        .hint("cannot write the drift report", advice)?;
    write_drift_report(&layout, &drift).hint("cannot write the drift report", advice)?;
    write_performance_report(&layout, &performance).hint("cannot write the performance report", advice)?;
    print::reports(args.common.json, &layout, &drift, &performance)?;
    let has_dropped = performance.has_dropped(config.triggers.max_accuracy_drop);
    let counted = &inputs.found.counted;
    let total = counted.slides + inputs.broken_lines;
    let is_unreadable = !counted.unreadable.is_empty()
        || inputs.broken_lines as f64 > config.drift.max_broken_share * total as f64;
    let is_bad = drift.status == DriftStatus::Drifted || has_dropped || is_unreadable;
    Ok(if args.exit_code && is_bad { Verdict::Fail } else { Verdict::Pass })
}

/// Keeps what was drawn of the days that are over.
fn keep_audits(layout: &Layout, inputs: &mut Inputs) -> Result<()> {
    let new = std::mem::take(&mut inputs.found.audits);
    if !new.is_empty() {
        Audit::append(&layout.audits(), &new)
            .hint("cannot keep the audit", "check that the monitoring folder can be written")?;
        tracing::info!("{} slides were drawn to be rated: see `{}`", new.len(), layout.audits().display());
        inputs.audits.extend(new);
    }
    Ok(())
}
