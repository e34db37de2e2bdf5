//! Damaged files of every format: no panic, no hang, no growth of memory. Half of them are damaged anywhere, half so that what is
//! checked first (check sums, lengths, compression) still fits and the decoders see the damage.
//!
//! `PQ_MUTATIONS=3000 cargo test --release -p slide-data --features render --test mutations -- --nocapture` is the long form;
//! `PQ_SEEDS=FOLDER` takes the files there in place of the small ones that are made here.
#![cfg(feature = "render")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod deep;
mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

use slide_data::image::{ImageFormat, ImageReader, Rgb, RgbImage};
use slide_data::render::load;
use slide_data::{Error, Limits, Reason};
use support::{Dice, encoded, zip};

fn image(format: ImageFormat) -> Vec<u8> {
    let draw = |x: u32, y: u32| {
        Rgb([(x * 3) as u8, (y * 5) as u8, if (x / 8 + y / 8).is_multiple_of(2) { 220 } else { 30 }])
    };
    encoded(&RgbImage::from_fn(80, 48, draw), format)
}

/// Whole files of each format, or those of `PQ_SEEDS`; the sample decks have compressed streams, fonts and images.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    if let Some(folder) = std::env::var_os("PQ_SEEDS") {
        return std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| named_seed(&entry.unwrap().path()))
            .collect();
    }
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/decks/002-norara.pdf");
    vec![
        ("pdf", support::deck(6, 2)),
        ("pdf", std::fs::read(sample).unwrap()),
        ("png", image(ImageFormat::Png)),
        ("jpg", image(ImageFormat::Jpeg)),
        ("webp", image(ImageFormat::WebP)),
        ("gif", image(ImageFormat::Gif)),
        ("tiff", image(ImageFormat::Tiff)),
        ("bmp", image(ImageFormat::Bmp)),
        ("zip", zip(&[("a.png", &image(ImageFormat::Png)), ("b.pdf", &support::deck(7, 1))])),
    ]
}

fn named_seed(path: &Path) -> Option<(&'static str, Vec<u8>)> {
    let extension = path.extension()?.to_str()?;
    let known = FORMATS.into_iter().find(|known| *known == extension)?;
    Some((known, std::fs::read(path).unwrap()))
}

const FORMATS: [&str; 8] = ["pdf", "png", "jpg", "webp", "gif", "tiff", "bmp", "zip"];

/// A damaged copy that is whole outside: an archive's members are damaged and then packed.
fn damaged_inside(extension: &str, seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    if extension != "zip" {
        return deep::mutated(extension, seed, dice);
    }
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(seed)).unwrap();
    let members = (0..archive.len()).map(|index| {
        let mut entry = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let name = entry.name().unwrap().to_string();
        let extension = name.rsplit('.').next().unwrap_or_default().to_owned();
        (name, deep::mutated(&extension, &bytes, dice))
    });
    let members: Vec<(String, Vec<u8>)> = members.collect();
    let members: Vec<(&str, &[u8])> =
        members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    zip(&members)
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    // Half of the changes hit the first or the last kilobyte, where headers and directories are.
    let at = match dice.roll(4) {
        0 => dice.roll(bytes.len().min(1024)),
        1 => bytes.len() - 1 - dice.roll(bytes.len().min(1024)),
        _ => dice.roll(bytes.len()),
    };
    match dice.roll(7) {
        0 => bytes[at] = dice.roll(256) as u8,
        1 => bytes[at] ^= 1 << dice.roll(8),
        2 => bytes.truncate(at.max(8)),
        3 => bytes.splice(at..at, [0xff; 4]).for_each(drop),
        4 => bytes[at] = *dice.pick(&[0x00, 0x7f, 0x80, 0xff, b'9', b'<', b'(']),
        5 => {
            let end = (at + 1 + dice.roll(64)).min(bytes.len());
            let part = bytes[at..end].to_vec();
            let to = dice.roll(bytes.len());
            bytes.splice(to..to, part).for_each(drop);
        }
        _ => {
            let end = (at + 1 + dice.roll(16)).min(bytes.len());
            bytes.drain(at..end);
        }
    }
    if bytes.len() < 8 {
        bytes.resize(8, 0);
    }
}

/// Resident memory in mebibytes, where the system tells.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

/// What came of the damaged files of one kind.
#[derive(Debug, Default)]
struct Tally {
    with_slides: usize,
    without: usize,
    /// Files whose header was good, so that a decoder saw the rest.
    decoded: usize,
}

/// Reads a damaged file; returns how many slides it has, and whether its pages, members or pixels were looked at.
fn read(path: &Path, bytes: &[u8], limits: &Limits) -> (usize, bool) {
    let (mut slides, mut is_decoded) = (0, false);
    for item in load(path, limits).unwrap() {
        match item {
            Ok(_) => slides += 1,
            Err(Error::Unreadable {
                reason: reason @ (Reason::TimedOut { .. } | Reason::Io(_) | Reason::Crashed(_)),
                ..
            }) => {
                let kept = std::env::temp_dir().join(path.file_name().unwrap());
                std::fs::write(&kept, bytes).unwrap();
                panic!("{reason}; kept as {}", kept.display());
            }
            // Of a page or member more than the header was read.
            Err(Error::Unreadable { of, .. }) => is_decoded |= of.part.is_some(),
            Err(other) => panic!("{other}"),
        }
    }
    let header = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format().unwrap().into_decoder();
    (slides, is_decoded || slides > 0 || header.is_ok())
}

#[test]
fn damaged_files_never_panic_hang_or_leak() {
    let rounds = std::env::var("PQ_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(320);
    let dir = tempfile::tempdir().unwrap();
    let seeds = seeds();
    let limits = Limits {
        longest_edge: 160,
        time_limit_s: 20,
        threads: 1,
        max_pixels: 4_000_000,
        max_pages: 20,
        max_unpacked_mib: 16,
        ..Limits::default()
    };
    let mut dice = Dice(11);
    let mut outcomes = BTreeMap::<_, Tally>::new();
    let (mut slowest, mut warm) = (0.0f64, None);
    for round in 0..rounds {
        let (extension, seed) = &seeds[round / 2 % seeds.len()];
        let is_inside = round % 2 == 1;
        let bytes = if is_inside {
            damaged_inside(extension, seed, &mut dice)
        } else {
            let mut bytes = seed.clone();
            (0..=dice.roll(10)).for_each(|_| mutate(&mut bytes, &mut dice));
            bytes
        };
        let path = dir.path().join(format!("pq-mutation-{round}.{extension}"));
        std::fs::write(&path, &bytes).unwrap();
        let start = Instant::now();
        let (slides, is_decoded) = read(&path, &bytes, &limits);
        slowest = slowest.max(start.elapsed().as_secs_f64());
        let tally = outcomes.entry((if is_inside { "inside" } else { "anywhere" }, *extension)).or_default();
        tally.with_slides += usize::from(slides > 0);
        tally.without += usize::from(slides == 0);
        tally.decoded += usize::from(is_decoded);
        std::fs::remove_file(&path).unwrap();
        if round == rounds / 3 {
            warm = resident_mib();
        }
    }
    let grown = warm.zip(resident_mib()).map_or(0.0, |(warm, now)| now - warm);
    let mut err = std::io::stderr();
    let _ = writeln!(
        err,
        "{rounds} damaged files; slowest {slowest:.2} s; {grown:.1} MiB more than after a third"
    );
    for (kind, tally) in &outcomes {
        let _ = writeln!(err, "{kind:?}: {tally:?}");
    }
    let count = |of: fn(&Tally) -> usize| -> usize {
        outcomes.iter().filter(|(kind, _)| kind.0 == "inside").map(|(_, tally)| of(tally)).sum()
    };
    let (decoded, inside) = (count(|tally| tally.decoded), count(|tally| tally.with_slides + tally.without));
    assert!(decoded * 10 >= inside * 7, "only {decoded} of {inside} files were looked into");
    // A leak of even one image a file would be far above this in the long form.
    assert!(grown < 64.0, "{grown} MiB more than after a third of the files");
}
