//! Rates slides with a released or local adapter.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use pq_cli::{CommonArgs, HasCommon, Hint, Layout, Verdict, WithHint as _};
use project_files::{Contract as _, RunFiles, VersionFile, check_stored};
use slide_data::{Limits, render};
use slide_scorer::{Settings, SlideScorer};

mod session;

use session::Session;

/// Rates slides: one JSON line a slide on stdout, or an HTML report for the deck's author.
///
/// Takes images, PDF and presentation files, and folders of them. Uses the champion of the registry, else the latest run.
/// Every scored slide is also logged to `monitoring/predictions.jsonl`, for pq-monitor.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit status: 0 scored, 2 nothing could be scored.")]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Images, decks or folders.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// A run or a released version to rate with.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Write a report with images to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Slides that go through the model at once.
    #[arg(long, default_value_t = 4)]
    batch: usize,
    /// Do not log to `monitoring/predictions.jsonl`.
    #[arg(long)]
    no_log: bool,
    /// Folder of the monitoring files [default: `storage.monitoring_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    monitoring: Option<PathBuf>,
    /// Folder of the registry [default: `storage.registry_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
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
    let limits: Limits = project.section("limits", Limits::validate)?;
    let layout = project
        .layout()?
        .with_monitoring(args.monitoring.as_deref(), false)?
        .with_registry(args.registry.as_deref(), true)?;
    let (adapter, version) = find_adapter(args, &layout)?;
    let settings = Settings::of_run_here(&adapter, &args.common, &project)?;
    let scorer = SlideScorer::open(&settings, Some(&adapter), &version)?;
    let log = (!args.no_log).then(|| layout.predictions());
    let mut session = Session { args, log, scorer: &scorer, scored: Vec::new(), failed: 0 };
    'inputs: for input in &args.inputs {
        let slides = render::load(input, &limits).hint(
            format!("cannot read `{}`", input.display()),
            "give images, PDF or presentation files, or folders",
        );
        let slides = match slides {
            Ok(slides) => slides,
            Err(error) => {
                session.fail(&error);
                continue;
            }
        };
        let mut batch = Vec::new();
        for slide in slides {
            if pq_cli::interrupted() {
                break 'inputs;
            }
            match slide {
                Ok(slide) => batch.push(slide),
                Err(error) => session.fail(&error.into()),
            }
            if batch.len() >= args.batch.max(1) {
                session.score(std::mem::take(&mut batch))?;
            }
        }
        session.score(batch)?;
    }
    session.finish(&settings, &version)
}

const REMEDY: &str = "`pq-register doctor` says what is wrong and brings files back from the Hub; `pq-register rollback` puts the version before in use";

/// The adapter and its name, checked against what was released: the one that was named, else the champion, else the latest run.
fn find_adapter(args: &Args, layout: &Layout) -> Result<(RunFiles, String)> {
    let named = |run: RunFiles| -> Result<(RunFiles, String)> {
        let name = run.name().with_context(|| format!("cannot open `{}`", run.dir().display()))?;
        Ok((run, name))
    };
    if let Some(dir) = &args.adapter {
        let run = RunFiles::new(dir);
        check_stored(&run, None).hint("the version is not used", REMEDY)?;
        return named(run);
    }
    layout.require_registry()?;
    let versions = VersionFile::read_if_present(&layout.version_file())?.unwrap_or_default();
    if let Some(champion) = versions.champion() {
        let stored = layout.version(&champion.version);
        check_stored(&stored, Some(champion))
            .hint(format!("{}, which is in use, is not used", champion.version), REMEDY)?;
        return Ok((stored, champion.version.clone()));
    }
    let latest = layout.latest_run();
    if !latest.dir().exists() {
        bail!(Hint::new(
            "there is no released version and no run",
            "train with pq-train, name one with --adapter, or check `storage.registry_dir` and `training.output_dir`"
        ));
    }
    named(latest)
}
