use std::path::PathBuf;

use jiff::Timestamp;
use project_files::{Journal, JournalEntry, Layout, Manifest, Release, RunRecord, VersionFile, check_stored};

use crate::ledger::{By, Ledger};
use crate::options::Options;
use crate::place::{FolderPlace, Place};
use crate::plan::{Candidate, Plan, plan, unfinished};
use crate::steps::{Steps, Watch};
use crate::writer::Writer;
use crate::{Base, Result};

/// Released versions in a folder. Reading takes no lock and writes nothing; [`write`](Self::write) keeps other writers out.
#[derive(Debug, Clone)]
pub struct Registry {
    pub(crate) layout: Layout,
    pub(crate) steps: Steps,
    pub(crate) options: Options,
}

impl Registry {
    /// The registry of a project, whether or not it was ever written.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone(), steps: Steps::default(), options: Options::default() }
    }

    /// The same, with a watch that is told of each step and can end a command between two of them.
    pub fn watched(layout: &Layout, watch: Watch) -> Self {
        Self { steps: Steps(Some(watch)), ..Self::new(layout) }
    }

    /// The same, with what it works with.
    pub fn with(self, options: Options) -> Self {
        Self { options, ..self }
    }

    /// The folder of a version.
    pub fn version_dir(&self, version: &str) -> PathBuf {
        self.layout.version(version).dir().to_owned()
    }

    /// Its folder, as a place.
    pub fn folder(&self) -> FolderPlace {
        FolderPlace::new(&self.layout, self.steps.clone())
    }

    /// All that was released.
    ///
    /// # Errors
    /// When `version.json` or the journal cannot be read.
    pub fn versions(&self) -> Result<VersionFile> {
        Ok(Ledger::read(&self.layout)?.versions)
    }

    /// What happened. Releases from before the journal was kept stand in it as they will be entered.
    ///
    /// # Errors
    /// As [`versions`](Self::versions).
    pub fn journal(&self) -> Result<Journal> {
        let mut ledger = Ledger::read(&self.layout)?;
        let now = Timestamp::now();
        ledger.journal.entries.extend(ledger.adoptions(&By::default(), now));
        Ok(ledger.journal)
    }

    /// The entry that decided which version was in use at a time; `None` before the first one.
    ///
    /// # Errors
    /// As [`versions`](Self::versions).
    pub fn live_at(&self, time: Timestamp) -> Result<Option<JournalEntry>> {
        Ok(self.journal()?.at(time).cloned())
    }

    /// A release and its manifest, where it has one.
    ///
    /// # Errors
    /// When there is no such version, or its manifest is not valid.
    pub fn show(&self, version: &str) -> Result<(Release, Option<Manifest>)> {
        let release = self.versions()?.release(version)?.clone();
        let manifest = self.folder().manifest(&release.version)?;
        Ok((release, manifest))
    }

    /// Releases that were begun and not finished.
    ///
    /// # Errors
    /// As [`versions`](Self::versions).
    pub fn unfinished(&self) -> Result<Vec<Manifest>> {
        unfinished(&Ledger::read(&self.layout)?, &self.folder())
    }

    /// The base of a run, as a release would take it.
    ///
    /// # Errors
    /// When a file of it cannot be read.
    pub fn base(&self, record: &RunRecord) -> Result<Base> {
        Base::of(record, &self.options.base)
    }

    /// What releasing a run would do.
    ///
    /// # Errors
    /// When a file is missing, another release is not finished, or the Hub cannot be asked.
    pub fn plan(&self, candidate: &Candidate<'_>, hub: Option<&dyn Place>) -> Result<Plan> {
        let stored = |version: &str| self.layout.version(version);
        plan(candidate, &Ledger::read(&self.layout)?, &self.folder(), &stored, hub, &self.options)
    }

    /// Checks every stored version against what was released and, where a key is trusted, its signature, and the journal against its own hashes; returns what is wrong,
    /// in words.
    ///
    /// # Errors
    /// When `version.json` or the journal cannot be read.
    pub fn verify(&self) -> Result<Vec<String>> {
        let ledger = Ledger::read(&self.layout)?;
        let mut problems: Vec<String> = ledger.journal.problems.clone();
        problems.extend(
            ledger.lost.iter().map(|version| format!("the journal names {version}, which lies nowhere")),
        );
        for release in &ledger.versions.history {
            let stored = self.layout.version(&release.version);
            let checked = check_stored(&stored, Some(release)).map_err(crate::Error::from);
            let checked = checked.and_then(|_| self.options.check(&stored));
            problems.extend(checked.err().map(|error| project_files::with_causes(&error)));
        }
        Ok(problems)
    }

    /// Opens the registry for changes: keeps other writers out, removes what killed commands left, and brings `version.json`
    /// and journal together. The lock lies where the files lie, whatever leads there.
    ///
    /// # Errors
    /// When the folder cannot be written or another process has it open.
    pub fn write(&self, by: By) -> Result<Writer> {
        Writer::open(self.layout.clone(), self.steps.clone(), self.options.clone(), by)
    }
}
