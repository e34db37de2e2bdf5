use std::collections::BTreeSet;

use jiff::Timestamp;
use project_files::{
    Basis, Contract as _, Lineage, Manifest, RELEASED_FILES, Release, RunFiles, RunRecord, Version,
};

use crate::basis::basis;
use crate::card::{self, Subject};
use crate::contents::Contents;
use crate::ledger::{By, Ledger};
use crate::names::name;
use crate::options::Options;
use crate::place::{FolderPlace, Place};
use crate::{Base, Bundle, CardFacts, Error, Result, Seal, ValidationResults};

/// A run that is to be released.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The run.
    pub run: &'a RunFiles,
    /// Its validation, as [`validated`](crate::validated) returns it.
    pub results: &'a ValidationResults,
    /// What it was made from.
    pub lineage: Lineage,
    /// What the cards state beyond that.
    pub facts: &'a CardFacts,
    /// Who releases it, and why.
    pub by: &'a By,
    /// The time of the release.
    pub now: Timestamp,
}

/// What a release would be, before anything is written; or what it is, where it was begun already.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is.
    pub manifest: Manifest,
    /// Its files.
    pub bundle: Bundle,
    /// Whether it was begun by a command that did not get to its end.
    pub was_begun: bool,
    /// The release of these very files that exists already; there is nothing to release then.
    pub already: Option<Release>,
}

/// What releasing a run would do.
pub(crate) fn plan(
    candidate: &Candidate<'_>,
    ledger: &Ledger,
    folder: &FolderPlace,
    stored: &dyn Fn(&str) -> RunFiles,
    hub: Option<&dyn Place>,
    options: &Options,
) -> Result<Plan> {
    let record = RunRecord::read(&candidate.run.record())?;
    let base = Base::of(&record, &options.base)?;
    if !base.changed.is_empty() {
        return Err(Error::OtherProcessor { reasons: base.changed });
    }
    let contents = Contents::of(candidate.run, &base)?;
    let seal = options.seal.as_deref();
    if let Some(manifest) = unfinished(ledger, folder)?.into_iter().next() {
        if !contents.are_those_of(&manifest.files) {
            return Err(Error::Unfinished { version: manifest.version, run_id: manifest.run_id });
        }
        let path = stored(&manifest.version).manifest();
        let bytes = std::fs::read(&path).map_err(durable_files::io_error("read", &path))?;
        let bundle = Bundle::of_run(contents, &manifest, bytes, seal)?;
        return Ok(Plan { manifest, bundle, was_begun: true, already: None });
    }
    let already =
        ledger.versions.history.iter().rfind(|release| contents.are_those_of(&release.files)).cloned();
    let mut manifest = describe(candidate, &contents, &base, ledger)?;
    manifest.version = match &already {
        Some(release) => release.version.clone(),
        None => next_version(&manifest.basis, ledger, folder, stored, hub)?.to_string(),
    };
    if hub.is_some() && candidate.facts.license.is_none() && already.is_none() {
        return Err(Error::NoLicense { version: manifest.version });
    }
    manifest.signed_by = seal.and_then(Seal::signer);
    write_cards(&mut manifest, candidate, &record, &base)?;
    let bytes = manifest.seal()?;
    let bundle = Bundle::of_run(contents, &manifest, bytes, seal)?;
    Ok(Plan { manifest, bundle, was_begun: false, already })
}

/// Writes both cards into the manifest, unless they say what nobody could rely on.
fn write_cards(
    manifest: &mut Manifest,
    candidate: &Candidate<'_>,
    record: &RunRecord,
    base: &Base,
) -> Result<()> {
    let settings = &settings(candidate.run)?;
    let (results, facts) = (candidate.results, candidate.facts);
    let own = RunFiles::new("");
    let (card, data_card) = (name(&own.card()), name(&own.data_card()));
    manifest.data_card = card::data_card(&Subject { manifest, results, record, settings, base, facts });
    manifest.files.insert(data_card.clone(), durable_files::hash_bytes(manifest.data_card.as_bytes()));
    manifest.card = card::model_card(&Subject { manifest, results, record, settings, base, facts });
    let cards = [(card.clone(), manifest.card.clone()), (data_card, manifest.data_card.clone())];
    let problems = card::lint(&cards.into(), &public_files(manifest, &card));
    if !problems.is_empty() {
        return Err(Error::Card { problems });
    }
    manifest.files.insert(card, durable_files::hash_bytes(manifest.card.as_bytes()));
    Ok(())
}

/// The configuration of a run.
fn settings(run: &RunFiles) -> Result<toml::Table> {
    let path = run.config();
    let text = std::fs::read_to_string(&path).map_err(durable_files::io_error("read", &path))?;
    let settings = text.parse::<toml::Table>();
    settings.map_err(|error| Error::Unusable { path, problem: error.to_string() })
}

/// The names of all files of a version that the cards may point to.
fn public_files(manifest: &Manifest, card: &str) -> BTreeSet<String> {
    let mut files: BTreeSet<String> = manifest.files.keys().cloned().collect();
    files.extend([card.to_owned(), Manifest::FILE.to_owned()]);
    files.extend(manifest.signed_by.as_ref().map(|_| Manifest::SIGNATURE.to_owned()));
    files.retain(|name| !RELEASED_FILES.iter().any(|file| file.name == name && !file.is_public));
    files
}

/// Releases that were begun and that nothing names yet.
pub(crate) fn unfinished(ledger: &Ledger, folder: &FolderPlace) -> Result<Vec<Manifest>> {
    let mut manifests = folder.manifests()?;
    manifests.retain(|manifest| ledger.versions.release(&manifest.version).is_err());
    Ok(manifests)
}

fn describe(
    candidate: &Candidate<'_>,
    contents: &Contents,
    base: &Base,
    ledger: &Ledger,
) -> Result<Manifest> {
    let run = candidate.run;
    let parent = ledger.versions.aliases.champion.clone();
    Ok(Manifest {
        schema_version: Manifest::VERSION,
        parent: parent.clone(),
        released_at: candidate.now,
        who: candidate.by.who.clone(),
        reason: candidate.by.reason.clone(),
        run_id: run.name().map_err(durable_files::io_error("open", run.dir()))?,
        human_agreement: candidate.results.human_agreement,
        metrics: candidate.results.metrics.clone(),
        basis: basis(run, &candidate.lineage),
        lineage: Lineage { parent, base_model: base.name.clone(), ..candidate.lineage.clone() },
        files: contents.hashes(),
        made_from: contents.made_from.clone(),
        ..Manifest::default()
    })
}

/// One above every version there is or was, here and on the Hub; how far above is told by what changed against the highest.
fn next_version(
    next: &Basis,
    ledger: &Ledger,
    folder: &FolderPlace,
    stored: &dyn Fn(&str) -> RunFiles,
    hub: Option<&dyn Place>,
) -> Result<Version> {
    let journal = ledger.journal.entries.iter().filter_map(|entry| Version::parse(entry.version.as_deref()?));
    let here = journal.chain(folder.taken()?.into_keys()).chain(ledger.versions.highest()).max();
    let there = hub.map(Place::taken).transpose()?.and_then(|mut taken| taken.pop_last());
    let Some(highest) = here.max(there.as_ref().map(|(version, _)| *version)) else {
        return Ok(Version::FIRST);
    };
    let known = ledger.versions.highest();
    let foreign = there.filter(|(version, _)| *version == highest && Some(*version) > known);
    let latest = known.and_then(|version| ledger.versions.release(&version.to_string()).ok());
    let before = match (foreign, hub, latest) {
        (Some((_, tag)), Some(hub), _) => hub.manifest(&tag).ok().flatten().map(|manifest| manifest.basis),
        (_, _, Some(release)) => match folder.manifest(&release.version)? {
            Some(manifest) => Some(manifest.basis),
            None => Some(basis(&stored(&release.version), &release.lineage)),
        },
        _ => None,
    };
    Ok(highest.next(before.unwrap_or_default().change_to(next)))
}
