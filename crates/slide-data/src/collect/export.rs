use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::io::io_error;
use crate::{Labels, Manifest, Result, Split, Splits, write_atomic};

/// What was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExportSummary {
    /// Slides by folder.
    pub slides: std::collections::BTreeMap<String, usize>,
}

/// Writes the usable slides as a Hugging Face image folder: `<out>/<split>/<slide-id>.png` and `<out>/<split>/metadata.jsonl`
/// with `file_name`, the provenance and, where there are labels, the scores. Without splits all slides are in `train`. Pictures
/// are hard links where the file system allows, else copies.
///
/// # Errors
/// When a picture is missing or `out` cannot be written.
pub fn export_image_folder(
    manifest: &Manifest,
    raw: &Path,
    labels: Option<&Labels>,
    splits: Option<&Splits>,
    out: &Path,
) -> Result<ExportSummary> {
    let mut summary = ExportSummary::default();
    let mut lines: std::collections::BTreeMap<&str, Vec<u8>> = std::collections::BTreeMap::new();
    for slide in manifest.usable() {
        let folder = match splits.map(|splits| splits.groups.get(&slide.group)) {
            None | Some(Some(Split::Train)) => "train",
            Some(Some(Split::Val)) => "validation",
            Some(Some(Split::Test)) => "test",
            Some(None) => continue,
        };
        let name = format!("{}.png", slide.slide_id);
        let target = out.join(folder).join(&name);
        let parent = out.join(folder);
        std::fs::create_dir_all(&parent).map_err(io_error("create", &parent))?;
        let picture = Manifest::image_path(raw, &slide.slide_id);
        if !target.exists() && std::fs::hard_link(&picture, &target).is_err() {
            std::fs::copy(&picture, &target).map_err(io_error("copy", &picture))?;
        }
        let mut row = Map::new();
        row.insert("file_name".to_owned(), json!(name));
        for (key, value) in [
            ("slide_id", json!(slide.slide_id)),
            ("deck_id", json!(slide.deck_id)),
            ("number", json!(slide.number)),
            ("origin", json!(slide.source.origin)),
            ("license", json!(slide.source.license)),
        ] {
            row.insert(key.to_owned(), value);
        }
        if let Some(label) = labels.and_then(|labels| labels.slides.get(&slide.slide_id)) {
            for (key, score) in &label.scores {
                row.insert(key.clone(), json!(score));
            }
        }
        let line = lines.entry(folder).or_default();
        line.extend(Value::Object(row).to_string().into_bytes());
        line.push(b'\n');
        *summary.slides.entry(folder.to_owned()).or_default() += 1;
    }
    for (folder, bytes) in lines {
        write_atomic(&out.join(folder).join("metadata.jsonl"), &bytes)?;
    }
    Ok(summary)
}
