use std::collections::BTreeMap;
use std::path::Path;

use durable_files::hash_bytes;
use jiff::Timestamp;
use project_files::{
    Contract as _, Event, HubRelease, Journal, JournalEntry, Manifest, RELEASED_FILES, Version,
};
use serde::{Deserialize, Serialize};

use super::objects::{BucketOptions, Object, Objects};
use crate::place::{Place, Stage};
use crate::{Bundle, Error, Result};

const LIVE: &str = "live.json";
/// Attempts against others that change the same object at the same time.
const RACES: usize = 20;

/// A folder of a bucket that speaks S3:
///
/// ```text
/// versions/<version>/release.json   claims the version: the first one to create it has it
/// versions/<version>/…              the files of the release, created once and never changed
/// names/<version>.json              the version's name: from then on it is released
/// live.json                         the version in use, replaced only as it was read
/// journal/<number>.json             what happened here, an object an entry, each chained to the one before
/// ```
///
/// Nothing is ever overwritten but `live.json`, which needs a service that takes conditions (`If-None-Match`, `If-Match`), as
/// those of Amazon, Cloudflare (R2) and Ceph do.
#[derive(Debug)]
pub struct BucketPlace {
    objects: Objects,
    who: String,
}

/// A version by name and identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    version: String,
    id: String,
}

impl BucketPlace {
    /// The bucket that the options name; it is to be there already. `who` stands in its journal.
    ///
    /// # Errors
    /// When the address is none, or certificates cannot be read.
    pub fn new(options: &BucketOptions, who: &str) -> Result<Self> {
        Ok(Self { objects: Objects::open(options)?, who: who.to_owned() })
    }

    /// What happened here.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub fn journal(&self) -> Result<Journal> {
        let mut journal = Journal::default();
        let mut before = None;
        for number in self.entries()? {
            let Some(object) = self.objects.get(&entry_name(number))? else { continue };
            let entry = self.parse(&object.content)?;
            let mut again = entry.clone();
            let line =
                Journal::chain(&self.path("journal"), before.as_deref(), std::slice::from_mut(&mut again))?;
            if line != object.content {
                journal
                    .problems
                    .push(format!("entry {number} of {} was changed or does not follow", self.title()));
            }
            journal.entries.push(entry);
            before = Some(line_of(&object.content));
        }
        Ok(journal)
    }

    fn parse(&self, content: &[u8]) -> Result<JournalEntry> {
        Ok(JournalEntry::parse(&self.path("journal"), None, &line_of(content))?)
    }

    /// The numbers of the journal's entries.
    fn entries(&self) -> Result<Vec<u64>> {
        let names = self.objects.names("journal")?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Appends what `next` makes of the last entry, or nothing; asked again where somebody else was faster.
    fn enter(&self, next: &dyn Fn(&JournalEntry) -> Result<Option<JournalEntry>>) -> Result<()> {
        for _ in 0..RACES {
            let last = self.entries()?.last().copied();
            let before = last.map(|number| self.objects.get(&entry_name(number))).transpose()?.flatten();
            let parsed = before.as_ref().map(|object| self.parse(&object.content)).transpose()?;
            let Some(entry) = next(&parsed.unwrap_or_default())? else { return Ok(()) };
            let (at, who) = (Timestamp::now(), self.who.clone());
            let last_line = before.map(|object| line_of(&object.content));
            let mut entries = [JournalEntry { at, who, ..entry }];
            let line = Journal::chain(&self.path("journal"), last_line.as_deref(), &mut entries)?;
            if self.objects.create(&entry_name(last.unwrap_or(0) + 1), &line)? {
                return Ok(());
            }
        }
        Err(self.busy())
    }

    /// Enters that a version has its name.
    fn enter_name(&self, named: &Named) -> Result<()> {
        let is_it =
            |entry: &JournalEntry| entry.event == Event::Released && entry.id.as_ref() == Some(&named.id);
        if self.journal()?.entries.iter().any(is_it) {
            return Ok(());
        }
        self.enter(&|last| {
            Ok(Some(JournalEntry {
                event: Event::Released,
                version: Some(named.version.clone()),
                id: Some(named.id.clone()),
                before: last.live.clone(),
                live: last.live.clone(),
                ..JournalEntry::default()
            }))
        })
    }

    /// Enters which version is in use, where the last entry says something else. What is in use is read after that entry, so
    /// that the entries of several registries follow each other as their changes did.
    fn enter_live(&self) -> Result<()> {
        self.enter(&|last| {
            let Some((live, _)) = self.named(LIVE)? else { return Ok(None) };
            Ok((last.live.as_ref() != Some(&live.version)).then(|| JournalEntry {
                event: Event::Pushed,
                version: Some(live.version.clone()),
                id: Some(live.id),
                before: last.live.clone(),
                live: Some(live.version),
                ..JournalEntry::default()
            }))
        })
    }

    fn busy(&self) -> Error {
        let reason = format!("others changed it {RACES} times at the same moment; run it again");
        Error::Bucket { title: self.title(), source: reason.into() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.objects.title()).join(name)
    }

    fn manifest_of(&self, version: &str) -> Result<Option<Manifest>> {
        let name = file_name(version, Manifest::FILE);
        let Some(object) = self.objects.get(&name)? else { return Ok(None) };
        Ok(Some(Manifest::open(&self.path(&name), &object.content)?))
    }

    fn named(&self, name: &str) -> Result<Option<(Named, Object)>> {
        let Some(object) = self.objects.get(name)? else { return Ok(None) };
        let damaged = |error| Error::Bucket {
            title: format!("{}/{name}", self.title()),
            source: format!("it is not what this program writes: {error}").into(),
        };
        Ok(Some((serde_json::from_slice(&object.content).map_err(damaged)?, object)))
    }

    /// The version as it is spelt here.
    fn spelt(&self, version: &str) -> Result<String> {
        let missing = || Error::NoVersion { version: version.to_owned(), place: self.title() };
        let wanted = Version::parse(version).ok_or_else(missing)?;
        let name = self.taken()?.remove(&wanted).ok_or_else(missing)?;
        if self.named(&name_name(&name))?.is_some() { Ok(name) } else { Err(missing()) }
    }

    fn taken_by_another(&self, version: &str) -> Error {
        Error::Taken { version: version.to_owned(), place: self.title() }
    }

    /// Whether every file is there with its content.
    fn is_whole(&self, bundle: &Bundle) -> Result<bool> {
        for file in bundle.public() {
            let found = self.objects.get(&file_name(&bundle.version, &file.path))?;
            if found.is_none_or(|object| object.content != file.content) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn file_name(version: &str, file: &str) -> String {
    format!("versions/{version}/{file}")
}

fn name_name(version: &str) -> String {
    format!("names/{version}.json")
}

fn entry_name(number: u64) -> String {
    format!("journal/{number:08}.json")
}

fn line_of(content: &[u8]) -> Vec<u8> {
    content.strip_suffix(b"\n").unwrap_or(content).to_vec()
}

fn encode(named: &Named) -> Vec<u8> {
    format!("{}\n", serde_json::json!(named)).into_bytes()
}

/// Name and identity of a release; those of earlier programs have none, and do not go to a bucket.
fn name_of(bundle: &Bundle, title: String) -> Result<Named> {
    let missing = || Error::NoVersion { version: bundle.version.clone(), place: title };
    let id = bundle.id.clone().ok_or_else(missing)?;
    Ok(Named { version: bundle.version.clone(), id })
}

impl Place for BucketPlace {
    fn title(&self) -> String {
        self.objects.title().to_owned()
    }

    fn taken(&self) -> Result<BTreeMap<Version, String>> {
        let names = self.objects.names("versions")?;
        Ok(names.into_iter().filter_map(|name| Some((Version::parse(&name)?, name))).collect())
    }

    fn manifest(&self, version: &str) -> Result<Option<Manifest>> {
        self.manifest_of(&self.spelt(version)?)
    }

    fn stage(&self, bundle: &Bundle) -> Result<Stage> {
        let Some(manifest) = self.manifest_of(&bundle.version)? else { return Ok(Stage::Absent) };
        if Some(&manifest.id) != bundle.id.as_ref() {
            return Err(self.taken_by_another(&bundle.version));
        }
        if self.named(&name_name(&bundle.version))?.is_some() {
            let is_live = self.named(LIVE)?.is_some_and(|(live, _)| Some(&live.id) == bundle.id.as_ref());
            return Ok(if is_live { Stage::Live } else { Stage::Named });
        }
        Ok(if self.is_whole(bundle)? { Stage::Stored } else { Stage::Planned })
    }

    /// The manifest comes first, and claims the version.
    fn store(&self, bundle: &Bundle) -> Result<()> {
        name_of(bundle, self.title())?;
        let is_manifest = |name: &str| name == Manifest::FILE;
        let (first, rest): (Vec<_>, Vec<_>) =
            bundle.public().into_iter().partition(|file| is_manifest(&file.path));
        for file in first.into_iter().chain(rest) {
            if self.objects.create(&file_name(&bundle.version, &file.path), &file.content)? {
                continue;
            }
            return Err(if is_manifest(&file.path) {
                self.taken_by_another(&bundle.version)
            } else {
                Error::Corrupt { what: file.path, version: bundle.version.clone() }
            });
        }
        Ok(())
    }

    fn name(&self, bundle: &Bundle) -> Result<Option<HubRelease>> {
        let named = name_of(bundle, self.title())?;
        let name = name_name(&bundle.version);
        if self.named(&name)?.is_none() && !self.is_whole(bundle)? {
            return Err(Error::Corrupt { what: self.title(), version: bundle.version.clone() });
        }
        if !self.objects.create(&name, &encode(&named))? {
            return Err(self.taken_by_another(&bundle.version));
        }
        self.enter_name(&named)?;
        Ok(Some(HubRelease { repo: self.title(), commit: named.id, tag: named.version }))
    }

    fn load(&self, version: &str) -> Result<Bundle> {
        let version = self.spelt(version)?;
        let no_version = || Error::NoVersion { version: version.clone(), place: self.title() };
        let name = file_name(&version, Manifest::FILE);
        let bytes = self.objects.get(&name)?.ok_or_else(no_version)?.content;
        let manifest = Manifest::open(&self.path(&name), &bytes)?;
        let stays = |name: &str| RELEASED_FILES.iter().any(|file| file.name == name && !file.is_public);
        let mut files = BTreeMap::from([(Manifest::FILE.to_owned(), bytes)]);
        for (name, expected) in manifest.files.iter().filter(|(name, _)| !stays(name)) {
            let found = self.objects.get(&file_name(&version, name))?;
            let content =
                found.map(|object| object.content).filter(|content| hash_bytes(content) == *expected);
            let corrupt = || Error::Corrupt { what: name.clone(), version: version.clone() };
            files.insert(name.clone(), content.ok_or_else(corrupt)?);
        }
        let hub = HubRelease { repo: self.title(), commit: manifest.id.clone(), tag: version };
        Ok(Bundle { version: manifest.version, id: Some(manifest.id), hub: Some(hub), files })
    }

    fn live(&self) -> Result<Option<String>> {
        Ok(self.named(LIVE)?.map(|(live, _)| live.version))
    }

    fn make_live(&self, bundle: &Bundle, check: &dyn Fn(&str) -> Result<()>) -> Result<()> {
        let named = name_of(bundle, self.title())?;
        for _ in 0..RACES {
            let before = self.named(LIVE)?;
            if let Some((live, _)) = &before {
                if *live == named {
                    return self.enter_live();
                }
                check(&live.version)?;
            }
            let object = before.as_ref().map(|(_, object)| object);
            if self.objects.replace(LIVE, object, &encode(&named))? {
                return self.enter_live();
            }
        }
        Err(self.busy())
    }

    /// Enters what a killed command did not come to.
    fn tidy(&self, _version: &str) -> Result<()> {
        self.enter_live()
    }

    fn give_up(&self, bundle: &Bundle) -> Result<()> {
        let manifest = self.manifest_of(&bundle.version)?;
        let is_ours = manifest.is_some_and(|manifest| Some(&manifest.id) == bundle.id.as_ref());
        if !is_ours || self.named(&name_name(&bundle.version))?.is_some() {
            return Ok(());
        }
        let folder = format!("versions/{}", bundle.version);
        for name in self.objects.names(&folder)?.into_iter().filter(|name| name != Manifest::FILE) {
            self.objects.remove(&file_name(&bundle.version, &name))?;
        }
        self.objects.remove(&file_name(&bundle.version, Manifest::FILE))
    }
}
