use std::collections::BTreeMap;

use durable_files::{FileLock, io_error as io};
use jiff::Timestamp;
use project_files::{
    Contract as _, Event, HubRelease, Journal, JournalEntry, Layout, Manifest, Release, RunFiles, RunRecord,
    VersionFile, check_stored,
};

use crate::contents::Contents;
use crate::ledger::{By, Ledger};
use crate::options::Options;
use crate::place::{FolderPlace, Place, Stage, remove_temporary};
use crate::plan::{Candidate, Plan, plan, unfinished};
use crate::steps::Steps;
use crate::{Base, Bundle, Error, Result};

/// A registry that is open for changes; others are kept out as long as it lives.
#[derive(Debug)]
pub struct Writer {
    pub(crate) layout: Layout,
    pub(crate) steps: Steps,
    pub(crate) options: Options,
    pub(crate) ledger: Ledger,
    pub(crate) by: By,
    /// What an interrupted command had entered into the journal, and nothing else yet.
    caught_up: Option<JournalEntry>,
    _lock: FileLock,
}

/// How a change ended: it is done here; `pending` is what kept it from being done on the Hub as well.
#[derive(Debug)]
pub struct Outcome {
    /// The version that it was about.
    pub release: Release,
    /// Why the Hub is not up to it; [`Writer::push`] finishes it.
    pub pending: Option<Error>,
}

impl Writer {
    /// Keeps other writers out, removes what killed commands left, and brings `version.json` and journal together. The lock
    /// lies where the files lie, whatever leads there.
    pub(crate) fn open(layout: Layout, steps: Steps, options: Options, by: By) -> Result<Self> {
        let versions = layout.versions();
        std::fs::create_dir_all(&versions).map_err(io("create", &versions))?;
        let lock = FileLock::try_exclusive(&versions.join("release"))?;
        let lock = lock.ok_or_else(|| Error::Busy { path: layout.registry().to_owned() })?;
        remove_temporary(&versions)?;
        remove_temporary(layout.registry())?;
        let mut ledger = Ledger::read(&layout)?;
        let caught_up = ledger.is_behind.then(|| ledger.journal.entries.last().cloned()).flatten();
        ledger.reconcile(&layout, &by, Timestamp::now(), &steps)?;
        Ok(Self { layout, steps, options, ledger, by, caught_up, _lock: lock })
    }

    pub(crate) fn folder(&self) -> FolderPlace {
        FolderPlace::new(&self.layout, self.steps.clone())
    }

    /// All that was released.
    pub fn versions(&self) -> &VersionFile {
        &self.ledger.versions
    }

    /// What releasing a run would do, with nobody in between.
    ///
    /// # Errors
    /// When a file is missing, another release is not finished, or the Hub cannot be asked.
    pub fn plan(&self, candidate: &Candidate<'_>, hub: Option<&dyn Place>) -> Result<Plan> {
        let stored = |version: &str| self.layout.version(version);
        plan(candidate, &self.ledger, &self.folder(), &stored, hub, &self.options)
    }

    /// Releases: stores the files here; brings them to the Hub beside what it serves, reads them back and names them; enters the
    /// version; and only then puts it in use, here and there. Interrupted anywhere, the same call goes on from there.
    ///
    /// # Errors
    /// When a file cannot be written, the Hub refuses, or another registry was faster ([`Error::Taken`]; the plan is then
    /// dropped). Once the version is entered, what fails on the Hub is no error but [`Outcome::pending`].
    pub fn release(&mut self, plan: &Plan, hub: Option<&dyn Place>, promote: bool) -> Result<Outcome> {
        self.folder().store(&plan.bundle)?;
        self.carry_on(&plan.bundle, hub, promote)
    }

    /// Finishes the releases that were begun.
    ///
    /// # Errors
    /// When a file of one is missing here, or as [`release`](Self::release).
    pub fn resume(&mut self, hub: Option<&dyn Place>, promote: bool) -> Result<Vec<Outcome>> {
        let mut done = Vec::new();
        for manifest in unfinished(&self.ledger, &self.folder())? {
            let stored = self.layout.version(&manifest.version);
            let bundle = match Bundle::of_stored(&stored, None) {
                Ok(bundle) => bundle,
                Err(Error::Contract(_)) => {
                    let run = self.layout.run(&manifest.run_id);
                    let path = stored.manifest();
                    let bytes = std::fs::read(&path).map_err(io("read", &path))?;
                    let base = Base::of(&RunRecord::read(&run.record())?, &self.options.base)?;
                    let contents = Contents::of(&run, &base)?;
                    let bundle = Bundle::of_run(contents, &manifest, bytes, self.options.seal.as_deref())?;
                    self.folder().store(&bundle)?;
                    bundle
                }
                Err(error) => return Err(error),
            };
            done.push(self.carry_on(&bundle, hub, promote)?);
        }
        Ok(done)
    }

    /// Gives up the releases that were begun; returns their versions. One that has its name on the Hub is not given up.
    ///
    /// # Errors
    /// When the Hub has named one, or a place cannot be written.
    pub fn abandon(&mut self, hub: Option<&dyn Place>) -> Result<Vec<String>> {
        let mut given_up = Vec::new();
        for manifest in unfinished(&self.ledger, &self.folder())? {
            let bundle = Bundle {
                version: manifest.version.clone(),
                id: Some(manifest.id.clone()),
                hub: None,
                files: BTreeMap::new(),
            };
            if let Some(hub) = hub {
                give_up(hub, &bundle, &manifest)?;
            }
            self.strike(&manifest.release(None))?;
            given_up.push(manifest.version);
        }
        Ok(given_up)
    }

    /// Brings a release to the Hub, where there is one; gives it up here where another one has its name there.
    fn bring_or_give_up(&self, bundle: &Bundle, hub: Option<&dyn Place>) -> Result<Option<HubRelease>> {
        match hub.map(|hub| bring(hub, bundle)).transpose() {
            Err(error @ Error::Taken { .. }) => {
                self.folder().give_up(bundle)?;
                Err(error)
            }
            place => Ok(place?.flatten()),
        }
    }

    fn carry_on(&mut self, bundle: &Bundle, hub: Option<&dyn Place>, promote: bool) -> Result<Outcome> {
        let stored = self.layout.version(&bundle.version);
        let manifest = check_stored(&stored, None)?;
        let place = self.bring_or_give_up(bundle, hub)?;
        let missing = || Error::Missing { path: stored.manifest(), needed_for: "a version is told by it" };
        let release = manifest.ok_or_else(missing)?.release(place);
        let mut entry = self.ledger.entry(&release, Event::Released, &self.by, Timestamp::now());
        if promote {
            entry.live = Some(release.version.clone());
        }
        let entered = release.clone();
        self.ledger.write(&self.layout, entry, &self.steps, |versions| {
            versions.history.push(entered);
            if promote {
                versions.promote(&bundle.version);
            }
        })?;
        let pending = hub.and_then(|hub| self.finish(hub, &release).err());
        Ok(Outcome { release, pending })
    }

    /// Puts a version in use: checks its files, enters it into the journal and changes the alias. Without a version it goes
    /// back to the one in use before. The Hub is not asked: [`push`](Self::push) brings it up to that.
    ///
    /// # Errors
    /// When there is no such version, its files are not what was released or signed, or none was in use before.
    pub fn promote(&mut self, version: Option<&str>, event: Event) -> Result<Release> {
        let champion = self.ledger.versions.aliases.champion.clone();
        let caught_up = self.caught_up.take().filter(|entry| entry.event == event);
        let version = match version {
            Some(version) => version.to_owned(),
            None => self.version_before(caught_up.as_ref(), champion.as_ref())?,
        };
        let release = self.ledger.versions.release(&version)?.clone();
        let stored = self.layout.version(&release.version);
        check_stored(&stored, Some(&release))?;
        self.options.check(&stored)?;
        if champion.as_ref() != Some(&release.version) {
            let mut entry = self.ledger.entry(&release, event, &self.by, Timestamp::now());
            entry.live = Some(release.version.clone());
            self.ledger.write(&self.layout, entry, &self.steps, |versions| {
                versions.promote(&release.version);
            })?;
        }
        Ok(release)
    }

    /// The version to go back to.
    fn version_before(&self, caught_up: Option<&JournalEntry>, champion: Option<&String>) -> Result<String> {
        // The same command was interrupted between journal and alias: it is done now.
        if let (Some(entry), Some(champion)) = (caught_up, champion)
            && entry.live.as_ref() == Some(champion)
        {
            return Ok(champion.clone());
        }
        self.ledger.before().ok_or_else(|| Error::NothingBefore { live: champion.cloned() })
    }

    /// Enters that the gate refused a run.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn refused(&mut self, run: &RunFiles, reasons: &[String]) -> Result<()> {
        let live = self.ledger.versions.aliases.champion.clone();
        let entry = JournalEntry {
            at: Timestamp::now(),
            who: self.by.who.clone(),
            event: Event::Refused,
            run_id: run.name().ok(),
            reason: Some(reasons.join("; ")),
            before: live.clone(),
            live,
            ..JournalEntry::default()
        };
        self.steps.take("write journal.jsonl")?;
        let entries = Journal::append(&self.layout.registry_journal(), vec![entry])?;
        self.ledger.journal.entries.extend(entries);
        Ok(())
    }

    /// Strikes out a version that lies nowhere, or removes one that was never entered. In use is then what was before it.
    pub(crate) fn strike(&mut self, release: &Release) -> Result<()> {
        let mut entry = self.ledger.entry(release, Event::Removed, &self.by, Timestamp::now());
        let version = release.version.clone();
        let was_live = entry.live.as_ref() == Some(&version);
        if was_live {
            entry.live = self.ledger.before();
        }
        let live = entry.live.clone();
        self.ledger.write(&self.layout, entry, &self.steps, |versions| {
            versions.history.retain(|release| release.version != version);
            if was_live {
                versions.aliases.champion.clone_from(&live);
                versions.version = live;
            }
        })?;
        let (version, id) = (release.version.clone(), release.id.clone());
        self.folder().give_up(&Bundle { version, id, hub: None, files: BTreeMap::new() })
    }
}

/// Removes what a release left at a place, unless it has its name there.
fn give_up(place: &dyn Place, bundle: &Bundle, manifest: &Manifest) -> Result<()> {
    match place.stage(bundle) {
        Ok(Stage::Named | Stage::Live) => {
            let (version, run_id) = (manifest.version.clone(), manifest.run_id.clone());
            Err(Error::Unfinished { version, run_id })
        }
        Ok(Stage::Planned | Stage::Stored) => place.give_up(bundle),
        Ok(Stage::Absent) | Err(Error::Taken { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Brings a version to a place and names it there, from wherever it had come.
pub(crate) fn bring(place: &dyn Place, bundle: &Bundle) -> Result<Option<HubRelease>> {
    let brought = match place.stage(bundle)? {
        Stage::Absent | Stage::Planned => place.store(bundle).and_then(|()| place.name(bundle)),
        _ => place.name(bundle),
    };
    match brought {
        Ok(named) => Ok(named),
        Err(error) => {
            // Whatever failed: where another release has the name by now, that is why.
            let error = match place.stage(bundle) {
                Err(taken @ Error::Taken { .. }) => taken,
                _ => error,
            };
            if matches!(error, Error::Taken { .. }) {
                place.tidy(&bundle.version)?;
            }
            Err(error)
        }
    }
}
