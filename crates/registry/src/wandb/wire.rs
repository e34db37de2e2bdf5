//! The service's offline format: a LevelDB-style log of protobuf records.

use std::io::{self, Write};

use super::api::entries;
use super::history::{Line, Outline};
use super::media::panels;
use super::record::Items;
use crate::protobuf::{bytes, number, text};

const BLOCK: usize = 32 * 1024;
const CHUNK_HEADER: usize = 7;
const FILE_HEADER: [u8; 7] = [b':', b'W', b'&', b'B', 0xE1, 0xBE, 0];

/// Writes records to an offline file; a failure is told at its end.
pub(super) struct Log<W> {
    file: W,
    position: usize,
    records: u64,
    outcome: io::Result<()>,
}

impl<W: Write> Log<W> {
    /// Begins a file for a run.
    pub(super) fn new(file: W, outline: &Outline) -> Self {
        let mut log = Self { file, position: 0, records: 0, outcome: Ok(()) };
        log.write(&FILE_HEADER);
        let (mut version, mut header) = (Vec::new(), Vec::new());
        text(&mut version, 1, env!("CARGO_PKG_VERSION"));
        bytes(&mut header, 1, &version);
        log.record(21, &header);
        log.record(17, &run(outline));
        log
    }

    /// Whether all was written.
    pub(super) fn finish(self) -> io::Result<()> {
        self.outcome
    }

    pub(super) fn history(&mut self, line: &Line) {
        let (mut history, mut step) = (Vec::new(), Vec::new());
        values(&mut history, 1, &line.items);
        number(&mut step, 1, line.step);
        bytes(&mut history, 2, &step);
        self.record(2, &history);
    }

    pub(super) fn summary(&mut self, items: &Items) {
        let mut summary = Vec::new();
        values(&mut summary, 1, items);
        self.record(3, &summary);
    }

    /// A sample of the machine; the names lose the `system.` that the service's client puts before them again.
    pub(super) fn event(&mut self, at: f64, items: &Items) {
        let bare = |(name, value): (&String, &String)| {
            (name.strip_prefix("system.").unwrap_or(name).to_owned(), value.clone())
        };
        let mut stats = Vec::new();
        bytes(&mut stats, 2, &timestamp(at));
        values(&mut stats, 3, &items.iter().map(bare).collect());
        self.record(7, &stats);
    }

    pub(super) fn console(&mut self, line: &str) {
        // The service's client puts a time of its own before each line.
        let bare = line.split_once(' ').map_or(line, |(_, rest)| rest);
        let mut output = Vec::new();
        number(&mut output, 1, 1);
        text(&mut output, 3, &format!("{bare}\n"));
        self.record(13, &output);
    }

    pub(super) fn file(&mut self, name: &str) {
        let (mut item, mut files) = (Vec::new(), Vec::new());
        text(&mut item, 1, name);
        bytes(&mut files, 1, &item);
        self.record(6, &files);
    }

    /// The machine is about to end the run.
    pub(super) fn preempting(&mut self) {
        self.record(23, &[]);
    }

    pub(super) fn exit(&mut self, code: i32) {
        let mut exit = Vec::new();
        if code != 0 {
            number(&mut exit, 1, u64::from(code.unsigned_abs()));
        }
        self.record(18, &exit);
    }

    /// A part of a record, which tells by its kind which part it is.
    fn chunk(&mut self, kind: u8, chunk: &[u8]) {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[kind]);
        hasher.update(chunk);
        self.write(&hasher.finalize().to_le_bytes());
        self.write(&(chunk.len() as u16).to_le_bytes()); // at most 32 KiB
        self.write(&[kind]);
        self.write(chunk);
    }

    fn record(&mut self, field: u64, content: &[u8]) {
        let mut record = Vec::new();
        self.records += 1;
        number(&mut record, 1, self.records);
        bytes(&mut record, field, content);
        let mut rest: &[u8] = &record;
        let mut is_first = true;
        loop {
            let left = BLOCK - self.position % BLOCK;
            if left < CHUNK_HEADER {
                self.write(&[0; CHUNK_HEADER][..left]);
                continue;
            }
            let (chunk, after) = rest.split_at(rest.len().min(left - CHUNK_HEADER));
            self.chunk(kind(is_first, after.is_empty()), chunk);
            (rest, is_first) = (after, false);
            if rest.is_empty() {
                return;
            }
        }
    }

    fn write(&mut self, content: &[u8]) {
        self.position += content.len();
        if self.outcome.is_ok() {
            self.outcome = self.file.write_all(content);
        }
    }
}

/// Which part of a record a chunk is.
fn kind(is_first: bool, is_last: bool) -> u8 {
    match (is_first, is_last) {
        (true, true) => 1,
        (true, false) => 2,
        (false, false) => 3,
        (false, true) => 4,
    }
}

/// The configuration, and how the run's page is to show its charts.
fn settings(outline: &Outline) -> Vec<u8> {
    let mut settings = Vec::new();
    for (key, entry) in entries(outline) {
        if key == "_wandb" {
            continue; // the service's client makes its own
        }
        let mut update = Vec::new();
        text(&mut update, 1, &key);
        text(&mut update, 16, &entry["value"].to_string());
        bytes(&mut settings, 1, &update);
    }
    for (name, panel) in panels(&outline.last.charts) {
        let mut update = Vec::new();
        for key in ["_wandb", "visualize", &name] {
            text(&mut update, 2, key);
        }
        text(&mut update, 16, &panel.to_string());
        bytes(&mut settings, 1, &update);
    }
    settings
}

fn run(outline: &Outline) -> Vec<u8> {
    let info = &outline.last;
    let mut run = Vec::new();
    text(&mut run, 1, &outline.id);
    text(&mut run, 2, &info.entity);
    text(&mut run, 3, &info.project);
    bytes(&mut run, 4, &settings(outline));
    text(&mut run, 6, &info.group);
    text(&mut run, 7, "train");
    text(&mut run, 8, &info.name);
    text(&mut run, 9, &info.notes);
    for tag in &info.tags {
        text(&mut run, 10, tag);
    }
    text(&mut run, 13, &info.host);
    bytes(&mut run, 17, &timestamp(outline.first.started));
    run
}

fn values(out: &mut Vec<u8>, field: u64, items: &Items) {
    for (key, value) in items {
        let mut item = Vec::new();
        text(&mut item, 1, key);
        text(&mut item, 16, value);
        bytes(out, field, &item);
    }
}

fn timestamp(seconds: f64) -> Vec<u8> {
    let mut out = Vec::new();
    number(&mut out, 1, seconds.max(0.0) as u64);
    number(&mut out, 2, (seconds.max(0.0).fract() * 1e9) as u64);
    out
}
