use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::ops::RangeBounds;
use std::path::PathBuf;

use durable_files::{FileLock, hash_file};
use project_files::{Defects, Layout};

use super::field::Columns;
use super::index::{NEW, SegmentIndex, SegmentPart, path_of};
use super::lines::{self, Lines, Span};
use super::read::Segment;
use super::{day_number, day_of};
use crate::error::io_error;
use crate::{Contract as _, Error, Prediction, Result, digest_of};

/// A part of the log that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// The day of its slides, where that is known.
    pub day: Option<i64>,
    /// Why, with the file's name.
    pub reason: String,
}

/// A line of a file of lines.
#[derive(Debug, Clone, Copy)]
struct Line {
    file: usize,
    span: Span,
}

/// The log of scored slides as it was when it was opened. Past days are not moved while it is open: who moves them waits, also in the same
/// process.
#[derive(Debug)]
pub struct PredictionLog {
    days: BTreeMap<i64, Vec<SegmentPart>>,
    /// Files of lines with their hashes: what no segment can hold, and the log itself.
    files: Vec<(PathBuf, File, String)>,
    lines: BTreeMap<i64, Vec<Line>>,
    slides: usize,
    defects: Defects,
    unreadable: Vec<Unreadable>,
    layout: Layout,
    _lock: Option<FileLock>,
}

impl PredictionLog {
    /// Opens the log of a project; where there is none it is empty. Lines that cannot be read, or are of a newer version, are counted and
    /// warned of.
    ///
    /// # Errors
    /// When a file cannot be read, or there are lines of which not a single one is valid: it is something else.
    pub fn open(layout: &Layout) -> Result<Self> {
        let lock = FileLock::shared(&layout.segment_index());
        let (index, hot) = Self::snapshot(layout)?;
        let mut log = Self {
            days: BTreeMap::new(),
            files: Vec::new(),
            lines: BTreeMap::new(),
            slides: 0,
            defects: Defects::default(),
            unreadable: Vec::new(),
            layout: layout.clone(),
            _lock: lock,
        };
        let mut first_failure = None;
        for part in log.counted(&index, hot.as_ref())? {
            log.take_part(part, &mut first_failure)?;
        }
        log.take_strangers(&index)?;
        if let Some((file, length)) = hot {
            log.take_lines(layout.predictions(), file, length, &mut first_failure)?;
        }
        log.defects.warn(&layout.predictions(), Prediction::NAME);
        match first_failure {
            // Where a part is lost there were slides: what is left of the log is no other kind of file.
            Some(error) if log.slides == 0 && log.unreadable.is_empty() => Err(error),
            _ => Ok(log),
        }
    }

    /// List and log as they were at one time.
    fn snapshot(layout: &Layout) -> Result<(SegmentIndex, Option<(File, u64)>)> {
        let read =
            || Ok::<_, Error>(SegmentIndex::read_if_present(&layout.segment_index())?.unwrap_or_default());
        let mut index = read()?;
        loop {
            let hot = lines::open(&layout.predictions())?;
            let again = read()?;
            if again == index {
                return Ok((index, hot));
            }
            index = again;
        }
    }

    /// The parts that count: not those of a move that was not finished.
    fn counted(&self, index: &SegmentIndex, hot: Option<&(File, u64)>) -> Result<Vec<SegmentPart>> {
        let is_unfinished = match (&index.moving, hot) {
            (Some(moving), Some((file, _))) => {
                let path = self.layout.predictions();
                lines::hash_of_first(file, &path, moving.bytes)?.as_ref() == Some(&moving.sha256)
            }
            _ => false,
        };
        let moved = index.moving.iter().flat_map(|moving| &moving.files).collect::<BTreeSet<_>>();
        let counts = |part: &&SegmentPart| !(is_unfinished && moved.contains(&part.file));
        Ok(index.parts.iter().filter(counts).cloned().collect())
    }

    fn take_part(&mut self, part: SegmentPart, first_failure: &mut Option<Error>) -> Result<()> {
        let path = path_of(&self.layout, &part.file);
        let day = part.day.and_then(day_number);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.cannot_read(path, day, "is missing");
                Ok(())
            }
            Err(error) => {
                self.cannot_read(path, day, &format!("cannot be read: {error}"));
                Ok(())
            }
            Ok(metadata) if metadata.len() != part.bytes => {
                let was = format!("has {} bytes, and had {} when it was written", metadata.len(), part.bytes);
                self.cannot_read(path, day, &was);
                Ok(())
            }
            Ok(metadata) => {
                if let Some(day) = day {
                    self.slides += usize::try_from(part.lines).unwrap_or(usize::MAX);
                    self.days.entry(day).or_default().push(part);
                    return Ok(());
                }
                let file = File::open(&path).map_err(io_error("read", &path))?;
                self.take_lines(path.clone(), file, metadata.len(), first_failure)?;
                if self.files.last().is_some_and(|(_, _, hash)| *hash != part.sha256) {
                    self.cannot_read(path, None, "is not what was written");
                }
                Ok(())
            }
        }
    }

    /// Files that look like parts and are in no list.
    fn take_strangers(&mut self, index: &SegmentIndex) -> Result<()> {
        let folder = self.layout.segments();
        if !folder.is_dir() {
            return Ok(());
        }
        let moved = index.moving.iter().flat_map(|moving| &moving.files);
        let known: BTreeSet<&String> =
            index.parts.iter().map(|part| &part.file).chain(&index.dropped).chain(moved).collect();
        for entry in std::fs::read_dir(&folder).map_err(io_error("read", &folder))? {
            let path = entry.map_err(io_error("read", &folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_part = path.extension().is_some_and(|end| end == "parquet" || end == "jsonl");
            if is_part && !name.starts_with(NEW) && !known.contains(&name) {
                self.cannot_read(
                    path,
                    None,
                    "is not listed in segments.json: restore that file, or take this one away",
                );
            }
        }
        Ok(())
    }

    fn take_lines(
        &mut self,
        path: PathBuf,
        file: File,
        length: u64,
        first_failure: &mut Option<Error>,
    ) -> Result<()> {
        let number = self.files.len();
        let scanned = lines::scan(&file, &path, length, |at, span, bytes| {
            match Prediction::parse(&path, Some(at), bytes) {
                Ok(slide) => {
                    self.slides += 1;
                    self.lines.entry(day_of(slide.scored_at)).or_default().push(Line { file: number, span });
                }
                Err(error) => {
                    self.defects.add(at, &error);
                    first_failure.get_or_insert(error.into());
                }
            }
            Ok(())
        })?;
        self.defects.torn_bytes += scanned.torn;
        self.files.push((path, file, scanned.sha256));
        Ok(())
    }

    fn cannot_read(&mut self, path: PathBuf, day: Option<i64>, why: &str) {
        let reason = Error::Segment { path: path.clone(), reason: why.to_owned() }.to_string();
        self.unreadable.push(Unreadable { path, day, reason });
    }

    /// Compares what days from `first` on hold with what was written; what has changed is set aside.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn verify(&mut self, first: i64) -> Result<()> {
        let parts: Vec<(i64, SegmentPart)> = self
            .days
            .range(first..)
            .flat_map(|(day, parts)| parts.iter().map(|part| (*day, part.clone())))
            .collect();
        for (day, part) in parts {
            let path = path_of(&self.layout, &part.file);
            let why = match hash_file(&path) {
                Err(error) => Some(format!("cannot be read: {error}")),
                Ok(hash) if hash.sha256 != part.sha256 => Some("is not what was written".to_owned()),
                Ok(_) => match Segment::open(&path) {
                    Err(Error::Segment { reason, .. }) => Some(reason),
                    Err(error) => return Err(error),
                    Ok(segment) if segment.len() != part.lines => {
                        Some(format!("has {} slides, and should have {}", segment.len(), part.lines))
                    }
                    Ok(_) => None,
                },
            };
            if let Some(why) = why {
                self.cannot_read(path, Some(day), &why);
                self.slides = self.slides.saturating_sub(usize::try_from(part.lines).unwrap_or(0));
                if let Some(parts) = self.days.get_mut(&day) {
                    parts.retain(|other| other.file != part.file);
                }
            }
        }
        Ok(())
    }

    /// Scored slides of all days, those that were logged twice counted twice.
    pub fn len(&self) -> usize {
        self.slides
    }

    /// Whether no slide was ever scored.
    pub fn is_empty(&self) -> bool {
        self.slides == 0
    }

    /// What of the lines cannot be read.
    pub fn defects(&self) -> &Defects {
        &self.defects
    }

    /// Parts that cannot be read.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// The days on which slides were scored, the oldest first.
    pub fn days(&self, within: impl RangeBounds<i64> + Clone) -> Vec<i64> {
        let parts = self.days.range(within.clone()).filter(|(_, parts)| !parts.is_empty());
        let days: BTreeSet<i64> =
            parts.map(|(day, _)| *day).chain(self.lines.range(within).map(|(day, _)| *day)).collect();
        days.into_iter().collect()
    }

    /// SHA-256 of each file that holds slides of these days, or lines.
    pub fn inputs(&self, first: i64) -> BTreeMap<String, String> {
        let parts = self.days.range(first..).flat_map(|(_, parts)| parts);
        let parts =
            parts.map(|part| (path_of(&self.layout, &part.file).display().to_string(), part.sha256.clone()));
        let files = self.files.iter().map(|(path, _, hash)| (path.display().to_string(), hash.clone()));
        parts.chain(files).collect()
    }

    /// Hands out the slides of a day in the order in which they were logged, with their places on that day, one after another in the same
    /// memory. One with an id that was there before on that day is passed over.
    ///
    /// # Errors
    /// When a file cannot be read, or `take` fails.
    pub fn for_each_of(
        &self,
        day: i64,
        columns: Columns,
        mut take: impl FnMut(usize, &Prediction) -> Result<()>,
    ) -> Result<()> {
        let mut ids = HashSet::new();
        self.read_day(day, columns, None, &mut |place, slide| {
            let is_new = slide.id.as_deref().is_none_or(|id| ids.insert(digest_of(id)));
            if is_new { take(place, slide) } else { Ok(()) }
        })
    }

    /// The slides at these places of a day.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn slides_at(&self, day: i64, places: &BTreeSet<usize>) -> Result<Vec<Prediction>> {
        let mut slides = Vec::new();
        if !places.is_empty() {
            self.read_day(day, Columns::All, Some(places), &mut |_, slide| {
                slides.push(slide.clone());
                Ok(())
            })?;
        }
        Ok(slides)
    }

    fn read_day(
        &self,
        day: i64,
        columns: Columns,
        wanted: Option<&BTreeSet<usize>>,
        take: &mut dyn FnMut(usize, &Prediction) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        for part in self.days.get(&day).into_iter().flatten() {
            let path = path_of(&self.layout, &part.file);
            let count = usize::try_from(part.lines).unwrap_or(0);
            let own = wanted.map(|wanted| {
                wanted.range(first..first + count).map(|place| place - first).collect::<BTreeSet<_>>()
            });
            if own.as_ref().is_none_or(|own| !own.is_empty()) {
                let segment = Segment::open(&path)?;
                segment.for_each(columns, own.as_ref(), |at, slide, _| take(first + at, slide))?;
            }
            first += count;
        }
        let lines = self.lines.get(&day).into_iter().flatten();
        let mut open: Option<(usize, Lines<'_>)> = None;
        for (at, line) in lines.enumerate() {
            let place = first + at;
            if wanted.is_some_and(|wanted| !wanted.contains(&place)) {
                continue;
            }
            if open.as_ref().is_none_or(|(file, _)| *file != line.file) {
                let (path, file, _) = &self.files[line.file];
                open = Some((line.file, Lines::new(file, path)?));
            }
            if let Some((_, lines)) = &mut open {
                take(place, &lines.slide(line.span)?)?;
            }
        }
        Ok(())
    }
}
