//! TensorBoard's event files: records of protobuf, each between checksums.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use durable_files::io_error;

use super::{Cell, Confusion, End, Finished, Picture, Table, Tracker};
use crate::Result;
use crate::protobuf::{bytes, double, float, number, text};

/// Writes what is logged as an event file that TensorBoard reads while it grows.
///
/// A resumed run begins a file of its own, which says from which step on the lines of earlier ones are void.
#[derive(Debug)]
pub struct EventFiles {
    path: PathBuf,
    state: Mutex<(File, Option<String>)>,
}

impl EventFiles {
    /// Creates a file in `folder`. `completed_steps` is that of the checkpoint that the run carries on from, or 0.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn start(folder: &Path, host: &str, completed_steps: u64) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        let host = if host.is_empty() { "localhost" } else { host };
        let name = format!("events.out.tfevents.{:010}.{host}.{}", now() as u64, std::process::id());
        let (path, file) = create(folder, &name)?;
        let files = Self { path, state: Mutex::new((file, None)) };
        let mut version = begun(0);
        bytes(&mut version, 3, b"brain.Event:2");
        files.append(&version);
        if completed_steps > 0 {
            let mut restart = begun(completed_steps + 1);
            bytes(&mut restart, 7, &[1 << 3, 1]); // SessionLog.START
            files.append(&restart);
        }
        Ok(files)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn scalars(&self, step: u64, values: &BTreeMap<String, f64>) {
        let mut summary = Vec::new();
        for (name, value) in values {
            let mut scalar = Vec::new();
            bytes(&mut scalar, 1, name.as_bytes());
            float(&mut scalar, 2, *value as f32);
            bytes(&mut summary, 1, &scalar);
        }
        self.write(step, &summary);
    }

    fn write(&self, step: u64, summary: &[u8]) {
        let mut event = begun(step);
        bytes(&mut event, 5, summary);
        self.append(&event);
    }

    /// Appends a record with one write; a failure is told at the end.
    fn append(&self, event: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let length = (event.len() as u64).to_le_bytes();
        let record = [&length[..], &masked(&length), event, &masked(event)].concat();
        if let Err(error) = state.0.write_all(&record) {
            state.1 = Some(format!("`{}` cannot be written: {error}", self.path.display()));
        }
    }
}

impl Tracker for EventFiles {
    fn log(&self, step: u64, values: &BTreeMap<String, f64>) {
        self.scalars(step, values);
    }

    fn table(&self, step: u64, name: &str, table: &Table) {
        let mut summary = Vec::new();
        bytes(&mut summary, 1, &markdown(name, &table.markdown()));
        for (index, row) in table.rows.iter().enumerate() {
            for picture in row.iter().filter_map(Cell::picture) {
                bytes(&mut summary, 1, &image(&format!("{name}/{index}"), picture));
            }
        }
        self.write(step, &summary);
    }

    fn confusion(&self, step: u64, name: &str, confusion: &Confusion) {
        let mut summary = Vec::new();
        bytes(&mut summary, 1, &markdown(name, &confusion.square().markdown()));
        if let Some(content) = histogram(&format!("{name}/error"), confusion) {
            bytes(&mut summary, 1, &content);
        }
        self.write(step, &summary);
    }

    fn summary(&self, _values: &BTreeMap<String, f64>) {}

    fn system(&self, _values: &BTreeMap<String, f64>) {}

    fn console(&self, _line: &str) {}

    fn file(&self, _name: &str, _content: &[u8]) {}

    fn finish(&self, _end: End, _cancel: &dyn Fn() -> bool) -> Finished {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = state.1.clone().or_else(|| state.0.sync_data().err().map(|error| error.to_string()));
        Finished { complete: problem.is_none(), problem, ..Finished::default() }
    }
}

/// A file that was not there: resumed within the same second by a process of the same number, the next name is taken.
fn create(folder: &Path, name: &str) -> Result<(PathBuf, File)> {
    let mut number = 0;
    loop {
        let path = folder.join(format!("{name}.{number}"));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(io_error("create", &path)(error).into()),
        }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// An event of now, for a step.
fn begun(step: u64) -> Vec<u8> {
    let mut event = Vec::new();
    double(&mut event, 1, now());
    number(&mut event, 2, step);
    event
}

/// A text of Markdown under a tag.
fn markdown(tag: &str, content: &str) -> Vec<u8> {
    let (mut plugin, mut metadata, mut tensor, mut value) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    text(&mut plugin, 1, "text");
    bytes(&mut metadata, 1, &plugin);
    number(&mut tensor, 1, 7); // the type of texts
    bytes(&mut tensor, 2, &[]); // one of them
    bytes(&mut tensor, 8, content.as_bytes());
    bytes(&mut value, 1, tag.as_bytes());
    bytes(&mut value, 8, &tensor);
    bytes(&mut value, 9, &metadata);
    value
}

/// A picture under a tag.
fn image(tag: &str, picture: &Picture) -> Vec<u8> {
    let (mut content, mut value) = (Vec::new(), Vec::new());
    number(&mut content, 1, u64::from(picture.height));
    number(&mut content, 2, u64::from(picture.width));
    number(&mut content, 3, 3); // RGB
    bytes(&mut content, 4, &picture.png);
    bytes(&mut value, 1, tag.as_bytes());
    bytes(&mut value, 4, &content);
    value
}

/// How far predictions lie above their classes: how often each distance occurs, and sums over all of them.
#[derive(Default)]
struct Errors {
    counts: BTreeMap<i64, u64>,
    sum: f64,
    squares: f64,
}

impl Errors {
    fn of(confusion: &Confusion) -> Self {
        let mut errors = Self::default();
        for (actual, row) in (0i64..).zip(&confusion.counts) {
            for (predicted, count) in (0i64..).zip(row).filter(|(_, count)| **count > 0) {
                let error = predicted - actual;
                *errors.counts.entry(error).or_default() += count;
                errors.sum += (error * *count as i64) as f64;
                errors.squares += (error * error * *count as i64) as f64;
            }
        }
        errors
    }
}

/// How far predictions lie above their classes, in classes; `None` where nothing was counted.
fn histogram(tag: &str, confusion: &Confusion) -> Option<Vec<u8>> {
    let Errors { counts, sum, squares } = Errors::of(confusion);
    let (first, last) = (*counts.keys().next()?, *counts.keys().next_back()?);
    let packed = |values: Vec<f64>| values.into_iter().flat_map(f64::to_le_bytes).collect::<Vec<u8>>();
    // A bucket ends half a class above its error; the first one is empty and tells where the second one begins.
    let limits = std::iter::once(first as f64 - 0.5).chain((first..=last).map(|error| error as f64 + 0.5));
    let within = (first..=last).map(|error| *counts.get(&error).unwrap_or(&0) as f64);
    let (mut content, mut value) = (Vec::new(), Vec::new());
    let count = counts.values().sum::<u64>() as f64;
    for (field, number) in [(1, first as f64), (2, last as f64), (3, count), (4, sum), (5, squares)] {
        double(&mut content, field, number);
    }
    bytes(&mut content, 6, &packed(limits.collect()));
    bytes(&mut content, 7, &packed(std::iter::once(0.0).chain(within).collect()));
    bytes(&mut value, 1, tag.as_bytes());
    bytes(&mut value, 5, &content);
    Some(value)
}

/// The checksum of a record's part: CRC-32C, rotated and shifted, so that a checksum over checksums is no trap.
fn masked(content: &[u8]) -> [u8; 4] {
    (crc32c(content).rotate_right(15).wrapping_add(0xA282_EAD8)).to_le_bytes()
}

/// CRC-32C (Castagnoli), bit by bit: event files are small.
fn crc32c(content: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
    !content.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }
}
