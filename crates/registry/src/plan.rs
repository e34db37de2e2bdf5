use std::collections::BTreeMap;

use jiff::Timestamp;
use project_files::{
    Basis, Contract as _, FileHash, Lineage, Manifest, RELEASED_FILES, Release, RunFiles, Version, hash_file,
};

use crate::basis::basis;
use crate::bundle::name;
use crate::card::model_card;
use crate::ledger::{By, Ledger};
use crate::place::{FolderPlace, Place};
use crate::{Bundle, CardFacts, Error, Result, ValidationResults};

/// A run that is to be released.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The run.
    pub run: &'a RunFiles,
    /// Its validation, as [`validated`](crate::validated) returns it.
    pub results: &'a ValidationResults,
    /// What it was made from.
    pub lineage: Lineage,
    /// What the model card states beyond that.
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
) -> Result<Plan> {
    let files = collect(candidate.run)?;
    let card = name(&candidate.run.card());
    let same = |listed: &BTreeMap<String, FileHash>| {
        listed.iter().filter(|(name, _)| **name != card).eq(files.iter())
    };
    if let Some(manifest) = unfinished(ledger, folder)?.into_iter().next() {
        if !same(&manifest.files) {
            return Err(Error::Unfinished { version: manifest.version, run_id: manifest.run_id });
        }
        let path = stored(&manifest.version).manifest();
        let bytes = std::fs::read(&path).map_err(durable_files::io_error("read", &path))?;
        let bundle = Bundle::of_run(candidate.run, &manifest, bytes)?;
        return Ok(Plan { manifest, bundle, was_begun: true, already: None });
    }
    let already = ledger.versions.history.iter().rfind(|release| same(&release.files)).cloned();
    let mut manifest = describe(candidate, files, ledger)?;
    manifest.version = match &already {
        Some(release) => release.version.clone(),
        None => next_version(&manifest.basis, ledger, folder, stored, hub)?.to_string(),
    };
    let release = manifest.release(None);
    manifest.card = model_card(&release, candidate.facts);
    manifest.files.insert(card, durable_files::hash_bytes(manifest.card.as_bytes()));
    let bytes = manifest.seal()?;
    let bundle = Bundle::of_run(candidate.run, &manifest, bytes)?;
    Ok(Plan { manifest, bundle, was_begun: false, already })
}

/// Releases that were begun and that nothing names yet.
pub(crate) fn unfinished(ledger: &Ledger, folder: &FolderPlace) -> Result<Vec<Manifest>> {
    let mut manifests = folder.manifests()?;
    manifests.retain(|manifest| ledger.versions.release(&manifest.version).is_err());
    Ok(manifests)
}

fn describe(
    candidate: &Candidate<'_>,
    files: BTreeMap<String, FileHash>,
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
        lineage: Lineage { parent, ..candidate.lineage.clone() },
        files,
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

fn collect(run: &RunFiles) -> Result<BTreeMap<String, FileHash>> {
    let mut files = BTreeMap::new();
    for file in RELEASED_FILES {
        let path = run.dir().join(file.name);
        if path.exists() {
            files.insert(file.name.to_owned(), hash_file(&path)?);
        } else if file.is_required {
            return Err(Error::Missing { path, needed_for: "a release consists of it" });
        }
    }
    Ok(files)
}
