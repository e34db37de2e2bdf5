//! `pq-score corrections`: takes in corrections from a file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use jiff::Timestamp;
use pq_cli::{CommonArgs, Layout, Verdict, WithHint as _};
use serde_json::json;
use slide_data::{KeptSlides, Manifest};
use slide_label::{
    CorrectionPlan, CorrectionRules, Corrections, read_corrections, read_predictions, slides_of_corrections,
};
use slide_scorer::Settings;

use crate::args::CorrectionsArgs;

const REMEDY: &str = "mend the file, or restore it from a copy; nothing was changed";

/// Notes the corrections of a file; lines that are not taken are named, and make the verdict no.
pub(crate) fn corrections(common: &CommonArgs, args: &CorrectionsArgs) -> Result<Verdict> {
    let project = common.configuration()?;
    let layout = project.layout()?.with_monitoring(args.monitoring.as_deref(), true)?;
    layout.require_data().hint(
        "there is no data",
        "run the command in the project's folder, or mend `storage.data_dir` in data.toml",
    )?;
    let settings = Settings::load(&project)?;
    let file = read_corrections(&args.file).hint(
        format!("`{}` cannot be taken in", args.file.display()),
        "name a file with a correction a line, in the form of corrections.jsonl",
    )?;
    let named = slides_of_corrections(&file);
    let wanted = |slide: &str| named.contains(slide);
    let predictions =
        read_predictions(&layout, &wanted).hint("cannot tell what the model had said", REMEDY)?;
    let here = collected_or_kept(&layout).hint("cannot tell which slides are known", REMEDY)?;
    let is_known = |slide: &str| predictions.contains_key(slide) || here.contains(slide);
    let mut noted =
        Corrections::open(&layout.corrections()).hint("the corrections cannot be read", REMEDY)?;
    let plan = noted.plan(
        &file,
        &CorrectionRules {
            rubric: &settings.rubric,
            now: Timestamp::now(),
            predictions: &predictions,
            is_known: if args.keep_unknown { None } else { Some(&is_known) },
        },
    );
    if !args.dry_run {
        noted.take(&plan).hint("the corrections could not be noted", "check free space and permissions")?;
    }
    let text = if common.json { report(&plan, args.dry_run) } else { words(&plan, args.dry_run) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if plan.not_taken.is_empty() { Verdict::Pass } else { Verdict::Fail })
}

/// The slides of the store, and those that were kept as they were scored.
fn collected_or_kept(layout: &Layout) -> slide_data::Result<BTreeSet<String>> {
    let mut slides: BTreeSet<String> = KeptSlides::read(&layout.kept())?.into_keys().collect();
    if layout.slides().manifest().exists() {
        let manifest = Manifest::read(layout.slides().root())?;
        slides.extend(manifest.slides.into_iter().map(|slide| slide.slide_id));
    }
    Ok(slides)
}

fn report(plan: &CorrectionPlan, is_dry: bool) -> String {
    let CorrectionPlan { new, known, not_taken } = plan;
    let report = json!({"dry_run": is_dry, "added": new.len(), "known": known, "not_taken": not_taken});
    format!("{report:#}\n")
}

fn words(plan: &CorrectionPlan, is_dry: bool) -> String {
    let mut text = String::new();
    for line in &plan.not_taken {
        let _ = writeln!(text, "line {}: {}", line.line, line.reason);
    }
    let (added, known, not_taken) = (plan.new.len(), plan.known, plan.not_taken.len());
    let _ = if is_dry {
        writeln!(
            text,
            "{added} corrections would be added, {known} are known already, {not_taken} lines would not be taken; nothing was written"
        )
    } else {
        writeln!(text, "{added} corrections added, {known} known already, {not_taken} lines not taken")
    };
    text
}
