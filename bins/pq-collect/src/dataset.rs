use std::path::Path;

use anyhow::Result;
use pq_common::{Verdict, WithHint};
use slide_data::collect::{DataConfig, Export, Store, dataset_card};
use slide_data::{Labels, Manifest, Splits, read_json, read_json_lines, write_atomic};

use crate::args::ExportFormat;
use crate::print;

pub(crate) fn read_splits(config: &DataConfig) -> Result<Option<Splits>> {
    let path = config.storage.splits();
    if path.exists() { Ok(Some(read_json(&path, "split file")?)) } else { Ok(None) }
}

pub(crate) fn labels(config: &DataConfig) -> Result<Option<Labels>> {
    let path = config.storage.labeled().join("labels.json");
    if path.exists() { Ok(Some(read_json(&path, "label file")?)) } else { Ok(None) }
}

/// How many people stand in the journal of ratings.
fn raters(config: &DataConfig) -> Option<usize> {
    let path = config.storage.labeled().join("ratings.jsonl");
    let (events, _) = read_json_lines::<serde_json::Value>(&path, "journal of ratings").ok()?;
    let people = events.iter().filter_map(|event| event["annotator"].as_str());
    Some(people.collect::<std::collections::BTreeSet<_>>().len())
}

pub(crate) fn card(store: &Store, config: &DataConfig, out: Option<&Path>) -> Result<Verdict> {
    let splits = read_splits(config)?;
    let text = dataset_card(store, labels(config)?.as_ref(), splits.as_ref(), raters(config));
    match out {
        Some(path) => write_atomic(path, text.as_bytes())?,
        None => print(&text)?,
    }
    Ok(Verdict::Pass)
}

pub(crate) fn export(
    store: &Store,
    config: &DataConfig,
    out: &Path,
    format: ExportFormat,
    shard_mib: u64,
    json: bool,
) -> Result<Verdict> {
    let manifest = Manifest { slides: store.slides().to_vec() };
    let (labels, splits) = (labels(config)?, read_splits(config)?);
    let card = dataset_card(store, labels.as_ref(), splits.as_ref(), raters(config));
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
