//! Decides whether to retrain.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use drift::{Decision, Evidence, Look, MonitoringConfig, Request, decide};
use durable_files::FileLock;
use jiff::Timestamp;
use pq_cli::{CommonArgs, HasCommon, Verdict, WithHint as _};
use slide_data::Rubric;

mod inputs;
mod keep;
mod output;
mod tried;

use inputs::Inputs;
use output::Heard;

/// Decides whether to retrain, says why, and keeps the decision in `monitoring/decisions.jsonl`.
///
/// Any one of four triggers is enough: corrections to learn from, days since the data was read with something new to learn from, drift, a
/// drop of accuracy. Their thresholds stand in `monitoring.toml` under `[triggers]`. The last two come from the reports of
/// `pq-monitor` and share a yearly error budget; a missing, old or inconclusive report is named and fires nothing. A person asks
/// with --manual. Nothing is asked for twice: not while a retraining runs, not straight after one, not for the same labels and
/// corrections.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 decided (with --exit-code: retrain), 1 with --exit-code: do not retrain, 2 could not run.\n\nIn GitHub Actions `should_retrain` and `reason` become outputs of the step.\n\nExamples:\n  pq-trigger\n  pq-trigger --explain --dry-run\n  pq-trigger --exit-code && make train\n  pq-trigger --done\n  pq-trigger --done --failed\n  pq-trigger --manual \"a new rubric\""
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
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
    /// Ask for a retraining whatever the triggers say, and why.
    #[arg(long, value_name = "REASON")]
    manual: Option<String>,
    /// Who asks [default: `GITHUB_ACTOR`, else `USER`]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Print each trigger's numbers, what was spent of the error budget, and the inputs with their hashes.
    #[arg(long)]
    explain: bool,
    /// Say that the retraining that was asked for is over, and decide nothing.
    #[arg(long, conflicts_with_all = ["manual", "dry_run", "exit_code"])]
    done: bool,
    /// With --done: it failed, so that nothing was learned. The next look may ask for the same again.
    #[arg(long, requires = "done")]
    failed: bool,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

fn main() -> ExitCode {
    pq_cli::run(run)
}

/// A file that cannot be used, or a folder that is named and not there, could hide a reason to retrain.
const REMEDY: &str = "run the command in the project's folder; mend the setting or the file, or let pq-monitor write its reports anew";

fn run(args: &Args) -> Result<Verdict> {
    let project = args.common.configuration()?;
    let config: MonitoringConfig = project.file("monitoring", MonitoringConfig::validate)?;
    let rubric: Rubric = project.section("rubric", Rubric::validate)?;
    let layout = project
        .layout()?
        .with_monitoring(args.monitoring.as_deref(), true)?
        .with_registry(args.registry.as_deref(), true)?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let by = pq_cli::asked_by(args.by.as_deref());
    let request = Request { now, by: &by, manual: args.manual.as_deref() };
    if args.done {
        return keep::done(&layout, args.failed.then_some(request));
    }
    let is_manual = args.manual.is_some();
    let (corrections, triggers) = (args.corrections.as_deref(), &config.triggers);
    let choice = inputs::Choice { corrections, is_manual, rubric: &rubric, triggers, now };
    if args.dry_run {
        let inputs = inputs::read(&layout, choice).hint("cannot decide", REMEDY)?;
        return finish(args, &judge(&inputs, &config, &request));
    }
    // What is read first must be there, so that a misspelt name makes no folder.
    inputs::read(&layout, choice).hint("cannot decide", REMEDY)?;
    std::fs::create_dir_all(layout.monitoring()).hint("cannot keep the decision", keep::ADVICE)?;
    // One decides at a time: the second of two meets the decision of the first.
    let _lock = FileLock::exclusive(&layout.retraining()).hint("cannot keep the decision", keep::ADVICE)?;
    let inputs = inputs::read(&layout, choice).hint("cannot decide", REMEDY)?;
    let decision = judge(&inputs, &config, &request);
    // A workflow that cannot hear of it must not find it asked for by the next look.
    let heard = std::env::var_os(output::GITHUB_OUTPUT).filter(|path| !path.is_empty());
    let heard = heard.map(|path| Heard::publish(Path::new(&path), &decision)).transpose()?;
    keep::decision(&layout, &decision, &config).inspect_err(|_| heard.iter().for_each(Heard::take_back))?;
    finish(args, &decision)
}

fn judge(inputs: &Inputs, config: &MonitoringConfig, request: &Request<'_>) -> Decision {
    let evidence = Evidence {
        usable: &inputs.usable,
        known: &inputs.known,
        releases: &inputs.releases,
        drift: inputs.drift.as_ref(),
        performance: inputs.performance.as_ref(),
        look: Look { past: &inputs.past, broken: inputs.broken_decisions, flight: inputs.flight.as_ref() },
        inputs: &inputs.hashes,
    };
    decide(&evidence, config, request)
}

fn finish(args: &Args, decision: &Decision) -> Result<Verdict> {
    output::print(decision, args.common.json, args.explain)?;
    Ok(if args.exit_code && !decision.should_retrain { Verdict::Fail } else { Verdict::Pass })
}
