//! A version in the form of other programs, scored again before it counts as made.

mod check;
mod folder;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use pq_cli::{Hint, Verdict, WithHint as _};
use project_files::{Contract as _, ExportCheck, ExportRecord, Release, RunFiles, RunRecord, ScoreHead};
use serde_json::json;
use slide_scorer::{BASE_MODEL, BASE_PROCESSOR, Settings};
use vlm_lora::{ModelDtype, PeftAdapter};

use crate::args::ExportArgs;
use crate::context::Context;
use crate::print;
use crate::project::Project;
use folder::ExportFolder;

/// Exports a version; 1 where its answers would be too far from the version's.
pub(crate) fn export(context: &Context<'_>, project: &Project<'_>, args: &ExportArgs) -> Result<Verdict> {
    let (release, stored) = project.released(context, &args.version)?;
    let name = format!("{}-{}", release.version, args.suffix());
    let out = args.out.clone().unwrap_or_else(|| project.layout.exports().join(&name));
    if let Some(record) = existing(&out, &release, args)? {
        return printed(context, &out, &record, "exists");
    }
    if ScoreHead::read_if_present(&stored.score_head())?.is_some_and(|head| head.share > 0.0) {
        bail!(Hint::new(
            format!(
                "{} tells scores by a head on what the vision tower sees, which no export holds",
                release.version
            ),
            "export a version that was trained without `--head`"
        ));
    }
    let mut settings = Settings::of_run_here(&stored, project.common, project.config)?;
    // Both are asked in f32: what differs then is the export, not how weights are held here.
    settings.model.dtype = ModelDtype::Float32;
    settings.model.load_in_8bit = false;
    let slides = check::slides(project, &settings)?;
    let untaught = RunRecord::read(&stored.record())?.untaught;
    let expected = check::score(&settings, Some(&stored), &release.version, &slides, &untaught)?;

    let folder = ExportFolder::begin(&out)?;
    write(args, &release, &stored, &settings, &folder)?;
    let asked = folder.as_checkpoint(args.quantization(), &release.version)?;
    let mut exported = settings.clone();
    exported.model.name = asked.display().to_string();
    let actual = match check::score(&exported, None, &name, &slides, &untaught) {
        Ok(actual) => actual,
        Err(error) if pq_cli::interrupted() => return Err(error),
        // The version has just been asked the same: what cannot be answered is the export's fault.
        Err(error) => return refused(context, &release, &[format!("it cannot be scored: {error:#}")], None),
    };
    let taught = |key: &&str| !untaught.iter().any(|untaught| untaught == key);
    let keys: Vec<&str> = settings.rubric.keys().filter(taught).collect();
    let check = check::compare(&keys, &expected, &actual, args.bounds())?;
    let refusals = check.refusals();
    if !refusals.is_empty() {
        return refused(context, &release, &refusals, Some(&check));
    }
    let record = record(&release, &stored, &settings, args, check, folder.hashes()?)?;
    folder.finish(&record)?;
    printed(context, &out, &record, "exported")
}

fn refused(
    context: &Context<'_>,
    release: &Release,
    reasons: &[String],
    check: Option<&ExportCheck>,
) -> Result<Verdict> {
    let text = format!(
        "not exported: its answers are too far from those of {}:\n  {}",
        release.version,
        reasons.join("\n  ")
    );
    print::emit(context.json, &json!({"exported": false, "reasons": reasons, "check": check}), &text)?;
    Ok(Verdict::Fail)
}

/// An export that is there already and whole; another content is refused.
fn existing(out: &Path, release: &Release, args: &ExportArgs) -> Result<Option<ExportRecord>> {
    let occupied =
        || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) || out.is_file();
    let remedy = "name another folder with --out, or remove this one";
    let Some(record) = ExportRecord::read_if_present(&folder::record(out))
        .hint(format!("what `{}` holds cannot be told", out.display()), remedy)?
    else {
        if occupied() {
            bail!(Hint::new(format!("`{}` is not empty and no export", out.display()), remedy));
        }
        return Ok(None);
    };
    let quantization = args.quantization().map(|quantization| quantization.name().to_owned());
    let is_it = record.version == release.version
        && record.release_id == release.id
        && record.format == args.to.name()
        && record.quantization == quantization;
    let differences = project_files::differences(&RunFiles::new(out), &record.files)?;
    let own = format!("`{}` was added", ExportRecord::FILE);
    let differences: Vec<&String> = differences.iter().filter(|text| **text != own).collect();
    if is_it && differences.is_empty() {
        return Ok(Some(record));
    }
    let what = differences.first().map_or_else(|| "another export".to_owned(), |text| (*text).clone());
    bail!(Hint::new(format!("`{}` is not what would be exported: {what}", out.display()), remedy))
}

/// Writes the files of the export.
fn write(
    args: &ExportArgs,
    release: &Release,
    stored: &RunFiles,
    settings: &Settings,
    folder: &ExportFolder,
) -> Result<()> {
    let base = slide_scorer::open_base(&settings.model)?;
    let adapter = PeftAdapter::open(stored.dir(), base.checkpoint.config())
        .and_then(|adapter| adapter.on_base(&base.checkpoint))
        .with_context(|| format!("the adapter of {} does not fit the base", release.version))?;
    tracing::info!("writing {} of {}", args.suffix(), release.version);
    let Some(quantization) = args.quantization() else {
        return model_export::write_merged(&base.checkpoint, &adapter, &folder.files())
            .context("the weights cannot be merged");
    };
    let export = model_export::GgufExport {
        checkpoint: &base.checkpoint,
        adapter: Some(&adapter),
        name: &release.version,
        quantization,
        longest_edge: settings.longest_edge(),
    };
    export.write(&folder.files()).hint(
        "the model cannot be written as GGUF",
        "`--to merged` writes a checkpoint that every program with transformers loads",
    )?;
    Ok(())
}

fn record(
    release: &Release,
    stored: &RunFiles,
    settings: &Settings,
    args: &ExportArgs,
    check: ExportCheck,
    files: std::collections::BTreeMap<String, project_files::FileHash>,
) -> Result<ExportRecord> {
    let run = RunRecord::read(&stored.record())?;
    let of_base = [BASE_MODEL, BASE_PROCESSOR];
    Ok(ExportRecord {
        schema_version: ExportRecord::VERSION,
        version: release.version.clone(),
        release_id: release.id.clone(),
        run_id: release.run_id.clone(),
        format: args.to.name().to_owned(),
        quantization: args.quantization().map(|quantization| quantization.name().to_owned()),
        exported_at: jiff::Timestamp::now(),
        base_model: run.base_model,
        inputs: run.inputs.into_iter().filter(|(name, _)| of_base.contains(&name.as_str())).collect(),
        longest_edge: settings.longest_edge(),
        versions: [("pitchquest".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
        files,
        check,
    })
}

fn printed(context: &Context<'_>, out: &Path, record: &ExportRecord, what: &str) -> Result<Verdict> {
    let check = &record.check;
    let files: Vec<String> =
        record.files.iter().map(|(name, hash)| format!("  {name} ({} bytes)", hash.size)).collect();
    let text = format!(
        "{} {what}: {}\n{}\nscored on {} slides: probabilities differ by {:.2e} at most, {:.2e} on average; {} of {} scores changed",
        record.version,
        out.display(),
        files.join("\n"),
        check.slides,
        check.largest_difference,
        check.mean_difference,
        check.changed_scores,
        check.scores
    );
    print::emit(context.json, &json!({"exported": true, "folder": out, "export": record}), &text)?;
    Ok(Verdict::Pass)
}
