//! Files of JSON lines, read so that each line can be read again.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use durable_files::FileLock;
use sha2::{Digest as _, Sha256};

use crate::error::io_error;
use crate::{Contract as _, Prediction, Result};

/// Where a line lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// What was read.
pub(super) struct Scanned {
    /// Bytes up to the end of the last whole line, and the SHA-256 of these.
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// Bytes of a line that was never finished.
    pub(super) torn: usize,
}

/// Opens a log between two appends; `None` where there is none.
pub(super) fn open(path: &Path) -> Result<Option<(File, u64)>> {
    let _lock = FileLock::shared(path);
    open_unlocked(path)
}

/// As [`open`], where this process holds the log's lock.
pub(super) fn open_unlocked(path: &Path) -> Result<Option<(File, u64)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let length = file.metadata().map_err(io_error("read", path))?.len();
    Ok(Some((file, length)))
}

/// Hands out the whole lines among the first `length` bytes with their numbers (from 1), without their newlines; blank ones are passed
/// over.
pub(super) fn scan(
    file: &File,
    path: &Path,
    length: u64,
    mut take: impl FnMut(usize, Span, &[u8]) -> Result<()>,
) -> Result<Scanned> {
    let mut reader = BufReader::with_capacity(1 << 18, file);
    reader.seek(SeekFrom::Start(0)).map_err(io_error("read", path))?;
    let mut reader = reader.take(length);
    let (mut line, mut hash, mut start) = (Vec::new(), Sha256::new(), 0u64);
    for number in 1.. {
        line.clear();
        reader.read_until(b'\n', &mut line).map_err(io_error("read", path))?;
        if line.last() != Some(&b'\n') {
            break;
        }
        hash.update(&line);
        let whole = line.len() as u64;
        line.pop();
        if !line.iter().all(u8::is_ascii_whitespace) {
            take(number, Span { start, length: whole }, &line)?;
        }
        start += whole;
    }
    let sha256 = durable_files::hex(&hash.finalize());
    Ok(Scanned { bytes: start, sha256, torn: line.len() })
}

/// SHA-256 of the first bytes; `None` where there are fewer.
pub(super) fn hash_of_first(file: &File, path: &Path, bytes: u64) -> Result<Option<String>> {
    if file.metadata().map_err(io_error("read", path))?.len() < bytes {
        return Ok(None);
    }
    let mut reader = BufReader::with_capacity(1 << 18, file);
    reader.seek(SeekFrom::Start(0)).map_err(io_error("read", path))?;
    let (mut hash, mut left) = (Sha256::new(), bytes);
    while left > 0 {
        let own = reader.fill_buf().map_err(io_error("read", path))?;
        let taken = own.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if taken == 0 {
            return Ok(None);
        }
        hash.update(&own[..taken]);
        reader.consume(taken);
        left -= taken as u64;
    }
    Ok(Some(durable_files::hex(&hash.finalize())))
}

/// Reads lines again, in any order, fastest in that of the file.
pub(super) struct Lines<'a> {
    reader: BufReader<&'a File>,
    path: &'a Path,
    place: u64,
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &'a File, path: &'a Path) -> Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 18, file);
        reader.seek(SeekFrom::Start(0)).map_err(io_error("read", path))?;
        Ok(Self { reader, path, place: 0, line: Vec::new() })
    }

    /// The line with its newline.
    pub(super) fn bytes(&mut self, span: Span) -> Result<&[u8]> {
        let failed = || io_error("read", self.path);
        self.reader.seek_relative(span.start.wrapping_sub(self.place) as i64).map_err(failed())?;
        self.line.resize(usize::try_from(span.length).unwrap_or(0), 0);
        self.reader.read_exact(&mut self.line).map_err(failed())?;
        self.place = span.start + span.length;
        Ok(&self.line)
    }

    /// The slide of the line, which was one when the file was scanned.
    pub(super) fn slide(&mut self, span: Span) -> Result<Prediction> {
        let path = self.path;
        Ok(Prediction::parse(path, None, self.bytes(span)?)?)
    }
}
