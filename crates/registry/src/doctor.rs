//! What folder, `version.json`, journal and the place of versions beside them say of each other, and how they are brought together.

use project_files::{Manifest, Release, check_stored, with_causes};

use crate::place::{Place, Stage};
use crate::plan::unfinished;
use crate::writer::Writer;
use crate::{Bundle, Error, Event, Ledger, Registry, Result};

/// What is done about a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// The release is finished.
    Resume,
    /// `version.json` and journal are brought together.
    Reconcile,
    /// The version is brought from the Hub: one that is not here, or its files.
    Fetch(String),
    /// The version is struck out: it lies nowhere.
    Remove(String),
    /// The version is pushed.
    Push(String),
    /// The Hub is made to serve the version in use.
    Serve,
    /// The version that the Hub serves is put in use here, where none is.
    Use(String),
    /// What a release left on the Hub is removed.
    Tidy(String),
    /// A person has to look.
    None,
}

/// Something that does not fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In words.
    pub text: String,
    /// What [`Writer::repair`] does about it.
    pub remedy: Remedy,
}

fn finding(text: impl Into<String>, remedy: Remedy) -> Finding {
    Finding { text: text.into(), remedy }
}

/// What is wrong with the journal, and where it and `version.json` differ.
fn examine_journal(ledger: &Ledger) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        ledger.journal.problems.iter().map(|problem| finding(problem, Remedy::None)).collect();
    if ledger.is_behind {
        findings.push(finding("version.json is behind the journal", Remedy::Reconcile));
    }
    if !ledger.unrecorded.is_empty() {
        let names: Vec<&str> = ledger.unrecorded.iter().map(|release| release.version.as_str()).collect();
        findings.push(finding(format!("the journal lacks {}", names.join(", ")), Remedy::Reconcile));
    }
    findings
}

fn lost_version(version: &str, is_there: bool) -> Finding {
    finding(format!("the journal names {version}, and its files are not here"), lost(version, is_there))
}

/// Whether the Hub has a release that is here.
fn examine_release(hub: &dyn Place, bundle: &Bundle, release: &Release) -> Result<Option<Finding>> {
    match (hub.stage(bundle), &release.hub) {
        (Ok(Stage::Named | Stage::Live), Some(_)) => Ok(None),
        (Ok(_), _) => {
            let text = format!("{} is not on the Hub", release.version);
            Ok(Some(finding(text, Remedy::Push(release.version.clone()))))
        }
        (Err(error @ Error::Taken { .. }), _) => Ok(Some(finding(error.to_string(), Remedy::None))),
        (Err(error), _) => Err(error),
    }
}

/// What releases that have their names left on the Hub.
fn left_over(hub: &dyn Place) -> Result<Vec<Finding>> {
    let named = hub.left_over()?.into_iter().filter(|(_, is_named)| *is_named);
    let branch = |version| finding(format!("the Hub has a branch left of {version}"), Remedy::Tidy(version));
    Ok(named.map(|(version, _)| branch(version)).collect())
}

/// A version that only the Hub has.
fn foreign_version(hub: &dyn Place, version: &str) -> Finding {
    let remedy = match hub.manifest(version) {
        Ok(Some(_)) => Remedy::Fetch(version.to_owned()),
        _ => Remedy::None,
    };
    finding(format!("the Hub has {version}, and it is not here"), remedy)
}

impl Registry {
    /// Compares folder, `version.json`, journal and, where one is given, the Hub. Writes nothing.
    ///
    /// # Errors
    /// When `version.json` or the journal cannot be read, or the Hub cannot be asked.
    pub fn examine(&self, hub: Option<&dyn Place>) -> Result<Vec<Finding>> {
        let ledger = Ledger::read(&self.layout)?;
        let mut findings = examine_journal(&ledger);
        for manifest in unfinished(&ledger, &self.folder())? {
            let text =
                format!("the release {} of run `{}` is not finished", manifest.version, manifest.run_id);
            findings.push(finding(text, Remedy::Resume));
        }
        let there = hub.map(Place::taken).transpose()?.unwrap_or_default();
        let is_there = |version: &str| there.values().any(|name| name == version);
        findings.extend(ledger.lost.iter().map(|version| lost_version(version, is_there(version))));
        for release in &ledger.versions.history {
            findings.extend(self.examine_files(release, is_there(&release.version)));
        }
        if let Some(hub) = hub {
            findings.extend(self.examine_hub(&ledger, hub, &there.into_values().collect::<Vec<_>>())?);
        }
        Ok(findings)
    }

    fn examine_files(&self, release: &Release, is_there: bool) -> Option<Finding> {
        let stored = self.layout.version(&release.version);
        if !stored.dir().exists() {
            let text = format!("version.json names {}, and its files are not here", release.version);
            return Some(finding(text, lost(&release.version, is_there && release.id.is_some())));
        }
        let error = check_stored(&stored, Some(release)).err()?;
        let can_be_restored = is_there && release.id.is_some();
        let remedy = if can_be_restored { Remedy::Fetch(release.version.clone()) } else { Remedy::None };
        Some(finding(with_causes(&error), remedy))
    }

    fn examine_hub(&self, ledger: &Ledger, hub: &dyn Place, there: &[String]) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for release in ledger.versions.history.iter().filter(|release| release.id.is_some()) {
            let stored = self.layout.version(&release.version);
            let Ok(bundle) = Bundle::of_stored(&stored, Some(release)) else { continue };
            findings.extend(examine_release(hub, &bundle, release)?);
        }
        for version in there.iter().filter(|version| ledger.versions.release(version).is_err()) {
            let begun =
                unfinished(ledger, &self.folder())?.iter().any(|manifest| manifest.version == *version);
            if !begun {
                findings.push(foreign_version(hub, version));
            }
        }
        findings.extend(left_over(hub)?);
        findings.extend(self.examine_live(ledger, hub)?);
        Ok(findings)
    }

    fn examine_live(&self, ledger: &Ledger, hub: &dyn Place) -> Result<Option<Finding>> {
        let Some(champion) = ledger.versions.champion() else {
            let text = |served: &String| format!("nothing is in use here, and the Hub serves {served}");
            return Ok(hub.live()?.map(|served| finding(text(&served), Remedy::Use(served))));
        };
        let Ok(bundle) = Bundle::of_stored(&self.layout.version(&champion.version), Some(champion)) else {
            return Ok(None);
        };
        let is_served = matches!(hub.stage(&bundle), Ok(Stage::Live));
        let served = hub.live()?.unwrap_or_else(|| "no version".to_owned());
        let text = format!("{} is in use here, and the Hub serves {served}", champion.version);
        Ok((!is_served).then(|| finding(text, Remedy::Serve)))
    }
}

fn lost(version: &str, is_there: bool) -> Remedy {
    if is_there { Remedy::Fetch(version.to_owned()) } else { Remedy::Remove(version.to_owned()) }
}

impl Writer {
    /// Does what the findings ask for, in the order in which it is safe, and returns what is left.
    ///
    /// # Errors
    /// As [`Registry::examine`], and when a place cannot be written.
    pub fn repair(&mut self, hub: Option<&dyn Place>) -> Result<Vec<Finding>> {
        for found in self.reader().examine(hub)? {
            match found.remedy {
                Remedy::Resume => drop(self.resume(hub, true)?),
                Remedy::Remove(version) => self.remove(&version)?,
                remedy => {
                    if let Some(hub) = hub {
                        self.repair_with(hub, remedy)?;
                    }
                }
            }
        }
        self.reader().examine(hub)
    }

    /// Does what needs the Hub.
    fn repair_with(&mut self, hub: &dyn Place, remedy: Remedy) -> Result<()> {
        match remedy {
            Remedy::Fetch(version) => drop(self.fetch(hub, &version)?),
            Remedy::Push(version) => {
                if let Ok(release) = self.versions().release(&version).cloned() {
                    self.push_version(hub, &release)?;
                }
            }
            Remedy::Serve => drop(self.push(hub)?),
            // It was fetched before, or could not be.
            Remedy::Use(version) => {
                if self.versions().release(&version).is_ok() {
                    self.promote(Some(&version), Event::Promoted)?;
                }
            }
            Remedy::Tidy(version) => hub.tidy(&version)?,
            // Opening the registry has done it, or it needs no Hub.
            Remedy::Reconcile | Remedy::Resume | Remedy::Remove(_) | Remedy::None => {}
        }
        Ok(())
    }

    fn reader(&self) -> Registry {
        Registry { layout: self.layout.clone(), steps: self.steps.clone(), options: self.options.clone() }
    }

    /// Strikes out a version whose files are nowhere.
    fn remove(&mut self, version: &str) -> Result<()> {
        let release = match self.versions().release(version) {
            Ok(release) => release.clone(),
            Err(_) => Manifest { version: version.to_owned(), ..Manifest::default() }.release(None),
        };
        self.strike(&release)
    }
}
