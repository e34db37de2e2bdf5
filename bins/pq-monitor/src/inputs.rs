use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use drift::{Releases, Validated};
use jiff::Timestamp;
use pq_common::{Hint, WithHint as _};
use slide_data::{
    Correction, Labels, Manifest, Prediction, Split, Splits, read_json, read_json_lines, sha256_hex,
};

use crate::Args;

/// What was read, with the SHA-256 of each file.
pub(crate) struct Inputs {
    pub(crate) scored: Vec<Prediction>,
    pub(crate) reference: Vec<Prediction>,
    pub(crate) corrections: Vec<Correction>,
    pub(crate) labels: Labels,
    pub(crate) seen_in_training: BTreeSet<String>,
    pub(crate) validated: Option<Validated>,
    pub(crate) model_version: Option<String>,
    pub(crate) hashes: BTreeMap<String, String>,
}

const REMEDY: &str = "mend the file, or restore it from a copy";

/// Reads what is there. What is not there is warned of and counts as no data; a folder that was named must exist.
pub(crate) fn read(args: &Args, now: Timestamp) -> Result<Inputs> {
    let data = existing(args.data.as_deref(), "data")?;
    let registry = existing(args.registry.as_deref(), "model_registry")?;
    let mut files = Files::default();
    let scored: Vec<Prediction> =
        files.lines(Some(args.monitoring.join("predictions.jsonl")), "scored slide")?;
    let model_version = args.model_version.clone().or_else(|| latest(&scored, now));
    let folders = run_folders(args, &registry, model_version.as_deref())?;
    let reference: Vec<Prediction> =
        files.lines(find(&folders, "reference_predictions.jsonl"), "scored slide")?;
    let validated = files.one(find(&folders, "validation_results.json"), Validated::read)?;
    let corrections = files.lines(Some(data.join("user_feedback/corrections.jsonl")), "correction")?;
    let label_file = Some(data.join("labeled/labels.json"));
    let labels =
        files.one(label_file, |path| Ok(read_json::<Labels>(path, "label file")?))?.unwrap_or_default();
    let mut seen_in_training: BTreeSet<String> =
        reference.iter().map(|slide| slide.slide_id.clone()).collect();
    let split_file = Some(data.join("labeled/splits.json"));
    if let Some(splits) = files.one(split_file, |path| Ok(read_json::<Splits>(path, "split file")?))? {
        seen_in_training.extend(trained_on(&data.join("raw"), &splits)?);
    }
    let hashes = files.hashes;
    Ok(Inputs { scored, reference, corrections, labels, seen_in_training, validated, model_version, hashes })
}

fn existing(given: Option<&Path>, default: &str) -> Result<PathBuf> {
    match given {
        Some(path) if !path.is_dir() => {
            let message = format!("there is no folder `{}`", path.display());
            Err(Hint::new(message, "name an existing folder, or run the command in the project's folder")
                .into())
        }
        Some(path) => Ok(path.to_owned()),
        None => Ok(PathBuf::from(default)),
    }
}

fn latest(scored: &[Prediction], now: Timestamp) -> Option<String> {
    let past = scored.iter().filter(|slide| slide.scored_at <= now);
    past.max_by_key(|slide| slide.scored_at).map(|slide| slide.model_version.clone())
}

/// Where the files of the run behind a version may lie, the surest first.
fn run_folders(args: &Args, registry: &Path, version: Option<&str>) -> Result<Vec<PathBuf>> {
    if args.run.is_some() {
        return Ok(vec![existing(args.run.as_deref(), "")?]);
    }
    let versions = registry.join("version.json");
    let releases = if versions.exists() {
        Releases::read(&versions).hint("cannot use the registry", REMEDY)?
    } else {
        Releases::default()
    };
    let outputs = Path::new("outputs");
    let mut folders = Vec::new();
    // A version is a name; whatever else a log may hold does not lead out of these folders.
    let is_name = |name: &&str| Path::new(name).file_name().is_some_and(|file| file == *name);
    if let Some(version) = version.filter(is_name) {
        folders.push(registry.join("versions").join(version));
        folders.extend(
            releases
                .find(version)
                .filter(|release| is_name(&release.run_id.as_str()))
                .map(|release| outputs.join(&release.run_id)),
        );
        folders.push(outputs.join(version));
    }
    folders.push(outputs.join("latest"));
    Ok(folders)
}

fn find(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists());
    if found.is_none() {
        tracing::warn!(
            "there is no `{name}` of the run: train and validate first, or name the run with --run"
        );
    }
    found
}

fn trained_on(raw: &Path, splits: &Splits) -> Result<BTreeSet<String>> {
    if !raw.join("manifest.jsonl").exists() {
        return Ok(BTreeSet::new());
    }
    let manifest = Manifest::read(raw).hint("cannot tell which slides were trained on", REMEDY)?;
    let is_seen = |group: &str| matches!(splits.groups.get(group), Some(Split::Train | Split::Val));
    Ok(manifest
        .slides
        .into_iter()
        .filter(|slide| is_seen(&slide.group))
        .map(|slide| slide.slide_id)
        .collect())
}

/// Reads files and remembers their hashes.
#[derive(Default)]
struct Files {
    hashes: BTreeMap<String, String>,
}

impl Files {
    fn one<T>(
        &mut self,
        path: Option<PathBuf>,
        read: impl Fn(&Path) -> drift::Result<T>,
    ) -> Result<Option<T>> {
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(None) };
        let value = read(&path).hint("cannot use an input", REMEDY)?;
        let bytes = std::fs::read(&path)?;
        self.hashes.insert(path.display().to_string(), sha256_hex(&bytes));
        Ok(Some(value))
    }

    fn lines<T: serde::de::DeserializeOwned>(
        &mut self,
        path: Option<PathBuf>,
        what: &'static str,
    ) -> Result<Vec<T>> {
        let read = |path: &Path| {
            let (lines, torn) = read_json_lines(path, what)?;
            if torn {
                tracing::warn!("the last line of `{}` is torn and left out", path.display());
            }
            Ok(lines)
        };
        Ok(self.one(path, read)?.unwrap_or_default())
    }
}
