use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, KeptFiles, Result, RunFiles, SlideFiles};

/// `[storage]` of `data.toml`: the folders of a project. Relative ones are relative to the folder that a command runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Decks, slides, ratings, labels, splits and corrections.
    pub data_dir: PathBuf,
    /// The log of scored slides, and what was made of it.
    pub monitoring_dir: PathBuf,
    /// The released versions.
    pub registry_dir: PathBuf,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            monitoring_dir: PathBuf::from("monitoring"),
            registry_dir: PathBuf::from("model_registry"),
        }
    }
}

/// Where each file of a project lies: the one place that knows.
///
/// ```text
/// <data_dir>/                          [storage] data_dir in data.toml
///   raw/
///     manual_uploads/                  what people bring: PDF, presentations, images, folders of them
///     manifest.jsonl                   one line a slide
///     inputs.jsonl                     what became of each input file
///     forgotten.jsonl                  receipts of decks that were forgotten
///     slides/<slide-id>.png
///   labeled/
///     ratings.jsonl                    the journal of ratings: the truth
///     people.json                      invitations and sessions
///     calibration.json                 the slides that everybody rates first
///     labels.json                      the consensus, derived from the journal
///     splits.json                      group → train, val, test
///     slide_decisions.jsonl            what people decided about slides: used or not, one or two, licence
///   user_feedback/
///     corrections.jsonl                users' corrected scores
///   cache/                             what can be computed again: vision features
/// <output_dir>/                        [training] output_dir in training.toml
///   <run>/                             see RunFiles
///   latest -> <run>
/// <monitoring_dir>/                    [storage] monitoring_dir
///   predictions.jsonl                  one line a scored slide
///   predictions/                       past days of it: segments.json and what it lists
///   failures.jsonl                     one line a file or page that could not be scored
///   replicas/<replica>/                both logs of one of several scoring services, until they are taken into these
///   replicas/<replica>/segments/       what of it is to be shipped to a bucket
///   replicas/<replica>/corrections.shipped  how much of the corrections was shipped
///   drift_reports/latest_drift.json    and dated ones
///   performance_metrics/latest_metrics.json
///   audits.jsonl                       scored slides drawn to be rated
///   kept/                              see KeptFiles
///   decisions.jsonl                    each decision to retrain or not
///   retraining.json                    a retraining that was asked for
/// <registry_dir>/                      [storage] registry_dir
///   version.json                       releases, and which one is in use
///   journal.jsonl                      what happened to them: who, when, why
///   versions/<version>/                see RunFiles
///   exports/<export>/                  models for other programs, each with export.json
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    data: PathBuf,
    outputs: PathBuf,
    monitoring: PathBuf,
    registry: PathBuf,
}

impl Layout {
    /// The layout that the configuration describes; `output_dir` is that of `[training]`.
    pub fn new(storage: &Storage, output_dir: &Path) -> Self {
        Self {
            data: storage.data_dir.clone(),
            outputs: output_dir.to_owned(),
            monitoring: storage.monitoring_dir.clone(),
            registry: storage.registry_dir.clone(),
        }
    }

    /// The same with another data folder, where one is given on the command line; it must exist.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn with_data(self, folder: Option<&Path>) -> Result<Self> {
        let data = existing(folder, "--data")?.unwrap_or(self.data);
        Ok(Self { data, ..self })
    }

    /// The same with another monitoring folder, where one is given; a command that only reads asks that it exists.
    ///
    /// # Errors
    /// When `must_exist` and it does not.
    pub fn with_monitoring(self, folder: Option<&Path>, must_exist: bool) -> Result<Self> {
        let folder = if must_exist { existing(folder, "--monitoring")? } else { folder.map(Path::to_owned) };
        Ok(Self { monitoring: folder.unwrap_or(self.monitoring), ..self })
    }

    /// The same with another registry, where one is given on the command line; a command that only reads asks that it exists.
    ///
    /// # Errors
    /// When `must_exist` and it does not.
    pub fn with_registry(self, folder: Option<&Path>, must_exist: bool) -> Result<Self> {
        let folder = if must_exist { existing(folder, "--registry")? } else { folder.map(Path::to_owned) };
        Ok(Self { registry: folder.unwrap_or(self.registry), ..self })
    }

    /// Creates the project's folders: for the command that begins a project. From then on a folder that is not there is a
    /// mistake in the configuration.
    ///
    /// # Errors
    /// When one cannot be created.
    pub fn create_folders(&self) -> Result<()> {
        for folder in [&self.data, &self.outputs, &self.monitoring, &self.registry] {
            std::fs::create_dir_all(folder).map_err(durable_files::io_error("create", folder))?;
        }
        Ok(())
    }

    /// Asks that the data folder exists: a misspelt name must not be taken for "nothing happened yet".
    ///
    /// # Errors
    /// When it does not exist.
    pub fn require_data(&self) -> Result<()> {
        require(&self.data, "`storage.data_dir` in data.toml")
    }

    /// Asks that the monitoring folder exists, unless it has its usual name and was simply not made yet.
    ///
    /// # Errors
    /// When it does not exist and was named by the configuration.
    pub fn require_monitoring(&self) -> Result<()> {
        if self.monitoring == Storage::default().monitoring_dir {
            return Ok(());
        }
        require(&self.monitoring, "`storage.monitoring_dir` in data.toml")
    }

    /// Asks that the registry exists, unless it has its usual name and nothing was released yet.
    ///
    /// # Errors
    /// When it does not exist and was named by the configuration.
    pub fn require_registry(&self) -> Result<()> {
        if self.registry == Storage::default().registry_dir {
            return Ok(());
        }
        require(&self.registry, "`storage.registry_dir` in data.toml")
    }

    /// Asks that the folder of runs exists.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn require_outputs(&self) -> Result<()> {
        require(&self.outputs, "`training.output_dir` in training.toml")
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The folder of runs.
    pub fn outputs(&self) -> &Path {
        &self.outputs
    }

    /// The folder of monitoring.
    pub fn monitoring(&self) -> &Path {
        &self.monitoring
    }

    /// The folder of released versions.
    pub fn registry(&self) -> &Path {
        &self.registry
    }

    /// The collected slides.
    pub fn slides(&self) -> SlideFiles {
        SlideFiles::new(self.data.join("raw"))
    }

    /// The image of a slide as `labels.json` names it, with forward slashes.
    pub fn image_path(&self, slide_id: &str) -> String {
        self.slides().image(slide_id).to_string_lossy().replace('\\', "/")
    }

    /// The journal of ratings.
    pub fn journal(&self) -> PathBuf {
        self.labeled().join("ratings.jsonl")
    }

    /// Invitations and sessions of the labelling page.
    pub fn people(&self) -> PathBuf {
        self.labeled().join("people.json")
    }

    /// The slides that everybody rates first.
    pub fn calibration(&self) -> PathBuf {
        self.labeled().join("calibration.json")
    }

    /// The consensus.
    pub fn labels(&self) -> PathBuf {
        self.labeled().join("labels.json")
    }

    /// Which group is in which split.
    pub fn splits(&self) -> PathBuf {
        self.labeled().join("splits.json")
    }

    /// What people decided about slides.
    pub fn slide_decisions(&self) -> PathBuf {
        self.labeled().join("slide_decisions.jsonl")
    }

    fn labeled(&self) -> PathBuf {
        self.data.join("labeled")
    }

    /// Users' corrections.
    pub fn corrections(&self) -> PathBuf {
        self.data.join("user_feedback").join("corrections.jsonl")
    }

    /// Outputs of the frozen vision tower, by tile.
    pub fn feature_cache(&self) -> PathBuf {
        self.data.join("cache").join("features")
    }

    /// The files of a run.
    pub fn run(&self, name: &str) -> RunFiles {
        RunFiles::new(self.outputs.join(name))
    }

    /// The files of the newest finished run: a symbolic link beside the runs.
    pub fn latest_run(&self) -> RunFiles {
        RunFiles::new(self.outputs.join("latest"))
    }

    /// The log of scored slides.
    pub fn predictions(&self) -> PathBuf {
        self.monitoring.join("predictions.jsonl")
    }

    /// The folder of what several scoring services log.
    pub fn replicas(&self) -> PathBuf {
        self.monitoring.join("replicas")
    }

    /// What one of several scoring services logs.
    pub fn replica_predictions(&self, replica: &str) -> PathBuf {
        self.replicas().join(replica).join("predictions.jsonl")
    }

    /// What of a scoring service's log is to be shipped to a bucket.
    pub fn replica_segments(&self, replica: &str) -> PathBuf {
        self.replicas().join(replica).join("segments")
    }

    /// How many bytes of the corrections a scoring service has shipped to a bucket.
    pub fn replica_corrections(&self, replica: &str) -> PathBuf {
        self.replicas().join(replica).join("corrections.shipped")
    }

    /// The note that a shipped segment, by its hash, is in the log already.
    pub fn taken_segment(&self, hash: &str) -> PathBuf {
        self.replicas().join(".taken").join(hash)
    }

    /// Past days of the log of scored slides.
    pub fn segments(&self) -> PathBuf {
        self.monitoring.join("predictions")
    }

    /// What could not be scored.
    pub fn failures(&self) -> PathBuf {
        Self::failures_beside(&self.predictions())
    }

    /// What could not be scored, beside a log of scored slides.
    pub fn failures_beside(predictions: &Path) -> PathBuf {
        predictions.with_file_name("failures.jsonl")
    }

    /// What past days there are.
    pub fn segment_index(&self) -> PathBuf {
        self.segments().join("segments.json")
    }

    /// The folder of drift reports.
    pub fn drift_reports(&self) -> PathBuf {
        self.monitoring.join("drift_reports")
    }

    /// The newest drift report; its HTML form lies beside it.
    pub fn latest_drift(&self) -> PathBuf {
        self.drift_reports().join("latest_drift.json")
    }

    /// The folder of performance reports.
    pub fn performance_reports(&self) -> PathBuf {
        self.monitoring.join("performance_metrics")
    }

    /// The newest performance report.
    pub fn latest_performance(&self) -> PathBuf {
        self.performance_reports().join("latest_metrics.json")
    }

    /// The scored slides that were drawn to be rated.
    pub fn audits(&self) -> PathBuf {
        self.monitoring.join("audits.jsonl")
    }

    /// The scored slides that were kept.
    pub fn kept(&self) -> KeptFiles {
        KeptFiles::new(self.monitoring.join("kept"))
    }

    /// A retraining that was asked for and may be running.
    pub fn retraining(&self) -> PathBuf {
        self.monitoring.join("retraining.json")
    }

    /// The log of decisions to retrain or not.
    pub fn decisions(&self) -> PathBuf {
        self.monitoring.join("decisions.jsonl")
    }

    /// The releases, and which one is in use.
    pub fn version_file(&self) -> PathBuf {
        version_file_of(&self.registry)
    }

    /// What happened in the registry: a [`Journal`](crate::Journal).
    pub fn registry_journal(&self) -> PathBuf {
        self.registry.join("journal.jsonl")
    }

    /// The folder of all released versions.
    pub fn versions(&self) -> PathBuf {
        self.registry.join(VERSIONS)
    }

    /// The folder of exported models.
    pub fn exports(&self) -> PathBuf {
        self.registry.join("exports")
    }

    /// The files of a released version.
    pub fn version(&self, version: &str) -> RunFiles {
        RunFiles::new(self.versions().join(version))
    }
}

/// The folder of all released versions within a registry.
pub(crate) const VERSIONS: &str = "versions";

/// The releases of the registry in a folder.
pub(crate) fn version_file_of(registry: &Path) -> PathBuf {
    registry.join("version.json")
}

fn existing(folder: Option<&Path>, setting: &'static str) -> Result<Option<PathBuf>> {
    folder.map(|path| require(path, setting).map(|()| path.to_owned())).transpose()
}

fn require(path: &Path, setting: &'static str) -> Result<()> {
    if path.is_dir() { Ok(()) } else { Err(Error::NoFolder { path: path.to_owned(), setting }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_named_must_be_there() {
        let (dir, layout) =
            (tempfile::tempdir().unwrap(), Layout::new(&Storage::default(), Path::new("outputs")));
        let named = layout.clone().with_data(Some(&dir.path().join("dtaa"))).unwrap_err().to_string();
        assert!(named.contains("dtaa") && named.contains("--data"), "{named}");
        assert_eq!(layout.clone().with_data(Some(dir.path())).unwrap().data(), dir.path());
        assert!(layout.require_registry().is_ok(), "the usual name: nothing was released yet");
        let storage = Storage { registry_dir: dir.path().join("registri"), ..Storage::default() };
        let moved = Layout::new(&storage, Path::new("outputs")).require_registry().unwrap_err().to_string();
        assert!(moved.contains("registri") && moved.contains("storage.registry_dir"), "{moved}");
    }
}
