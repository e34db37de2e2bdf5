use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use durable_files::{FileLock, hash_bytes, io_error as io, write_atomic};
use jiff::Timestamp;
use project_files::{Contract as _, Gate, Layout, RELEASED_FILES, RunFiles};
use serde::{Deserialize, Serialize};

use crate::hub::{Hub, PushFile};
use crate::{
    CardFacts, Error, FileHash, HubRelease, Lineage, Release, Result, ValidationResults, VersionFile,
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
        let Gate { min_human_agreement, max_mae } = Gate::default();
        Self { huggingface_repo: String::new(), private: true, min_human_agreement, max_mae }
    }
}

impl RegistryConfig {
    /// The gate.
    pub fn gate(&self) -> Gate {
        Gate { min_human_agreement: self.min_human_agreement, max_mae: self.max_mae }
    }

    /// Checks that the gate's bounds can be met and missed.
    ///
    /// # Errors
    /// Names the key outside its domain.
    pub fn validate(&self) -> Result<()> {
        let domain =
            |key, expected, actual: f64| Err(Error::Domain { key, expected, actual: actual.to_string() });
        if !(0.0..1.0).contains(&self.min_human_agreement) {
            return domain(
                "registry.min_human_agreement",
                "at least 0 and below 1",
                self.min_human_agreement,
            );
        }
        if !(self.max_mae > 0.0 && self.max_mae.is_finite()) {
            return domain("registry.max_mae", "a positive number", self.max_mae);
        }
        Ok(())
    }
}

/// The validation results of a run, checked to be of the files that lie beside them.
///
/// # Errors
/// When they are missing, are not valid, or do not name the adapter and settings of this run by their hashes.
pub fn validated(run: &RunFiles) -> Result<ValidationResults> {
    let path = run.validation();
    if !path.exists() {
        return Err(Error::Missing {
            path,
            needed_for: "only validated runs are released; run pq-validate first",
        });
    }
    let results = ValidationResults::read(&path)?;
    let reasons = results.stale(run)?;
    if reasons.is_empty() {
        Ok(results)
    } else {
        Err(Error::StaleValidation { run: run.dir().to_owned(), reasons })
    }
}

/// What a release would be, before anything is written.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The release, without its place on the Hub.
    pub release: Release,
    /// The model card.
    pub card: String,
    /// The run.
    pub run: RunFiles,
    /// A release of the same adapter that exists already; there is nothing to do then.
    pub already: Option<String>,
}

/// Released versions in a folder: `version.json` and `versions/<version>/`.
#[derive(Debug)]
pub struct Registry {
    layout: Layout,
    /// Held while the registry is open, so that two commands cannot release at once.
    _lock: FileLock,
}

impl Registry {
    /// Opens the registry of a project, creating its folder, and keeps others out.
    ///
    /// # Errors
    /// When the folder cannot be written or another process has it open.
    pub fn open(layout: &Layout) -> Result<Self> {
        let dir = layout.registry();
        std::fs::create_dir_all(dir).map_err(io("create", dir))?;
        let lock = FileLock::try_exclusive(&layout.version_file())?;
        let lock = lock.ok_or_else(|| Error::Busy { path: dir.to_owned() })?;
        Ok(Self { layout: layout.clone(), _lock: lock })
    }

    /// The folder of a version.
    pub fn version_dir(&self, version: &str) -> PathBuf {
        self.layout.version(version).dir().to_owned()
    }

    /// All that was released.
    ///
    /// # Errors
    /// When `version.json` cannot be read.
    pub fn versions(&self) -> Result<VersionFile> {
        Ok(VersionFile::read_if_present(&self.layout.version_file())?.unwrap_or_default())
    }

    /// What releasing a run would do.
    ///
    /// # Errors
    /// When a file is missing or the validation results are of another adapter.
    pub fn plan(
        &self,
        run: &RunFiles,
        results: &ValidationResults,
        lineage: Lineage,
        facts: &CardFacts,
        now: Timestamp,
    ) -> Result<Plan> {
        let versions = self.versions()?;
        let files = collect(run)?;
        let adapter = run.adapter_weights();
        let adapter = adapter.file_name().unwrap_or_default().to_string_lossy();
        let same = |release: &&Release| release.files.get(&*adapter) == files.get(&*adapter);
        let already = versions.history.iter().rfind(same).map(|release| release.version.clone());
        let run_id = run.name().map_err(io("open", run.dir()))?;
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
        Ok(Plan { release, card, run: run.clone(), already })
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
        versions.promote(&release.version);
        versions.write(&self.layout.version_file())?;
        Ok(release)
    }

    fn store(&self, plan: &Plan) -> Result<()> {
        let version = &plan.release.version;
        let target = self.version_dir(version);
        let parent = self.layout.versions();
        std::fs::create_dir_all(&parent).map_err(io("create", &parent))?;
        let staging =
            tempfile::Builder::new().prefix(".new-").tempdir_in(&parent).map_err(io("create", &parent))?;
        for (name, expected) in &plan.release.files {
            let from = plan.run.dir().join(name);
            let to = staging.path().join(name);
            std::fs::copy(&from, &to).map_err(io("write", &to))?;
            if hash_file(&to)? != *expected {
                return Err(Error::Corrupt { what: name.clone(), version: version.clone() });
            }
            File::open(&to).and_then(|file| file.sync_all()).map_err(io("write", &to))?;
        }
        write_atomic(&RunFiles::new(staging.path()).card(), plan.card.as_bytes())?;
        if target.exists() {
            std::fs::remove_dir_all(&target).map_err(io("replace", &target))?; // left by an interrupted release
        }
        let staged = staging.keep();
        Ok(std::fs::rename(&staged, &target).map_err(io("create", &target))?)
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
        let stored = self.layout.version(&release.version);
        let mut files = Vec::new();
        for (name, expected) in &release.files {
            let path = stored.dir().join(name);
            let content = std::fs::read(&path).map_err(io("read", &path))?;
            if hash_bytes(&content) != *expected {
                return Err(Error::Corrupt { what: name.clone(), version: release.version.clone() });
            }
            files.push(PushFile { path: name.clone(), content });
        }
        let card = stored.card();
        files.push(PushFile {
            path: card.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            content: std::fs::read(&card).map_err(io("read", &card))?,
        });
        Ok(files)
    }

    /// Puts an earlier version in use again: checks its files, makes it the head of the Hub's repository where one is given,
    /// and changes the aliases. Without a version it goes back to the one in use before.
    ///
    /// # Errors
    /// When there is no such version, or its files are not those that were released.
    pub fn promote(&self, version: Option<&str>, hub: Option<(&Hub, &RegistryConfig)>) -> Result<Release> {
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
        versions.promote(&version);
        versions.write(&self.layout.version_file())?;
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

/// What of a version goes to the Hub: images and properties of a team's own slides stay in the folder.
fn public(mut files: Vec<PushFile>) -> Vec<PushFile> {
    let is_kept = |name: &str| RELEASED_FILES.iter().any(|file| file.name == name && !file.is_public);
    files.retain(|file| !is_kept(&file.path));
    files
}

fn collect(run: &RunFiles) -> Result<BTreeMap<String, FileHash>> {
    let mut files = BTreeMap::new();
    for file in RELEASED_FILES {
        let path = run.dir().join(file.name);
        if path.exists() {
            files.insert(file.name.to_owned(), hash_file(&path)?);
        } else if file.is_required {
            return Err(Error::Missing { path, needed_for: "a release consists of it" });
        }
    }
    Ok(files)
}
