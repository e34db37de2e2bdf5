//! Where labels, splits, manifest and corrections lie: in the project, or beside the run, which keeps copies of what it read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use pq_cli::Layout;
use project_files::{RunFiles, RunRecord, hash_file, input};
use slide_data::Rubric;

/// The files of one place, by the names under which records and results state their hashes.
#[derive(Debug)]
pub(crate) struct DataFiles(BTreeMap<&'static str, PathBuf>);

/// What a validation cannot be made again without.
const NEEDED: [&str; 3] = [input::LABELS, input::SPLITS, input::MANIFEST];

impl DataFiles {
    pub(crate) fn of_project(layout: &Layout) -> Self {
        Self(BTreeMap::from([
            (input::LABELS, layout.labels()),
            (input::SPLITS, layout.splits()),
            (input::MANIFEST, layout.slides().manifest()),
            (input::CORRECTIONS, layout.corrections()),
        ]))
    }

    /// The run's copies.
    pub(crate) fn of_run(run: &RunFiles) -> Self {
        let names = NEEDED.into_iter().chain([input::CORRECTIONS]);
        Self(names.map(|name| (name, run.data().join(name))).collect())
    }

    /// For each needed file the one of the project, else the run's copy, that has the hash which the run's record names.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn of_record(
        layout: &Layout,
        run: &RunFiles,
        record: &RunRecord,
    ) -> Result<std::result::Result<Self, String>> {
        let (project, copies) = (Self::of_project(layout), Self::of_run(run));
        let mut found = BTreeMap::new();
        for name in NEEDED {
            let expected = record.inputs.get(name);
            let candidates = [project.path(name), copies.path(name)];
            let mut is_there = false;
            for path in candidates.into_iter().filter(|path| path.exists()) {
                is_there = true;
                if expected == Some(&hash_file(path)?.sha256) {
                    found.insert(name, path.to_owned());
                    break;
                }
            }
            if !found.contains_key(name) {
                let what = if is_there { "is not what the run was made from" } else { "is not here" };
                return Ok(Err(format!("`{}` {what}", project.path(name).display())));
            }
        }
        Ok(Ok(Self(found)))
    }

    /// The file of one of the names of [`input`].
    pub(crate) fn path(&self, name: &str) -> &Path {
        self.0.get(name).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The folder in which the manifest lies.
    pub(crate) fn slides(&self) -> &Path {
        self.path(input::MANIFEST).parent().unwrap_or(Path::new(""))
    }

    /// Whether any of the needed files is there.
    pub(crate) fn is_begun(&self) -> bool {
        NEEDED.iter().any(|name| self.path(name).exists())
    }

    /// Each needed file with the SHA-256 that it has; `None` where it is missing.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn hashes(&self) -> Result<BTreeMap<&'static str, Option<String>>> {
        let hash = |path: &Path| -> Result<Option<String>> {
            Ok(if path.exists() { Some(hash_file(path)?.sha256) } else { None })
        };
        NEEDED.into_iter().map(|name| Ok((name, hash(self.path(name))?))).collect()
    }
}

/// The rubric that a run was trained with.
///
/// # Errors
/// When the run's settings cannot be read.
pub(crate) fn rubric(run: &RunFiles) -> Result<Rubric> {
    let text = std::fs::read_to_string(run.config())?;
    let mut settings: toml::Table = text.parse()?;
    let rubric = settings.remove("rubric").map(toml::Value::try_into::<Rubric>).transpose()?;
    Ok(rubric.unwrap_or_default())
}
