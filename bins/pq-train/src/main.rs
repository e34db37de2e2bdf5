//! Fine-tunes the model on the labelled slides.

use std::process::ExitCode;

use anyhow::Result;
use pq_cli::{ProjectConfig, Verdict};
use slide_scorer::{BaseModelConfig, NewGroups, RatingPrompt, Settings, Store, open_base};

mod applies;
mod args;
mod code;
mod decision;
mod doctor;
mod evaluate;
mod gain;
mod head;
mod observe;
mod outlook;
mod plan;
mod preempt;
mod processes;
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

use args::{Args, Command};
use processes::Processes;
use run::RunDir;

fn main() -> ExitCode {
    pq_cli::run(|args: &Args| match &args.command {
        Some(Command::Sync { run }) => {
            sync::run(&args.common.configuration()?, run.as_deref(), args.common.json)
        }
        Some(Command::Doctor) => doctor::run(&args.common),
        None => train(args),
    })
}

fn train(args: &Args) -> Result<Verdict> {
    let project = args.common.configuration()?;
    let processes = if args.plan { Processes::alone() } else { Processes::join(&project)? };
    let verdict = run(args, &project, &processes);
    processes.end(&verdict);
    verdict
}

fn run(args: &Args, project: &ProjectConfig, processes: &Processes) -> Result<Verdict> {
    args.check(processes.count())?;
    let mut settings = Settings::load(project)?;
    let services = track::Services::of(project)?;
    let store = open(args, project, processes)?;
    let warm = args.from.as_deref().map(|name| warm::Adapter::find(name, store.layout())).transpose()?;
    let dir = if args.plan { None } else { Some(run_dir(args, &store, processes)?) };
    let new_groups = if args.plan || !processes.is_first() { NewGroups::DryRun } else { NewGroups::Assign };
    let slides = processes.first_then(|| store.labelled(&settings.rubric, new_groups))?;
    let model =
        BaseModelConfig { device: processes.device(&settings.model.device), ..settings.model.clone() };
    let (base, is_here) = if args.plan {
        plan::open(&settings.model)?
    } else {
        (processes.first_then(|| open_base(&model))?, true)
    };
    let processor = base.processor(settings.longest_edge())?;
    let adapter = warm.map(|warm| warm.open(&base, &mut settings)).transpose()?;
    let untaught = outlook::untaught(&settings.rubric, &slides);
    let rating_prompt = RatingPrompt::new(settings.rubric.clone(), processor)?.without(&untaught);
    let samples = training::Samples::new(&rating_prompt, &slides, &settings, &untaught)?;

    let rated = samples.rated();
    let (plan, largest) = plan::plan(&settings, &base, is_here, &samples.train)?;
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
    if processes.is_first() {
        store.freeze_test(&dir.name)?;
    }
    dir.files.dir().clone_into(&mut settings.training.output_dir);
    base.device.run(training::Training {
        args,
        settings: &settings,
        services,
        store: &store,
        dir: &dir,
        base: &base,
        samples,
        adapter,
        processes,
    })
}

/// The project's data as the first process finds it when it begins, or as it was at a time that was named.
fn open(args: &Args, project: &ProjectConfig, processes: &Processes) -> Result<Store> {
    let store = Store::open(project)?;
    let now = processes.told(|| Ok(args.as_of.unwrap_or(store.now()).to_string()))?.parse()?;
    Ok(store.at(now))
}

/// The run's folder, which the first process chooses for all.
fn run_dir(args: &Args, store: &Store, processes: &Processes) -> Result<RunDir> {
    let mut chosen = None;
    let name = processes.told(|| {
        let dir = chosen.insert(RunDir::choose(store.layout(), args.run.as_deref(), args.resume)?);
        Ok(dir.name.clone())
    })?;
    chosen.map_or_else(|| RunDir::joined(store.layout(), &name), Ok)
}
