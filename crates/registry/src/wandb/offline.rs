//! Runs that stay on disk: the spool, and made from it as a whole the file that the service's own `wandb sync` takes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use durable_files::{io_error, write_atomic_with};
use project_files::with_causes;
use serde::{Deserialize, Serialize};

use super::batch::Ending;
use super::history::{Counts, Line, Lines, Outline};
use super::record::Record;
use super::sender::{Sent, files_of};
use super::settings::WandbOptions;
use super::shared::Shared;
use super::spool::{Spool, SpoolReader};
use super::wire::Log;
use crate::{Error, Result};

/// The file is written again at most this often while a run goes on, and less often where that takes long.
const INTERVAL: Duration = Duration::from_mins(1);

/// Which part of a run an offline file holds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct Part {
    from: Counts,
    upto: Counts,
}

/// Writes the offline file of a run now and then, and at its end.
pub(super) struct OfflineWriter {
    folder: PathBuf,
    interval: Duration,
    spool: Arc<Spool>,
    outline: Outline,
    shared: Arc<Shared>,
}

impl OfflineWriter {
    pub(super) fn new(
        options: &WandbOptions,
        spool: Arc<Spool>,
        outline: Outline,
        shared: Arc<Shared>,
    ) -> Self {
        let interval = INTERVAL.min(options.flush_interval * 6);
        Self { folder: options.folder.clone(), interval, spool, outline, shared }
    }

    fn tell(&self, written: Result<PathBuf>, is_ending: bool) {
        self.shared.change(|state| {
            state.is_settled = true;
            match written {
                Ok(folder) => {
                    state.is_complete = is_ending;
                    (state.offline, state.problem) = (Some(folder), None);
                }
                Err(error) => (state.is_complete, state.problem) = (false, Some(with_causes(&error))),
            }
        });
    }

    pub(super) fn run(self) {
        let mut wait = self.interval;
        loop {
            let is_ending = self.shared.lock().is_ending;
            let begun = Instant::now();
            let written = write(&self.folder, self.spool.path(), &self.outline);
            wait = wait.max(begun.elapsed() * 20);
            let is_last = is_ending || self.shared.is_quitting();
            self.tell(written, is_ending);
            if is_last {
                break;
            }
            self.shared.pause(wait);
        }
        self.shared.change(|state| state.is_done = true);
    }
}

/// Writes the offline file with everything that neither the service nor an earlier offline file that was synced has; returns its
/// folder.
///
/// # Errors
/// When the spool cannot be read or the file not be written.
pub(super) fn write(folder: &Path, spool: &Path, outline: &Outline) -> Result<PathBuf> {
    let place = place(folder, outline)?;
    let from = place.from.max(Sent::read(spool).counts);
    let files = place.dir.join("files");
    std::fs::create_dir_all(&files).map_err(io_error("create", &files))?;
    let path = place.dir.join(format!("run-{}.wandb", outline.id));
    let mut upto = from;
    write_atomic_with::<Error>(&path, |file| {
        upto = records(file, &path, spool, outline, from)?;
        Ok(())
    })?;
    let copied = files_of(spool);
    if copied.is_dir() {
        copy(&copied, &files)?;
    }
    durable_files::write_json(&part_of(&place.dir), &Part { from, upto })?;
    Ok(place.dir)
}

/// Marks the offline file as sent, where there is one: the service has the whole run.
pub(super) fn mark_synced(folder: &Path, outline: &Outline) -> Result<()> {
    let Some(dir) = dirs(folder, &outline.id)?.pop() else { return Ok(()) };
    let path = marker(&dir, &outline.id);
    Ok(std::fs::write(&path, "").map_err(io_error("write", &path))?)
}

struct Place {
    dir: PathBuf,
    from: Counts,
}

/// The newest folder of the run, or a new one where `wandb sync` has taken that.
fn place(folder: &Path, outline: &Outline) -> Result<Place> {
    let part = |dir: &Path| -> Part {
        serde_json::from_slice(&std::fs::read(part_of(dir)).unwrap_or_default()).unwrap_or_default()
    };
    let time = |seconds: f64| jiff::Timestamp::from_second(seconds as i64).unwrap_or_default();
    let named = |seconds: f64| {
        folder.join(format!("offline-run-{}-{}", time(seconds).strftime("%Y%m%d_%H%M%S"), outline.id))
    };
    match dirs(folder, &outline.id)?.pop() {
        None => Ok(Place { dir: named(outline.first.started), from: Counts::default() }),
        Some(dir) if !marker(&dir, &outline.id).exists() => Ok(Place { from: part(&dir).from, dir }),
        Some(dir) => {
            let from = part(&dir).upto;
            let mut seconds = outline.last.started;
            while named(seconds) <= dir {
                seconds += 1.0;
            }
            Ok(Place { dir: named(seconds), from })
        }
    }
}

fn part_of(dir: &Path) -> PathBuf {
    dir.join("part.json")
}

fn marker(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("run-{id}.wandb.synced"))
}

/// The folders of the run's offline files, oldest first.
fn dirs(folder: &Path, id: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io_error("read", folder))? {
        let path = entry.map_err(io_error("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // `offline-run-20261128_120000-<id>`
        let rest = name.strip_prefix("offline-run-").and_then(|rest| rest.get(16..));
        if rest == Some(id) && path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn records(
    file: &mut impl Write,
    path: &Path,
    spool: &Path,
    outline: &Outline,
    from: Counts,
) -> Result<Counts> {
    let mut lines = Lines::new(outline);
    let log = Log::new(file, outline);
    let mut excerpt = Excerpt { log, from, seen: Counts::default(), end: None };
    excerpt.read(spool, &mut lines)?;
    let Excerpt { mut log, seen, end, .. } = excerpt;
    if !lines.summary().is_empty() {
        log.summary(lines.summary());
    }
    if let Some(code) = end {
        log.exit(code);
    }
    log.finish().map_err(io_error("write", path))?;
    Ok(seen.max(from))
}

/// What is written of a spool: the lines after the first ones, which earlier files have.
struct Excerpt<W> {
    log: Log<W>,
    from: Counts,
    seen: Counts,
    /// The exit code of the newest attempt, once it has ended.
    end: Option<i32>,
}

impl<W: Write> Excerpt<W> {
    fn read(&mut self, spool: &Path, lines: &mut Lines) -> Result<()> {
        let mut reader = SpoolReader::open(spool)?;
        loop {
            let record = reader.next()?;
            let line = match &record {
                Some(record) => lines.take(record),
                None => lines.close(),
            };
            if let Some(line) = line {
                self.history(&line);
            }
            let Some(record) = record else { return Ok(()) };
            self.take(record, lines.is_newest_attempt());
        }
    }

    fn history(&mut self, line: &Line) {
        (self.seen.history, self.seen.last_step) = (self.seen.history + 1, Some(line.step));
        if self.from.last_step.is_none_or(|last| line.step > last) {
            self.log.history(line);
        }
    }

    fn take(&mut self, record: Record, is_newest_attempt: bool) {
        match record {
            Record::Event { timestamp, values, .. } => {
                self.seen.events += 1;
                if self.seen.events > self.from.events {
                    self.log.event(timestamp, &values);
                }
            }
            Record::Console { line } => {
                self.seen.console += 1;
                if self.seen.console > self.from.console {
                    self.log.console(&line);
                }
            }
            Record::File { name, .. } => self.log.file(&name),
            Record::Preempting if is_newest_attempt => self.log.preempting(),
            Record::End { exit_code, was_stopped } if is_newest_attempt => {
                self.end = Some(Ending { exit_code, was_stopped }.shown_code());
            }
            _ => {}
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(io_error("create", to))?;
    for entry in std::fs::read_dir(from).map_err(io_error("read", from))? {
        let entry = entry.map_err(io_error("read", from))?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).map_err(io_error("write", &target))?;
        }
    }
    Ok(())
}
