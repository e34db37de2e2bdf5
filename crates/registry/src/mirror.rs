//! The Hub beside the folder: bringing what it lacks, serving what is in use, taking versions from it.

use jiff::Timestamp;
use project_files::{Contract as _, Event, Manifest, Release, Version, write_atomic};

use crate::card::states_license;
use crate::place::{Place, Stage};
use crate::writer::{Writer, bring};
use crate::{Bundle, Error, Result};

impl Writer {
    /// Brings the Hub up to this registry: versions that it lacks are pushed and named, and it serves the one in use. Versions
    /// without a licence stay here. Returns what was done, in words. Any number of times.
    ///
    /// # Errors
    /// When the version in use has no licence, the Hub refuses or cannot be reached, has another release of one of these versions, or serves a later version
    /// that is not here.
    pub fn push(&mut self, hub: &dyn Place) -> Result<Vec<String>> {
        let mut done = Vec::new();
        for release in self.ledger.versions.history.clone() {
            if release.hub.is_none() && release.id.is_some() {
                let is_live = self.ledger.versions.aliases.champion.as_ref() == Some(&release.version);
                match self.push_version(hub, &release) {
                    Err(Error::NoLicense { version }) if !is_live => {
                        done.push(format!("{version} stays here: it has no licence"));
                    }
                    pushed => {
                        pushed?;
                        done.push(format!("{} was pushed", release.version));
                    }
                }
            }
        }
        done.extend(self.serve(hub)?);
        Ok(done)
    }

    /// Pushes and names one version, and enters where it stands.
    pub(crate) fn push_version(&mut self, hub: &dyn Place, release: &Release) -> Result<()> {
        let stored = self.layout.version(&release.version);
        let manifest = self.folder().manifest(&release.version)?;
        if manifest.is_some_and(|manifest| !states_license(&manifest.card)) {
            return Err(Error::NoLicense { version: release.version.clone() });
        }
        let place = bring(hub, &Bundle::of_stored(&stored, Some(release))?)?;
        let mut entry = self.ledger.entry(release, Event::Pushed, &self.by, Timestamp::now());
        entry.hub.clone_from(&place);
        self.ledger.write(&self.layout, entry, &self.steps, |versions| {
            let found = versions.history.iter_mut().find(|one| one.version == release.version);
            if let Some(found) = found {
                found.hub = place;
            }
        })?;
        hub.tidy(&release.version)
    }

    /// After a release: the Hub serves the version in use, and nothing of the way there is left.
    pub(crate) fn finish(&mut self, hub: &dyn Place, release: &Release) -> Result<()> {
        self.serve(hub)?;
        hub.tidy(&release.version)
    }

    /// Makes the Hub serve the version in use, unless it does, or the version is not there.
    fn serve(&mut self, hub: &dyn Place) -> Result<Vec<String>> {
        let Some(release) = self.ledger.versions.champion().filter(|release| release.hub.is_some()).cloned()
        else {
            return Ok(Vec::new());
        };
        let stored = self.layout.version(&release.version);
        let bundle = Bundle::of_stored(&stored, Some(&release))?;
        let mut done = Vec::new();
        if self.make_live(hub, &release, &bundle)? {
            done.push(format!("the Hub serves {}", release.version));
        }
        hub.tidy(&release.version)?;
        let last = self.ledger.pushed();
        if !done.is_empty() || last.is_none_or(|entry| entry.version.as_ref() != Some(&release.version)) {
            let entry = self.ledger.entry(&release, Event::Pushed, &self.by, Timestamp::now());
            self.ledger.write(&self.layout, entry, &self.steps, |_| {})?;
        }
        Ok(done)
    }

    /// Brings one release to [`Stage::Live`]; says whether it was not there yet.
    fn make_live(&mut self, hub: &dyn Place, release: &Release, bundle: &Bundle) -> Result<bool> {
        let mut stage = hub.stage(bundle)?;
        if stage < Stage::Named && release.id.is_some() {
            self.push_version(hub, release)?; // another repository, or its tag was removed
            stage = Stage::Named;
        }
        match stage {
            Stage::Live => Ok(false),
            Stage::Named => {
                hub.make_live(bundle, &|live| self.check_behind(hub, release, live))?;
                Ok(true)
            }
            _ => Err(Error::NoVersion { version: release.version.clone(), place: hub.title() }),
        }
    }

    /// Refuses to replace a version that the Hub serves and that came after all that this registry has.
    fn check_behind(&self, hub: &dyn Place, release: &Release, live: &str) -> Result<()> {
        let is_known = self.ledger.versions.release(live).is_ok();
        let ours = self.ledger.versions.highest().max(Version::parse(&release.version));
        if is_known || Version::parse(live) <= ours {
            return Ok(());
        }
        Err(Error::Ahead { version: live.to_owned(), place: hub.title() })
    }

    /// Brings a version from the Hub: one that is not here, or one whose files were lost or changed. What is in use stays.
    ///
    /// # Errors
    /// When the Hub has no such version, one that the trusted key did not sign, or another one of that name, or files were added to the folder.
    pub fn fetch(&mut self, hub: &dyn Place, version: &str) -> Result<Release> {
        let bundle = hub.load(version)?;
        if let Some(seal) = &self.options.seal {
            seal.check_bundle(&bundle)?;
        }
        let known = self.ledger.versions.release(&bundle.version).ok().cloned();
        if known.as_ref().is_some_and(|release| release.id != bundle.id) {
            return Err(Error::Taken { version: bundle.version, place: hub.title() });
        }
        if known.is_none() {
            self.folder().stage(&bundle)?; // an unfinished release of that name is not overwritten
        }
        self.note_fetched(hub, &bundle)?;
        self.folder().restore(&bundle)?;
        if let Some(release) = known {
            return Ok(release);
        }
        let manifest = Manifest::read(&self.layout.version(&bundle.version).manifest())?;
        let release = manifest.release(bundle.hub);
        self.enter_fetched(&release)?;
        Ok(release)
    }

    fn enter_fetched(&mut self, release: &Release) -> Result<()> {
        let entry = self.ledger.entry(release, Event::Fetched, &self.by, Timestamp::now());
        let entered = release.clone();
        self.ledger.write(&self.layout, entry, &self.steps, |versions| versions.history.push(entered))
    }

    /// Notes where the files of a version come from that are not all here.
    fn note_fetched(&self, hub: &dyn Place, bundle: &Bundle) -> Result<()> {
        let stored = self.layout.version(&bundle.version);
        let all = |manifest: &Manifest| manifest.files.keys().all(|name| stored.dir().join(name).exists());
        let is_whole = Manifest::read_if_present(&stored.manifest()).ok().flatten().is_some_and(|m| all(&m));
        if !is_whole {
            let place = serde_json::json!({"place": hub.title(), "commit": bundle.hub.as_ref().map(|hub| &hub.commit)});
            self.steps.take(&format!("note that {} was fetched", bundle.version))?;
            write_atomic(&stored.fetched(), format!("{place}\n").as_bytes())?;
        }
        Ok(())
    }
}
