//! Takes slides out of the log and its segments, for good.

use std::io::Write as _;
use std::path::Path;

use durable_files::{FileLock, write_atomic_with};
use project_files::Layout;

use super::compact::{drop_files, name, recover, settle};
use super::field::Columns;
use super::index::{NEW, SegmentIndex, SegmentPart};
use super::lines::{self, Lines, Span};
use super::read::Segment;
use super::write::SegmentWriter;
use crate::error::io_error;
use crate::{Contract as _, Error, Prediction, Result};

/// What was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Slides of the log itself.
    pub lines: u64,
    /// Slides of past days.
    pub past: u64,
}

/// Takes the slides that are meant out of the log, out of past days and out of the lines that no segment can hold, and keeps everything
/// else. Lines that cannot be read stay: nobody can tell what slide they are of.
///
/// Each file is as before or without them, never half; whatever point it ends at, it can be repeated.
///
/// # Errors
/// When a file cannot be read or written, or a segment is missing or was changed: nobody can tell whether it holds what is meant. Nothing is
/// then taken out of past days.
pub fn remove(layout: &Layout, is_meant: &dyn Fn(&Prediction) -> bool) -> Result<Removed> {
    let folder = layout.segments();
    if !folder.exists() && !layout.predictions().exists() {
        return Ok(Removed::default());
    }
    std::fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
    let _lock = FileLock::exclusive(&layout.segment_index())?;
    // Only then it is known which lines of the log count.
    let mut index = recover(layout)?;
    let mut removed = Removed { lines: of_log(layout, is_meant)?, past: 0 };
    let mut parts = Vec::new();
    for part in &index.parts {
        let (kept, count) = of_part(layout, &index, &parts, part, is_meant)?;
        removed.past += count;
        parts.extend(kept);
    }
    if removed.past > 0 {
        let is_kept = |file: &String| parts.iter().any(|part| part.file == *file);
        index.dropped =
            index.parts.iter().map(|part| part.file.clone()).filter(|file| !is_kept(file)).collect();
        index.parts = parts;
        index.write(&layout.segment_index())?;
        settle(layout, &index)?;
        drop_files(layout, &mut index)?;
    }
    Ok(removed)
}

/// Of the log itself.
fn of_log(layout: &Layout, is_meant: &dyn Fn(&Prediction) -> bool) -> Result<u64> {
    let path = layout.predictions();
    if !path.exists() {
        return Ok(0);
    }
    let _lock = FileLock::exclusive(&path)?;
    let Some((file, length)) = lines::open_unlocked(&path)? else { return Ok(0) };
    let (kept, count, end) = kept_lines(&file, &path, length, is_meant)?;
    if count > 0 {
        let tail = Span { start: end, length: length - end };
        let mut lines = Lines::new(&file, &path)?;
        write_lines(&path, &mut lines, kept.into_iter().chain([tail]))?;
    }
    Ok(count)
}

/// Which lines stay, how many go, and where the last whole one ends.
fn kept_lines(
    file: &std::fs::File,
    path: &Path,
    length: u64,
    is_meant: &dyn Fn(&Prediction) -> bool,
) -> Result<(Vec<Span>, u64, u64)> {
    let (mut kept, mut count) = (Vec::new(), 0);
    let scanned = lines::scan(file, path, length, |at, span, bytes| {
        if Prediction::parse(path, Some(at), bytes).is_ok_and(|slide| is_meant(&slide)) {
            count += 1;
        } else {
            kept.push(span);
        }
        Ok(())
    })?;
    Ok((kept, count, scanned.bytes))
}

fn write_lines(path: &Path, lines: &mut Lines<'_>, spans: impl Iterator<Item = Span>) -> Result<()> {
    write_atomic_with(path, |out| {
        for span in spans {
            out.write_all(lines.bytes(span)?).map_err(io_error("write", path))?;
        }
        Ok::<(), Error>(())
    })
}

/// What is left of a part, and how many slides are taken out of it; where none is, the part itself.
fn of_part(
    layout: &Layout,
    index: &SegmentIndex,
    others: &[SegmentPart],
    part: &SegmentPart,
    is_meant: &dyn Fn(&Prediction) -> bool,
) -> Result<(Option<SegmentPart>, u64)> {
    let path = layout.segments().join(&part.file);
    let hash = durable_files::hash_file(&path)?;
    if hash.sha256 != part.sha256 {
        let reason = "is not what was written: restore it from a copy".to_owned();
        return Err(Error::Segment { path, reason });
    }
    let new = layout.segments().join(format!("{NEW}part"));
    let (left, count) = match part.day {
        Some(_) => of_segment(&path, &new, is_meant)?,
        None => of_lines(&path, &new, is_meant)?,
    };
    let day = part.day.and_then(super::day_number);
    match (count, left) {
        (0, _) => Ok((Some(part.clone()), 0)),
        (_, 0) => Ok((None, count)),
        _ => Ok((Some(name(layout, index, others, &new, day, left)?), count)),
    }
}

fn of_segment(path: &Path, new: &Path, is_meant: &dyn Fn(&Prediction) -> bool) -> Result<(u64, u64)> {
    let segment = Segment::open(path)?;
    let (mut left, mut count) = (0, 0);
    segment.for_each(Columns::All, None, |_, slide, _| {
        if is_meant(slide) {
            count += 1;
        } else {
            left += 1;
        }
        Ok(())
    })?;
    if count > 0 && left > 0 {
        let mut writer = SegmentWriter::create(new, segment.keys())?;
        segment.for_each(Columns::All, None, |_, slide, line| {
            if is_meant(slide) { Ok(()) } else { writer.push(slide.clone(), line.map(str::to_owned)) }
        })?;
        writer.finish()?;
    }
    Ok((left, count))
}

fn of_lines(path: &Path, new: &Path, is_meant: &dyn Fn(&Prediction) -> bool) -> Result<(u64, u64)> {
    let Some((file, length)) = lines::open_unlocked(path)? else { return Ok((0, 0)) };
    let (kept, count, _) = kept_lines(&file, path, length, is_meant)?;
    let left = kept.len() as u64;
    if count > 0 && left > 0 {
        write_lines(new, &mut Lines::new(&file, path)?, kept.into_iter())?;
    }
    Ok((left, count))
}
