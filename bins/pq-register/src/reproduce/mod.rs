//! A version trained again from what it was made of.

mod compare;
mod restore;
mod train;

use anyhow::{Result, bail};
use pq_cli::{Hint, Verdict, WithHint as _};
use project_files::{Contract as _, RunFiles, RunRecord, ScoreHead};
use serde_json::json;
use slide_scorer::Settings;

use crate::args::ReproduceArgs;
use crate::context::Context;
use crate::print;
use crate::project::Project;

/// Restores what the version was trained on, trains again and compares: 1 where the weights are others.
pub(crate) fn reproduce(
    context: &Context<'_>,
    project: &Project<'_>,
    args: &ReproduceArgs,
) -> Result<Verdict> {
    let (release, stored) = project.released(context, &args.version)?;
    let record = RunRecord::read(&stored.record())?;
    let mut settings = Settings::of_run_here(&stored, project.common, project.config)?;
    let out = args.out.clone().unwrap_or_else(|| project.layout.outputs().join("reproductions"));
    // The copies that the run kept; where they are gone, the project's files may still be the same.
    let run = project.layout.run(&release.run_id);
    let inputs = restore::inputs(&record, &run, project.layout)
        .hint(format!("{} cannot be trained again: its data is not here", release.version), DATA)?;
    restore::check_base(&record, &settings.model)?;
    inputs.check_images(project.layout)?;
    let from = restore::started_from(&record, project.layout)?;
    restore::check_not_extended(&record)?;
    if args.only_check {
        let text = format!("everything that {} was trained on is here", release.version);
        print::emit(context.json, &json!({"version": release.version, "complete": true}), &text)?;
        return Ok(Verdict::Pass);
    }
    std::fs::create_dir_all(&out)?;
    settings.training.output_dir.clone_from(&out);
    let restored = inputs.restore(project.layout, &settings, &out)?;
    let name = format!("{}-{}", release.version, jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S"));
    let new = RunFiles::new(out.join(&name));
    tracing::info!("training {} again in `{}`", release.version, new.dir().display());
    let head = ScoreHead::read_if_present(&stored.score_head())?;
    let as_of = inputs.corrections_until(&record);
    let asked = train::Asked { from: from.as_deref(), head: head.as_ref(), as_of };
    if !train::train(&restored, &asked, &name)? {
        bail!(Hint::new("interrupted; nothing was compared", "run it again: it begins from the start"));
    }
    let comparison = compare::compare(&stored, &record, &new)?;
    let text = comparison.text(&release.version, &new);
    let value = json!({"version": release.version, "run": new.dir(), "comparison": comparison});
    print::emit(context.json, &value, &text)?;
    Ok(if comparison.identical { Verdict::Pass } else { Verdict::Fail })
}

const DATA: &str = "bring the files back as they were, from a copy of the run's folder or of the project";
