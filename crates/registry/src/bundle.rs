use std::collections::BTreeMap;

use durable_files::{hash_bytes, io_error as io};
use project_files::{HubRelease, Manifest, RELEASED_FILES, Release, RunFiles, check_stored};

use crate::contents::Contents;
use crate::hub::PushFile;
use crate::names::name;
use crate::{Error, Result};

/// A version with all its files, as it goes from one place to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Its name.
    pub version: String,
    /// The identity of its manifest; versions of earlier programs have none.
    pub id: Option<String>,
    /// Where it is known to stand on the Hub.
    pub hub: Option<HubRelease>,
    /// The contents by name, with manifest and model card.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Bundle {
    /// The files of a run as a planned release, signed where the plan says so.
    pub(crate) fn of_run(
        contents: Contents,
        manifest: &Manifest,
        manifest_bytes: Vec<u8>,
        seal: Option<&dyn Seal>,
    ) -> Result<Self> {
        let mut made = contents.files;
        let own = RunFiles::new("");
        for (path, text) in [(own.card(), &manifest.card), (own.data_card(), &manifest.data_card)] {
            made.insert(name(&path), text.clone().into_bytes());
        }
        let mut files = listed(made, manifest)?;
        files.insert(Manifest::FILE.to_owned(), manifest_bytes);
        let (version, id) = (manifest.version.clone(), Some(manifest.id.clone()));
        let mut bundle = Self { version, id, hub: None, files };
        if let Some(fingerprint) = &manifest.signed_by {
            bundle.sign(fingerprint, seal)?;
        }
        Ok(bundle)
    }

    /// Adds the signature of the key that has this fingerprint.
    fn sign(&mut self, fingerprint: &str, seal: Option<&dyn Seal>) -> Result<()> {
        let seal = seal.filter(|seal| seal.signer().as_deref() == Some(fingerprint));
        let (version, fingerprint) = (self.version.clone(), fingerprint.to_owned());
        let seal = seal.ok_or(Error::OtherKey { version, fingerprint })?;
        let signature = seal.sign(self)?;
        self.files.insert(Manifest::SIGNATURE.to_owned(), signature);
        Ok(())
    }

    /// A stored version, checked against what was released.
    ///
    /// # Errors
    /// When a file was changed, is missing or was added.
    pub fn of_stored(stored: &RunFiles, release: Option<&Release>) -> Result<Self> {
        let manifest = check_stored(stored, release)?;
        let listed = manifest.as_ref().map(|manifest| &manifest.files);
        let names =
            listed.or(release.map(|release| &release.files)).into_iter().flatten().map(|(name, _)| name);
        let mut files = BTreeMap::new();
        for name in names.filter(|name| stored.dir().join(name).exists()) {
            files.insert(name.clone(), read(stored, name)?);
        }
        for path in
            [stored.manifest(), stored.card(), stored.signature()].into_iter().filter(|path| path.exists())
        {
            files.insert(name(&path), std::fs::read(&path).map_err(io("read", &path))?);
        }
        let version = version(stored, manifest.as_ref(), release)?;
        let hub = release.and_then(|release| release.hub.clone());
        Ok(Self { version, id: manifest.map(|manifest| manifest.id), hub, files })
    }

    /// What of it goes to the Hub: images and properties of a team's own slides stay on its machines.
    pub fn public(&self) -> Vec<PushFile> {
        let stays = |name: &str| RELEASED_FILES.iter().any(|file| file.name == name && !file.is_public);
        let public = self.files.iter().filter(|(name, _)| !stays(name));
        public.map(|(path, content)| PushFile { path: path.clone(), content: content.clone() }).collect()
    }
}

/// The files that a manifest lists, as it lists them.
fn listed(mut made: BTreeMap<String, Vec<u8>>, manifest: &Manifest) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for (name, expected) in &manifest.files {
        match made.remove(name) {
            Some(content) if hash_bytes(&content) == *expected => files.insert(name.clone(), content),
            _ => return Err(Error::Corrupt { what: name.clone(), version: manifest.version.clone() }),
        };
    }
    Ok(files)
}

/// What a stored version is called.
fn version(stored: &RunFiles, manifest: Option<&Manifest>, release: Option<&Release>) -> Result<String> {
    match (manifest, release) {
        (Some(manifest), _) => Ok(manifest.version.clone()),
        (None, Some(release)) => Ok(release.version.clone()),
        (None, None) => {
            Err(Error::Missing { path: stored.manifest(), needed_for: "a version is told by it" })
        }
    }
}

fn read(run: &RunFiles, name: &str) -> Result<Vec<u8>> {
    let path = run.dir().join(name);
    Ok(std::fs::read(&path).map_err(io("read", &path))?)
}

/// Signs versions, and checks them before they are used.
pub trait Seal: Send + Sync {
    /// The fingerprint of the key that releases are signed with; `None` leaves them unsigned.
    fn signer(&self) -> Option<String>;

    /// The signature of a version: the same for the same files and key.
    ///
    /// # Errors
    /// When there is no key, or the signature cannot be made.
    fn sign(&self, bundle: &Bundle) -> Result<Vec<u8>>;

    /// Checks the version in a folder, where a key is trusted.
    ///
    /// # Errors
    /// [`Signature`](crate::Error::Signature) when the key's owner did not sign it, or it is not what was signed.
    fn check(&self, stored: &RunFiles) -> Result<()>;

    /// The same of a version that is not in a folder yet.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn check_bundle(&self, bundle: &Bundle) -> Result<()>;
}
