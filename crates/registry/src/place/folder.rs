use std::collections::BTreeMap;
use std::path::Path;

use durable_files::{io_error as io, sync_dir, write_atomic};
use project_files::{
    Contract as _, HubRelease, Layout, Manifest, RunFiles, Version, VersionFile, check_stored,
};

use crate::names::name;
use crate::place::{Place, Stage};
use crate::steps::Steps;
use crate::{Bundle, Error, Result};

/// The folder of a project's registry.
#[derive(Debug, Clone)]
pub struct FolderPlace {
    layout: Layout,
    steps: Steps,
}

impl FolderPlace {
    pub(crate) fn new(layout: &Layout, steps: Steps) -> Self {
        Self { layout: layout.clone(), steps }
    }

    fn versions(&self) -> Result<VersionFile> {
        Ok(VersionFile::read_if_present(&self.layout.version_file())?.unwrap_or_default())
    }

    fn taken_by_another(&self, bundle: &Bundle) -> Error {
        Error::Taken { version: bundle.version.clone(), place: self.title() }
    }

    /// Releases whose manifest lies here, in the order of their versions; what cannot be read is left out.
    pub(crate) fn manifests(&self) -> Result<Vec<Manifest>> {
        let stored = self.taken()?.into_values().map(|version| self.layout.version(&version).manifest());
        Ok(stored.filter_map(|path| Manifest::read_if_present(&path).ok()?).collect())
    }

    /// Writes what is missing or changed. The manifest comes first: from then on the folder belongs to this release.
    pub(crate) fn restore(&self, bundle: &Bundle) -> Result<()> {
        let stored = self.layout.version(&bundle.version);
        self.steps.take(&format!("make the folder of {}", bundle.version))?;
        std::fs::create_dir_all(stored.dir()).map_err(io("create", stored.dir()))?;
        remove_temporary(stored.dir())?;
        let is_manifest = |name: &str| name == Manifest::FILE;
        let (first, rest): (Vec<_>, Vec<_>) = bundle.files.iter().partition(|(name, _)| is_manifest(name));
        for (name, content) in first.into_iter().chain(rest) {
            let path = stored.dir().join(name);
            if std::fs::read(&path).is_ok_and(|found| found == *content) {
                continue;
            }
            self.steps.take(&format!("write {name} of {}", bundle.version))?;
            write_atomic(&path, content)?;
        }
        sync_dir(&self.layout.versions())?;
        Ok(check_stored(&stored, None).map(drop)?)
    }

    fn is_whole(stored: &RunFiles, bundle: &Bundle) -> bool {
        bundle.files.iter().all(|(name, content)| {
            std::fs::read(stored.dir().join(name)).is_ok_and(|found| found == *content)
        })
    }
}

impl Place for FolderPlace {
    fn title(&self) -> String {
        format!("`{}`", self.layout.registry().display())
    }

    fn taken(&self) -> Result<BTreeMap<Version, String>> {
        let dir = self.layout.versions();
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries.map_err(io("read", &dir))?,
        };
        let mut taken = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(io("read", &dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(version) = Version::parse(&name).filter(|_| !is_empty(&entry.path())) {
                taken.insert(version, name);
            }
        }
        Ok(taken)
    }

    fn manifest(&self, version: &str) -> Result<Option<Manifest>> {
        Ok(Manifest::read_if_present(&self.layout.version(version).manifest())?)
    }

    fn stage(&self, bundle: &Bundle) -> Result<Stage> {
        let stored = self.layout.version(&bundle.version);
        if is_empty(stored.dir()) {
            return Ok(Stage::Absent);
        }
        let manifest = Manifest::read_if_present(&stored.manifest())?;
        if manifest.map(|manifest| manifest.id) != bundle.id {
            return Err(self.taken_by_another(bundle));
        }
        if !Self::is_whole(&stored, bundle) {
            return Ok(Stage::Planned);
        }
        let versions = self.versions()?;
        Ok(match versions.release(&bundle.version) {
            Err(_) => Stage::Stored,
            Ok(_) if versions.aliases.champion.as_ref() == Some(&bundle.version) => Stage::Live,
            Ok(_) => Stage::Named,
        })
    }

    fn store(&self, bundle: &Bundle) -> Result<()> {
        if self.stage(bundle)? >= Stage::Stored { Ok(()) } else { self.restore(bundle) }
    }

    /// `version.json` names what is stored here; the registry writes it together with its journal.
    fn name(&self, bundle: &Bundle) -> Result<Option<HubRelease>> {
        Ok(bundle.hub.clone())
    }

    fn load(&self, version: &str) -> Result<Bundle> {
        let versions = self.versions()?;
        let release = versions.release(version).ok();
        let name = release.map_or(version, |release| release.version.as_str());
        Bundle::of_stored(&self.layout.version(name), release)
    }

    fn live(&self) -> Result<Option<String>> {
        Ok(self.versions()?.aliases.champion)
    }

    fn make_live(&self, bundle: &Bundle, check: &dyn Fn(&str) -> Result<()>) -> Result<()> {
        let mut versions = self.versions()?;
        versions.aliases.champion.as_deref().map_or(Ok(()), check)?;
        versions.release(&bundle.version)?;
        versions.promote(&bundle.version);
        self.steps.take("write version.json")?;
        Ok(versions.write(&self.layout.version_file())?)
    }

    fn tidy(&self, version: &str) -> Result<()> {
        let dir = self.layout.version(version).dir().to_owned();
        if dir.exists() { remove_temporary(&dir) } else { Ok(()) }
    }

    fn give_up(&self, bundle: &Bundle) -> Result<()> {
        let version = &bundle.version;
        let stored = self.layout.version(version);
        let manifest = Manifest::read_if_present(&stored.manifest())?;
        let is_another = manifest.is_some_and(|manifest| Some(manifest.id) != bundle.id);
        if is_another || self.versions()?.release(version).is_ok() || !stored.dir().exists() {
            return Ok(());
        }
        self.steps.take(&format!("remove the unfinished {version}"))?;
        // The manifest last: as long as it is there, the rest is known to be unfinished.
        for entry in std::fs::read_dir(stored.dir()).map_err(io("read", stored.dir()))?.flatten() {
            if entry.path() != stored.manifest() {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(std::fs::remove_dir_all(stored.dir()).map_err(io("remove", stored.dir()))?)
    }
}

/// Whether a folder is not there, or holds nothing but what a killed command left.
fn is_empty(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return true };
    let is_nothing = |path: &Path| is_temporary(&name(path)) || path == RunFiles::new(dir).fetched();
    entries.flatten().all(|entry| is_nothing(&entry.path()))
}

fn is_temporary(name: &str) -> bool {
    name.starts_with(".tmp") || name.starts_with(".new-")
}

/// Removes temporary files and folders that killed commands left.
pub(crate) fn remove_temporary(dir: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_temporary(&name(path))) {
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(io("remove", &path))?;
    }
    Ok(())
}
