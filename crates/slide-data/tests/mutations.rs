//! Damaged files of every format: no panic, no hang, no growth of memory.
//!
//! `PQ_MUTATIONS=3000 cargo test --release -p slide-data --features render --test mutations -- --nocapture` is the long form.
#![cfg(feature = "render")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Instant;

use slide_data::image::{ImageFormat, Rgb, RgbImage};
use slide_data::render::load;
use slide_data::{Error, Limits, Reason};
use support::Dice;

fn picture(format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let draw = |x: u32, y: u32| {
        Rgb([(x * 3) as u8, (y * 5) as u8, if (x / 8 + y / 8).is_multiple_of(2) { 220 } else { 30 }])
    };
    RgbImage::from_fn(80, 48, draw).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Whole files of each format; the sample decks have compressed streams, fonts and pictures.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/decks/002-norara.pdf");
    vec![
        ("pdf", support::deck(6, 2)),
        ("pdf", std::fs::read(sample).unwrap()),
        ("png", picture(ImageFormat::Png)),
        ("jpg", picture(ImageFormat::Jpeg)),
        ("webp", picture(ImageFormat::WebP)),
        ("gif", picture(ImageFormat::Gif)),
        ("tiff", picture(ImageFormat::Tiff)),
        ("bmp", picture(ImageFormat::Bmp)),
        ("zip", zip(&[("a.png", &picture(ImageFormat::Png)), ("b.pdf", &support::deck(7, 1))])),
    ]
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

#[test]
fn damaged_files_never_panic_hang_or_leak() {
    let rounds = std::env::var("PQ_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(160);
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
    let mut outcomes = BTreeMap::<_, [usize; 2]>::new();
    let (mut slowest, mut caught, mut warm) = (0.0f64, 0, None);
    for round in 0..rounds {
        let (extension, seed) = &seeds[round % seeds.len()];
        let mut bytes = seed.clone();
        for _ in 0..=dice.roll(10) {
            mutate(&mut bytes, &mut dice);
        }
        let path = dir.path().join(format!("{round}.{extension}"));
        std::fs::write(&path, &bytes).unwrap();
        let start = Instant::now();
        let mut slides = 0;
        for item in load(&path, &limits).unwrap() {
            match item {
                Ok(_) => slides += 1,
                Err(Error::Unreadable {
                    reason: reason @ (Reason::TimedOut { .. } | Reason::Io(_)), ..
                }) => {
                    let kept = std::env::temp_dir().join(format!("pq-mutation-{round}.{extension}"));
                    std::fs::write(&kept, &bytes).unwrap();
                    panic!("round {round}: {reason}; kept as {}", kept.display());
                }
                Err(Error::Unreadable { reason: Reason::Crashed(_), .. }) => caught += 1,
                Err(Error::Unreadable { .. }) => {}
                Err(other) => panic!("round {round}: {other}"),
            }
        }
        slowest = slowest.max(start.elapsed().as_secs_f64());
        outcomes.entry(*extension).or_default()[usize::from(slides == 0)] += 1;
        std::fs::remove_file(&path).unwrap();
        if round == rounds / 3 {
            warm = resident_mib();
        }
    }
    let grown = warm.zip(resident_mib()).map_or(0.0, |(warm, now)| now - warm);
    let _ = writeln!(
        std::io::stderr(),
        "{rounds} damaged files, [with slides, without]: {outcomes:?}; {caught} panics of decoders caught; slowest {slowest:.2} s; {grown:.1} MiB more than after a third"
    );
    assert!(outcomes.len() == 8 && outcomes.values().flatten().sum::<usize>() == rounds, "{outcomes:?}");
    // A leak of even one picture a file would be far above this in the long form.
    assert!(grown < 64.0, "{grown} MiB more than after a third of the files");
}
