use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::folder::natural;
use super::format::EXTENSIONS;
use super::{DeckName, Event, FileFormat, InputFile, Sink, guarded, sniff};
use crate::{Limits, Reason, SourceKind, sha256_hex};

/// Reads the images and PDFs of a ZIP archive, in natural order of their names. Nothing is written to disk.
pub(super) fn read(
    input: &InputFile,
    sha256: &str,
    bytes: &[u8],
    limits: &Limits,
    sink: Sink<'_>,
) -> Result<(), Reason> {
    let mut archive = guarded(|| ZipArchive::new(Cursor::new(bytes)).map_err(reason))?;
    let entries = check(&mut archive, limits)?;
    if entries.is_empty() {
        return Err(Reason::Empty);
    }
    let mut counts = std::collections::BTreeMap::new();
    let mut unpacked = 0;
    for (index, name) in entries {
        let budget = (limits.max_unpacked_mib << 20).saturating_sub(unpacked).min(limits.max_file_bytes());
        let member = match guarded(|| unpack(&mut archive, index, budget)) {
            Ok(member) => member,
            Err(reason) => {
                if sink(Event::Failed(name, reason)) {
                    continue;
                }
                return Ok(());
            }
        };
        unpacked += member.len() as u64;
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        // Named by content, so that a renamed archive is the same decks.
        let deck = DeckName(format!("zip:{}!{folder}", &sha256[..16]));
        let count = counts.entry(deck.clone()).or_insert(0);
        *count += 1;
        let origin = format!("{}!{name}", input.origin);
        let part = InputFile { origin, deck, number: *count, ..input.clone() };
        if !read_member(&part, &name, member, limits, sink) {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads one entry; false when the sink wants no more.
fn read_member(part: &InputFile, name: &str, bytes: Vec<u8>, limits: &Limits, sink: Sink<'_>) -> bool {
    let sha256 = sha256_hex(&bytes);
    let mut goes_on = true;
    let mut inner = |event: Event| {
        let event = match event {
            Event::Failed(page, reason) => Event::Failed(format!("{name}, {page}"), reason),
            event => event,
        };
        goes_on = sink(event);
        goes_on
    };
    let result = match sniff(&bytes) {
        FileFormat::Image => guarded(|| crate::imaging::decode(&bytes, limits)).map(|image| {
            let _ = inner(Event::Total(1))
                && inner(Event::Slide(Box::new(super::identity::image(part, &sha256, image))));
        }),
        FileFormat::Pdf => {
            let document = super::identity::Document::new(part, &sha256, SourceKind::Pdf);
            super::pdf::render(bytes, &document, limits, &mut inner)
        }
        FileFormat::Protected => Err(Reason::Encrypted),
        FileFormat::Document => Err(Reason::NotSlides),
        FileFormat::Zip | FileFormat::Presentation(_) => {
            Err(Reason::Malformed("is an archive within an archive; unpack the outer one".to_owned()))
        }
        FileFormat::Unknown => Err(Reason::Unknown),
    };
    match result {
        Ok(()) => goes_on,
        Err(reason) => sink(Event::Failed(name.to_owned(), reason)),
    }
}

/// Judges the archive by its directory, before anything is unpacked; returns the entries that promise slides.
fn check(archive: &mut ZipArchive<Cursor<&[u8]>>, limits: &Limits) -> Result<Vec<(usize, String)>, Reason> {
    if archive.len() > limits.max_entries {
        let what = format!("{} entries", archive.len());
        return Err(Reason::TooLarge { what, key: "max_entries", limit: limits.max_entries as u64 });
    }
    let (mut total, mut entries) = (0u64, Vec::new());
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(reason)?;
        let name = entry.name().map_err(reason)?.replace('\\', "/");
        if entry.enclosed_name().is_none() || name.split('/').any(|part| part == "..") {
            return Err(Reason::Traversal(name.chars().take(120).collect()));
        }
        total = total.saturating_add(entry.size());
        let hidden = name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX");
        let extension =
            name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase()).unwrap_or_default();
        if entry.is_file() && !hidden && EXTENSIONS.contains(&extension.as_str()) {
            entries.push((index, name));
        }
    }
    if total > limits.max_unpacked_mib << 20 {
        let what = format!("{} MiB unpacked", total >> 20);
        return Err(Reason::TooLarge { what, key: "max_unpacked_mib", limit: limits.max_unpacked_mib });
    }
    entries.sort_by_cached_key(|(_, name)| natural(name));
    Ok(entries)
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
