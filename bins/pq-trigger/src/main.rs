//! Decides whether to retrain.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use drift::{
    Decision, DriftReport, Evidence, PerformanceReport, Releases, TriggerConfig, TriggerState, decide, record,
};
use jiff::Timestamp;
use pq_common::{CommonArgs, HasCommon, Hint, Verdict, WithHint as _};
use slide_data::{Correction, read_json_lines};

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
    /// Folder with the reports of pq-monitor; the decision is appended to decisions.jsonl in it.
    #[arg(long, value_name = "DIR", default_value = "monitoring")]
    monitoring: PathBuf,
    /// Corrections of users.
    #[arg(long, value_name = "FILE", default_value = "data/user_feedback/corrections.jsonl")]
    corrections: PathBuf,
    /// Folder of the released versions.
    #[arg(long, value_name = "DIR", default_value = "model_registry")]
    registry: PathBuf,
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
    pq_common::run(run)
}

fn run(args: &Args) -> Result<Verdict> {
    let config = configuration(&args.common)?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let corrections = optional(&args.corrections, corrections)?.unwrap_or_default();
    let releases = optional(&args.registry.join("version.json"), Releases::read)?.unwrap_or_default();
    let drift = optional(&args.monitoring.join("drift_reports/latest_drift.json"), DriftReport::read)?;
    let metrics = args.monitoring.join("performance_metrics/latest_metrics.json");
    let performance = optional(&metrics, PerformanceReport::read)?;
    let evidence = Evidence {
        corrections: &corrections,
        releases: &releases,
        drift: drift.as_ref(),
        performance: performance.as_ref(),
    };
    let decision = decide(&evidence, &config, now);
    if !args.dry_run {
        record(&args.monitoring.join("decisions.jsonl"), &decision)
            .hint("cannot keep the decision", "check that the monitoring folder can be written")?;
        if let Some(path) = std::env::var_os(GITHUB_OUTPUT).filter(|path| !path.is_empty()) {
            publish(Path::new(&path), &decision)?;
        }
    }
    print(args, &decision)?;
    Ok(if args.exit_code && !decision.should_retrain { Verdict::Fail } else { Verdict::Pass })
}

fn configuration(common: &CommonArgs) -> Result<TriggerConfig> {
    let file = common.load("monitoring", &drift::MonitoringConfig::TABLES)?;
    let config = drift::MonitoringConfig {
        drift: file.section("drift")?,
        performance: file.section("performance")?,
        triggers: file.section("triggers")?,
    };
    config
        .validate()
        .map_err(|error| Hint::new(error.to_string(), "mend monitoring.toml or the --set value"))?;
    Ok(config.triggers)
}

/// Reads a file where it exists; one that exists but cannot be used is an error, because it could hide a reason to retrain.
fn optional<T>(path: &Path, read: impl Fn(&Path) -> drift::Result<T>) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let value =
        read(path).hint("cannot decide", "mend the file, or let pq-monitor write its reports anew")?;
    Ok(Some(value))
}

fn corrections(path: &Path) -> drift::Result<Vec<Correction>> {
    let (corrections, torn) = read_json_lines(path, "correction")?;
    if torn {
        tracing::warn!("the last line of `{}` is torn and left out", path.display());
    }
    Ok(corrections)
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
