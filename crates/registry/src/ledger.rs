//! Which versions there are and which one is in use: the journal and `version.json`, which follows from it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use project_files::{
    Contract as _, Event, HubRelease, Journal, JournalEntry, Layout, Manifest, Release, VersionFile,
};

use crate::Result;
use crate::steps::Steps;

/// Who does something, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct By {
    /// A person or a job.
    pub who: String,
    /// The reason that was given.
    pub reason: Option<String>,
}

/// Journal and `version.json` together. The journal is written first; a `version.json` that is behind is brought up to it, and
/// what `version.json` alone knows is entered into the journal.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    /// As `version.json` should be.
    pub(crate) versions: VersionFile,
    pub(crate) journal: Journal,
    /// Whether `version.json` is not what follows from the journal.
    pub(crate) is_behind: bool,
    /// What the journal says nothing of.
    pub(crate) unrecorded: Vec<Release>,
    /// Versions that the journal names and that lie nowhere.
    pub(crate) lost: Vec<String>,
}

impl Ledger {
    /// Reads both, without a lock and without writing.
    pub(crate) fn read(layout: &Layout) -> Result<Self> {
        // The journal first: who writes does it in that order, so that version.json is never older than what was read of it.
        let journal = Journal::read(&layout.registry_journal())?;
        let stored = VersionFile::read_if_present(&layout.version_file())?.unwrap_or_default();
        let known: BTreeSet<&String> = journal
            .entries
            .iter()
            .filter(|entry| brings(entry.event))
            .filter_map(|entry| entry.version.as_ref())
            .collect();
        let unrecorded: Vec<Release> =
            stored.history.iter().filter(|release| !known.contains(&release.version)).cloned().collect();
        let (versions, lost) = if unrecorded.is_empty() && !journal.entries.is_empty() {
            follow(layout, stored.clone(), &journal)
        } else {
            (stored.clone(), Vec::new()) // version.json is the newer one
        };
        let is_behind = versions != stored;
        Ok(Self { versions, journal, is_behind, unrecorded, lost })
    }

    /// The version before the one in use, by the journal.
    pub(crate) fn before(&self) -> Option<String> {
        if self.unrecorded.is_empty() {
            let line = self.journal.line_of_use();
            return Some((*line.get(line.len().checked_sub(2)?)?).to_owned());
        }
        self.versions.aliases.previous.clone()
    }

    /// Enters what `version.json` alone knows into the journal, and brings `version.json` up to it.
    pub(crate) fn reconcile(
        &mut self,
        layout: &Layout,
        by: &By,
        now: Timestamp,
        steps: &Steps,
    ) -> Result<()> {
        if !self.unrecorded.is_empty() {
            let entries = self.adoptions(by, now);
            steps.take("enter earlier releases into journal.jsonl")?;
            self.journal.entries.extend(Journal::append(&layout.registry_journal(), entries)?);
            self.unrecorded.clear();
        }
        if self.is_behind {
            steps.take("bring version.json up to the journal")?;
            self.versions.write(&layout.version_file())?;
            self.is_behind = false;
        }
        Ok(())
    }

    /// What the journal lacks. Earlier programs put every release in use at once.
    pub(crate) fn adoptions(&self, by: &By, now: Timestamp) -> Vec<JournalEntry> {
        if self.unrecorded.is_empty() {
            return Vec::new();
        }
        let is_first = self.journal.entries.is_empty();
        let champion = self.versions.aliases.champion.clone();
        let mut live = if is_first { None } else { self.journal.live().map(str::to_owned) };
        let mut entries = Vec::new();
        for release in &self.unrecorded {
            let mut entry = entry_of(release, Event::Adopted, by);
            entry.at = if is_first { release.released_at } else { now };
            entry.reason = Some("version.json named it and the journal did not".to_owned());
            entry.before.clone_from(&live);
            if is_first {
                live = Some(release.version.clone());
            }
            entry.live.clone_from(&live);
            entries.push(entry);
        }
        if live != champion {
            let release = champion.as_deref().and_then(|version| self.versions.release(version).ok());
            let mut entry = release.map(|release| entry_of(release, Event::Adopted, by)).unwrap_or_default();
            (entry.at, entry.before, entry.live) = (now, live, champion);
            entry.reason = Some("version.json had it in use".to_owned());
            entries.push(entry);
        }
        entries
    }

    /// Writes an entry, then the change of `version.json` that it stands for.
    pub(crate) fn write(
        &mut self,
        layout: &Layout,
        entry: JournalEntry,
        steps: &Steps,
        change: impl FnOnce(&mut VersionFile),
    ) -> Result<()> {
        steps.take("write journal.jsonl")?;
        self.journal.entries.extend(Journal::append(&layout.registry_journal(), vec![entry])?);
        change(&mut self.versions);
        self.versions.aliases.previous = self.before();
        steps.take("write version.json")?;
        Ok(self.versions.write(&layout.version_file())?)
    }

    /// An entry about a version that changes nothing of what is in use.
    pub(crate) fn entry(&self, release: &Release, event: Event, by: &By, now: Timestamp) -> JournalEntry {
        let live = self.versions.aliases.champion.clone();
        JournalEntry { at: now, before: live.clone(), live, ..entry_of(release, event, by) }
    }

    /// The last time that the Hub got a version, where it did.
    pub(crate) fn pushed(&self) -> Option<&JournalEntry> {
        self.journal.entries.iter().rfind(|entry| entry.event == Event::Pushed)
    }
}

/// Whether an event brings a version into the registry.
fn brings(event: Event) -> bool {
    matches!(event, Event::Released | Event::Fetched | Event::Adopted)
}

fn entry_of(release: &Release, event: Event, by: &By) -> JournalEntry {
    JournalEntry {
        who: by.who.clone(),
        event,
        version: Some(release.version.clone()),
        id: release.id.clone(),
        run_id: Some(release.run_id.clone()),
        reason: by.reason.clone(),
        hub: release.hub.clone(),
        ..JournalEntry::default()
    }
}

/// `version.json` as it follows from the journal, and versions that the journal names but whose manifest lies nowhere.
fn follow(layout: &Layout, mut versions: VersionFile, journal: &Journal) -> (VersionFile, Vec<String>) {
    let mut lost = Vec::new();
    for entry in &journal.entries {
        let Some(version) = &entry.version else { continue };
        let at = versions.history.iter().position(|release| release.version == *version);
        match (entry.event, at) {
            (event, None) if brings(event) => match stored(layout, version, entry.id.as_deref()) {
                Some(manifest) => versions.history.push(manifest.release(entry.hub.clone())),
                None => lost.push(version.clone()),
            },
            (Event::Pushed, Some(at)) => place(&mut versions.history[at], entry.hub.as_ref()),
            (Event::Removed, at) => {
                lost.retain(|lost| lost != version);
                at.map(|at| versions.history.remove(at));
            }
            _ => {}
        }
    }
    follow_use(&mut versions, journal);
    (versions, lost)
}

/// Brings what `version.json` says of the version in use up to the journal.
fn follow_use(versions: &mut VersionFile, journal: &Journal) {
    let live = journal.live().filter(|live| versions.release(live).is_ok()).map(str::to_owned);
    if versions.aliases.champion != live {
        let line = journal.line_of_use();
        let before =
            line.len().checked_sub(2).and_then(|at| line.get(at)).map(|version| (*version).to_owned());
        versions.aliases.previous = before.filter(|version| versions.release(version).is_ok());
        versions.aliases.champion.clone_from(&live);
        versions.version = live;
    }
}

fn place(release: &mut Release, hub: Option<&HubRelease>) {
    if release.hub.is_none() {
        release.hub = hub.cloned();
    }
}

fn stored(layout: &Layout, version: &str, id: Option<&str>) -> Option<Manifest> {
    let manifest = Manifest::read_if_present(&layout.version(version).manifest()).ok()??;
    (Some(manifest.id.as_str()) == id).then_some(manifest)
}
