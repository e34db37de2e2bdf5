//! Reads a spool and gathers what the service has not got yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::api::Existing;
use super::history::{Counts, Line, Lines, Outline};
use super::record::{Items, Record, object};
use super::spool::SpoolReader;
use crate::Result;

/// A request stays well below what the service takes (10 MiB).
const MAX_BYTES: usize = 1 << 20;
/// Longer console lines are cut.
const MAX_CONSOLE: usize = 1 << 16;

/// What the official client reports of a run that a person ended.
const STOPPED: i32 = 255;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) exit_code: i32,
    pub(super) was_stopped: bool,
}

impl Ending {
    /// The exit status that the service is told: it shows this one as killed.
    pub(super) fn shown_code(self) -> i32 {
        if self.was_stopped { STOPPED } else { self.exit_code }
    }
}

/// What is to be sent next, and what lies before it in the spool.
#[derive(Debug)]
pub(super) struct Batch {
    reader: SpoolReader,
    lines: Lines,
    /// What the service has.
    pub(super) counts: Counts,
    /// Names in the service's last line, where the spool may know more of that step.
    tail: BTreeSet<String>,
    seen: Counts,
    history: Vec<String>,
    last_step: Option<u64>,
    events: Vec<String>,
    console: Vec<String>,
    bytes: usize,
    /// Files that were not uploaded yet, with their hashes.
    pub(super) files: BTreeMap<String, String>,
    /// How the newest attempt ended, once that was read.
    pub(super) ending: Option<Ending>,
    /// Whether the service is to be told that the machine is about to end the run.
    is_preempting: bool,
    is_exhausted: bool,
    runtime: f64,
}

impl Batch {
    /// Begins at the spool's first line.
    ///
    /// # Errors
    /// When the spool cannot be opened.
    pub(super) fn new(
        spool: &Path,
        outline: &Outline,
        counts: Counts,
        existing: Option<&Existing>,
    ) -> Result<Self> {
        let is_told = existing.is_some_and(|existing| existing.counts.history == counts.history);
        Ok(Self {
            reader: SpoolReader::open(spool)?,
            lines: Lines::new(outline),
            counts,
            tail: existing.filter(|_| is_told).map(|existing| existing.tail.clone()).unwrap_or_default(),
            seen: Counts::default(),
            history: Vec::new(),
            last_step: counts.last_step,
            events: Vec::new(),
            console: Vec::new(),
            bytes: 0,
            files: BTreeMap::new(),
            ending: None,
            is_preempting: false,
            is_exhausted: false,
            runtime: 0.0,
        })
    }

    pub(super) fn damaged(&self) -> u64 {
        self.reader.damaged
    }

    /// Gathers until the batch is full or the spool has no more. `is_ending` says that nothing is written any more, so that the
    /// last line is whole too.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub(super) fn fill(&mut self, is_ending: bool) -> Result<()> {
        while self.bytes < MAX_BYTES {
            let Some(record) = self.reader.next()? else {
                if is_ending && let Some(line) = self.lines.close() {
                    self.line(&line);
                }
                self.is_exhausted = is_ending;
                return Ok(());
            };
            if let Some(line) = self.lines.take(&record) {
                self.line(&line);
            }
            self.take(record);
        }
        Ok(())
    }

    fn take_console(&mut self, mut line: String) {
        self.seen.console += 1;
        if self.seen.console > self.counts.console {
            line.truncate(line.floor_char_boundary(MAX_CONSOLE));
            self.bytes += line.len();
            self.console.push(line);
        }
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Event { runtime, timestamp, values } => {
                self.seen.events += 1;
                if self.seen.events > self.counts.events {
                    self.events.push(event(runtime, timestamp, values));
                    self.bytes += self.events.last().map_or(0, String::len);
                }
            }
            Record::Console { line } => self.take_console(line),
            Record::File { name, sha256 } => {
                self.files.insert(name, sha256);
            }
            Record::Preempting => self.is_preempting = self.lines.is_newest_attempt(),
            Record::End { exit_code, was_stopped } if self.lines.is_newest_attempt() => {
                self.ending = Some(Ending { exit_code, was_stopped });
            }
            _ => {}
        }
    }

    /// A whole line: sent where its step lies behind what the service has, or where the service's last line lacks some of it.
    fn line(&mut self, line: &Line) {
        self.seen.history += 1;
        self.runtime = line.items.get("_runtime").and_then(|text| text.parse().ok()).unwrap_or(self.runtime);
        let is_new = match self.counts.last_step {
            Some(last) => line.step > last,
            None => self.seen.history > self.counts.history,
        };
        let is_tail = self.counts.last_step == Some(line.step) && !self.tail.is_empty();
        if is_tail && line.items.keys().any(|name| !self.tail.contains(name)) {
            self.counts.history -= 1; // written again, at its own place
        } else if !is_new {
            return;
        }
        let text = line.text();
        self.bytes += text.len();
        self.history.push(text);
        self.last_step = Some(line.step);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.history.is_empty() && self.events.is_empty() && self.console.is_empty() && !self.is_preempting
    }

    /// Whether everything was gathered, and nothing will follow.
    pub(super) fn is_last(&self) -> bool {
        self.is_exhausted
    }

    /// The `file_stream` request for what was gathered.
    pub(super) fn body(&self) -> Map<String, Value> {
        let mut files = Map::new();
        let streams = [
            ("wandb-history.jsonl", self.counts.history, &self.history),
            ("wandb-events.jsonl", self.counts.events, &self.events),
            ("output.log", self.counts.console, &self.console),
        ];
        for (name, offset, content) in streams.into_iter().filter(|(_, _, content)| !content.is_empty()) {
            files.insert(name.to_owned(), json!({"offset": offset, "content": content}));
        }
        if !self.history.is_empty() {
            files.insert("wandb-summary.json".to_owned(), json!({"offset": 0, "content": [self.summary()]}));
        }
        let mut body = Map::new();
        if !files.is_empty() {
            body.insert("files".to_owned(), Value::Object(files));
        }
        if self.is_preempting {
            body.insert("preempting".to_owned(), Value::Bool(true));
        }
        body
    }

    /// The summary, as a text of JSON.
    pub(super) fn summary(&self) -> String {
        let mut summary: Items = self.lines.summary().clone();
        summary.insert("_wandb".to_owned(), format!("{{\"runtime\":{:.0}}}", self.runtime));
        object(&summary)
    }

    /// The service has taken what was gathered; how many history lines that were.
    pub(super) fn taken(&mut self) -> u64 {
        let lines = self.history.len() as u64;
        self.counts.history += lines;
        if lines > 0 {
            self.counts.last_step = self.last_step;
            self.tail.clear();
        }
        self.counts.events += self.events.len() as u64;
        self.counts.console += self.console.len() as u64;
        self.history.clear();
        self.events.clear();
        self.console.clear();
        self.is_preempting = false;
        self.bytes = 0;
        lines
    }
}

fn event(runtime: f64, timestamp: f64, mut values: Items) -> String {
    values.insert("_wandb".to_owned(), "true".to_owned());
    values.insert("_runtime".to_owned(), super::record::number(runtime));
    values.insert("_timestamp".to_owned(), super::record::number(timestamp));
    object(&values)
}
