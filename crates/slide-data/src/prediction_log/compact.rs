//! Moves the days that are over from the log into segments.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use durable_files::{FileLock, hash_file, sync_dir, write_atomic_with};
use project_files::Layout;
use serde_json::Value;

use super::field::{Keys, nanoseconds};
use super::index::{Moving, NEW, SegmentIndex, SegmentPart, path_of};
use super::lines::{self, Lines, Span};
use super::write::SegmentWriter;
use super::{date_of, day_of};
use crate::error::io_error;
use crate::{Contract as _, Error, Prediction, Result};

/// What was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Days that slides were moved of.
    pub days: usize,
    /// Slides that were moved.
    pub slides: u64,
    /// Lines that no segment can hold, and that were moved as they were.
    pub lines: u64,
}

/// A point at which the process may die; tests end there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Written,
    Listed,
    Renamed,
    Replaced,
    Done,
}

/// Moves the slides of days before `first_kept` (as [`day_of`] counts them), and lines that cannot be read, from the log into files of
/// `monitoring/predictions`. Writers are held up only while the rest of the log is written anew.
///
/// It may end at any point, and can then be repeated: a slide is on disk in a segment before it leaves the log, and where both hold it
/// only one counts.
///
/// # Errors
/// When a file cannot be read or written, or the log was replaced meanwhile; nothing is then lost.
pub fn compact(layout: &Layout, first_kept: i64) -> Result<Compacted> {
    compact_until(layout, first_kept, &mut |_| Ok(()))
}

pub(super) fn compact_until(
    layout: &Layout,
    first_kept: i64,
    reach: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<Compacted> {
    let folder = layout.segments();
    if !folder.exists() && !layout.predictions().exists() {
        return Ok(Compacted::default());
    }
    std::fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
    let _lock = FileLock::exclusive(&layout.segment_index())?;
    let mut index = recover(layout)?;
    let Some(plan) = Plan::of(layout, first_kept)? else { return Ok(Compacted::default()) };
    let (parts, compacted) = plan.write(layout, &index)?;
    reach(Step::Written)?;
    let files: Vec<String> = parts.iter().map(|part| part.file.clone()).collect();
    let _log_lock = FileLock::exclusive(&layout.predictions())?;
    plan.check(layout)?;
    index.parts.extend(parts);
    index.moving = Some(Moving { bytes: plan.bytes, sha256: plan.sha256.clone(), files: files.clone() });
    index.write(&layout.segment_index())?;
    reach(Step::Listed)?;
    settle(layout, &index)?;
    reach(Step::Renamed)?;
    plan.keep_rest(layout)?;
    reach(Step::Replaced)?;
    index.moving = None;
    index.write(&layout.segment_index())?;
    reach(Step::Done)?;
    Ok(compacted)
}

/// Brings an earlier move or removal to its end, or takes it back, and returns what counts. The list's lock is held.
pub(super) fn recover(layout: &Layout) -> Result<SegmentIndex> {
    let path = layout.segment_index();
    let mut index = SegmentIndex::read_if_present(&path)?.unwrap_or_default();
    if let Some(moving) = index.moving.take() {
        let hot = layout.predictions();
        let now = match lines::open(&hot)? {
            Some((file, _)) => lines::hash_of_first(&file, &hot, moving.bytes)?,
            None => None,
        };
        if now.as_ref() == Some(&moving.sha256) {
            // The lines are still in the log.
            index.parts.retain(|part| !moving.files.contains(&part.file));
            index.dropped.extend(moving.files);
        }
        index.write(&path)?;
    }
    settle(layout, &index)?;
    drop_files(layout, &mut index)?;
    let folder = layout.segments();
    for entry in std::fs::read_dir(&folder).map_err(io_error("read", &folder))? {
        let path = entry.map_err(io_error("read", &folder))?.path();
        let is_new = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NEW));
        if is_new {
            std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(index)
}

/// Gives the listed files their names.
pub(super) fn settle(layout: &Layout, index: &SegmentIndex) -> Result<()> {
    let mut has_moved = false;
    for part in &index.parts {
        let (path, found) = (layout.segments().join(&part.file), path_of(layout, &part.file));
        if found != path {
            std::fs::rename(&found, &path).map_err(io_error("rename", &found))?;
            has_moved = true;
        }
    }
    if has_moved { Ok(sync_dir(&layout.segments())?) } else { Ok(()) }
}

/// Removes what does not count any more.
pub(super) fn drop_files(layout: &Layout, index: &mut SegmentIndex) -> Result<()> {
    if index.dropped.is_empty() {
        return Ok(());
    }
    for file in &index.dropped {
        for path in [layout.segments().join(file), layout.segments().join(format!("{NEW}{file}"))] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &path)(error));
                }
                _ => {}
            }
        }
    }
    sync_dir(&layout.segments())?;
    index.dropped.clear();
    Ok(index.write(&layout.segment_index())?)
}

/// What of the log goes where.
struct Plan {
    /// Whole lines that were read, and their hash.
    bytes: u64,
    sha256: String,
    days: BTreeMap<i64, Day>,
    /// What no segment can hold.
    lines: Vec<Span>,
    kept: Vec<Span>,
}

#[derive(Default)]
struct Day {
    keys: Keys,
    spans: Vec<Span>,
}

impl Plan {
    /// `None` where nothing is to be moved.
    fn of(layout: &Layout, first_kept: i64) -> Result<Option<Self>> {
        let path = layout.predictions();
        let Some((file, length)) = lines::open(&path)? else { return Ok(None) };
        let (mut days, mut others, mut kept) = (BTreeMap::<i64, Day>::new(), Vec::new(), Vec::new());
        let scanned = lines::scan(&file, &path, length, |at, span, bytes| {
            let Ok(slide) = Prediction::parse(&path, Some(at), bytes) else {
                others.push(span);
                return Ok(());
            };
            let day = day_of(slide.scored_at);
            if day >= first_kept {
                kept.push(span);
                return Ok(());
            }
            let fits = nanoseconds(slide.scored_at).is_some()
                && slide.schema_version == Prediction::VERSION
                && date_of(day).is_some();
            // A day of nothing but what no segment can hold is no day.
            if fits && days.entry(day).or_default().keys.take(&slide) {
                days.entry(day).or_default().spans.push(span);
            } else {
                others.push(span);
            }
            Ok(())
        })?;
        days.retain(|_, day| !day.spans.is_empty());
        if days.is_empty() && others.is_empty() {
            return Ok(None);
        }
        let (bytes, sha256) = (scanned.bytes, scanned.sha256);
        Ok(Some(Self { bytes, sha256, days, lines: others, kept }))
    }

    /// Writes the files under their new names.
    fn write(&self, layout: &Layout, index: &SegmentIndex) -> Result<(Vec<SegmentPart>, Compacted)> {
        let path = layout.predictions();
        let Some((file, _)) = lines::open(&path)? else { return Err(Self::changed(layout)) };
        let mut lines = Lines::new(&file, &path)?;
        let mut parts = Vec::new();
        let mut compacted = Compacted { days: self.days.len(), ..Compacted::default() };
        for (day, of_day) in &self.days {
            let new = layout.segments().join(format!("{NEW}{day}"));
            let mut writer = SegmentWriter::create(&new, &of_day.keys)?;
            for span in &of_day.spans {
                let slide = lines.slide(*span)?;
                let line = what_it_says_more(&slide, lines.bytes(*span)?);
                writer.push(slide, line)?;
            }
            let count = writer.finish()?;
            compacted.slides += count;
            parts.push(name(layout, index, &parts, &new, Some(*day), count)?);
        }
        if !self.lines.is_empty() {
            let new = layout.segments().join(format!("{NEW}lines"));
            write_atomic_with(&new, |out| {
                for span in &self.lines {
                    out.write_all(lines.bytes(*span)?).map_err(io_error("write", &new))?;
                }
                Ok::<(), Error>(())
            })?;
            compacted.lines = self.lines.len() as u64;
            parts.push(name(layout, index, &parts, &new, None, compacted.lines)?);
        }
        Ok((parts, compacted))
    }

    /// Whether the log is still what was read; its lock is held.
    fn check(&self, layout: &Layout) -> Result<()> {
        let path = layout.predictions();
        let now = match lines::open_unlocked(&path)? {
            Some((file, _)) => lines::hash_of_first(&file, &path, self.bytes)?,
            None => None,
        };
        if now.as_ref() == Some(&self.sha256) { Ok(()) } else { Err(Self::changed(layout)) }
    }

    fn changed(layout: &Layout) -> Error {
        let reason = "was replaced while its past days were being moved; nothing was moved".to_owned();
        Error::Segment { path: layout.predictions(), reason }
    }

    /// Leaves in the log what stays, and what was appended meanwhile; its lock is held.
    fn keep_rest(&self, layout: &Layout) -> Result<()> {
        let path = layout.predictions();
        let Some((file, length)) = lines::open_unlocked(&path)? else { return Err(Self::changed(layout)) };
        let mut lines = Lines::new(&file, &path)?;
        let appended = Span { start: self.bytes, length: length.saturating_sub(self.bytes) };
        write_atomic_with(&path, |out| {
            for span in &self.kept {
                out.write_all(lines.bytes(*span)?).map_err(io_error("write", &path))?;
            }
            out.write_all(lines.bytes(appended)?).map_err(io_error("write", &path))?;
            Ok::<(), Error>(())
        })
    }
}

/// Names a new file by its day and content, and says what it is.
pub(super) fn name(
    layout: &Layout,
    index: &SegmentIndex,
    others: &[SegmentPart],
    new: &Path,
    day: Option<i64>,
    lines: u64,
) -> Result<SegmentPart> {
    let hash = hash_file(new)?;
    let date = day.and_then(date_of);
    let (of, end) = date.map_or_else(|| ("lines".to_owned(), "jsonl"), |date| (date.to_string(), "parquet"));
    let is_taken = |file: &String| {
        index.parts.iter().chain(others).any(|part| part.file == *file) || index.dropped.contains(file)
    };
    // The same lines may come twice; each time is a part of its own.
    let names = (1..).map(|copy| {
        let copy = if copy == 1 { String::new() } else { format!("-{copy}") };
        format!("{of}-{}{copy}.{end}", &hash.sha256[..12])
    });
    let file = names.into_iter().find(|file| !is_taken(file)).unwrap_or_default();
    let named: PathBuf = layout.segments().join(format!("{NEW}{file}"));
    std::fs::rename(new, &named).map_err(io_error("rename", new))?;
    Ok(SegmentPart { file, day: date, lines, bytes: hash.size, sha256: hash.sha256 })
}

/// The line, where it has fields that the slide read from it does not give back.
fn what_it_says_more(slide: &Prediction, line: &[u8]) -> Option<String> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let again = serde_json::to_vec(slide).ok()?;
    if again == line {
        return None;
    }
    let value = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap_or_default();
    says_more(&value(line), &value(&again)).then(|| String::from_utf8_lossy(line).into_owned())
}

/// Whether the one has something that the other lacks. Numbers are not compared: their digits may differ and mean the same.
fn says_more(one: &Value, other: &Value) -> bool {
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => one.iter().any(|(key, value)| {
            other.get(key).map_or_else(|| !is_nothing(value), |own| says_more(value, own))
        }),
        _ => false,
    }
}

/// Writes slides of one day as a segment of a project that has none of that day yet, for programs that make logs of any size.
///
/// # Errors
/// When a slide is of another day or a segment cannot hold it, or a file cannot be written.
pub fn write_day(layout: &Layout, day: i64, slides: impl Iterator<Item = Prediction> + Clone) -> Result<()> {
    let folder = layout.segments();
    std::fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
    let _lock = FileLock::exclusive(&layout.segment_index())?;
    let mut index = recover(layout)?;
    let new = folder.join(format!("{NEW}{day}"));
    let refused = |why: &str| Error::Segment { path: new.clone(), reason: why.to_owned() };
    let mut keys = Keys::default();
    for slide in slides.clone() {
        if day_of(slide.scored_at) != day || nanoseconds(slide.scored_at).is_none() || !keys.take(&slide) {
            return Err(refused("cannot hold a slide of another day, or so many criteria or properties"));
        }
    }
    let mut writer = SegmentWriter::create(&new, &keys)?;
    for slide in slides {
        writer.push(slide, None)?;
    }
    let count = writer.finish()?;
    let part = name(layout, &index, &[], &new, Some(day), count)?;
    index.parts.push(part);
    index.write(&layout.segment_index())?;
    settle(layout, &index)
}
