//! What a run was trained on, put together again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use pq_cli::{FILES, Hint, Layout, Storage};
use project_files::{RunFiles, RunRecord, input, sha256_hex, write_atomic};
use slide_data::{Contract as _, Correction, Labels, Manifest, SlideRecord};
use slide_scorer::{BASE_MODEL, BASE_PROCESSOR, BaseModelConfig, Settings, base_inputs, fingerprint_of_base};
use tempfile::TempDir;
use toml::{Table, Value};

/// The files that a run read, by name, as they were.
pub(super) struct Inputs(BTreeMap<String, Vec<u8>>);

/// Where a project keeps what a run reads.
fn places(layout: &Layout) -> BTreeMap<String, PathBuf> {
    let files = [layout.slides().manifest(), layout.labels(), layout.splits(), layout.corrections()];
    files.into_iter().map(|path| (name_of(&path), path)).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Finds each file that the run's record names: in the run's folder, else in the project, where it has the hash that is named.
///
/// # Errors
/// Names every file that is missing or another one.
pub(super) fn inputs(record: &RunRecord, run: &RunFiles, layout: &Layout) -> Result<Inputs> {
    let places = places(layout);
    let named =
        record.inputs.iter().filter(|(name, _)| ![BASE_MODEL, BASE_PROCESSOR].contains(&name.as_str()));
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, hash) in named {
        let copy = run.data().join(name);
        let candidates = [Some(&copy), places.get(name)];
        match candidates.into_iter().flatten().find_map(|path| same(path, hash)) {
            Some(bytes) => drop(found.insert(name.clone(), bytes)),
            None => problems.push(problem(name, hash, &copy, places.get(name))),
        }
    }
    let missing = places.keys().filter(|name| **name != name_of(&layout.corrections()));
    let missing = missing.filter(|name| !record.inputs.contains_key(*name));
    problems.extend(missing.map(|name| format!("the run's record does not name `{name}`")));
    if problems.is_empty() { Ok(Inputs(found)) } else { bail!(problems.join("; ")) }
}

fn same(path: &Path, hash: &str) -> Option<Vec<u8>> {
    std::fs::read(path).ok().filter(|bytes| sha256_hex(bytes) == hash)
}

fn problem(name: &str, hash: &str, copy: &Path, place: Option<&PathBuf>) -> String {
    let state = |path: &Path| match std::fs::read(path) {
        Ok(bytes) => format!("`{}` has {}", path.display(), short(&sha256_hex(&bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("`{}` is missing", path.display())
        }
        Err(error) => format!("`{}` cannot be read ({error})", path.display()),
    };
    let states: Vec<String> =
        [Some(copy), place.map(PathBuf::as_path)].into_iter().flatten().map(state).collect();
    format!("{name} was {}, and {}", short(hash), states.join(", "))
}

fn short(hash: &str) -> String {
    hash.chars().take(12).chain(['…']).collect()
}

/// The adapter that the run began with, as it was then.
///
/// # Errors
/// When neither the registry nor the runs have it any more.
pub(super) fn started_from(record: &RunRecord, layout: &Layout) -> Result<Option<PathBuf>> {
    let Some(from) = &record.started_from else { return Ok(None) };
    let places = [layout.version(&from.name), layout.run(&from.name), RunFiles::new(&from.name)];
    let is_same = |files: &RunFiles| same(&files.adapter_weights(), &from.sha256).is_some();
    match places.into_iter().find(is_same) {
        Some(files) => Ok(Some(std::path::absolute(files.dir())?)),
        None => bail!(Hint::new(
            format!("the run began with the adapter of `{}`, which is not here as it was then", from.name),
            "`pq-register fetch` brings a released version back"
        )),
    }
}

/// A run that was resumed with more steps had other learning rates than one of so many steps.
pub(super) fn check_not_extended(record: &RunRecord) -> Result<()> {
    let extended = record.training.as_ref().map(|training| &training.extended_at[..]).unwrap_or_default();
    let Some(at) = extended.first() else { return Ok(()) };
    bail!(Hint::new(
        format!(
            "the run was extended after step {at}: trained in one go, its learning rates would be others"
        ),
        "versions of runs that were trained in one go can be made again"
    ))
}

fn not_named(input: &str) -> Hint {
    Hint::new(
        format!("the run's record does not name `{input}`: which base it was trained on cannot be told"),
        "it was written by an earlier version; only runs that name their base can be made again",
    )
}

/// Asks that the base is the one that the run was trained on.
pub(super) fn check_base(record: &RunRecord, base: &BaseModelConfig) -> Result<()> {
    let found = base_inputs(&fingerprint_of_base(base)?);
    for (name, fingerprint) in &found {
        let Some(recorded) = record.inputs.get(name) else {
            bail!(not_named(name));
        };
        if recorded != fingerprint {
            bail!(Hint::new(
                format!(
                    "`{}` is not the base of the run: {name} was {recorded}, and is {fingerprint}",
                    base.name
                ),
                "give the base that it was trained on: `--set model.name=DIR`"
            ));
        }
    }
    Ok(())
}

impl Inputs {
    fn put(&self, layout: &Layout) -> Result<()> {
        for (name, path) in places(layout) {
            if let Some(bytes) = self.0.get(&name) {
                let folder = path.parent().context("a file lies in a folder")?;
                std::fs::create_dir_all(folder)?;
                write_atomic(&path, bytes)?;
            }
        }
        Ok(())
    }

    /// Up to when corrections counted in the run: until it started, or until the newest that it obeyed was made, as far as one is dated
    /// later: runs of earlier programs obeyed those too.
    pub(super) fn corrections_until(&self, record: &RunRecord) -> Timestamp {
        let path = Path::new(input::CORRECTIONS);
        let log = self.0.get(input::CORRECTIONS).map_or(&[][..], Vec::as_slice);
        let corrections =
            log.split(|byte| *byte == b'\n').filter_map(|line| Correction::parse(path, None, line).ok());
        let obeyed = corrections.filter(|correction| record.corrections.contains_key(&correction.id));
        obeyed.map(|correction| correction.corrected_at).fold(record.started_at, Timestamp::max)
    }

    /// Asks that the images of the labelled slides are those that the manifest names.
    pub(super) fn check_images(&self, layout: &Layout) -> Result<()> {
        let temporary = tempfile::tempdir()?;
        let restored = layout_in(temporary.path(), layout.outputs());
        self.put(&restored)?;
        let manifest = Manifest::read(restored.slides().root())?;
        let labels = Labels::read(&restored.labels())?;
        let labelled = manifest.slides.iter().filter(|slide| labels.slides.contains_key(&slide.slide_id));
        let mut wrong = Vec::new();
        for slide in labelled {
            if pq_cli::interrupted() {
                bail!(Hint::new("interrupted; nothing was trained", "run it again"));
            }
            wrong.extend(image_problem(slide, &layout.slides().image(&slide.slide_id)));
        }
        let Some(first) = wrong.first() else { return Ok(()) };
        bail!(Hint::new(
            format!("{} images are not those that the run was trained on, such as {first}", wrong.len()),
            "`pq-collect verify` checks the store; collecting again restores a slide"
        ))
    }

    /// Puts data and configuration into a folder of its own in `out`; the images stay where they are.
    pub(super) fn restore(&self, layout: &Layout, settings: &Settings, out: &Path) -> Result<Restored> {
        let folder = tempfile::Builder::new().prefix(".reproduce-").tempdir_in(out)?;
        let root = folder.path().canonicalize()?;
        let restored = layout_in(&root, out);
        self.put(&restored)?;
        let images = layout.slides().images().canonicalize()?;
        link(&images, &restored.slides().images()).context("the images cannot be linked to")?;
        let config = root.join("config");
        write_configuration(&config, settings, &root)?;
        Ok(Restored { _folder: folder, config })
    }
}

fn image_problem(slide: &SlideRecord, path: &Path) -> Option<String> {
    match slide_data::image::open(path) {
        Ok(image) if slide_data::pixels_sha256(&image.to_rgb8()) == slide.sha256 => None,
        Ok(_) => Some(format!("`{}` (other pixels)", path.display())),
        Err(error) => Some(format!("`{}` ({error})", path.display())),
    }
}

fn storage_in(root: &Path) -> Storage {
    let Storage { data_dir, monitoring_dir, registry_dir } = Storage::default();
    let [data_dir, monitoring_dir, registry_dir] =
        [data_dir, monitoring_dir, registry_dir].map(|folder| root.join(folder));
    Storage { data_dir, monitoring_dir, registry_dir }
}

fn layout_in(root: &Path, out: &Path) -> Layout {
    Layout::new(&storage_in(root), out)
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(windows)]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_dir(from, to)
}

/// The run's settings as configuration files; nothing is tracked.
fn write_configuration(folder: &Path, settings: &Settings, root: &Path) -> Result<()> {
    let Value::Table(mut tables) = Value::try_from(settings)? else { bail!("the settings are no tables") };
    tables.insert("storage".to_owned(), Value::try_from(storage_in(root))?);
    let untracked = Table::from_iter([("mode".to_owned(), Value::from("disabled"))]);
    tables.insert("wandb".to_owned(), Value::Table(untracked));
    std::fs::create_dir_all(folder)?;
    for file in FILES {
        let own =
            file.tables.iter().filter_map(|(name, _)| Some(((*name).to_owned(), tables.remove(*name)?)));
        let text = toml::to_string(&own.collect::<Table>())?;
        write_atomic(&folder.join(format!("{}.toml", file.name)), text.as_bytes())?;
    }
    match tables.keys().next() {
        None => Ok(()),
        Some(name) => bail!("no configuration file has a table `{name}`"),
    }
}

/// A project as it was when a run was trained; it is removed in the end.
pub(super) struct Restored {
    _folder: TempDir,
    /// Its configuration.
    pub(super) config: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_count_until_the_run_began_or_as_far_ahead_as_it_obeyed_them() {
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/project-files/samples/v3/run.json");
        let mut record = RunRecord::read(Path::new(sample)).expect("a record");
        let line = |id: &str, year: u16| {
            format!(
                r#"{{"schema_version":1,"id":"{id}","slide_id":"s","model_version":"v1","annotator":"Ana","corrected_at":"{year}-01-01T00:00:00Z","predicted":{{}},"scores":{{"clarity":2}}}}"#
            )
        };
        let log = ["{}".to_owned(), line("a", 2001), line("b", 2091), line("c", 2095)].join("\n");
        let inputs = Inputs([(input::CORRECTIONS.to_owned(), log.into_bytes())].into());
        record.corrections = [("a".to_owned(), "s".to_owned())].into();
        assert_eq!(inputs.corrections_until(&record), record.started_at);
        record.corrections.insert("b".to_owned(), "s".to_owned());
        assert_eq!(inputs.corrections_until(&record).to_string(), "2091-01-01T00:00:00Z");
        assert_eq!(Inputs(BTreeMap::new()).corrections_until(&record), record.started_at);
    }
}
