//! Ships what a scoring service has logged to a place that several machines reach, a folder of a bucket, and takes it in from there.
//!
//! With the log go what could not be scored, the slides that were kept and the corrections that users made ([`super::carried`]).
//!
//! A segment is some whole lines of a replica's log. Its name has the SHA-256 of its content: shipped twice it is there once, and what is cut short is known.

use std::path::{Path, PathBuf};

use durable_files::{FileLock, append_lines, sha256_hex, write_atomic};
use jiff::Timestamp;
use project_files::Layout;

use super::carried::{self, TakenIn};
use crate::error::io_error;
use crate::{Contract as _, Error, FailedInput, ForgottenMarks, Prediction, Result};

/// A segment holds about so many bytes.
const SEGMENT: usize = 8 << 20;

/// Where segments are shipped to: folders, one a replica, with objects.
pub trait SegmentStore {
    /// Why it does not answer.
    type Error: From<Error>;

    /// The names directly below a folder.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    fn names(&self, folder: &str) -> std::result::Result<Vec<String>, Self::Error>;

    /// An object; none where there is none.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    fn get(&self, name: &str) -> std::result::Result<Option<Vec<u8>>, Self::Error>;

    /// Removes an object, or finds it removed.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    fn remove(&self, name: &str) -> std::result::Result<(), Self::Error>;
}

/// Ships the whole lines of a replica's log, the slides that it kept and the corrections that it took; how many objects it was. `create` puts an object of that name and content there, and says
/// whether it is there now.
///
/// The lines leave the log for a file beside it, and that when they are there: what ends in between is repeated. A line that is shipped
/// twice by that has one id, and is read once.
///
/// # Errors
/// When a file cannot be read or written, or `create` fails; nothing is then lost.
pub fn ship<E: From<Error>>(
    layout: &Layout,
    replica: &str,
    mut create: impl FnMut(&str, &[u8]) -> std::result::Result<bool, E>,
) -> std::result::Result<u64, E> {
    let folder = layout.replica_segments(replica);
    let log = layout.replica_predictions(replica);
    set_lines_aside(&log, &folder, ".jsonl")?;
    set_lines_aside(&Layout::failures_beside(&log), &folder, FAILURES)?;
    let mut shipped = carried::ship(layout, replica, &mut create)?;
    for path in files_in(&folder)? {
        let content = std::fs::read(&path).map_err(io_error("read", &path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !create(&format!("{replica}/{name}"), &content)? {
            let reason = "is there already with another content".to_owned();
            return Err(Error::Segment { path, reason }.into());
        }
        std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
        shipped += 1;
    }
    Ok(shipped)
}

/// How the names of segments of what could not be scored end.
const FAILURES: &str = ".failures";

/// Moves the whole lines of a log into segments whose names end so.
fn set_lines_aside(log: &Path, folder: &Path, end: &str) -> Result<()> {
    if !log.exists() {
        return Ok(());
    }
    let _lock = FileLock::exclusive(log)?;
    let mut rest = std::fs::read(log).map_err(io_error("read", log))?;
    let torn = rest.split_off(rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1));
    if rest.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    while !rest.is_empty() {
        let newline = rest.iter().skip(SEGMENT).position(|&byte| byte == b'\n');
        let after = rest.split_off(newline.map_or(rest.len(), |at| SEGMENT + at + 1));
        write_atomic(&folder.join(name_of(&rest, end)), &rest)?;
        rest = after;
    }
    Ok(write_atomic(log, &torn)?)
}

/// The name of a segment: when its first slide was scored or failed, so that names are in the order of time, and the hash of its content.
fn name_of(segment: &[u8], end: &str) -> String {
    let first = segment.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let scored_at = Prediction::parse(Path::new(""), None, first).map(|line| line.scored_at);
    let at = scored_at.or_else(|_| FailedInput::parse(Path::new(""), None, first).map(|line| line.failed_at));
    let at = at.map_or(0, Timestamp::as_millisecond);
    format!("{:015}-{}{end}", at.max(0), sha256_hex(segment))
}

/// The segments in a folder, the oldest first.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", folder)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.map_err(io_error("read", folder))?.path());
    }
    files.retain(|path| path.file_name().is_some_and(|name| hash_in(&name.to_string_lossy()).is_some()));
    files.sort();
    Ok(files)
}

/// The hash in the name of a segment.
fn hash_in(name: &str) -> Option<&str> {
    hash_before(name, ".jsonl").or_else(|| hash_before(name, FAILURES))
}

/// The hash in a name that ends so.
pub(super) fn hash_before<'a>(name: &'a str, end: &str) -> Option<&'a str> {
    let (time, hash) = name.strip_suffix(end)?.split_once('-')?;
    let is_name = time.bytes().all(|byte| byte.is_ascii_digit())
        && hash.len() == 64
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_name.then_some(hash)
}

/// Takes the segments that replicas have shipped into the log of scored slides, the oldest of each first, with the slides that they kept and
/// the corrections that they took, and removes them there. What was forgotten since is not taken in, and is gone there too.
///
/// A segment is noted before it is removed and after it is in the log: where it cannot be removed it is not taken twice. Where a kill
/// falls between log and note its lines are there twice with the same ids, and are read once.
///
/// # Errors
/// When a file cannot be written, or the store does not answer; nothing is then lost, and it can be repeated.
pub fn take_in<S: SegmentStore>(
    layout: &Layout,
    forgotten: &ForgottenMarks,
    store: &S,
) -> std::result::Result<TakenIn, S::Error> {
    let mut taken = TakenIn::default();
    for replica in store.names("")? {
        let mut names = store.names(&replica)?;
        names.sort();
        for (name, kind, hash) in names.iter().filter_map(|name| of_kind(name)) {
            let object = format!("{replica}/{name}");
            let note = layout.taken_segment(hash);
            if !note.exists() {
                let Some(content) = store.get(&object)? else { continue };
                if sha256_hex(&content) != hash || !add(layout, forgotten, kind, &content, &mut taken)? {
                    taken.refused.push(object);
                    continue;
                }
                write_note(&note)?;
            }
            store.remove(&object)?;
            std::fs::remove_file(&note).map_err(io_error("remove", &note))?;
        }
    }
    Ok(taken)
}

/// What is shipped.
#[derive(Clone, Copy)]
enum Kind {
    Lines,
    Failures,
    Kept,
    Corrections,
}

/// An object with what its name says that it is, and the hash of its content.
fn of_kind(name: &str) -> Option<(&str, Kind, &str)> {
    let kinds = [
        (".jsonl", Kind::Lines),
        (FAILURES, Kind::Failures),
        (carried::KEPT, Kind::Kept),
        (carried::CORRECTIONS, Kind::Corrections),
    ];
    kinds.into_iter().find_map(|(end, kind)| Some((name, kind, hash_before(name, end)?)))
}

/// Adds what an object holds to the project; false where it is not what its name says.
fn add(
    layout: &Layout,
    forgotten: &ForgottenMarks,
    kind: Kind,
    content: &[u8],
    taken: &mut TakenIn,
) -> Result<bool> {
    match kind {
        Kind::Kept => carried::keep(layout, forgotten, content, taken),
        _ if content.last() != Some(&b'\n') => Ok(false),
        Kind::Corrections => carried::correct(layout, forgotten, content, taken),
        Kind::Failures => {
            let (lines, count) = without(forgotten, content, taken, |line| {
                let failed = FailedInput::parse(Path::new(""), None, line).ok()?;
                Some((vec![failed.deck_id?], failed.failed_at))
            });
            append_lines(&layout.failures(), &lines)?;
            taken.failures += count;
            Ok(true)
        }
        Kind::Lines => {
            let (lines, count) = without(forgotten, content, taken, |line| {
                let slide = Prediction::parse(Path::new(""), None, line).ok()?;
                Some((vec![slide.deck_id, slide.slide_id], slide.scored_at))
            });
            append_lines(&layout.predictions(), &lines)?;
            taken.segments += 1;
            taken.lines += count;
            Ok(true)
        }
    }
}

/// The lines of a segment but for those of forgotten decks, and how many these are. `ids_of` reads what a line is about, and when it was
/// written; a line that cannot be read stays.
fn without(
    forgotten: &ForgottenMarks,
    content: &[u8],
    taken: &mut TakenIn,
    ids_of: impl Fn(&[u8]) -> Option<(Vec<String>, Timestamp)>,
) -> (Vec<u8>, u64) {
    let is_gone = |line: &[u8]| {
        let ids = if forgotten.is_empty() { None } else { ids_of(line) };
        ids.is_some_and(|(ids, at)| ids.iter().any(|id| forgotten.hold(id, at)))
    };
    let (mut lines, mut count) = (Vec::with_capacity(content.len()), 0);
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        if is_gone(line) {
            taken.forgotten += 1;
        } else {
            lines.extend_from_slice(line);
            count += 1;
        }
    }
    (lines, count)
}

/// Notes that what an object holds is in the project.
fn write_note(note: &Path) -> Result<()> {
    let folder = note.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    Ok(write_atomic(note, b"")?)
}

#[cfg(test)]
#[path = "ship_tests.rs"]
pub(super) mod tests;
