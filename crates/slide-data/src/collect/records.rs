//! Files of records of one length, each under the beginning of the hash of a slide's pixels.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::PathBuf;

use crate::error::io_error;
use crate::{Result, SlideRecord, write_atomic};

/// Bytes of the pixels' hash that name a record.
pub(super) const KEY: usize = 16;

/// A file of records; it begins with its kind, and one of another kind is written anew.
pub(super) struct Records {
    pub(super) path: PathBuf,
    pub(super) kind: [u8; 8],
    /// Bytes of a record without its key.
    pub(super) length: usize,
}

impl Records {
    /// Adds records, each with the SHA-256 of its slide's pixels.
    pub(super) fn append(&self, records: &[(&str, &[u8])]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.kind.len() + records.len() * (KEY + self.length));
        for (sha256, record) in records {
            bytes.extend_from_slice(&key(sha256));
            bytes.extend_from_slice(record);
        }
        self.write(bytes).map_err(io_error("write", &self.path))
    }

    fn write(&self, mut records: Vec<u8>) -> std::io::Result<()> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        let mut kind = [0; 8];
        if file.read_exact(&mut kind).is_ok() && kind == self.kind {
            // A torn record belongs to a run that was killed.
            let length = file.metadata()?.len();
            let torn = (length - kind.len() as u64) % (KEY + self.length) as u64;
            if torn > 0 {
                file.set_len(length - torn)?;
            }
        } else {
            file.set_len(0)?;
            records.splice(0..0, self.kind);
        }
        file.write_all(&records)?;
        file.sync_data()
    }

    /// Takes the records out that none of the slides has; returns how many. What follows the last whole record goes too.
    pub(super) fn retain(&self, slides: &[SlideRecord]) -> Result<usize> {
        let keys: HashSet<[u8; KEY]> = slides.iter().map(|slide| key(&slide.sha256)).collect();
        let (mut kept, mut removed) = (self.kind.to_vec(), 0);
        let read = self.read(&mut |key, bytes| {
            if keys.contains(key) {
                kept.extend_from_slice(key);
                kept.extend_from_slice(bytes);
            } else {
                removed += 1;
            }
        });
        match read {
            Ok(()) if removed > 0 => write_atomic(&self.path, &kept)?,
            // No file, or one that is shorter than the name of its kind, holds none.
            _ => {}
        }
        Ok(removed)
    }

    /// Hands on each record with its key, oldest first.
    pub(super) fn read(&self, take: &mut dyn FnMut(&[u8], &[u8])) -> std::io::Result<()> {
        let mut file = BufReader::with_capacity(1 << 18, File::open(&self.path)?);
        let mut kind = [0; 8];
        file.read_exact(&mut kind)?;
        let mut record = vec![0; KEY + self.length];
        while kind == self.kind && file.read_exact(&mut record).is_ok() {
            let (key, bytes) = record.split_at(KEY);
            take(key, bytes);
        }
        Ok(())
    }

    /// What the file holds of each slide, in order; the last record of a key holds.
    pub(super) fn of_all<T: Clone>(
        &self,
        slides: &[SlideRecord],
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Vec<Option<T>> {
        let mut places: HashMap<[u8; KEY], Vec<usize>> = HashMap::new();
        for (at, slide) in slides.iter().enumerate() {
            places.entry(key(&slide.sha256)).or_default().push(at);
        }
        let mut found = vec![None; slides.len()];
        // What cannot be read is as good as missing.
        let _ = self.read(&mut |key, bytes| {
            for &at in places.get(key).into_iter().flatten() {
                found[at] = parse(bytes);
            }
        });
        found
    }
}

/// The first bytes of a hash in hexadecimal digits; what is no hash has a key that nothing is found by twice.
pub(super) fn key(sha256: &str) -> [u8; KEY] {
    let mut key = [0; KEY];
    for (to, pair) in key.iter_mut().zip(sha256.as_bytes().chunks(2)) {
        let digits = pair.iter().map(|&digit| char::from(digit).to_digit(16).unwrap_or(0) as u8);
        *to = digits.fold(0, |value, digit| value << 4 | digit);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(file: &Records) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        file.read(&mut |key, bytes| records.push([key, bytes].concat())).unwrap();
        records
    }

    #[test]
    fn a_torn_record_is_cut_off_and_a_foreign_file_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = Records { path: dir.path().join("records"), kind: *b"sample01", length: 5 };
        let names = ["00".repeat(32), "1f".repeat(32), "a2".repeat(32)];
        file.append(&[(&names[0], b"first"), (&names[1], b"other")]).unwrap();
        let whole = std::fs::read(&file.path).unwrap();
        std::fs::write(&file.path, &whole[..whole.len() - 2]).unwrap();
        file.append(&[(&names[2], b"third")]).unwrap();
        let records = stored(&file);
        assert_eq!(records.len(), 2);
        assert_eq!(records[1], [&[0xa2; KEY][..], b"third"].concat());
        std::fs::write(&file.path, b"something else").unwrap();
        file.append(&[(&names[1], b"again")]).unwrap();
        assert_eq!(stored(&file).len(), 1);
    }

    #[test]
    fn records_of_no_slide_are_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = Records { path: dir.path().join("records"), kind: *b"sample01", length: 1 };
        let slide = |sha256: &str| SlideRecord { sha256: sha256.repeat(32), ..SlideRecord::sample("d", 1) };
        let slides = [slide("0a"), slide("0b"), slide("0c")];
        assert_eq!(file.retain(&slides).unwrap(), 0, "no file yet");
        let records: Vec<(&str, &[u8])> =
            slides.iter().map(|slide| (slide.sha256.as_str(), &b"x"[..])).collect();
        file.append(&records).unwrap();
        file.append(&records[1..]).unwrap();
        assert_eq!(file.retain(&slides[..1]).unwrap(), 4);
        assert_eq!(stored(&file).len(), 1);
        let bytes = std::fs::read(&file.path).unwrap();
        assert!(!bytes.windows(KEY).any(|part| part == [0x0b; KEY]));
        assert_eq!(file.retain(&slides[..1]).unwrap(), 0);
    }

    #[test]
    fn slides_of_equal_pixels_share_a_record_and_the_last_one_holds() {
        let dir = tempfile::tempdir().unwrap();
        let file = Records { path: dir.path().join("records"), kind: *b"sample01", length: 1 };
        let slide = |sha256: &str| SlideRecord { sha256: sha256.repeat(32), ..SlideRecord::sample("d", 1) };
        let slides = [slide("0a"), slide("0b"), slide("0a")];
        assert_eq!(file.of_all(&slides, |bytes| Some(bytes[0])), [None; 3], "no file yet");
        file.append(&[(&slides[0].sha256, b"x"), (&slides[0].sha256, b"y")]).unwrap();
        assert_eq!(file.of_all(&slides, |bytes| Some(bytes[0])), [Some(b'y'), None, Some(b'y')]);
    }
}
