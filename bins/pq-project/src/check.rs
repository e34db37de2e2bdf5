//! What contradicts what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::Result;
use pq_cli::{Layout, ProjectConfig};
use project_files::{RunFiles, RunRecord, check_stored, hash_file, input, with_causes};
use serde::Serialize;
use slide_data::{Labels, Rubric};
use slide_label::{Journal, LabelConfig, Store};

use crate::files::{self, Contents, FileRow};
use crate::findings::{Findings, Severity};

/// The files of a project and what was found in them.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    files: Vec<FileRow>,
    findings: Findings,
}

/// Looks at the whole project.
///
/// # Errors
/// When the configuration cannot be used.
pub(crate) fn check(project: &ProjectConfig) -> Result<Report> {
    let layout = project.layout()?;
    let rubric: Rubric = project.section("rubric", Rubric::validate)?;
    let label: LabelConfig = project.section("label", LabelConfig::validate)?;
    let mut findings = Findings::default();
    let folders = [layout.require_data(), layout.require_monitoring(), layout.require_registry()];
    for missing in folders.into_iter().filter_map(Result::err) {
        findings.problem(missing.to_string());
    }
    let contents = files::read(&layout, &mut findings);
    labels_follow_the_journal(&layout, &rubric, &label, contents.labels.as_ref(), &mut findings);
    slides(&layout, &contents, &mut findings);
    latest_run(&layout, &contents, &mut findings);
    releases(&layout, &contents, &mut findings);
    monitoring(&contents, &mut findings);
    Ok(Report { files: contents.rows, findings })
}

fn labels_follow_the_journal(
    layout: &Layout,
    rubric: &Rubric,
    config: &LabelConfig,
    labels: Option<&Labels>,
    findings: &mut Findings,
) {
    let path = layout.journal();
    let Ok((events, _)) = Journal::read(&path) else { return }; // said when it was read as a file
    if events.is_empty() {
        return;
    }
    let (store, refused) = Store::from_events(rubric.clone(), events);
    if let Some((event, error)) = refused.first() {
        let count = refused.len();
        findings.problem(format!(
            "{count} ratings do not count, `{}` first: {}",
            event.id,
            with_causes(error)
        ));
    }
    let expected = slide_label::labels(&store, config.consensus, &|slide| layout.image_path(slide));
    if labels != Some(&expected) {
        findings.problem(format!(
            "`{}` is not what follows from `{}`: run `pq-label rebuild`",
            layout.labels().display(),
            path.display()
        ));
    }
}

fn slides(layout: &Layout, contents: &Contents, findings: &mut Findings) {
    let Some(slides) = &contents.slides else { return };
    let known: BTreeSet<&str> = slides.iter().map(|slide| slide.slide_id.as_str()).collect();
    let groups: BTreeSet<&str> = slides.iter().map(|slide| slide.group.as_str()).collect();
    let mut unknown = |what: &str, ids: Vec<&str>, is_problem: bool| {
        let Some(first) = ids.first() else { return };
        let text = format!("{} {what}, `{first}` first", ids.len());
        if is_problem { findings.problem(text) } else { findings.note(text) }
    };
    let images = layout.slides();
    let missing = slides.iter().filter(|slide| !images.image(&slide.slide_id).exists());
    let missing = missing.map(|slide| slide.slide_id.as_str()).collect();
    unknown("slides of the manifest have no image", missing, true);
    if let Some(labels) = &contents.labels {
        let ids = labels.slides.keys().map(String::as_str).filter(|id| !known.contains(id)).collect();
        unknown("labels are of slides that the manifest does not have", ids, true);
        if let Some(splits) = &contents.splits {
            let has_split = |slide: &&slide_data::SlideRecord| {
                labels.slides.contains_key(&slide.slide_id) && !splits.groups.contains_key(&slide.group)
            };
            let open = slides.iter().filter(has_split).map(|slide| slide.slide_id.as_str()).collect();
            unknown("labelled slides have no split yet", open, false);
            let other = splits.changed_test_labels(labels).iter().map(|change| change.slide_id).collect();
            unknown(
                "slides of the frozen test set are measured against other labels than people give now; `pq-collect splits` names them",
                other,
                false,
            );
        }
    }
    if let Some(splits) = &contents.splits {
        let ids = splits.groups.keys().map(String::as_str).filter(|group| !groups.contains(group)).collect();
        unknown("groups of the splits are not in the manifest", ids, true);
    }
    if let Some(corrections) = &contents.corrections {
        let ids = corrections.iter().map(|correction| correction.slide_id.as_str());
        let ids = ids.filter(|id| !known.contains(id)).collect();
        unknown(
            "corrections are of slides that were not collected; `pq-collect production` brings in those that were kept",
            ids,
            false,
        );
    }
}

/// Whether the project still is what the latest run read.
fn trained_on(layout: &Layout, run: &RunFiles, record: &RunRecord, findings: &mut Findings) {
    let slides = layout.slides();
    for path in [slides.manifest(), layout.labels(), layout.splits(), layout.corrections()] {
        changed_since(&record.inputs, &path, "the latest run read it", findings);
    }
    copies(run, &record.inputs, findings);
    if record.finished_at.is_none() {
        findings.note(format!("the run `{}` has not finished", record.run_id));
    }
}

fn latest_run(layout: &Layout, contents: &Contents, findings: &mut Findings) {
    let run = layout.latest_run();
    if run.dir().is_symlink() && !run.dir().exists() {
        findings.problem(format!("`{}` leads nowhere", run.dir().display()));
    }
    if let Some(record) = &contents.record {
        trained_on(layout, &run, record, findings);
    }
    let Some(validation) = &contents.validation else { return };
    match validation.stale(&run) {
        Ok(reasons) => reasons.into_iter().for_each(|reason| {
            findings.problem(format!("the validation of `{}`: {reason}", validation.model_version));
        }),
        Err(error) => findings.problem(with_causes(&error)),
    }
    for path in [layout.labels(), layout.splits()] {
        changed_since(&validation.inputs, &path, "the latest run was validated on it", findings);
    }
}

/// A run's copies are what its record names: nobody changes them. Runs of earlier programs have none.
fn copies(run: &RunFiles, inputs: &BTreeMap<String, String>, findings: &mut Findings) {
    for name in [input::MANIFEST, input::LABELS, input::SPLITS, input::CORRECTIONS] {
        let path = run.data().join(name);
        let (Some(then), true) = (inputs.get(name), path.exists()) else { continue };
        match hash_file(&path) {
            Ok(now) if now.sha256 == *then => {}
            Ok(_) => findings.problem(format!("`{}` is not what the run's record names", path.display())),
            Err(error) => findings.problem(with_causes(&error)),
        }
    }
}

fn changed_since(inputs: &BTreeMap<String, String>, path: &Path, when: &str, findings: &mut Findings) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(then) = inputs.get(&*name) else { return };
    match hash_file(path) {
        Ok(now) if now.sha256 == *then => {}
        Ok(_) => findings.note(format!("`{}` changed since {when}", path.display())),
        Err(error) => findings.problem(with_causes(&error)),
    }
}

fn releases(layout: &Layout, contents: &Contents, findings: &mut Findings) {
    let Some(versions) = &contents.releases else { return };
    for release in &versions.history {
        let stored = layout.version(&release.version);
        let is_champion = versions.aliases.champion.as_deref() == Some(release.version.as_str());
        if stored.dir().is_dir() {
            if let Err(error) = check_stored(&stored, Some(release)) {
                findings.problem(with_causes(&error));
            }
        } else {
            let text = format!("the files of {} are not in `{}`", release.version, stored.dir().display());
            if is_champion { findings.problem(text) } else { findings.note(text) }
        }
    }
}

fn monitoring(contents: &Contents, findings: &mut Findings) {
    let Some(scored) = &contents.scored else { return };
    let versions = contents.releases.as_ref();
    let is_stranger = |version: &str| versions.is_none_or(|versions| versions.release(version).is_err());
    let strangers = scored.versions.iter().filter(|(version, _)| is_stranger(version));
    for (version, count) in strangers {
        findings.note(format!("{count} slides were scored by `{version}`, which was never released"));
    }
    if let (Some(drift), Some(last)) = (&contents.drift, scored.last)
        && drift.created_at < last
    {
        findings.note("slides were scored since the latest drift report");
    }
}

impl Report {
    /// Whether anything is missing, unreadable or contradictory.
    pub(crate) fn has_problems(&self) -> bool {
        self.findings.all.iter().any(|finding| finding.severity == Severity::Problem)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.files.iter().map(|row| row.path.display().to_string().chars().count()).max();
        let width = width.unwrap_or(0);
        for row in &self.files {
            let (path, state) = (row.path.display().to_string(), row.state());
            let (writers, readers) = (row.writers.join(", "), row.readers.join(", "));
            writeln!(f, "{path:<width$}  {state:<12}  {writers} → {readers}")?;
        }
        writeln!(f)?;
        for finding in &self.findings.all {
            let mark = if finding.severity == Severity::Problem { "problem" } else { "note" };
            writeln!(f, "{mark}: {}", finding.text)?;
        }
        if self.findings.all.is_empty() {
            writeln!(f, "nothing is stale, missing or contradictory")?;
        }
        Ok(())
    }
}
