//! Rates slides with a released or local adapter.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use pq_cli::{CommonArgs, HasCommon, Hint, Verdict, WithHint as _, secrets};
use project_files::{Contract as _, ValidationResults};
use registry::RegistryConfig;
use registry::signing::{PUBLIC_KEY, PublicKey};
use slide_data::{KeptConfig, Limits, render};
use slide_scorer::{Settings, SlideScorer};

mod adapter;
mod keep;
mod session;
mod table;

use keep::Keeper;
use session::Session;

/// Rates slides: a table on a terminal, one JSON line a slide on any other stdout (or with --json), or an HTML report for the deck's author.
///
/// Takes images, PDF and presentation files, and folders of them. Uses the champion of the registry, else the latest run.
/// Every scored slide is also logged to `monitoring/predictions.jsonl`, for pq-monitor, and its image kept in `monitoring/kept`
/// (`[kept_slides]` of monitoring.toml), so that a correction of it can be learned from.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 scored, 1 some pages or files could not be scored, 2 nothing could be scored."
)]
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
    /// Neither log to `monitoring/predictions.jsonl` nor keep the slides.
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
    let keep: KeptConfig = project.section("kept_slides", KeptConfig::validate)?;
    let layout = project
        .layout()?
        .with_monitoring(args.monitoring.as_deref(), false)?
        .with_registry(args.registry.as_deref(), true)?;
    let config: RegistryConfig = project.section("registry", RegistryConfig::validate)?;
    let key = PublicKey::trusted(&config, secrets::variable(PUBLIC_KEY))
        .hint("no signature can be checked", "check `registry.public_key`")?;
    let (adapter, version) = adapter::find(args, &layout, key.as_ref())?;
    let settings = Settings::of_run_here(&adapter, &args.common, &project)?;
    require_inputs(args)?;
    let scorer = SlideScorer::open(&settings, Some(&adapter), &version)?;
    let log = (!args.no_log).then(|| layout.predictions());
    let keeper = Keeper::new(&layout, keep, log.is_some());
    let mut session = Session { args, log, keeper, scorer: &scorer, scored: Vec::new(), failed: Vec::new() };
    score_all(args, &limits, &mut session)?;
    let results = ValidationResults::read_if_present(&adapter.validation())?;
    session.finish(&settings, &version, &session::quality(results.as_ref()))
}

/// Nothing is loaded where nothing is there to be scored.
fn require_inputs(args: &Args) -> Result<()> {
    if args.inputs.iter().any(|input| input.exists()) {
        return Ok(());
    }
    let names: Vec<String> = args.inputs.iter().map(|input| format!("`{}`", input.display())).collect();
    bail!(Hint::new(
        format!("there is no {}", names.join(", ")),
        "give images, PDF or presentation files, or folders"
    ))
}

/// Slides go through the model a few at a time, whatever files they are of.
fn score_all(args: &Args, limits: &Limits, session: &mut Session<'_>) -> Result<()> {
    let mut batch = Vec::new();
    for input in &args.inputs {
        let slides = render::load(input, limits).hint(
            format!("cannot read `{}`", input.display()),
            "give images, PDF or presentation files, or folders",
        );
        let slides = match slides {
            Ok(slides) => slides,
            Err(error) => {
                session.fail(input, &error)?;
                continue;
            }
        };
        for slide in slides {
            if pq_cli::interrupted() {
                return Ok(());
            }
            match slide {
                Ok(slide) => batch.push(slide),
                Err(error) => session.fail(input, &error.into())?,
            }
            if batch.len() >= args.batch.max(1) {
                session.score(std::mem::take(&mut batch))?;
            }
        }
    }
    session.score(batch)
}
