use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use pq_cli::{Verdict, WithHint};
use serde::{Deserialize, Serialize};
use slide_data::collect::{Export, Staying, Store, dataset_card};
use slide_data::{Contract, Labels, Manifest, Splits, write_atomic};

use crate::args::ExportFormat;
use crate::{Project, print};

pub(crate) fn read_splits(project: &Project) -> Result<Option<Splits>> {
    let path = project.layout.splits();
    Ok(Splits::read_if_present(&path)?)
}

pub(crate) fn labels(project: &Project) -> Result<Option<Labels>> {
    let path = project.layout.labels();
    Ok(Labels::read_if_present(&path)?)
}

/// Who rated what: what is needed here of an event of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Rater {
    annotator: String,
    slide_id: String,
}

impl Contract for Rater {
    const NAME: &'static str = "rating event";
    const VERSION: u32 = 1;
}

/// How many people stand in the journal of ratings.
fn raters(project: &Project) -> Result<Option<usize>> {
    let journal = Rater::read_log_if_present(&project.layout.journal())?;
    let people: BTreeSet<String> = journal.entries.into_iter().map(|rater| rater.annotator).collect();
    Ok((!people.is_empty()).then_some(people.len()))
}

/// The slides that stay in use when better copies come: rated ones, and those of the frozen test set.
pub(crate) fn staying(project: &Project) -> Result<Staying> {
    let journal = Rater::read_log_if_present(&project.layout.journal())?;
    let rated = journal.entries.into_iter().map(|rating| rating.slide_id);
    let labelled = labels(project)?.into_iter().flat_map(|labels| labels.slides.into_keys());
    let test = read_splits(project)?.and_then(|splits| splits.frozen_test);
    Ok(Staying { rated: rated.chain(labelled).collect(), test: test.unwrap_or_default() })
}

pub(crate) fn card(store: &Store, project: &Project, out: Option<&Path>) -> Result<Verdict> {
    let splits = read_splits(project)?;
    let text = dataset_card(store, labels(project)?.as_ref(), splits.as_ref(), raters(project)?);
    match out {
        Some(path) => write_atomic(path, text.as_bytes())?,
        None => print(&text)?,
    }
    Ok(Verdict::Pass)
}

/// How an export is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) format: ExportFormat,
    pub(crate) shard_mib: u64,
    pub(crate) public: bool,
}

pub(crate) fn export(store: &Store, project: &Project, out: &Path, how: How, json: bool) -> Result<Verdict> {
    let manifest = Manifest { slides: store.slides().to_vec() };
    let (labels, splits) = (labels(project)?, read_splits(project)?);
    let mut card = dataset_card(store, labels.as_ref(), splits.as_ref(), raters(project)?);
    if how.public {
        card.push_str(
            "\nThis export holds the slides whose licence or consent is stated, without names of files and without notes.\n",
        );
    }
    let export = Export {
        manifest: &manifest,
        raw: store.raw(),
        labels: labels.as_ref(),
        splits: splits.as_ref(),
        card: &card,
        public: how.public,
    };
    if export.is_empty() {
        let hint = if how.public {
            "`--public` leaves out slides without a licence: state it in a `source.toml` beside the decks, or with `--license`, and collect again"
        } else {
            "collect decks first, and see in the contact sheet why slides are left out"
        };
        return Err(anyhow::anyhow!("no slide can be exported")).hint("nothing was exported", hint);
    }
    let summary = match how.format {
        ExportFormat::ImageFolder => export.image_folder(out),
        ExportFormat::Parquet => export.parquet(out, how.shard_mib << 20),
    };
    let summary =
        summary.hint("nothing was exported", "give a new folder, and see that there is room for it")?;
    if json {
        print(&format!("{}\n", serde_json::to_string_pretty(&summary)?))?;
    } else {
        let parts = summary.slides.iter().map(|(split, count)| format!("{split} {count}"));
        let parts = parts.collect::<Vec<_>>().join(", ");
        print(&format!("{}: {parts}, in {} files\n", out.display(), summary.files))?;
    }
    Ok(Verdict::Pass)
}
