use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use durable_files::{append_json_lines, for_each_line, io_error, replace_lines, set_aside, write_json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Result};

/// A file format that crosses a boundary between two stages: one JSON document, or a log with one JSON value a line.
///
/// Reading refuses a version above [`VERSION`](Self::VERSION) by name, turns older ones into the present one with
/// [`migrate`](Self::migrate), and tolerates unknown fields. Writing is atomic; appending holds the log's lock.
pub trait Contract: Serialize + DeserializeOwned {
    /// What a person calls it, as in `correction`.
    const NAME: &'static str;
    /// The version that this program writes, from 1.
    const VERSION: u32;

    /// The version that a stored value states; a value that states none is of version 1.
    fn version_in(json: &[u8]) -> u32 {
        stated(json).unwrap_or(1)
    }

    /// Turns a stored value of an older `version` into one of [`VERSION`](Self::VERSION). Called only for older ones.
    ///
    /// # Errors
    /// Says in words what the older value lacks.
    fn migrate(_version: u32, value: Value) -> std::result::Result<Value, String> {
        Ok(value)
    }

    /// Checks what the types cannot express.
    ///
    /// # Errors
    /// Says in words which field is outside its domain.
    fn check(&self) -> std::result::Result<(), String> {
        Ok(())
    }

    /// Reads one value that stands in `path`, in a log at `line`.
    ///
    /// # Errors
    /// When it is not valid, or of a newer version.
    fn parse(path: &Path, line: Option<usize>, json: &[u8]) -> Result<Self> {
        parse(path, line, json)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When the file cannot be read, is not valid, or is of a newer version.
    fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(io_error("read", path))?;
        parse(path, None, &bytes)
    }

    /// As [`read`](Self::read); `None` where there is no such file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_if_present(path: &Path) -> Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => parse(path, None, &bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", path)(error).into()),
        }
    }

    /// Writes a document, atomically.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write(&self, path: &Path) -> Result<()> {
        Ok(write_json(path, self)?)
    }

    /// Hands out the entries of a log one by one; see [`read_log`](Self::read_log).
    ///
    /// # Errors
    /// As [`read_log`](Self::read_log).
    fn for_each(path: &Path, take: impl FnMut(Self)) -> Result<Defects> {
        for_each_entry(path, take)
    }

    /// As [`for_each`](Self::for_each), until `take` breaks; what comes then is not read.
    ///
    /// # Errors
    /// As [`read_log`](Self::read_log).
    fn for_each_until(path: &Path, take: impl FnMut(Self) -> ControlFlow<()>) -> Result<Defects> {
        until_entry(path, Newer::Refuse, take)
    }

    /// Reads a log. A torn last line is warned of; a line that cannot be read is warned of, counted and passed over, and stays in
    /// the file.
    ///
    /// # Errors
    /// When the file cannot be read, a line is of a newer version, or no line at all is valid.
    fn read_log(path: &Path) -> Result<Log<Self>> {
        let mut entries = Vec::new();
        let defects = Self::for_each(path, |entry| entries.push(entry))?;
        Ok(Log { entries, defects })
    }

    /// As [`read_log`](Self::read_log); a log that does not exist is empty.
    ///
    /// # Errors
    /// As [`read_log`](Self::read_log).
    fn read_log_if_present(path: &Path) -> Result<Log<Self>> {
        if path.exists() { Self::read_log(path) } else { Ok(Log::default()) }
    }

    /// Reads a log that programs of several versions append to, such as the corrections of several services: a line of a newer version is
    /// counted, warned of and passed over like one that cannot be read, so that it stops none of the others. A log that does not exist is
    /// empty.
    ///
    /// # Errors
    /// When the file cannot be read, or not one line of it is valid or of a newer version.
    fn read_shared_log_if_present(path: &Path) -> Result<Log<Self>> {
        if !path.exists() {
            return Ok(Log::default());
        }
        let mut entries = Vec::new();
        let defects = until_entry(path, Newer::SetAside, |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        })?;
        Ok(Log { entries, defects })
    }

    /// The lines of a log that are of a newer version, as they stand there; a log that does not exist has none.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn newer_lines(path: &Path) -> Result<Vec<u8>> {
        let mut lines = Vec::new();
        if path.exists() {
            for_each_line(path, |_, bytes| {
                if Self::version_in(bytes) > Self::VERSION {
                    lines.extend_from_slice(bytes);
                    lines.push(b'\n');
                }
                Ok::<(), Error>(())
            })?;
        }
        Ok(lines)
    }

    /// Appends entries to a log and returns once they are on disk; several processes may do so at once.
    ///
    /// # Errors
    /// When the log cannot be locked or written; what was there stays.
    fn append(path: &Path, entries: &[Self]) -> Result<()> {
        Ok(append_json_lines(path, entries)?)
    }

    /// Replaces a log, atomically. Lines that cannot be read are first kept in `<path>.broken`.
    ///
    /// # Errors
    /// When it cannot be written, or holds lines of a newer version; the old log is then untouched.
    fn replace_log<'a>(path: &Path, entries: impl IntoIterator<Item = &'a Self>) -> Result<()>
    where
        Self: 'a,
    {
        if path.exists() {
            keep_broken_lines::<Self>(path, Newer::Refuse)?;
        }
        replace(path, Vec::new(), entries)
    }

    /// As [`replace_log`](Self::replace_log), of a log that programs of several versions append to: lines of a newer version stay, as they
    /// are.
    ///
    /// # Errors
    /// When it cannot be written; the old log is then untouched.
    fn replace_shared_log<'a>(path: &Path, entries: impl IntoIterator<Item = &'a Self>) -> Result<()>
    where
        Self: 'a,
    {
        if path.exists() {
            keep_broken_lines::<Self>(path, Newer::SetAside)?;
        }
        replace(path, Self::newer_lines(path)?, entries)
    }
}

/// Writes a log of the lines that stay as they are and of entries.
fn replace<'a, T: Contract + 'a>(
    path: &Path,
    mut bytes: Vec<u8>,
    entries: impl IntoIterator<Item = &'a T>,
) -> Result<()> {
    for entry in entries {
        let failed = |source| durable_files::Error::Encode { path: path.to_owned(), source };
        serde_json::to_writer(&mut bytes, entry).map_err(failed)?;
        bytes.push(b'\n');
    }
    Ok(replace_lines(path, &bytes)?)
}

/// What [`Contract::for_each`] does where a contract does not say otherwise: hands out every entry of a log.
///
/// # Errors
/// As [`Contract::read_log`].
pub fn for_each_entry<T: Contract>(path: &Path, mut take: impl FnMut(T)) -> Result<Defects> {
    until_entry(path, Newer::Refuse, |entry| {
        take(entry);
        ControlFlow::Continue(())
    })
}

/// Why no further line is read.
enum Stop {
    /// Nobody wants it.
    Enough,
    Failed(Error),
}

impl From<durable_files::Error> for Stop {
    fn from(error: durable_files::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// What a line of a newer version does to the reading of its log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Newer {
    Refuse,
    SetAside,
}

/// Hands out entries until `take` breaks.
fn until_entry<T: Contract>(
    path: &Path,
    on_newer: Newer,
    mut take: impl FnMut(T) -> ControlFlow<()>,
) -> Result<Defects> {
    let (mut defects, mut whole) = (Defects::default(), 0_usize);
    let mut first_failure = None;
    let read = for_each_line(path, |line, bytes| match parse(path, Some(line), bytes) {
        Ok(value) => {
            whole += 1;
            if take(value).is_break() { Err(Stop::Enough) } else { Ok(()) }
        }
        Err(newer @ Error::Newer { .. }) if on_newer == Newer::Refuse => Err(Stop::Failed(newer)),
        Err(newer @ Error::Newer { .. }) => {
            whole += 1; // not ours to read, and yet of this log
            defects.add(line, &newer);
            Ok(())
        }
        Err(error) => {
            defects.add(line, &error);
            first_failure.get_or_insert(error);
            Ok(())
        }
    });
    defects.torn_bytes = match read {
        Ok(tail) => tail.torn_bytes,
        Err(Stop::Enough) => 0,
        Err(Stop::Failed(error)) => return Err(error),
    };
    if let Some(error) = first_failure.filter(|_| whole == 0) {
        return Err(error); // the whole file is something else
    }
    defects.warn(path, T::NAME);
    Ok(defects)
}

fn stated(json: &[u8]) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Stated {
        schema_version: Option<u64>,
    }
    let version = serde_json::from_slice::<Stated>(json).ok()?.schema_version?;
    Some(u32::try_from(version).unwrap_or(u32::MAX))
}

/// Reads one value: its version first, because only that says how to read the rest.
fn parse<T: Contract>(path: &Path, line: Option<usize>, bytes: &[u8]) -> Result<T> {
    let invalid = |source| Error::Invalid { path: path.to_owned(), line, contract: T::NAME, source };
    let refused = |reason| Error::Value { path: path.to_owned(), line, contract: T::NAME, reason };
    let found = T::version_in(bytes);
    if found > T::VERSION {
        let path = path.to_owned();
        return Err(Error::Newer { path, line, contract: T::NAME, found, known: T::VERSION });
    }
    let parsed: T = if found < T::VERSION {
        let value = serde_json::from_slice(bytes).map_err(invalid)?;
        serde_json::from_value(T::migrate(found, value).map_err(refused)?).map_err(invalid)?
    } else {
        serde_json::from_slice(bytes).map_err(invalid)?
    };
    parsed.check().map_err(refused)?;
    Ok(parsed)
}

fn keep_broken_lines<T: Contract>(path: &Path, on_newer: Newer) -> Result<()> {
    for_each_line(path, |line, bytes| match parse::<T>(path, Some(line), bytes) {
        Err(newer @ Error::Newer { .. }) if on_newer == Newer::Refuse => Err(newer),
        Ok(_) | Err(Error::Newer { .. }) => Ok(()),
        Err(_) => Ok(set_aside(path, "broken", bytes)?),
    })
    .map(drop)
}

/// How many values of each version a file holds, for an overview; lines that are not JSON are left out.
///
/// # Errors
/// When the file cannot be read.
pub fn versions_of<T: Contract>(path: &Path, is_log: bool) -> Result<BTreeMap<u32, usize>> {
    let mut versions = BTreeMap::new();
    let mut count = |bytes: &[u8]| {
        if serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
            *versions.entry(T::version_in(bytes)).or_default() += 1;
        }
    };
    if is_log {
        for_each_line(path, |_, bytes| {
            count(bytes);
            Ok::<(), Error>(())
        })?;
    } else {
        count(&std::fs::read(path).map_err(io_error("read", path))?);
    }
    Ok(versions)
}

/// A line of a log that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenLine {
    /// Its number, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// What of a log could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Defects {
    /// Bytes of a last line that was never finished, and so never acknowledged.
    pub torn_bytes: usize,
    /// How many lines cannot be read.
    pub broken_lines: usize,
    /// The first of them.
    pub examples: Vec<BrokenLine>,
}

impl Defects {
    const EXAMPLES: usize = 20;

    /// Whether everything could be read.
    pub fn is_empty(&self) -> bool {
        self.torn_bytes == 0 && self.broken_lines == 0
    }

    /// Counts a line that cannot be read.
    pub fn add(&mut self, line: usize, error: &Error) {
        self.broken_lines += 1;
        if self.examples.len() < Self::EXAMPLES {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            self.examples.push(BrokenLine { line, reason: format!("{error}{}", cause.unwrap_or_default()) });
        }
    }

    /// Says what could not be read, as a warning in the log.
    pub fn warn(&self, path: &Path, name: &str) {
        if let Some(first) = self.examples.first() {
            let (count, reason) = (self.broken_lines, &first.reason);
            tracing::warn!(
                "{count} lines of `{}` are no {name} and are passed over: {reason}",
                path.display()
            );
        }
        if self.torn_bytes > 0 {
            tracing::warn!(
                "the last line of `{}` is unfinished ({} bytes) and is left out",
                path.display(),
                self.torn_bytes
            );
        }
    }
}

/// The entries of a log, and what of it could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Log<T> {
    /// The entries, oldest first.
    pub entries: Vec<T>,
    /// What could not be read.
    pub defects: Defects,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), defects: Defects::default() }
    }
}
