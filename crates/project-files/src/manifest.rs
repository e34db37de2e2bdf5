use std::collections::BTreeMap;
use std::path::Path;

use durable_files::{FileHash, hash_bytes, io_error, write_atomic};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::run_files::{MANIFEST, SIGNATURE};
use crate::seal::{sealed, stated_hash};
use crate::{Change, Contract, Error, HubRelease, Lineage, Release, Result, RunFiles};

const PREFIX: &str = "{\n  \"id\": \"";

/// What a release was made from, as far as its number depends on it; empty where it is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Basis {
    /// The base: its fingerprint, else its name.
    pub base: String,
    /// SHA-256 of criteria and prompt.
    pub rubric: String,
    /// SHA-256 of labels, splits and slides.
    pub data: String,
    /// SHA-256 of the other settings, but for seeds, folders and devices.
    pub settings: String,
}

impl Basis {
    /// What a release with basis `next` changes against this one. What is not known counts as changed.
    pub fn change_to(&self, next: &Self) -> Change {
        let same = |before: &str, after: &str| !before.is_empty() && before == after;
        if !same(&self.base, &next.base) || !same(&self.rubric, &next.rubric) {
            Change::Major
        } else if !same(&self.data, &next.data) || !same(&self.settings, &next.settings) {
            Change::Minor
        } else {
            Change::Patch
        }
    }
}

/// `release.json`: the plan of a release and its identity. It is written before anything else of the release and never changes;
/// whoever carries the release on, here or elsewhere, does what it says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// SHA-256 of this file with this value empty: the identity of the release.
    #[serde(default)]
    pub id: String,
    /// Version of this contract.
    pub schema_version: u32,
    /// `v1.0.0`, ….
    pub version: String,
    /// The version in use when this one was planned.
    #[serde(default)]
    pub parent: Option<String>,
    /// When it was planned.
    pub released_at: Timestamp,
    /// Who released it.
    #[serde(default)]
    pub who: String,
    /// Why, where somebody said so.
    #[serde(default)]
    pub reason: Option<String>,
    /// The run that it comes from.
    pub run_id: String,
    /// Share of scores within one point of people's.
    pub human_agreement: f64,
    /// Measures of the validation.
    pub metrics: BTreeMap<String, f64>,
    /// What it was made from.
    #[serde(default)]
    pub lineage: Lineage,
    /// The same, as far as the number depends on it.
    #[serde(default)]
    pub basis: Basis,
    /// Every file but this one and its signature, with its hash; `README.md` is the model card.
    pub files: BTreeMap<String, FileHash>,
    /// Files that differ from the run's of the same name, with the SHA-256 of the run's: what is public names no folder of a
    /// machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub made_from: BTreeMap<String, String>,
    /// SHA-256 of the public key (PEM) whose owner signed this release; its `model.sig` lies beside this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// The model card's text.
    pub card: String,
    /// The data card's text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data_card: String,
}

impl Manifest {
    /// The name of the file.
    pub const FILE: &str = MANIFEST;
    /// The name of its signature.
    pub const SIGNATURE: &str = SIGNATURE;

    /// States its identity, and hands out the file's bytes.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn seal(&mut self) -> Result<Vec<u8>> {
        self.id.clear();
        let failed = |source| durable_files::Error::Encode { path: Self::FILE.into(), source };
        let empty = serde_json::to_string_pretty(self).map_err(failed)? + "\n";
        let (id, text) = sealed(&empty, PREFIX).unwrap_or_default();
        self.id = id;
        Ok(text.into_bytes())
    }

    /// Reads the bytes of a manifest that lies in `path` or came from elsewhere under that name.
    ///
    /// # Errors
    /// When they are not valid, of a newer version, or not what their identity says.
    pub fn open(path: &Path, bytes: &[u8]) -> Result<Self> {
        let manifest = Self::parse(path, None, bytes)?;
        if stated_hash(bytes, PREFIX).is_some_and(|hash| hash == manifest.id) {
            Ok(manifest)
        } else {
            let reason = "it was changed after it was written: its `id` is another".to_owned();
            Err(Error::Value { path: path.to_owned(), line: None, contract: Self::NAME, reason })
        }
    }

    /// The release as `version.json` lists it.
    pub fn release(&self, hub: Option<HubRelease>) -> Release {
        Release {
            version: self.version.clone(),
            id: Some(self.id.clone()),
            released_at: self.released_at,
            run_id: self.run_id.clone(),
            human_agreement: self.human_agreement,
            metrics: self.metrics.clone(),
            files: self.files.clone(),
            lineage: Lineage { parent: self.parent.clone(), ..self.lineage.clone() },
            hub,
        }
    }

    /// Whether a text is that of a file that it lists.
    fn is_listed(&self, path: &Path, text: &str) -> bool {
        self.files.get(&*path.to_string_lossy()) == Some(&hash_bytes(text.as_bytes()))
    }
}

impl Contract for Manifest {
    const NAME: &'static str = "release manifest";
    const VERSION: u32 = 1;

    fn read(path: &Path) -> Result<Self> {
        Self::open(path, &std::fs::read(path).map_err(io_error("read", path))?)
    }

    fn read_if_present(path: &Path) -> Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => Self::open(path, &bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", path)(error).into()),
        }
    }

    fn write(&self, path: &Path) -> Result<()> {
        Ok(write_atomic(path, &self.clone().seal()?)?)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let is_name = |name: &str| !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        if crate::Version::parse(&self.version).is_none() {
            return Err(format!("`{}` is no version", self.version));
        }
        if let Some(name) = self.files.keys().find(|name| name.is_empty() || !is_name(name)) {
            return Err(format!("`{name}` is not the name of a file"));
        }
        let run = RunFiles::new("");
        if !self.is_listed(&run.card(), &self.card) {
            return Err("the model card is not the one among its files".to_owned());
        }
        let has_data_card = self.files.contains_key(&*run.data_card().to_string_lossy());
        if (has_data_card || !self.data_card.is_empty()) && !self.is_listed(&run.data_card(), &self.data_card)
        {
            return Err("the data card is not the one among its files".to_owned());
        }
        if self.files.contains_key(SIGNATURE) {
            return Err(format!("`{SIGNATURE}` is among the files that it signs"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let card = "# Rater\n".to_owned();
        let files = BTreeMap::from([("README.md".to_owned(), hash_bytes(card.as_bytes()))]);
        let metrics = BTreeMap::from([("overall_mae".to_owned(), 0.1 + 0.2)]);
        let version = "v1.0.0".to_owned();
        Manifest {
            schema_version: 1,
            version,
            run_id: "r".to_owned(),
            metrics,
            files,
            card,
            ..Manifest::default()
        }
    }

    #[test]
    fn a_manifest_with_any_byte_changed_is_refused() {
        let mut manifest = manifest();
        let bytes = manifest.seal().unwrap();
        let path = Path::new("release.json");
        assert_eq!(Manifest::open(path, &bytes).unwrap(), manifest);
        for at in 0..bytes.len() {
            for bit in [0, 3, 5] {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(Manifest::open(path, &changed).is_err(), "byte {at}, bit {bit}");
            }
        }
        assert!(Manifest::open(path, &bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn frozen_samples_are_whole() {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/v1");
        let manifest = Manifest::read(&samples.join("release.json")).unwrap();
        let journal = crate::Journal::read(&samples.join("journal.jsonl")).unwrap();
        assert_eq!((journal.entries.len(), journal.problems), (2, vec![]));
        assert_eq!(journal.entries[0].id, Some(manifest.id));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../version.json", "a/b", ".hidden", ""] {
            let mut manifest = manifest();
            manifest.files.insert(name.to_owned(), hash_bytes(b""));
            let bytes = manifest.seal().unwrap();
            let error = Manifest::open(Path::new("release.json"), &bytes).unwrap_err().to_string();
            assert!(error.contains("not the name of a file"), "{name}: {error}");
        }
    }

    #[test]
    fn the_number_says_what_changed() {
        let basis = |base: &str, rubric: &str, data: &str, settings: &str| {
            let [base, rubric, data, settings] = [base, rubric, data, settings].map(str::to_owned);
            Basis { base, rubric, data, settings }
        };
        let before = basis("b", "r", "d", "s");
        for (next, change) in [
            (basis("b", "r", "d", "s"), Change::Patch),
            (basis("b", "r", "d2", "s"), Change::Minor),
            (basis("b", "r", "d", "s2"), Change::Minor),
            (basis("b2", "r", "d", "s"), Change::Major),
            (basis("b", "r2", "d2", "s"), Change::Major),
            (basis("b", "", "d", "s"), Change::Major),
        ] {
            assert_eq!(before.change_to(&next), change, "{next:?}");
        }
        assert_eq!(Basis::default().change_to(&Basis::default()), Change::Major, "nothing is known");
    }
}
