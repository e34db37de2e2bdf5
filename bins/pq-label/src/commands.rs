use std::io::Write;
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use pq_cli::{Verdict, WithHint};
use serde_json::json;
use slide_data::{Labels, Manifest, write_atomic};
use slide_label::agreement::{AgreementOptions, agreement, human_ceiling, pair_agreement};
use slide_label::exchange::{self, Context, Format};
use slide_label::{Error, Journal, People, Role, Store, labels, merge, rebuild};

use crate::print;
use crate::project::{Project, uncounted_lines, warn_of_uncounted};

/// What `import` was asked.
pub(crate) struct Import<'a> {
    pub(crate) file: &'a Path,
    pub(crate) format: Option<Format>,
    pub(crate) annotator: &'a str,
    pub(crate) keeps_unknown: bool,
}

/// Merges a file; the rows that could not be taken are listed, and make the verdict no.
pub(crate) fn import(project: &Project, import: &Import<'_>, as_json: bool) -> Result<Verdict> {
    let context = Context { rubric: &project.rubric, annotator: import.annotator, now: Timestamp::now() };
    let mut imported = exchange::read(import.file, import.format, context).hint(
        format!("`{}` cannot be imported", import.file.display()),
        "see `pq-label import --help` for the formats",
    )?;
    let mut unknown = std::collections::BTreeSet::new();
    if !import.keeps_unknown {
        let manifest = project.manifest()?;
        let known: std::collections::HashSet<&str> =
            manifest.slides.iter().map(|slide| slide.slide_id.as_str()).collect();
        imported.events.retain(|event| {
            known.contains(event.slide_id.as_str()) || {
                unknown.insert(event.slide_id.clone());
                false
            }
        });
    }
    let merged =
        merge(&project.paths, &project.rubric, project.config.consensus, imported.events).map_err(in_use)?;
    for problem in &imported.problems {
        tracing::warn!("{}: {}", problem.place, problem.reason);
    }
    for (event, error) in &merged.refused {
        tracing::warn!("event `{}` of slide `{}`: {error}", event.id, event.slide_id);
    }
    warn_of_uncounted(&merged.uncounted);
    for slide in &unknown {
        tracing::warn!("slide `{slide}` is not in the manifest; its ratings were left out");
    }
    let left_out = imported.problems.len() + merged.refused.len() + unknown.len();
    let mut out = std::io::stdout().lock();
    if as_json {
        let summary = json!({"added": merged.added, "known": merged.known, "left_out": left_out, "unknown_slides": unknown});
        writeln!(out, "{summary}")?;
    } else {
        writeln!(out, "{} ratings added, {} known already, {left_out} left out", merged.added, merged.known)?;
    }
    Ok(if left_out == 0 { Verdict::Pass } else { Verdict::Fail })
}

fn in_use(error: Error) -> anyhow::Error {
    let is_locked = matches!(error, Error::Locked { .. });
    let result: Result<(), Error> = Err(error);
    let remedy =
        if is_locked { "stop the labelling server first" } else { "nothing was half-written; try again" };
    result
        .hint("the ratings cannot be changed", remedy)
        .err()
        .unwrap_or_else(|| anyhow::anyhow!("the ratings are in use"))
}

/// Writes all ratings.
pub(crate) fn export(project: &Project, format: Format, output: Option<&Path>) -> Result<Verdict> {
    let store = project.store()?;
    let text = exchange::write(&store, format, &derived(project, &store))?;
    match output {
        Some(path) => write_atomic(path, text.as_bytes())?,
        None => std::io::stdout().lock().write_all(text.as_bytes())?,
    }
    Ok(Verdict::Pass)
}

fn derived(project: &Project, store: &Store) -> Labels {
    labels(store, project.config.consensus, &|slide| project.paths.image_path(slide))
}

/// Prints how people agree.
pub(crate) fn report(project: &Project, pairs: bool, resamples: usize, as_json: bool) -> Result<Verdict> {
    let store = project.store()?;
    let matrix = project.matrix(&store)?;
    let found = agreement(&matrix, AgreementOptions { resamples, seed: 0 });
    let ceilings = human_ceiling(&matrix);
    let pairs = if pairs { pair_agreement(&matrix, resamples, 0) } else { Vec::new() };
    let mut out = std::io::stdout().lock();
    if as_json {
        let all = json!({"agreement": found, "ceiling": ceilings, "pairs": pairs});
        writeln!(out, "{all:#}")?;
    } else {
        out.write_all(print::agreement(&found, &ceilings, &pairs).as_bytes())?;
    }
    Ok(Verdict::Pass)
}

/// Checks the journal and what is derived from it.
pub(crate) fn verify(project: &Project, as_json: bool) -> Result<Verdict> {
    let (events, defects) = Journal::read(&project.paths.journal())
        .hint("the journal is damaged", "restore it from a backup; lines before the one named are whole")?;
    let count = events.len();
    let (store, refused) = Store::from_events(project.rubric.clone(), events);
    let manifest = Manifest::read(project.paths.slides().root()).unwrap_or_default();
    let known: std::collections::HashSet<&str> =
        manifest.slides.iter().map(|slide| slide.slide_id.as_str()).collect();
    let unknown: Vec<&str> =
        store.rated_slides().map(|(slide, _)| slide).filter(|slide| !known.contains(slide)).collect();
    let on_disk = Labels::read_for(&project.paths.labels(), &project.rubric).ok();
    let expected = derived(project, &store);
    let labels_follow = on_disk.map_or(expected.slides.is_empty(), |labels| labels == expected);
    let mut out = std::io::stdout().lock();
    if as_json {
        let summary = json!({
            "events": count, "torn_bytes": Some(defects.torn_bytes).filter(|bytes| *bytes > 0),
            "broken_lines": defects.broken_lines, "refused": refused.len(),
            "unknown_slides": unknown, "uncounted": store.uncounted(), "labels_follow": labels_follow,
        });
        writeln!(out, "{summary}")?;
    } else {
        writeln!(out, "{count} events, {} slides rated", expected.slides.len())?;
        if defects.torn_bytes > 0 {
            let bytes = defects.torn_bytes;
            writeln!(out, "the last line is unfinished ({bytes} bytes); the next server sets it aside")?;
        }
        for broken in &defects.examples {
            writeln!(out, "line {} cannot be read and does not count: {}", broken.line, broken.reason)?;
        }
        for (event, error) in &refused {
            writeln!(out, "event `{}` does not count: {error}", event.id)?;
        }
        for line in uncounted_lines(&store.uncounted()) {
            writeln!(out, "{line}")?;
        }
        for slide in &unknown {
            writeln!(out, "slide `{slide}` is rated but not in the manifest")?;
        }
        if !labels_follow {
            writeln!(out, "labels.json is not what follows from the journal; run `pq-label rebuild`")?;
        }
    }
    let is_sound = refused.is_empty() && store.uncounted().is_empty() && defects.broken_lines == 0;
    Ok(if is_sound && labels_follow { Verdict::Pass } else { Verdict::Fail })
}

/// Derives `labels.json`.
pub(crate) fn rebuild_labels(project: &Project) -> Result<Verdict> {
    project.store()?; // says what of the journal does not count
    let labels = rebuild(&project.paths, &project.rubric, project.config.consensus)?;
    writeln!(
        std::io::stdout(),
        "{} labels written to `{}`",
        labels.slides.len(),
        project.paths.labels().display()
    )?;
    Ok(Verdict::Pass)
}

/// Prints an invitation link.
pub(crate) fn invite(
    project: &Project,
    name: &str,
    is_lead: bool,
    days: Option<u32>,
    url: &str,
) -> Result<Verdict> {
    let role = if is_lead { Role::Lead } else { Role::Annotator };
    let (_, token) = People::open(&project.paths.people())?.invite(name, role, days)?;
    writeln!(std::io::stdout(), "{}/join#{token}", url.trim_end_matches('/'))?;
    Ok(Verdict::Pass)
}
