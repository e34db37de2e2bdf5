//! Decides whether to retrain.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use drift::{
    Decision, DriftReport, Evidence, MonitoringConfig, PerformanceReport, TriggerState, VersionFile, decide,
};
use jiff::Timestamp;
use pq_cli::{CommonArgs, HasCommon, Layout, Verdict, WithHint as _};
use project_files::Contract as _;
use slide_data::Correction;

/// Set by GitHub Actions to the file that a step's outputs go to.
const GITHUB_OUTPUT: &str = "GITHUB_OUTPUT";

/// Decides whether to retrain, says why, and keeps the decision in `monitoring/decisions.jsonl`.
///
/// Any one of four triggers is enough: corrections since the last release, days since the last release, drift, a drop of
/// accuracy. Their thresholds stand in `monitoring.toml` under `[triggers]`. The last two come from the reports of
/// `pq-monitor`; a missing, old or inconclusive report is named and fires nothing.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 decided (with --exit-code: retrain), 1 with --exit-code: do not retrain, 2 could not run.\n\nIn GitHub Actions `should_retrain` and `reason` become outputs of the step.\n\nExamples:\n  pq-trigger\n  pq-trigger --exit-code && make train\n  pq-trigger --set triggers.min_corrections=50 --dry-run"
)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Folder with the reports of pq-monitor; the decision is appended to decisions.jsonl in it [default:
    /// `storage.monitoring_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    monitoring: Option<PathBuf>,
    /// Corrections of users [default: those of the data folder, `storage.data_dir` of data.toml]
    #[arg(long, value_name = "FILE")]
    corrections: Option<PathBuf>,
    /// Folder of the released versions [default: `storage.registry_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
    /// Decide as of this time instead of now, as in `2025-06-01T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// End with status 0 to retrain and 1 not to.
    #[arg(long)]
    exit_code: bool,
    /// Decide and print, but keep nothing.
    #[arg(long)]
    dry_run: bool,
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
        .with_monitoring(args.monitoring.as_deref(), true)?
        .with_registry(args.registry.as_deref(), true)?;
    let corrections = corrections(args, &layout).hint("cannot decide", REMEDY)?;
    let releases = releases(&layout).hint("cannot decide", REMEDY)?;
    let drift = DriftReport::read_if_present(&layout.latest_drift()).hint("cannot decide", REMEDY)?;
    let performance =
        PerformanceReport::read_if_present(&layout.latest_performance()).hint("cannot decide", REMEDY)?;
    let evidence = Evidence {
        corrections: &corrections,
        releases: &releases,
        drift: drift.as_ref(),
        performance: performance.as_ref(),
    };
    let now = args.at.unwrap_or_else(Timestamp::now);
    let decision = decide(&evidence, &config.triggers, now);
    if !args.dry_run {
        Decision::append(&layout.decisions(), std::slice::from_ref(&decision))
            .hint("cannot keep the decision", "check that the monitoring folder can be written")?;
        if let Some(path) = std::env::var_os(GITHUB_OUTPUT).filter(|path| !path.is_empty()) {
            publish(Path::new(&path), &decision)?;
        }
    }
    print(args, &decision)?;
    Ok(if args.exit_code && !decision.should_retrain { Verdict::Fail } else { Verdict::Pass })
}

/// A file that cannot be used, or a folder that is named and not there, could hide a reason to retrain.
const REMEDY: &str = "run the command in the project's folder; mend the setting or the file, or let pq-monitor write its reports anew";

fn corrections(args: &Args, layout: &Layout) -> Result<Vec<Correction>, project_files::Error> {
    if let Some(path) = &args.corrections {
        if !path.is_file() {
            return Err(project_files::Error::NoFile { path: path.clone(), setting: "--corrections" });
        }
        return Ok(Correction::read_log(path)?.entries);
    }
    layout.require_data()?;
    Ok(Correction::read_log_if_present(&layout.corrections())?.entries)
}

fn releases(layout: &Layout) -> Result<VersionFile, project_files::Error> {
    layout.require_registry()?;
    layout.require_monitoring()?;
    Ok(VersionFile::read_if_present(&layout.version_file())?.unwrap_or_default())
}

/// Appends the outputs of a GitHub Actions step, each on one line.
fn publish(path: &Path, decision: &Decision) -> Result<()> {
    let reason = decision.reason().replace(['\n', '\r'], " ");
    let lines = format!("should_retrain={}\nreason={reason}\n", decision.should_retrain);
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(lines.as_bytes()))
        .with_context(|| format!("cannot write `{}`, which {GITHUB_OUTPUT} names", path.display()))
}

fn print(args: &Args, decision: &Decision) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if args.common.json {
        serde_json::to_writer_pretty(&mut out, decision)?;
        writeln!(out)?;
        return Ok(());
    }
    for trigger in &decision.triggers {
        let mark = match trigger.state {
            TriggerState::Fired => "RETRAIN",
            TriggerState::Quiet => "ok",
            TriggerState::Insufficient => "unknown",
        };
        let name = format!("{:?}", trigger.name).to_lowercase();
        writeln!(out, "{name:<12} {mark:<8} {}", trigger.reason)?;
    }
    writeln!(out, "should_retrain={}", decision.should_retrain)?;
    Ok(())
}
