//! Compares the model with people on the frozen test split.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use pq_common::{CommonArgs, HasCommon, Hint, Verdict, WithHint as _};
use pq_model::{
    LabelledSlide, NewGroups, Rater, Settings, Store, TRAINING_TABLES, base_inputs, fingerprint_of_base,
};
use registry::{RegistryConfig, VersionFile, hash_file};
use slide_data::{Label, Split};
use vlm_eval::{
    BootstrapOptions, Comparison, Evaluation, EvaluationInput, EvaluationOptions, GateConfig, Item, evaluate,
};

mod print;
mod score;

/// Compares a run's adapter with people on the frozen test split and writes results and report beside it.
///
/// It passes when the share of scores within one point of people's is above `registry.min_human_agreement`, the mean absolute
/// error is below `registry.max_mae`, and the model is better than the best constant answer.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit status: 0 passed, 1 did not pass, 2 could not run.")]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// The run to validate.
    #[arg(default_value = "outputs/latest")]
    run: PathBuf,
    /// Also score the base without the adapter, to show what training changed.
    #[arg(long)]
    with_base: bool,
    /// Folder of the registry, whose champion is compared.
    #[arg(long, default_value = "model_registry")]
    registry: PathBuf,
}

impl HasCommon for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

fn main() -> ExitCode {
    pq_common::run(run)
}

/// What stays the same for the adapter, the base and the champion.
struct Exam {
    test: Vec<LabelledSlide>,
    train_labels: Vec<Label>,
    gate: GateConfig,
}

fn run(args: &Args) -> Result<Verdict> {
    let config: RegistryConfig = args.common.load("training", &TRAINING_TABLES)?.section("registry")?;
    let settings = Settings::of_run_here(&args.run, &args.common).hint(
        format!("`{}` is not a run", args.run.display()),
        "train one with pq-train, or name its folder",
    )?;
    let slides = Store::open(&args.common)?.labelled(&settings.rubric, NewGroups::LeaveOut)?;
    let of = |split: Split| slides.iter().filter(move |slide| slide.split == split).cloned();
    let exam = Exam {
        test: of(Split::Test).collect(),
        train_labels: of(Split::Train).map(|slide| slide.label).collect(),
        gate: GateConfig { min_human_agreement: config.min_human_agreement, max_mae: config.max_mae },
    };
    if exam.test.is_empty() {
        bail!(Hint::new(
            "no labelled slide is in the test split",
            "rate slides of more decks, then train again"
        ));
    }
    let before =
        if args.with_base { Some(exam.comparison(&settings, None, "base without adapter")?) } else { None };
    let champion = champion(args, &exam)?;
    let inputs = inputs(args, &settings)?;
    let beside = Beside { champion: champion.as_ref(), before: before.as_ref(), inputs: &inputs };
    let evaluation = exam.sit(&settings, Some(&args.run), &run_name(&args.run)?, &beside)?;
    evaluation.results.write(&args.run.join(vlm_eval::ValidationResults::FILE_NAME))?;
    let report = args.run.join("report.html");
    print::write_report(&report, &evaluation, &settings.rubric, &exam.test)?;
    print::verdict(&evaluation, &report, args.common.json)
}

/// What the results are shown beside, and what they were made from.
struct Beside<'a> {
    champion: Option<&'a Comparison>,
    before: Option<&'a Comparison>,
    inputs: &'a BTreeMap<String, String>,
}

impl Exam {
    /// Scores the test slides and evaluates the scores.
    fn sit(
        &self,
        settings: &Settings,
        adapter: Option<&Path>,
        name: &str,
        beside: &Beside<'_>,
    ) -> Result<Evaluation> {
        let rater = Rater::open(settings, adapter, name)?;
        let predictions = score::all(&rater, &self.test, name)?;
        let items: Vec<Item> = self
            .test
            .iter()
            .zip(predictions)
            .map(|(slide, prediction)| Item {
                slide_id: slide.record.slide_id.clone(),
                group: slide.record.group.clone(),
                label: slide.label.clone(),
                prediction,
            })
            .collect();
        let input = EvaluationInput {
            rubric: &settings.rubric,
            items: &items,
            train_labels: Some(&self.train_labels),
            champion: beside.champion,
            before: beside.before,
            model_version: name,
            inputs: beside.inputs,
            options: EvaluationOptions { gate: self.gate, bootstrap: BootstrapOptions::default() },
            now: jiff::Timestamp::now(),
        };
        Ok(evaluate(&input)?)
    }

    fn comparison(&self, settings: &Settings, adapter: Option<&Path>, name: &str) -> Result<Comparison> {
        let beside = Beside { champion: None, before: None, inputs: &BTreeMap::new() };
        Ok(self.sit(settings, adapter, name, &beside)?.results.comparison(name))
    }
}

/// The champion's results on the same slides, where there is one and it is another adapter.
fn champion(args: &Args, exam: &Exam) -> Result<Option<Comparison>> {
    let versions = VersionFile::read(&args.registry.join("version.json"))?;
    let Some(champion) = versions.champion() else { return Ok(None) };
    let adapter = "adapter_model.safetensors";
    let dir = args.registry.join("versions").join(&champion.version);
    if !dir.join(adapter).exists() {
        tracing::warn!(
            "the champion {} is not stored in `{}`; it is not compared",
            champion.version,
            dir.display()
        );
        return Ok(None);
    }
    if hash_file(&dir.join(adapter))? == hash_file(&args.run.join(adapter))? {
        return Ok(None);
    }
    let settings = Settings::of_run(&dir)?;
    exam.comparison(&settings, Some(&dir), &champion.version).map(Some)
}

/// The hashes that tie the results to base, adapter and data, and the base's name.
fn inputs(args: &Args, settings: &Settings) -> Result<BTreeMap<String, String>> {
    let store = Store::open(&args.common)?;
    let mut files = store.inputs();
    for name in ["adapter_config.json", "adapter_model.safetensors", "config.toml"] {
        files.insert(name.to_owned(), args.run.join(name));
    }
    let mut inputs = base_inputs(&fingerprint_of_base(&settings.model)?);
    inputs.insert("base_model_name".to_owned(), settings.model.name.clone());
    for (name, path) in files {
        inputs.insert(name, hash_file(&path)?.sha256);
    }
    Ok(inputs)
}

fn run_name(run: &Path) -> Result<String> {
    let path = run.canonicalize().with_context(|| format!("cannot open `{}`", run.display()))?;
    Ok(path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}
