use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use durable_files::{remove_lines, set_aside};
use project_files::{Contract as _, Defects};

use crate::error::io_error;
use crate::{Error, Event, Result};

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
    /// When another process holds it, it cannot be read or written, no line of it is an event, or one was written by a newer
    /// program. A line that cannot be read stays where it is, is counted and passed over.
    pub fn open_with(path: &Path, take: impl FnMut(Event)) -> Result<(Self, Defects)> {
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
        let Parsed { whole, rest, defects } = parse(path, &file, take)?;
        if !rest.is_empty() {
            set_aside(path, "torn", &rest)?;
            file.set_len(whole).map_err(io_error("shorten", path))?;
        }
        file.sync_all().map_err(io_error("sync", path))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))?;
        file.seek(SeekFrom::End(0)).map_err(io_error("open", path))?;
        let journal = Self { file, path: path.to_owned(), synced: whole, failed: false, _lock: lock };
        Ok((journal, defects))
    }

    /// Opens the journal and gives all its events, as [`Self::open_with`].
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(path: &Path) -> Result<(Self, Vec<Event>, Defects)> {
        let mut events = Vec::new();
        let (journal, defects) = Self::open_with(path, |event| events.push(event))?;
        Ok((journal, events, defects))
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

    /// Takes the events of slides out of a journal, whose other lines keep their bytes and their order; a line that cannot be read stays
    /// unless `is_in` finds such a slide in it. Returns how many lines were taken out. A journal that does not exist has none.
    ///
    /// # Errors
    /// When another process holds the journal, or it cannot be read or written; it is then untouched.
    pub fn remove(
        path: &Path,
        is_gone: impl Fn(&str) -> bool,
        is_in: impl Fn(&[u8]) -> bool,
    ) -> Result<usize> {
        if !path.exists() {
            return Ok(0);
        }
        let _lock = take_lock(&with_suffix(path, ".lock"))?;
        let removed = remove_lines(path, |line| match serde_json::from_slice::<OfSlide<'_>>(line) {
            Ok(event) => is_gone(&event.slide_id),
            Err(_) => is_in(line),
        });
        Ok(removed?)
    }

    /// Reads a journal without taking its lock; a torn last line is left out.
    ///
    /// # Errors
    /// As [`Self::open_with`], but for the lock. A journal that does not exist is empty.
    pub fn read_with(path: &Path, take: impl FnMut(Event)) -> Result<Defects> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Defects::default()),
            Err(error) => return Err(io_error("read", path)(error)),
        };
        Ok(parse(path, &file, take)?.defects)
    }

    /// Reads all events of a journal, as [`Self::read_with`].
    ///
    /// # Errors
    /// As [`Self::read_with`].
    pub fn read(path: &Path) -> Result<(Vec<Event>, Defects)> {
        let mut events = Vec::new();
        let defects = Self::read_with(path, |event| events.push(event))?;
        Ok((events, defects))
    }
}

/// What a line is about.
#[derive(serde::Deserialize)]
struct OfSlide<'a> {
    #[serde(borrow)]
    slide_id: std::borrow::Cow<'a, str>,
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
            let holder = std::io::read_to_string(&mut lock).unwrap_or_default().trim().to_owned();
            let holder = Some(holder).filter(|holder| !holder.is_empty());
            return Err(Error::Locked { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", path)(source)),
    }
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "process {}", std::process::id()))
        .map_err(io_error("write", path))?;
    Ok(lock)
}

/// What a journal holds besides its events.
struct Parsed {
    /// Where the last whole line ends.
    whole: u64,
    /// What follows it.
    rest: Vec<u8>,
    defects: Defects,
}

/// Hands out the events of all whole lines.
fn parse(path: &Path, file: &File, mut take: impl FnMut(Event)) -> Result<Parsed> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut whole, mut line, mut defects) = (0, Vec::new(), Defects::default());
    let (mut events, mut first_failure) = (0_usize, None);
    for number in 1.. {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(io_error("read", path))?;
        if line.last() != Some(&b'\n') {
            break;
        }
        whole += length as u64;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match Event::parse(path, Some(number), &line) {
            Ok(event) => {
                events += 1;
                take(event);
            }
            Err(newer @ project_files::Error::Newer { .. }) => return Err(newer.into()),
            Err(error) => {
                defects.add(number, &error);
                first_failure.get_or_insert(error);
            }
        }
    }
    match first_failure {
        Some(error) if events == 0 => return Err(error.into()), // it is no journal
        _ => defects.torn_bytes = line.len(),
    }
    Ok(Parsed { whole, rest: line, defects })
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
            assert_eq!(torn.torn_bytes > 0, cut % line != 0);
            journal.append(&[skipped("c")]).unwrap();
            drop(journal);
            assert_eq!(ids(&path).last().map(String::as_str), Some("c"));
            assert_eq!(ids(&path).len(), cut / line + 1);
        }
        assert!(dir.path().join("ratings.jsonl.torn").exists());
    }

    #[test]
    fn events_of_slides_leave_and_all_other_bytes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.jsonl");
        let other = Event::new("b", Kind::Skipped, "s2", "Ana", Timestamp::UNIX_EPOCH);
        let (mut journal, _, _) = Journal::open(&path).unwrap();
        journal.append(&[skipped("a"), other, skipped("c")]).unwrap();
        let remove = || Journal::remove(&path, |slide| slide == "s1", |line| line.starts_with(b"s1"));
        assert!(matches!(remove(), Err(Error::Locked { .. })), "who rates is not disturbed");
        drop(journal);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.insert_str(0, "broken\n  {\"slide_id\": \"s9\", \"odd\":  1}\n");
        std::fs::write(&path, text.clone() + "s1 broken\n").unwrap();
        assert_eq!(remove().unwrap(), 3);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), [lines[0], lines[1], lines[3], ""].join("\n"));
        assert_eq!(remove().unwrap(), 0);
        assert_eq!(Journal::remove(&dir.path().join("none"), |_| true, |_| true).unwrap(), 0);
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
    fn a_broken_line_in_the_middle_is_passed_over_counted_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.jsonl");
        let line = |event: &Event| serde_json::to_string(event).unwrap();
        let text = format!("{}\n{{\"id\":\n\0\0\n{}\n", line(&skipped("a")), line(&skipped("b")));
        std::fs::write(&path, &text).unwrap();
        let (mut journal, events, defects) = Journal::open(&path).unwrap();
        assert_eq!((events.len(), defects.broken_lines, defects.examples[0].line), (2, 2, 2));
        journal.append(&[skipped("c")]).unwrap();
        drop(journal);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(&text), "nothing left the file");
        assert_eq!(ids(&path), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_no_journal_or_a_newer_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.jsonl");
        let newer = serde_json::to_string(&skipped("a"))
            .unwrap()
            .replace("\"schema_version\":1", "\"schema_version\":2");
        for (text, words) in
            [("{\"id\":\n", "not a valid rating event"), (&*format!("{newer}\n"), "of version 2")]
        {
            std::fs::write(&path, text).unwrap();
            for error in [Journal::open(&path).err(), Journal::read(&path).err()] {
                let error = error.unwrap().to_string();
                assert!(error.contains(words), "{error}");
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing was changed");
        }
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
