//! The sketches of a store's slides in one file, so that a run that adds a few slides need not open the images of all others.
//!
//! The file is derived: what it lacks is made from the images.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::Path;

use crate::error::io_error;
use crate::imaging::{Signature, Sketch, decode};
use crate::{Limits, Manifest, Result, SlideRecord};

const NAME: &str = ".sketches";
/// What the file begins with; another version is written anew.
const HEADER: [u8; 8] = *b"sketch01";
/// Bytes of the pixels' hash that name a sketch.
const KEY: usize = 16;
const RECORD: usize = KEY + Sketch::LENGTH;

/// Adds sketches, each with the SHA-256 of its slide's pixels.
pub(super) fn append(raw: &Path, sketches: &[(String, Sketch)]) -> Result<()> {
    if sketches.is_empty() {
        return Ok(());
    }
    let path = raw.join(NAME);
    let mut bytes = Vec::with_capacity(HEADER.len() + sketches.len() * RECORD);
    for (sha256, sketch) in sketches {
        bytes.extend_from_slice(&key(sha256));
        bytes.extend_from_slice(sketch.as_bytes());
    }
    write(&path, bytes).map_err(io_error("write", &path))
}

fn write(path: &Path, mut records: Vec<u8>) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut header = [0; HEADER.len()];
    if file.read_exact(&mut header).is_ok() && header == HEADER {
        // A torn record belongs to a run that was killed.
        let length = file.metadata()?.len();
        let torn = (length - HEADER.len() as u64) % RECORD as u64;
        if torn > 0 {
            file.set_len(length - torn)?;
        }
    } else {
        file.set_len(0)?;
        records.splice(0..0, HEADER);
    }
    file.write_all(&records)
}

/// The sketch of each slide, in order; none for a slide whose image cannot be read. Those that the file lacked are added to it.
pub(super) fn of_all(raw: &Path, slides: &[SlideRecord]) -> Vec<Option<Sketch>> {
    let mut places: HashMap<[u8; KEY], Vec<usize>> = HashMap::new();
    for (at, slide) in slides.iter().enumerate() {
        places.entry(key(&slide.sha256)).or_default().push(at);
    }
    let mut sketches = vec![None; slides.len()];
    let mut take = |record: &[u8; RECORD]| {
        let (key, bytes) = record.split_at(KEY);
        let Some(places) = <[u8; KEY]>::try_from(key).ok().and_then(|key| places.get(&key)) else { return };
        for &at in places {
            sketches[at] = Sketch::from_bytes(bytes);
        }
    };
    // What cannot be read is made anew.
    let _ = read(&raw.join(NAME), &mut take);
    let mut made = Vec::new();
    for (slide, sketch) in slides.iter().zip(&mut sketches).filter(|(_, sketch)| sketch.is_none()) {
        *sketch = from_image(raw, &slide.slide_id);
        made.extend(sketch.clone().map(|sketch| (slide.sha256.clone(), sketch)));
    }
    // They only save time.
    let _ = append(raw, &made);
    sketches
}

fn read(path: &Path, take: &mut dyn FnMut(&[u8; RECORD])) -> std::io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path)?);
    let mut header = [0; HEADER.len()];
    file.read_exact(&mut header)?;
    let mut record = [0; RECORD];
    while header == HEADER && file.read_exact(&mut record).is_ok() {
        take(&record);
    }
    Ok(())
}

fn from_image(raw: &Path, slide_id: &str) -> Option<Sketch> {
    let bytes = std::fs::read(Manifest::image_path(raw, slide_id)).ok()?;
    Some(Sketch::of(&Signature::of(&decode(&bytes, &Limits::default()).ok()?)))
}

/// The first bytes of a hash in hexadecimal digits; what is no hash has a key that no sketch is found by twice.
fn key(sha256: &str) -> [u8; KEY] {
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
    use image::{Rgb, RgbImage};

    fn sketch(shade: u8) -> Sketch {
        Sketch::of(&Signature::of(&RgbImage::from_fn(64, 36, |x, _| {
            Rgb([if x < 30 { shade } else { 255 }; 3])
        })))
    }

    fn stored(raw: &Path) -> Vec<[u8; RECORD]> {
        let mut records = Vec::new();
        read(&raw.join(NAME), &mut |record| records.push(*record)).unwrap();
        records
    }

    #[test]
    fn a_torn_record_is_cut_off_and_a_foreign_file_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["00".repeat(32), "1f".repeat(32), "a2".repeat(32)];
        append(dir.path(), &[(names[0].clone(), sketch(0)), (names[1].clone(), sketch(90))]).unwrap();
        let whole = std::fs::read(dir.path().join(NAME)).unwrap();
        std::fs::write(dir.path().join(NAME), &whole[..whole.len() - 7]).unwrap();
        append(dir.path(), &[(names[2].clone(), sketch(180))]).unwrap();
        let records = stored(dir.path());
        assert_eq!(records.len(), 2);
        assert_eq!(&records[1][..KEY], &[0xa2; KEY]);
        assert_eq!(&records[1][KEY..], sketch(180).as_bytes());
        std::fs::write(dir.path().join(NAME), b"something else").unwrap();
        append(dir.path(), &[(names[1].clone(), sketch(90))]).unwrap();
        assert_eq!(stored(dir.path()).len(), 1);
    }
}
