//! The spool of a run: a file that only grows, one record a line behind its checksum. It is written before anything is sent, so
//! that neither an outage nor a kill loses a line; the sender reads it as a queue.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use durable_files::{FileLock, io_error};

use super::record::Record;
use crate::{Error, Result};

const SUFFIX: &str = "spool";
/// How long a run that is begun waits for one that only sends the spool.
const PATIENCE: Duration = Duration::from_millis(800);
/// Older marks are of processes that died while they waited.
const MARK_AGE: Duration = Duration::from_secs(5);

/// A spool that is open for writing, by this process alone.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    writer: Mutex<Writer>,
    _lock: FileLock,
}

#[derive(Debug)]
struct Writer {
    file: File,
    /// Whether the file ends within a line, of a writer that died or of a write that failed.
    is_torn: bool,
    problem: Option<String>,
}

impl Spool {
    /// Opens the spool or creates it.
    ///
    /// # Errors
    /// When it cannot be written, or another process has it open.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        let lock =
            FileLock::try_exclusive(path)?.ok_or_else(|| Error::SpoolBusy { path: path.to_owned() })?;
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = opened.map_err(io_error("append to", path))?;
        let is_torn = ends_within_a_line(&mut file).map_err(io_error("read", path))?;
        durable_files::sync_dir(folder)?;
        let writer = Mutex::new(Writer { file, is_torn, problem: None });
        Ok(Self { path: path.to_owned(), writer, _lock: lock })
    }

    /// The same for a run that is carried on: a process that only sends what is missing is asked to let go of the spool.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn claim(path: &Path) -> Result<Self> {
        let until = Instant::now() + PATIENCE;
        let mark = mark(path);
        let opened = loop {
            match Self::open(path) {
                Err(Error::SpoolBusy { .. }) if Instant::now() < until => {
                    let _ = std::fs::write(&mark, ""); // without it, waiting is all that can be done
                    std::thread::sleep(Duration::from_millis(20));
                }
                opened => break opened,
            }
        };
        let _ = std::fs::remove_file(mark);
        opened
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record with one write. A failure is kept as the spool's problem: the caller goes on.
    pub(super) fn append(&self, record: &Record) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let written = encode(record).and_then(|line| {
            let start: &[u8] = if writer.is_torn { b"\n" } else { b"" };
            writer.file.write_all(&[start, &line].concat())
        });
        match written {
            Ok(()) => writer.is_torn = false,
            Err(error) => {
                writer.is_torn = true;
                writer.problem = Some(format!("`{}` cannot be written: {error}", self.path.display()));
            }
        }
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&self) {
        let copy = self.writer.lock().unwrap_or_else(PoisonError::into_inner).file.try_clone();
        if let Ok(file) = copy {
            let _ = file.sync_data(); // a disk that fails here fails the next append as well
        }
    }

    /// What an append failed with.
    pub(super) fn problem(&self) -> Option<String> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).problem.clone()
    }
}

fn mark(path: &Path) -> PathBuf {
    path.with_extension("wanted")
}

/// Whether a process waits to carry the run on.
pub(super) fn is_wanted(path: &Path) -> bool {
    let modified = std::fs::metadata(mark(path)).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < MARK_AGE))
}

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(record)?;
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

fn decode(line: &[u8]) -> Option<Record> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?.trim_end(), 16).ok()?;
    if crc32fast::hash(json) != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Reads a spool from its beginning, while it grows or not.
#[derive(Debug)]
pub(super) struct SpoolReader {
    reader: BufReader<File>,
    path: PathBuf,
    /// Bytes of a line whose end is not there yet.
    pending: Vec<u8>,
    /// Lines that were cut off by a kill, or changed since: they are passed over.
    pub(super) damaged: u64,
}

impl SpoolReader {
    /// # Errors
    /// When the spool cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(io_error("read", path))?;
        let reader = BufReader::with_capacity(1 << 16, file);
        Ok(Self { reader, path: path.to_owned(), pending: Vec::new(), damaged: 0 })
    }

    /// The next whole record; `None` where no further one is there yet.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Record>> {
        loop {
            self.reader.read_until(b'\n', &mut self.pending).map_err(io_error("read", &self.path))?;
            if self.pending.pop_if(|last| *last == b'\n').is_none() {
                return Ok(None);
            }
            let line = std::mem::take(&mut self.pending);
            match decode(&line) {
                Some(record) => return Ok(Some(record)),
                None => self.damaged += 1,
            }
        }
    }
}

/// The spool of this name.
pub(super) fn path_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{SUFFIX}"))
}

/// Bytes of a spool.
pub(super) fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The spools in a folder, oldest first.
///
/// # Errors
/// When the folder is there and cannot be read.
pub(super) fn all(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", folder)(error).into()),
    };
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry.map_err(io_error("read", folder))?.path();
        if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
            found.push((begun(&path), path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// When a spool was begun: its first attempt says so.
fn begun(path: &Path) -> SystemTime {
    let first = SpoolReader::open(path).and_then(|mut reader| reader.next());
    match first {
        Ok(Some(Record::Attempt(attempt))) => std::time::Duration::try_from_secs_f64(attempt.started)
            .map_or(SystemTime::UNIX_EPOCH, |since| SystemTime::UNIX_EPOCH + since),
        _ => SystemTime::UNIX_EPOCH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> Record {
        Record::Console { line: format!("line {number}\n with a break") }
    }

    fn read(path: &Path) -> (Vec<Record>, u64) {
        let mut reader = SpoolReader::open(path).unwrap();
        let mut records = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            records.push(record);
        }
        (records, reader.damaged)
    }

    #[test]
    fn a_cut_at_any_byte_costs_the_last_record_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(dir.path(), "a");
        let spool = Spool::open(&path).unwrap();
        (0..3).for_each(|number| spool.append(&line(number)));
        drop(spool);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let spool = Spool::open(&path).unwrap();
            spool.append(&line(7));
            drop(spool);
            let (records, damaged) = read(&path);
            let kept = whole[..cut].split(|byte| *byte == b'\n').count() - 1;
            // A record that lacks nothing but its line break is a whole one.
            let is_whole = whole.get(cut) == Some(&b'\n');
            let is_torn = cut > 0 && whole[cut - 1] != b'\n' && !is_whole;
            assert_eq!(records.len(), kept + 1 + usize::from(is_whole), "{cut}");
            assert_eq!((records.last(), damaged), (Some(&line(7)), u64::from(is_torn)), "{cut}");
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(dir.path(), "a");
        let spool = Spool::open(&path).unwrap();
        (0..3).for_each(|number| spool.append(&line(number)));
        drop(spool);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            std::fs::write(&path, &changed).unwrap();
            let (records, damaged) = read(&path);
            assert!(records.iter().all(|record| (0..3).any(|number| *record == line(number))), "{at}");
            assert!(damaged > 0 || records.len() < 3, "{at}");
            assert!(!records.is_empty(), "{at}");
        }
    }

    #[test]
    fn a_reader_follows_a_writer_and_two_writers_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(dir.path(), "a");
        let spool = Spool::open(&path).unwrap();
        assert!(matches!(Spool::open(&path), Err(Error::SpoolBusy { .. })));
        let mut reader = SpoolReader::open(&path).unwrap();
        assert!(reader.next().unwrap().is_none());
        for number in 0..3 {
            spool.append(&line(number));
            assert_eq!(reader.next().unwrap(), Some(line(number)));
            assert!(reader.next().unwrap().is_none());
        }
        assert_eq!(all(dir.path()).unwrap(), [path]);
    }
}
