use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::{io, write_atomic};
use crate::hub::{Hub, PushFile};
use crate::{
    CardFacts, Error, FileHash, HubRelease, Lineage, Release, Result, ValidationSummary, VersionFile,
    hash_file, model_card,
};

/// The `[registry]` table of `training.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// `owner/name` on the Hub; empty keeps releases local.
    pub huggingface_repo: String,
    /// Whether a repository that does not exist yet is made private.
    pub private: bool,
    /// Human agreement must be above this share.
    pub min_human_agreement: f64,
    /// The overall mean absolute error must be below this many points.
    pub max_mae: f64,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self { huggingface_repo: String::new(), private: true, min_human_agreement: 0.85, max_mae: 0.6 }
    }
}

/// What a release would be, before anything is written.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The release, without its place on the Hub.
    pub release: Release,
    /// The model card.
    pub card: String,
    /// The run's folder.
    pub run: PathBuf,
    /// A release of the same adapter that exists already; there is nothing to do then.
    pub already: Option<String>,
}

/// Released versions in a folder: `version.json` and `versions/<version>/`.
#[derive(Debug)]
pub struct Registry {
    dir: PathBuf,
    /// Held while the registry is open, so that two commands cannot release at once.
    _lock: File,
}

const CARD: &str = "README.md";
const ADAPTER: &str = "adapter_model.safetensors";
/// The files of a run that are released, and whether a release needs them.
const FILES: [(&str, bool); 8] = [
    ("adapter_config.json", true),
    (ADAPTER, true),
    ("validation_results.json", true),
    ("config.toml", false),
    ("run.json", false),
    ("metrics.jsonl", false),
    (REPORT, false),
    (REFERENCE, false),
];
const REPORT: &str = "report.html";
const REFERENCE: &str = "reference_predictions.jsonl";
/// What stays in the folder: pictures and properties of a team's own slides are not put on the Hub.
const KEPT: [&str; 2] = [REPORT, REFERENCE];

impl Registry {
    /// Opens the registry in `dir`, creating the folder, and keeps others out.
    ///
    /// # Errors
    /// When the folder cannot be written or another process has it open.
    pub fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(io("create", dir))?;
        let path = dir.join(".lock");
        let lock = File::create(&path).map_err(io("create", &path))?;
        lock.try_lock()
            .map_err(|error| io("lock (another command has the registry open)", &path)(error.into()))?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    fn version_path(&self) -> PathBuf {
        self.dir.join("version.json")
    }

    /// The folder of a version.
    pub fn version_dir(&self, version: &str) -> PathBuf {
        self.dir.join("versions").join(version)
    }

    /// All that was released.
    ///
    /// # Errors
    /// When `version.json` cannot be read.
    pub fn versions(&self) -> Result<VersionFile> {
        VersionFile::read(&self.version_path())
    }

    /// What releasing a run would do.
    ///
    /// # Errors
    /// When a file is missing or the validation results are of another adapter.
    pub fn plan(
        &self,
        run: &Path,
        results: &ValidationSummary,
        lineage: Lineage,
        facts: &CardFacts,
        now: Timestamp,
    ) -> Result<Plan> {
        let versions = self.versions()?;
        let files = collect(run)?;
        let same = |release: &&Release| release.files.get(ADAPTER) == files.get(ADAPTER);
        let already = versions.history.iter().rfind(same).map(|release| release.version.clone());
        let run_id = run.canonicalize().map_err(io("open", run))?;
        let run_id = run_id.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let release = Release {
            version: versions.next_version(),
            released_at: now,
            run_id,
            human_agreement: results.human_agreement,
            metrics: results.metrics.clone(),
            files,
            lineage: Lineage { parent: versions.aliases.champion.clone(), ..lineage },
            hub: None,
        };
        let card = model_card(&release, facts);
        Ok(Plan { release, card, run: run.to_owned(), already })
    }

    /// Releases: copies and checks the files, pushes them where a Hub is given, and only then names the version in
    /// `version.json`. Interrupted anywhere, the registry is as before, and the same call completes the release.
    ///
    /// # Errors
    /// When a file cannot be copied, the Hub refuses, or what was stored is not what was to be released.
    pub fn release(&self, plan: &Plan, hub: Option<(&Hub, &RegistryConfig)>) -> Result<Release> {
        let mut release = plan.release.clone();
        self.store(plan)?;
        if let Some((hub, config)) = hub {
            release.hub = Some(self.push(hub, config, &release, &format!("Release {}", release.version))?);
        }
        let mut versions = self.versions()?;
        versions.history.push(release.clone());
        versions.put_in_use(&release.version);
        versions.write(&self.version_path())?;
        Ok(release)
    }

    fn store(&self, plan: &Plan) -> Result<()> {
        let version = &plan.release.version;
        let target = self.version_dir(version);
        let parent = self.dir.join("versions");
        std::fs::create_dir_all(&parent).map_err(io("create", &parent))?;
        let staging =
            tempfile::Builder::new().prefix(".new-").tempdir_in(&parent).map_err(io("create", &parent))?;
        for (name, expected) in &plan.release.files {
            let from = plan.run.join(name);
            let to = staging.path().join(name);
            std::fs::copy(&from, &to).map_err(io("write", &to))?;
            if hash_file(&to)? != *expected {
                return Err(Error::Corrupt { what: name.clone(), version: version.clone() });
            }
            File::open(&to).and_then(|file| file.sync_all()).map_err(io("write", &to))?;
        }
        write_atomic(&staging.path().join(CARD), plan.card.as_bytes())?;
        if target.exists() {
            std::fs::remove_dir_all(&target).map_err(io("replace", &target))?; // left by an interrupted release
        }
        let staged = staging.keep();
        std::fs::rename(&staged, &target).map_err(io("create", &target))
    }

    fn push(
        &self,
        hub: &Hub,
        config: &RegistryConfig,
        release: &Release,
        summary: &str,
    ) -> Result<HubRelease> {
        let repo = &config.huggingface_repo;
        let files = public(self.stored_files(release)?);
        hub.create_repository(repo, config.private)?;
        let pushed = hub.push(repo, &files, summary)?;
        hub.tag(repo, &release.version, &pushed.commit, summary)?;
        Ok(HubRelease { repo: repo.clone(), commit: pushed.commit, tag: release.version.clone() })
    }

    /// The files of a stored version, checked against their hashes.
    fn stored_files(&self, release: &Release) -> Result<Vec<PushFile>> {
        let dir = self.version_dir(&release.version);
        let mut files = Vec::new();
        for (name, expected) in &release.files {
            let path = dir.join(name);
            let content = std::fs::read(&path).map_err(io("read", &path))?;
            if crate::files::hash_bytes(&content) != *expected {
                return Err(Error::Corrupt { what: name.clone(), version: release.version.clone() });
            }
            files.push(PushFile { path: name.clone(), content });
        }
        let card = dir.join(CARD);
        files.push(PushFile {
            path: CARD.to_owned(),
            content: std::fs::read(&card).map_err(io("read", &card))?,
        });
        Ok(files)
    }

    /// Puts an earlier version in use again: checks its files, makes it the head of the Hub's repository where one is given,
    /// and changes the aliases. Without a version it goes back to the one in use before.
    ///
    /// # Errors
    /// When there is no such version, or its files are not those that were released.
    pub fn put_in_use(&self, version: Option<&str>, hub: Option<(&Hub, &RegistryConfig)>) -> Result<Release> {
        let mut versions = self.versions()?;
        let version = match version {
            Some(version) => version.to_owned(),
            None => versions.aliases.previous.clone().ok_or(Error::Domain {
                key: "version",
                expected: "given, because no version was in use before",
                actual: String::new(),
            })?,
        };
        let release = versions.release(&version)?.clone();
        let files = self.stored_files(&release)?;
        if let (Some((hub, _)), Some(place)) = (hub, &release.hub) {
            hub.push(&place.repo, &public(files), &format!("Put {version} in use"))?;
        }
        versions.put_in_use(&version);
        versions.write(&self.version_path())?;
        Ok(release)
    }

    /// Checks every stored version against its hashes; returns what is wrong, in words.
    ///
    /// # Errors
    /// When `version.json` cannot be read.
    pub fn verify(&self) -> Result<Vec<String>> {
        let versions = self.versions()?;
        Ok(versions
            .history
            .iter()
            .filter_map(|release| self.stored_files(release).err())
            .map(|e| e.to_string())
            .collect())
    }
}

fn public(mut files: Vec<PushFile>) -> Vec<PushFile> {
    files.retain(|file| !KEPT.contains(&file.path.as_str()));
    files
}

fn collect(run: &Path) -> Result<BTreeMap<String, FileHash>> {
    let mut files = BTreeMap::new();
    for (name, needed) in FILES {
        let path = run.join(name);
        if path.exists() {
            files.insert(name.to_owned(), hash_file(&path)?);
        } else if needed {
            return Err(Error::Missing { path, needed_for: "a release consists of it" });
        }
    }
    Ok(files)
}
