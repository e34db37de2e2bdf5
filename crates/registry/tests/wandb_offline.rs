//! The files of runs without a network.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod service;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use registry::tracking::{End, EventFiles, Tracker as _};
use registry::wandb::{RunInfo, WandbConfig, WandbMode, WandbRun, spooled, sync, write_offline};
use service::{Service, info, options};

const SUCCESS: End = End { exit_code: 0, was_stopped: false };

fn start(folder: &Path, completed_steps: u64) -> WandbRun {
    let config = WandbConfig { mode: WandbMode::Offline, ..WandbConfig::default() };
    let info = RunInfo { completed_steps, ..info("run-1") };
    WandbRun::start(&config, &options("http://127.0.0.1:9", folder), &info).unwrap()
}

fn log(run: &WandbRun, steps: std::ops::RangeInclusive<u32>) {
    for step in steps {
        run.log(u64::from(step), &BTreeMap::from([("train/loss".to_owned(), f64::from(step) / 4.0)]));
    }
}

fn read(folder: &Path) -> Vec<Record> {
    records(&std::fs::read(folder.join("run-run-1.wandb")).unwrap())
}

fn steps(records: &[Record]) -> Vec<u64> {
    let history = records.iter().filter(|record| record.kind == 2);
    history.map(|record| record.items()["_step"].parse().unwrap()).collect()
}

#[test]
fn an_offline_run_of_many_lines_is_a_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(dir.path(), 0);
    for step in 0..3000 {
        run.log(step, &BTreeMap::from([("a/long/name/to/cross/the/borders/of/blocks".to_owned(), f64::NAN)]));
    }
    run.console("a line");
    run.system(&BTreeMap::from([("cpu".to_owned(), 5.0)]));
    run.file("a/b.txt", b"content");
    let finished = run.finish(End { exit_code: 2, was_stopped: false }, &|| false);
    assert!(finished.complete, "{finished:?}");
    let folder = finished.offline.unwrap();
    assert_eq!(std::fs::read(folder.join("files/a/b.txt")).unwrap(), b"content");
    let records = read(&folder);
    assert_eq!(steps(&records), (0..3000).collect::<Vec<_>>());
    let kinds: Vec<u64> = records.iter().map(|record| record.kind).filter(|kind| *kind != 2).collect();
    assert_eq!(kinds, [21, 17, 13, 7, 6, 3, 18]);
}

#[test]
fn a_killed_offline_run_has_a_file_and_a_resumed_one_has_all_steps() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(dir.path(), 0);
    log(&run, 1..=75);
    let begun = Instant::now();
    let newest = || {
        let found = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let folder = found.filter(|path| path.join("run-run-1.wandb").exists()).max();
        folder.map(|folder| (steps(&read(&folder)), folder)).unwrap_or_default()
    };
    while newest().0.len() < 75 && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(newest().0, (1..=75).collect::<Vec<_>>(), "written while the run goes on");
    drop(run);
    let run = start(dir.path(), 50);
    log(&run, 51..=100);
    let folder = run.finish(SUCCESS, &|| false).offline.unwrap();
    assert_eq!(steps(&read(&folder)), (1..=100).collect::<Vec<_>>());
    drop(run);
    // After the service's own client took it, a file holds what came later.
    std::fs::write(folder.join("run-run-1.wandb.synced"), "").unwrap();
    let run = start(dir.path(), 100);
    log(&run, 101..=110);
    let next = run.finish(SUCCESS, &|| false).offline.unwrap();
    assert!(next > folder);
    assert_eq!(steps(&read(&next)), (101..=110).collect::<Vec<_>>());
    drop(run);
    let again = &spooled(dir.path()).unwrap()[0];
    let written = write_offline(again, &options("http://127.0.0.1:9", dir.path())).unwrap();
    assert_eq!((written == next, steps(&read(&next)).len()), (true, 10));
}

#[test]
fn what_was_sent_is_not_in_the_file_and_what_is_in_the_file_can_be_sent() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start();
    let run = start(dir.path(), 0);
    log(&run, 1..=10);
    let folder = run.finish(SUCCESS, &|| false).offline.unwrap();
    drop(run);
    let spooled = spooled(dir.path()).unwrap();
    let sent = sync(&spooled[0], &service.options(dir.path()), &|| false).unwrap();
    assert!(sent.finished.complete && sent.finished.sent_lines == 10, "{sent:?}");
    assert!(folder.join("run-run-1.wandb.synced").exists(), "`wandb sync` would send it once more");
    let run = start(dir.path(), 10);
    log(&run, 11..=14);
    let folder = run.finish(SUCCESS, &|| false).offline.unwrap();
    assert_eq!(steps(&read(&folder)), (11..=14).collect::<Vec<_>>());
}

/// A record of an offline file: its kind, and its content.
struct Record {
    kind: u64,
    content: Vec<u8>,
}

impl Record {
    /// The items of a history record.
    fn items(&self) -> BTreeMap<String, String> {
        let items = fields(&self.content).into_iter().filter(|(number, _)| *number == 1);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        items
            .map(|(_, item)| {
                let parts = fields(&item);
                (text(&parts[0].1), text(&parts[1].1))
            })
            .collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

/// Fields by number; numbers of fixed and variable length are kept as their bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let size = match tag & 7 {
            0 => {
                found.push((tag >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            5 => 4,
            2 => varint(&mut bytes) as usize,
            other => unreachable!("wire type {other}"),
        };
        found.push((tag >> 3, bytes[..size].to_vec()));
        bytes = &bytes[size..];
    }
    found
}

/// The records of an offline file; every checksum is verified.
fn records(file: &[u8]) -> Vec<Record> {
    assert_eq!(&file[..7], [b':', b'W', b'&', b'B', 0xE1, 0xBE, 0]);
    let (mut at, mut record, mut found) = (7, Vec::new(), Vec::new());
    while at < file.len() {
        if 32768 - at % 32768 < 7 {
            at += 32768 - at % 32768;
            continue;
        }
        let length = usize::from(u16::from_le_bytes([file[at + 4], file[at + 5]]));
        let kind = file[at + 6];
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&file[at + 6..at + 7 + length]);
        assert_eq!(hasher.finalize().to_le_bytes(), file[at..at + 4]);
        record.extend_from_slice(&file[at + 7..at + 7 + length]);
        if kind == 1 || kind == 4 {
            let parts = fields(&record);
            assert_eq!(parts[0].1, (found.len() as u64 + 1).to_le_bytes(), "records are counted");
            found.push(Record { kind: parts[1].0, content: parts[1].1.clone() });
            record.clear();
        }
        at += 7 + length;
    }
    found
}

/// CRC-32C by its polynomial, highest bit first: another way than the writer's.
fn masked(content: &[u8]) -> u32 {
    let reflected = content.iter().flat_map(|byte| (0..8).map(move |bit| u32::from(byte >> bit & 1)));
    let crc = reflected.fold(u32::MAX, |crc, bit| {
        let carry = (crc >> 31) ^ bit;
        (crc << 1) ^ (carry * 0x1EDC_6F41)
    });
    let crc = !crc.reverse_bits();
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// The events of a TensorBoard file, each with its step: restarts as `None`, scalars with name and value.
fn events(path: &Path) -> Vec<(u64, Option<(String, f32)>)> {
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut found) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let size = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(rest[8..12], masked(&rest[..8]).to_le_bytes());
        let event = &rest[12..12 + size];
        assert_eq!(rest[12 + size..16 + size], masked(event).to_le_bytes());
        rest = &rest[16 + size..];
        let parts = fields(event);
        let step = parts.iter().find(|(number, _)| *number == 2).unwrap();
        let step = u64::from_le_bytes(step.1[..].try_into().unwrap());
        for (number, content) in &parts {
            match number {
                3 => assert_eq!((content.as_slice(), step), (&b"brain.Event:2"[..], 0)),
                5 => found.extend(fields(content).iter().map(|(_, value)| {
                    let scalar = fields(value);
                    let name = String::from_utf8(scalar[0].1.clone()).unwrap();
                    (step, Some((name, f32::from_le_bytes(scalar[1].1[..].try_into().unwrap()))))
                })),
                7 => found.push((step, None)),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn event_files_hold_what_was_logged() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    let mut paths = Vec::new();
    for completed in [0, 200] {
        let files = EventFiles::start(dir.path(), "node-7", completed).unwrap();
        let mut lines = if completed == 0 { Vec::new() } else { vec![(completed + 1, None)] };
        for step in completed + 1..=completed + 300 {
            let values = BTreeMap::from([
                ("eval/mae".to_owned(), -1.0 / step as f64),
                ("train/loss".to_owned(), step as f64),
            ]);
            files.log(step, &values);
            lines.extend(values.iter().map(|(name, value)| (step, Some((name.clone(), *value as f32)))));
        }
        assert!(files.finish(SUCCESS, &|| false).complete);
        expected.push(lines);
        paths.push(files.path().to_owned());
    }
    assert_ne!(paths[0], paths[1]);
    for (path, lines) in paths.iter().zip(expected) {
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
        assert_eq!(events(path), lines);
    }
}
