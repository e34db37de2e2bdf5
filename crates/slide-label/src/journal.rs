use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::io_error;
use crate::{Error, Event, Result};

/// What was found at the end of a journal besides whole lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// How many bytes had been written of a line that was never finished (and so never acknowledged).
    pub bytes: usize,
}

impl Torn {
    fn of(rest: &[u8]) -> Option<Self> {
        (!rest.is_empty()).then_some(Self { bytes: rest.len() })
    }
}

/// The open journal of ratings: an append-only file of JSON lines that one process at a time may write.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// The length up to which every byte is known to be on disk.
    synced: u64,
    failed: bool,
    _lock: File,
}

impl Journal {
    /// Opens or creates the journal, takes its lock, moves a torn last line aside to `<path>.torn`, and hands out its events one by one.
    ///
    /// # Errors
    /// When another process holds it, it cannot be read or written, or a whole line is not an event.
    pub fn open_with(path: &Path, take: impl FnMut(Event)) -> Result<(Self, Option<Torn>)> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        let lock = take_lock(&with_suffix(path, ".lock"))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io_error("open", path))?;
        let (whole, rest) = parse(path, &file, take)?;
        if !rest.is_empty() {
            set_aside(&with_suffix(path, ".torn"), &rest)?;
            file.set_len(whole).map_err(io_error("shorten", path))?;
        }
        file.sync_all().map_err(io_error("sync", path))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))?;
        file.seek(SeekFrom::End(0)).map_err(io_error("open", path))?;
        let journal = Self { file, path: path.to_owned(), synced: whole, failed: false, _lock: lock };
        Ok((journal, Torn::of(&rest)))
    }

    /// Opens the journal and gives all its events, as [`Self::open_with`].
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(path: &Path) -> Result<(Self, Vec<Event>, Option<Torn>)> {
        let mut events = Vec::new();
        let (journal, torn) = Self::open_with(path, |event| events.push(event))?;
        Ok((journal, events, torn))
    }

    /// Appends the events and returns once they are on disk.
    ///
    /// After a failed write the file is cut back to what was acknowledged, so that the next append starts on a line of its own.
    ///
    /// # Errors
    /// When nothing of it could be made durable; after a failed sync the journal takes nothing more, because what is on disk is unknown.
    pub fn append(&mut self, events: &[Event]) -> Result<()> {
        if self.failed {
            return Err(Error::Failed);
        }
        let mut lines = Vec::with_capacity(events.len() * 256);
        for event in events {
            serde_json::to_writer(&mut lines, event)
                .map_err(|source| Error::Invalid(format!("the event cannot be written: {source}")))?;
            lines.push(b'\n');
        }
        if let Err(source) = self.file.write_all(&lines) {
            let restored = self.file.set_len(self.synced).and_then(|()| self.file.seek(SeekFrom::End(0)));
            self.failed = restored.is_err();
            return Err(io_error("append to", &self.path)(source));
        }
        if let Err(source) = self.file.sync_data() {
            self.failed = true;
            return Err(io_error("sync", &self.path)(source));
        }
        self.synced += lines.len() as u64;
        Ok(())
    }

    /// Reads a journal without taking its lock; a torn last line is left out.
    ///
    /// # Errors
    /// When it cannot be read or a whole line is not an event. A journal that does not exist is empty.
    pub fn read_with(path: &Path, take: impl FnMut(Event)) -> Result<Option<Torn>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", path)(error)),
        };
        Ok(Torn::of(&parse(path, &file, take)?.1))
    }

    /// Reads all events of a journal, as [`Self::read_with`].
    ///
    /// # Errors
    /// As [`Self::read_with`].
    pub fn read(path: &Path) -> Result<(Vec<Event>, Option<Torn>)> {
        let mut events = Vec::new();
        let torn = Self::read_with(path, |event| events.push(event))?;
        Ok((events, torn))
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The lock is a file of its own: the journal itself may be replaced by people (restored from a backup) while nothing runs.
fn take_lock(path: &Path) -> Result<File> {
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(io_error("open", path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = lock.read_to_string(&mut holder);
            let holder = Some(holder.trim().to_owned()).filter(|text| read.is_ok() && !text.is_empty());
            return Err(Error::Locked { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", path)(source)),
    }
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "process {}", std::process::id()))
        .map_err(io_error("write", path))?;
    Ok(lock)
}

fn set_aside(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file =
        OpenOptions::new().append(true).create(true).open(path).map_err(io_error("append to", path))?;
    file.write_all(bytes)
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_data())
        .map_err(io_error("append to", path))
}

/// Hands out the events of all whole lines; returns where the last of them ends, and the bytes after it.
fn parse(path: &Path, file: &File, mut take: impl FnMut(Event)) -> Result<(u64, Vec<u8>)> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut whole, mut line) = (0, Vec::new());
    for number in 1.. {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(io_error("read", path))?;
        if line.last() != Some(&b'\n') {
            break;
        }
        whole += length as u64;
        if !line.iter().all(u8::is_ascii_whitespace) {
            take(serde_json::from_slice(&line).map_err(|error| Error::Corrupt {
                path: path.to_owned(),
                line: number,
                reason: error.to_string(),
            })?);
        }
    }
    Ok((whole, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use jiff::Timestamp;

    fn skipped(id: &str) -> Event {
        Event::new(id, Kind::Skipped, "s1", "Ana", Timestamp::UNIX_EPOCH)
    }

    fn ids(path: &Path) -> Vec<String> {
        Journal::read(path).unwrap().0.into_iter().map(|event| event.id).collect()
    }

    #[test]
    fn a_file_cut_at_any_byte_keeps_every_whole_line_and_takes_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.jsonl");
        let (mut journal, _, _) = Journal::open(&path).unwrap();
        journal.append(&[skipped("a"), skipped("b")]).unwrap();
        drop(journal);
        let bytes = std::fs::read(&path).unwrap();
        let line = bytes.len() / 2;
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let (mut journal, events, torn) = Journal::open(&path).unwrap();
            assert_eq!(events.len(), cut / line, "cut at {cut}");
            assert_eq!(torn.is_some(), cut % line != 0);
            journal.append(&[skipped("c")]).unwrap();
            drop(journal);
            assert_eq!(ids(&path).last().map(String::as_str), Some("c"));
            assert_eq!(ids(&path).len(), cut / line + 1);
        }
        assert!(dir.path().join("ratings.jsonl.torn").exists());
    }

    #[test]
    fn a_second_writer_is_refused_and_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.jsonl");
        let held = Journal::open(&path).unwrap();
        let message = Journal::open(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        drop(held);
        assert!(Journal::open(&path).is_ok());
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.jsonl");
        std::fs::write(&path, "\n{\"id\":\n\0\0\0\n").unwrap();
        assert!(matches!(Journal::open(&path), Err(Error::Corrupt { line: 2, .. })));
        assert!(matches!(Journal::read(&path), Err(Error::Corrupt { line: 2, .. })));
        assert_eq!(std::fs::read(&path).unwrap().len(), 12, "nothing was changed");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_takes_no_more_refuses_and_loses_nothing() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.jsonl");
        let (mut journal, _, _) = Journal::open(&path).unwrap();
        journal.append(&[skipped("a")]).unwrap();
        journal.file = full;
        assert!(matches!(journal.append(&[skipped("b")]), Err(Error::Io { action: "append to", .. })));
        assert_eq!(ids(&path), ["a"]);
    }
}
