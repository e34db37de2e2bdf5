use std::path::Path;

use anyhow::Result;
use pq_cli::{Verdict, WithHint};
use slide_data::collect::{Export, Store, dataset_card};
use slide_data::{Contract as _, Labels, Manifest, Splits, write_atomic};

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

/// How many people stand in the journal of ratings.
fn raters(project: &Project) -> Option<usize> {
    let path = project.layout.journal();
    let mut people = std::collections::BTreeSet::new();
    slide_data::for_each_line(&path, |_, line| {
        let event: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
        people.extend(event["annotator"].as_str().map(str::to_owned));
        Ok::<(), slide_data::Error>(())
    })
    .ok()?;
    Some(people.len())
}

pub(crate) fn card(store: &Store, project: &Project, out: Option<&Path>) -> Result<Verdict> {
    let splits = read_splits(project)?;
    let text = dataset_card(store, labels(project)?.as_ref(), splits.as_ref(), raters(project));
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
    let card = dataset_card(store, labels.as_ref(), splits.as_ref(), raters(project));
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
