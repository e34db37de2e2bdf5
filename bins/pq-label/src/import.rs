//! `pq-label import`: what becomes of a file, and taking it.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use pq_cli::{Hint, Verdict, WithHint};
use serde_json::json;
use slide_label::exchange::{self, Context, Format, Mapping, Rules, Scale};
use slide_label::{Error, Merged, merge, preview};

use crate::plan;
use crate::project::{Project, warn_of_uncounted};

/// What `import` was asked.
pub(crate) struct Import<'a> {
    pub(crate) file: &'a Path,
    pub(crate) format: Option<Format>,
    pub(crate) annotator: Option<&'a str>,
    pub(crate) keeps_unknown: bool,
    pub(crate) is_dry: bool,
    pub(crate) mappings: &'a [Mapping],
    pub(crate) scale: Option<Scale>,
    pub(crate) people: Option<&'a PathBuf>,
}

/// Merges a file, or says what would become of it; what could not be taken is listed, and makes the verdict no.
pub(crate) fn import(project: &Project, import: &Import<'_>, as_json: bool) -> Result<Verdict> {
    if !import.keeps_unknown {
        project.manifest()?;
    }
    let known = project.known_slides();
    let rules = rules(project, import)?;
    let context = Context {
        rubric: &project.rubric,
        annotator: import.annotator,
        now: Timestamp::now(),
        slides: Some(&known),
        rules: &rules,
    };
    let imported = exchange::read(import.file, import.format, context)
        .hint(format!("`{}` cannot be imported", import.file.display()), expected_form(project, import))?;
    let merged = if import.is_dry {
        preview(&project.paths, &project.rubric, imported.events)
            .hint("the journal cannot be read", "run `pq-label verify`, or restore the file from a backup")?
    } else {
        merge(&project.paths, &project.rubric, project.config.consensus, imported.events).map_err(in_use)?
    };
    for (event, error) in &merged.refused {
        tracing::warn!("event `{}` of slide `{}`: {error}", event.id, event.slide_id);
    }
    warn_of_uncounted(&merged.uncounted);
    let left_out = imported.plan.left_out_count() + merged.refused.len();
    let mut out = std::io::stdout().lock();
    if as_json {
        let unknown: Vec<&String> = imported.plan.unknown_slides.keys().collect();
        let summary = json!({
            "dry_run": import.is_dry, "added": merged.added, "known": merged.known, "left_out": left_out,
            "unknown_slides": unknown, "plan": imported.plan,
        });
        writeln!(out, "{summary}")?;
    } else {
        out.write_all(plan::text(&imported.plan, import.file).as_bytes())?;
        writeln!(out, "{}", last_line(&merged, left_out, import.is_dry))?;
    }
    Ok(if left_out == 0 { Verdict::Pass } else { Verdict::Fail })
}

fn last_line(merged: &Merged, left_out: usize, is_dry: bool) -> String {
    let (added, known) = (merged.added, merged.known);
    if is_dry {
        format!(
            "{added} ratings would be added, {known} are known already, {left_out} would be left out; nothing was written"
        )
    } else {
        format!("{added} ratings added, {known} known already, {left_out} left out")
    }
}

fn rules(project: &Project, import: &Import<'_>) -> Result<Rules> {
    let mut rules = Rules::new(import.scale, import.keeps_unknown);
    for mapping in import.mappings {
        rules.map(mapping, &project.rubric).map_err(|reason| {
            Hint::new(
                format!("`--map`: {reason}"),
                "`--map COLUMN=KEY` names a column of the file and what it is",
            )
        })?;
    }
    if let Some(path) = import.people {
        rules.read_people(path).hint(
            "the people have no names",
            "a line has an id or address and a name, as in `3,Ana` or `ana@example.org,Ana`",
        )?;
    }
    Ok(rules)
}

/// Whether JSON was meant: by what was said of the format, else by the file's name.
fn is_json(import: &Import<'_>) -> bool {
    let extension = import
        .file
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
        .to_ascii_lowercase();
    matches!(import.format, Some(Format::Labels | Format::LabelStudio | Format::Jsonl))
        || (import.format.is_none() && ["json", "jsonl", "ndjson"].contains(&extension.as_str()))
}

/// What a file of the format that was meant looks like.
fn expected_form(project: &Project, import: &Import<'_>) -> String {
    let keys: Vec<&str> = project.rubric.keys().collect();
    let first = keys.first().copied().unwrap_or("clarity");
    if is_json(import) {
        format!(
            "a list of ratings is [{{\"slide_id\": \"deck-p001\", \"annotator\": \"Ana\", \"{first}\": 4}}], lines have one such object each, \
             labels.json is {{\"deck-p001\": {{\"{first}\": 4}}}}, Label Studio's is its export `JSON`; docs/imports.md has all forms"
        )
    } else {
        let cells: Vec<&str> = keys.iter().map(|_| "4").collect();
        format!(
            "a table has a line of heads and a row for each rating: `slide_id,annotator,{}` and `deck-p001,Ana,{}`; \
             `--map COLUMN=KEY` says what a column is; docs/imports.md has all forms",
            keys.join(","),
            cells.join(",")
        )
    }
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
