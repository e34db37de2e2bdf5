//! Compares the model with people on the frozen test split.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use pq_cli::{CommonArgs, HasCommon, Hint, ShardArgs, Verdict, WithHint as _, secrets};
use project_files::{Contract as _, RunFiles, ValidationResults, hash_file};
use registry::RegistryConfig;
use registry::signing::{PUBLIC_KEY, PublicKey};
use slide_data::{Prediction, Split};
use slide_scorer::{NewGroups, Settings, Store, base_inputs, fingerprint_of_base};
use vlm_eval::{Gate, Override};

mod champion;
mod cheap;
mod doubtful;
mod evaluator;
mod print;
mod score;
mod shard;

use evaluator::{Beside, Evaluator};

/// A condition that is set aside, as in `max_mae=a first trial`.
fn set_aside(text: &str) -> Result<Override, String> {
    Override::parse(text, &["min_human_agreement", "max_mae", "champion_margin", "human_ceiling"])
}

/// Compares a run's adapter with people on the frozen test split and writes results and report beside it.
///
/// It passes when the intervals show that agreement is above `registry.min_human_agreement`, the mean absolute error below
/// `registry.max_mae`, kappa above 0.4 for each criterion, the error a quarter below the best constant's, and the model better
/// than the one in use. Where the slides do not tell, or something is missing, it is undecided, and nothing is released.
///
/// With `--shard` one of several processes only looks at its part of the slides and keeps what the frozen vision tower says of them in the
/// feature cache, most of a validation; then validate without it.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit status: 0 passed, 1 failed, 2 could not run, 3 undecided.")]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// The run to validate [default: the latest one]
    run: Option<PathBuf>,
    /// Also score the base without the adapter, to show what training changed.
    #[arg(long)]
    with_base: bool,
    /// Set a condition aside, or accept an easier bound: one of `min_human_agreement`, `max_mae`, `champion_margin`, `human_ceiling`,
    /// with the reason, which results, report and model card show. May be given several times.
    #[arg(long = "override", value_name = "NAME=REASON", value_parser = set_aside)]
    set_aside: Vec<Override>,
    /// May be this much worse than the model in use, in points of mean absolute error, as where new data ask for a release; needs
    /// `--override champion_margin=REASON`.
    #[arg(long, value_name = "POINTS", default_value_t = 0.0)]
    champion_margin: f64,
    /// Folder of the registry, whose champion is compared [default: `storage.registry_dir` of data.toml]
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
    #[command(flatten)]
    shard: ShardArgs,
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
    let config: RegistryConfig = project.section("registry", RegistryConfig::validate)?;
    let layout = project.layout()?.with_registry(args.registry.as_deref(), true)?;
    layout.require_registry()?;
    let run = args.run.as_ref().map_or_else(|| layout.latest_run(), RunFiles::new);
    champion::refuse_version(&run)?;
    let settings = Settings::of_run_here(&run, &args.common, &project).hint(
        format!("`{}` is not a run", run.dir().display()),
        "train one with pq-train, name its folder, or check `training.output_dir`",
    )?;
    let store = Store::open(&project)?;
    let slides = store.labelled(&settings.rubric, NewGroups::LeaveOut)?;
    let of =
        |split: Split| slides.iter().filter(move |slide| slide.split == split && slide.has_score()).cloned();
    let evaluator = Evaluator {
        test: of(Split::Test).collect(),
        train: of(Split::Train).collect(),
        val: of(Split::Val).collect(),
        features: layout.feature_cache(),
        now: store.now(),
        gate: Gate { champion_margin: args.champion_margin, ..config.gate() },
        overrides: args.set_aside.clone(),
    };
    if evaluator.test.is_empty() {
        bail!(Hint::new(
            "no labelled slide is in the test split",
            "rate slides of more decks, then train again"
        ));
    }
    let name = run.name().with_context(|| format!("cannot open `{}`", run.dir().display()))?;
    if args.shard.is_named() {
        let shard = args.shard.find().hint("it is not known which shard this is", "name it: --shard 2/8")?;
        return shard::look(&evaluator.open(&settings, Some(&run), &name)?, &evaluator, shard);
    }
    let before =
        if args.with_base { Some(evaluator.rate(&settings, None, "base without adapter")?) } else { None };
    let key = PublicKey::trusted(&config, secrets::variable(PUBLIC_KEY))
        .hint("no signature can be checked", "check `registry.public_key`")?;
    let settings_of = |run: &RunFiles| Settings::of_run_here(run, &args.common, &project);
    let champion = champion::rate(&layout, &run, &evaluator, key.as_ref(), &settings_of)?;
    let scorer = evaluator.open(&settings, Some(&run), &name)?;
    let model = evaluator.rate_with(&scorer, &name)?;
    let (cheap, known) = evaluator.rate_cheaply(&settings, &scorer, &model.predictions)?;
    let raters = [Some(&model), champion.as_ref(), before.as_ref()].into_iter().flatten().chain(&cheap);
    let predictions = raters.flat_map(|rater| &rater.predictions);
    Prediction::replace_log(&run.test_predictions(), predictions)?;
    let inputs = inputs(&store, &run, &settings)?;
    doubtful::write(&run, &evaluator, &settings.rubric, &model, &known, &inputs)?;
    let beside =
        Beside { champion: champion.as_ref(), before: before.as_ref(), cheap: &cheap, inputs: &inputs };
    let mut evaluation = evaluator.evaluate(&settings, &model, &beside)?;
    let report = run.report();
    print::write_report(&report, &evaluation, &settings.rubric, &evaluator.test)?;
    // The results come last and name the report too: a release is bound to all that they name.
    let report_name = report.file_name().unwrap_or_default().to_string_lossy().into_owned();
    evaluation.results.inputs.insert(report_name, hash_file(&report)?.sha256);
    evaluation.results.write(&run.validation())?;
    print::step_summary(&evaluation)?;
    print::verdict(&evaluation, &settings.rubric, &report, args.common.json)
}

/// The hashes that tie the results to base, adapter and data, and the base's name.
fn inputs(store: &Store, run: &RunFiles, settings: &Settings) -> Result<BTreeMap<String, String>> {
    let mut files = store.inputs();
    for path in ValidationResults::of_a_run(run).into_iter().filter(|path| path.exists()) {
        files.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path);
    }
    let mut inputs = base_inputs(&fingerprint_of_base(&settings.model)?);
    inputs.insert("base_model_name".to_owned(), settings.model.name.clone());
    for (name, path) in files {
        inputs.insert(name, hash_file(&path)?.sha256);
    }
    Ok(inputs)
}
