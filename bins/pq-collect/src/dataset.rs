use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use pq_cli::{Verdict, WithHint};
use serde::{Deserialize, Serialize};
use slide_data::collect::{Export, Store, dataset_card};
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

/// Who gave a rating: what the card needs of an event of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Rater {
    annotator: String,
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

pub(crate) fn card(store: &Store, project: &Project, out: Option<&Path>) -> Result<Verdict> {
    let splits = read_splits(project)?;
    let text = dataset_card(store, labels(project)?.as_ref(), splits.as_ref(), raters(project)?);
    match out {
        Some(path) => write_atomic(path, text.as_bytes())?,
        None => print(&text)?,
    }
    Ok(Verdict::Pass)
}

pub(crate) fn export(
    store: &Store,
    project: &Project,
    out: &Path,
    format: ExportFormat,
    shard_mib: u64,
    json: bool,
) -> Result<Verdict> {
    let manifest = Manifest { slides: store.slides().to_vec() };
    let (labels, splits) = (labels(project)?, read_splits(project)?);
    let card = dataset_card(store, labels.as_ref(), splits.as_ref(), raters(project)?);
    let export = Export {
        manifest: &manifest,
        raw: store.raw(),
        labels: labels.as_ref(),
        splits: splits.as_ref(),
        card: &card,
    };
    let summary = match format {
        ExportFormat::ImageFolder => export.image_folder(out),
        ExportFormat::Parquet => export.parquet(out, shard_mib << 20),
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
