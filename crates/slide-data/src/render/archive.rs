use std::collections::BTreeSet;
use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::folder::natural;
use super::format::EXTENSIONS;
use super::{
    DeckName, Event, FailedPart, FileFormat, InputFile, Reading, Sink, foreign, guarded, passed, sniff,
};
use crate::{Reason, sha256_hex};

/// Reads the slides of a ZIP archive, of documents and archives in it too, in natural order of their names. The bytes of the archive
/// and of all archives in it count together against the limits.
pub(super) fn read(
    input: &InputFile,
    sha256: &str,
    bytes: &[u8],
    reading: &mut Reading<'_>,
    sink: Sink<'_>,
) -> Result<(), Reason> {
    reading.check_depth()?;
    let mut archive = guarded(|| ZipArchive::new(Cursor::new(bytes)).map_err(reason))?;
    let found = check(&mut archive, reading)?;
    if found.slides.is_empty() && found.bundles.is_empty() {
        return Err(Reason::Empty);
    }
    let failed = |name: String, reason| {
        let deck_id = deck_of(&name, sha256).id();
        Event::Failed(FailedPart { name, deck_id, reason })
    };
    for (name, foreign) in found.bundles {
        if !sink(failed(name, foreign.into())) {
            return Ok(());
        }
    }
    let mut counts = std::collections::BTreeMap::new();
    for (index, name) in found.slides {
        let left = (reading.limits.max_unpacked_mib << 20).saturating_sub(reading.unpacked);
        let budget = left.min(reading.limits.max_file_bytes());
        let goes_on = match guarded(|| unpack(&mut archive, index, budget)) {
            Ok(member) => {
                reading.unpacked += member.len() as u64;
                let deck = deck_of(&name, sha256);
                let count = counts.entry(deck.clone()).or_insert(0);
                *count += 1;
                let origin = format!("{}!{name}", input.origin);
                let part = InputFile { origin, deck, number: *count, ..input.clone() };
                read_member(&part, &name, member, reading, sink)
            }
            Err(reason) => sink(failed(name, reason)),
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// The deck of an entry is its folder. Named by content, so that a renamed archive is the same decks.
fn deck_of(name: &str, sha256: &str) -> DeckName {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    DeckName(format!("zip:{}!{folder}", &sha256[..16]))
}

/// Reads one file that lies within another; false when the sink wants no more.
pub(super) fn read_member(
    part: &InputFile,
    name: &str,
    bytes: Vec<u8>,
    reading: &mut Reading<'_>,
    sink: Sink<'_>,
) -> bool {
    let sha256 = sha256_hex(&bytes);
    let mut goes_on = true;
    let mut inner = |event: Event| {
        let event = match event {
            Event::Failed(page) => {
                Event::Failed(FailedPart { name: format!("{name}, {}", page.name), ..page })
            }
            event => event,
        };
        goes_on = sink(event);
        goes_on
    };
    reading.depth += 1;
    let result = super::read_bytes(part, &sha256, bytes, reading, &mut inner);
    reading.depth -= 1;
    match result {
        Ok(()) => goes_on,
        Err(reason) => {
            let deck_id = super::deck_id_of(part, &sha256);
            sink(Event::Failed(FailedPart { name: name.to_owned(), deck_id, reason }))
        }
    }
}

/// The entries of an archive that matter.
#[derive(Default)]
struct Found {
    /// Position and name of those that promise slides.
    slides: Vec<(usize, String)>,
    /// Folders that are documents of a Mac.
    bundles: Vec<(String, foreign::Foreign)>,
}

/// The files of the directory that are not hidden. An archive is refused that reaches out of its folder, or that is too large.
fn listed(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    reading: &Reading<'_>,
) -> Result<Vec<(usize, String)>, Reason> {
    let (mut total, mut names) = (reading.unpacked, Vec::new());
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(reason)?;
        let name = entry.name().map_err(reason)?.replace('\\', "/");
        if entry.enclosed_name().is_none() || name.split('/').any(|part| part == "..") {
            return Err(Reason::Traversal(name.chars().take(120).collect()));
        }
        total = total.saturating_add(entry.size());
        let hidden = name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX");
        if entry.is_file() && !hidden {
            names.push((index, name));
        }
    }
    let limit = reading.limits.max_unpacked_mib;
    if total > limit << 20 {
        let what = format!("{} MiB unpacked", total >> 20);
        return Err(Reason::TooLarge { what, key: "max_unpacked_mib", limit });
    }
    Ok(names)
}

/// Judges the archive by its directory, before anything is unpacked; then by the first bytes of the entries whose names say nothing.
fn check(archive: &mut ZipArchive<Cursor<&[u8]>>, reading: &mut Reading<'_>) -> Result<Found, Reason> {
    let limits = reading.limits;
    reading.entries += archive.len();
    if reading.entries > limits.max_entries {
        let what = format!("{} entries", reading.entries);
        return Err(Reason::TooLarge { what, key: "max_entries", limit: limits.max_entries as u64 });
    }
    let names = listed(archive, reading)?;
    let (mut found, mut bundles) = (Found::default(), BTreeSet::new());
    for (index, name) in names {
        if let Some((bundle, foreign)) = bundle(&name) {
            if bundles.insert(bundle.clone()) {
                found.bundles.push((bundle, foreign));
            }
        } else if promises(archive, index, &name) {
            found.slides.push((index, name));
        }
    }
    found.slides.sort_by_cached_key(|(_, name)| natural(name));
    Ok(found)
}

/// The folder above an entry that is one document on a Mac.
fn bundle(name: &str) -> Option<(String, foreign::Foreign)> {
    let slashes = name.match_indices('/').map(|(at, _)| at);
    slashes.into_iter().find_map(|at| {
        let folder = &name[..at];
        let last = folder.rsplit('/').next().unwrap_or(folder);
        foreign::by_bundle(last).map(|foreign| (folder.to_owned(), foreign))
    })
}

/// Whether an entry may hold slides, by the rule that holds for files in folders.
fn promises(archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize, name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let extension = file.rsplit_once('.').map(|(_, extension)| extension.to_lowercase()).unwrap_or_default();
    if passed::by_role(file, &[]).is_some() {
        return false;
    }
    let mut head = || {
        let mut head = Vec::new();
        // One that cannot be unpacked and is not named like slides is none of ours.
        let entry = archive.by_index(index).ok()?;
        entry.take(1024).read_to_end(&mut head).ok()?;
        Some(head)
    };
    EXTENSIONS.contains(&extension.as_str()) || head().is_some_and(|head| sniff(&head) != FileFormat::Unknown)
}

/// Unpacks an entry; a directory that declares too little does not help it past the budget.
fn unpack(archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize, budget: u64) -> Result<Vec<u8>, Reason> {
    let entry = archive.by_index(index).map_err(reason)?;
    let mut bytes = Vec::new();
    entry.take(budget + 1).read_to_end(&mut bytes).map_err(Reason::malformed)?;
    if bytes.len() as u64 > budget {
        let what = format!("more than {} MiB unpacked", budget >> 20);
        return Err(Reason::TooLarge { what, key: "max_unpacked_mib", limit: budget >> 20 });
    }
    Ok(bytes)
}

fn reason(error: ZipError) -> Reason {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => Reason::Encrypted,
        error => Reason::malformed(error),
    }
}
