//! Which lines of a spool count: of a step that several attempts logged, those of the newest, merged into one line.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::{Attempt, Items, Record, VERSION, number, object};
use super::spool::SpoolReader;
use crate::{Error, Result};

/// How much of a run lies somewhere: at the service, or in a file for `wandb sync`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    pub(super) history: u64,
    pub(super) last_step: Option<u64>,
    pub(super) events: u64,
    pub(super) console: u64,
}

impl Counts {
    /// The larger of both, stream by stream.
    pub(super) fn max(self, other: Self) -> Self {
        let newer = if other.history > self.history { other } else { self };
        Self {
            history: newer.history,
            last_step: newer.last_step,
            events: self.events.max(other.events),
            console: self.console.max(other.console),
        }
    }
}

/// The attempts of a spool.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    /// The first attempt: what the run is named by.
    pub(super) first: Attempt,
    /// The newest one: what the run is described by.
    pub(super) last: Attempt,
    /// The id at the service.
    pub(super) id: String,
    /// For each attempt the last step whose lines count.
    limits: Vec<u64>,
    /// Steps of history lines with the seconds at which they were written.
    runtimes: Vec<(u64, f64)>,
    /// Lines that cannot be read.
    pub(super) damaged: u64,
}

impl Outline {
    /// Reads a spool; `None` where it holds no attempt yet.
    ///
    /// # Errors
    /// When it cannot be read, or a newer version wrote it.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let mut reader = SpoolReader::open(path)?;
        let mut outline: Option<Self> = None;
        while let Some(record) = reader.next()? {
            match (record, &mut outline) {
                (Record::Attempt(attempt), _) if attempt.version > VERSION => {
                    return Err(Error::NewerSpool { path: path.to_owned(), version: attempt.version });
                }
                (Record::Attempt(attempt), None) => outline = Some(Self::begun(*attempt)),
                (Record::Attempt(attempt), Some(outline)) => outline.begin(*attempt),
                (Record::Renamed { id }, Some(outline)) => outline.id = id,
                (Record::History { step, runtime, .. }, Some(outline)) => outline.note(step, runtime),
                _ => {}
            }
        }
        Ok(outline.map(|outline| Self { damaged: reader.damaged, ..outline }))
    }

    fn begun(attempt: Attempt) -> Self {
        let id = attempt.id.clone();
        let limits = vec![u64::MAX];
        Self { first: attempt.clone(), last: attempt, id, limits, runtimes: Vec::new(), damaged: 0 }
    }

    fn begin(&mut self, attempt: Attempt) {
        let completed = attempt.completed_steps;
        self.limits.iter_mut().for_each(|limit| *limit = completed.min(*limit));
        self.limits.push(u64::MAX);
        self.runtimes.retain(|(step, _)| *step <= completed);
        self.last = attempt;
    }

    fn note(&mut self, step: u64, runtime: f64) {
        match self.runtimes.last_mut() {
            Some(last) if last.0 == step => last.1 = runtime,
            _ => self.runtimes.push((step, runtime)),
        }
    }

    /// How many processes wrote into the spool.
    pub(super) fn attempts(&self) -> u64 {
        self.limits.len() as u64
    }

    /// Seconds that the run had taken when it had done `steps`.
    pub(super) fn runtime_at(&self, steps: u64) -> f64 {
        self.runtimes.iter().rfind(|(step, _)| *step <= steps).map_or(0.0, |(_, runtime)| *runtime)
    }
}

/// A whole line of the history.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) step: u64,
    pub(super) items: Items,
}

impl Line {
    /// As the service takes it.
    pub(super) fn text(&self) -> String {
        object(&self.items)
    }
}

/// Makes lines of records: a line is whole once a later step begins.
#[derive(Debug)]
pub(super) struct Lines {
    limits: Vec<u64>,
    attempt: usize,
    open: Option<Line>,
    summary: Items,
}

impl Lines {
    pub(super) fn new(outline: &Outline) -> Self {
        Self { limits: outline.limits.clone(), attempt: 0, open: None, summary: Items::new() }
    }

    /// Whether the records that come now are those of the newest attempt.
    pub(super) fn is_newest_attempt(&self) -> bool {
        self.attempt == self.limits.len()
    }

    /// The newest value of each name over the lines that were handed out.
    pub(super) fn summary(&self) -> &Items {
        &self.summary
    }

    /// Takes the next record; returns the line that it completes.
    pub(super) fn take(&mut self, record: &Record) -> Option<Line> {
        match record {
            Record::Attempt(_) => {
                self.attempt += 1;
                self.close()
            }
            Record::History { step, runtime, timestamp, values } => {
                self.history(*step, *runtime, *timestamp, values)
            }
            Record::Summary { values } => {
                self.summary.extend(values.clone());
                None
            }
            _ => None,
        }
    }

    fn history(&mut self, step: u64, runtime: f64, timestamp: f64, values: &Items) -> Option<Line> {
        let limit = self.limits.get(self.attempt.wrapping_sub(1)).copied().unwrap_or(u64::MAX);
        if step > limit {
            return None;
        }
        let mut items = values.clone();
        items.insert("_step".to_owned(), step.to_string());
        items.insert("_runtime".to_owned(), number(runtime));
        items.insert("_timestamp".to_owned(), number(timestamp));
        match &mut self.open {
            Some(open) if open.step == step => {
                open.items.extend(items);
                None
            }
            Some(open) if open.step > step => None,
            _ => {
                let closed = self.close();
                self.open = Some(Line { step, items });
                closed
            }
        }
    }

    /// The last line, where nothing follows it any more.
    pub(super) fn close(&mut self) -> Option<Line> {
        let line = self.open.take()?;
        self.summary.extend(line.items.clone());
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wandb::spool::{Spool, path_of};

    fn attempt(completed_steps: u64) -> Record {
        Record::Attempt(Box::new(Attempt { version: 1, completed_steps, ..Attempt::default() }))
    }

    fn history(step: u64, name: &str, value: &str) -> Record {
        let values = Items::from([(name.to_owned(), value.to_owned())]);
        Record::History { step, runtime: step as f64, timestamp: 0.0, values }
    }

    fn lines(records: &[Record]) -> Vec<(u64, String)> {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(dir.path(), "a");
        let spool = Spool::open(&path).unwrap();
        for record in records {
            spool.append(record);
        }
        let outline = Outline::read(&path).unwrap().unwrap();
        let mut lines = Lines::new(&outline);
        let mut found: Vec<Line> = records.iter().filter_map(|record| lines.take(record)).collect();
        found.extend(lines.close());
        found.iter().map(|line| (line.step, line.items["a"].clone())).collect()
    }

    #[test]
    fn of_a_step_the_newest_attempt_counts() {
        let records = [
            attempt(0),
            history(1, "a", "1"),
            history(2, "a", "1"),
            history(3, "a", "1"),
            attempt(2),
            history(3, "a", "2"),
            history(4, "a", "2"),
            attempt(1),
            history(2, "a", "3"),
        ];
        assert_eq!(lines(&records), [(1, "1".to_owned()), (2, "3".to_owned())]);
    }

    #[test]
    fn several_records_of_a_step_are_one_line() {
        let records = [attempt(0), history(1, "a", "1"), history(1, "b", "2"), history(1, "a", "3")];
        assert_eq!(lines(&records), [(1, "3".to_owned())]);
    }
}
