//! Fine-tunes the model on the labelled slides.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use pq_cli::{CommonArgs, HasCommon, Hint, Verdict};
use slide_data::Split;
use slide_scorer::{LabelledSlide, NewGroups, RatingPrompt, Settings, SlideSamples, Store, open_base};

mod applies;
mod code;
mod decision;
mod evaluate;
mod gain;
mod observe;
mod outlook;
mod plan;
mod preempt;
mod ratings;
mod record;
mod reference;
mod report;
mod run;
mod sync;
mod track;
mod training;
mod verdict;
mod warm;

use run::RunDir;

/// Fine-tunes the model on the labelled slides with LoRA.
///
/// Splits the decks and freezes the test set with its labels where it is not frozen yet, trains, evaluates and saves by step, keeps the adapter with the smallest
/// rating error, and writes everything to `outputs/<run>`. Ctrl-C saves a checkpoint; `--resume` carries on from it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 trained, 1 no better than the best constant, 2 could not run, 4 stopped early: --resume carries on."
)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Name of the run; left out, its starting time.
    #[arg(long)]
    run: Option<String>,
    /// Carry on from the newest checkpoint of the run (the one named by --run, else the newest).
    #[arg(long)]
    resume: bool,
    /// Begin with the adapter of `champion`, a version, a run or a folder in place of a fresh one; its own `[lora]` settings hold.
    #[arg(long, value_name = "ADAPTER", conflicts_with = "resume")]
    from: Option<String>,
    /// Say what the run will take (memory, disk, time, after a short calibration) and train nothing.
    #[arg(long, conflicts_with = "resume")]
    plan: bool,
    #[command(subcommand)]
    command: Option<sync::Command>,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

fn main() -> ExitCode {
    pq_cli::run(|args: &Args| match &args.command {
        Some(sync::Command::Sync { run }) => {
            sync::run(&args.common.configuration()?, run.as_deref(), args.common.json)
        }
        None => train(args),
    })
}

fn train(args: &Args) -> Result<Verdict> {
    let project = args.common.configuration()?;
    let mut settings = Settings::load(&project)?;
    let services = track::Services::of(&project)?;
    let store = Store::open(&project)?;
    let warm = args.from.as_deref().map(|name| warm::Adapter::find(name, store.layout())).transpose()?;
    let begin = || RunDir::choose(store.layout(), args.run.as_deref(), args.resume);
    let dir = if args.plan { None } else { Some(begin()?) };
    let new_groups = if args.plan { NewGroups::DryRun } else { NewGroups::Assign };
    let slides = store.labelled(&settings.rubric, new_groups)?;
    let (base, is_here) =
        if args.plan { plan::open(&settings.model)? } else { (open_base(&settings.model)?, true) };
    let processor = base.processor(settings.longest_edge())?;
    let adapter = warm.map(|warm| warm.open(&base, &mut settings)).transpose()?;
    let untaught = outlook::untaught(&settings.rubric, &slides);
    let rating_prompt = RatingPrompt::new(settings.rubric.clone(), processor)?.without(&untaught);
    let (train, val) = samples(&rating_prompt, &slides, settings.training.score_token_weight)?;

    let seen_afterwards =
        applies::learned_from(&slides).count() + reference::whole_decks(train.slides()).len();
    let rated = vlm_lora::plan::Rated { validation: val.slides().len(), seen_afterwards };
    let (plan, largest) = plan::plan(&settings, &base, is_here, &train)?;
    if !args.plan {
        plan::check(&plan, &settings)?; // what is free is only a warning
    }
    let Some(dir) = dir else {
        let show = plan::Show {
            plan,
            settings: &settings,
            base: &base,
            samples: largest,
            rated,
            json: args.common.json,
        };
        return base.device.run(show);
    };
    drop(largest);
    store.freeze_test(&dir.name)?;
    dir.files.dir().clone_into(&mut settings.training.output_dir);
    let samples = training::Samples { prompt: &rating_prompt, all: &slides, train, val, untaught: &untaught };
    base.device.run(training::Training {
        args,
        settings: &settings,
        services,
        store: &store,
        dir: &dir,
        base: &base,
        samples,
        adapter,
    })
}

/// The slides to train on and those to choose the checkpoint by.
fn samples<'a>(
    rating_prompt: &'a RatingPrompt,
    slides: &[LabelledSlide],
    score_token_weight: f64,
) -> Result<(SlideSamples<'a>, SlideSamples<'a>)> {
    let of = |split: Split| -> Vec<LabelledSlide> {
        slides.iter().filter(|slide| slide.split == split && slide.has_score()).cloned().collect()
    };
    let train = SlideSamples::new(rating_prompt, of(Split::Train), score_token_weight);
    let val = SlideSamples::new(rating_prompt, of(Split::Val), score_token_weight);
    if train.slides().is_empty() || val.slides().is_empty() {
        bail!(Hint::new("no deck is left for training or for validation", "rate slides of more decks"));
    }
    tracing::info!(
        "{} slides to train on, {} to choose the checkpoint by, {} kept for the test",
        train.slides().len(),
        val.slides().len(),
        of(Split::Test).len()
    );
    Ok((train, val))
}
