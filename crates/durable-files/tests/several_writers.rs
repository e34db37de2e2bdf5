//! Several processes append to one log, and some are killed: what was acknowledged is there once and whole.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use durable_files::{Error, GroupLog, append_json_lines, for_each_line};

const LOG: &str = "DURABLE_FILES_TEST_LOG";
const WRITER: &str = "DURABLE_FILES_TEST_WRITER";
const LINES: &str = "DURABLE_FILES_TEST_LINES";
/// Threads of a writing process that share a [`GroupLog`]; without it one thread appends line by line.
const THREADS: &str = "DURABLE_FILES_TEST_THREADS";

fn line(writer: usize, number: usize) -> serde_json::Value {
    serde_json::json!({"writer": writer, "number": number, "payload": "x".repeat(2_900)})
}

/// Not a test by itself: the body of a writing process, which says the number of each line once it is acknowledged.
#[test]
#[ignore = "run by the tests below, as a process of its own"]
fn writer() {
    let Some(log) = std::env::var_os(LOG).map(PathBuf::from) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let (writer, lines, threads) = (number(WRITER), number(LINES), number(THREADS));
    if threads > 0 {
        return write_as_a_group(&GroupLog::open(log).unwrap(), writer, lines, threads);
    }
    let mut out = std::io::stderr().lock();
    for at in 0..lines {
        append_json_lines(&log, &[line(writer, at)]).unwrap();
        writeln!(out, "acknowledged {at}").unwrap();
    }
}

/// Each thread appends every so-many-th line and says so.
fn write_as_a_group(log: &GroupLog, writer: usize, lines: usize, threads: usize) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for at in (thread..lines).step_by(threads) {
                    log.append_json(&[line(writer, at)]).unwrap();
                    let mut err = std::io::stderr();
                    writeln!(err, "acknowledged {at}").unwrap();
                }
            });
        }
    });
}

fn start(log: &Path, writer: usize, lines: usize, threads: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(THREADS, threads.to_string())
        .args(["--exact", "writer", "--ignored", "--nocapture"])
        .env(LOG, log)
        .env(WRITER, writer.to_string())
        .env(LINES, lines.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How many lines a writer says were acknowledged; it is killed after `killed_after` of them.
fn acknowledged(mut child: Child, killed_after: Option<usize>) -> usize {
    let mut count = 0;
    let said = BufReader::new(child.stderr.take().unwrap());
    for text in said.lines().map_while(Result::ok).filter(|text| text.starts_with("acknowledged")) {
        let number: usize = text.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(number, count, "lines are acknowledged in their order");
        count += 1;
        if killed_after == Some(count) {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(status.success() || killed_after.is_some(), "{status}");
    count
}

/// Lets `writers` processes append `lines` lines each; every third is killed somewhere on its way.
fn race(writers: usize, lines: usize) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log.jsonl");
    let threads: Vec<_> = (0..writers)
        .map(|writer| {
            let log = log.clone();
            let killed_after = (writer % 3 == 2).then_some(lines * (writer + 1) / (2 * writers) + 1);
            std::thread::spawn(move || acknowledged(start(&log, writer, lines, 0), killed_after))
        })
        .collect();
    let acknowledged: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    append_json_lines(&log, &[serde_json::json!({"writer": writers, "number": 0, "payload": "the last"})])
        .unwrap();

    let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let tail = for_each_line(&log, |at, bytes| {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("line {at}: {error}"));
        let number = |key: &str| value[key].as_u64().unwrap() as usize;
        if number("writer") < writers {
            assert_eq!(value, line(number("writer"), number("number")), "line {at} is whole");
        }
        found.entry(number("writer")).or_default().push(number("number"));
        Ok::<(), Error>(())
    });
    assert_eq!(tail.unwrap().torn_bytes, 0, "the next append mended what a killed writer left");
    for (writer, acknowledged) in acknowledged.into_iter().enumerate() {
        let numbers = found.remove(&writer).unwrap_or_default();
        let expected: Vec<usize> = (0..numbers.len()).collect();
        assert_eq!(numbers, expected, "writer {writer}: none lost, none doubled, in order");
        // A line may be on disk before its writer could say so.
        assert!(numbers.len() >= acknowledged && numbers.len() <= acknowledged + 2, "writer {writer}");
    }
}

#[test]
fn eight_processes_lose_double_and_tear_nothing() {
    race(8, 40);
}

/// 8 processes × 10,000 lines of 3 kB. Minutes long: each line is synced.
#[test]
#[ignore = "endurance: 8 processes with 10,000 lines of 3 kB each"]
fn eight_processes_with_ten_thousand_lines_each() {
    race(8, 10_000);
}

/// The numbers that a writer with several threads says were acknowledged; it is killed after `killed_after` of them.
fn acknowledged_by_threads(mut child: Child, killed_after: Option<usize>) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    let said = BufReader::new(child.stderr.take().unwrap());
    // The last word of a killed process may be half a number.
    for text in said.split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8(text).unwrap();
        let Some(number) = text.strip_prefix("acknowledged ") else { continue };
        if killed_after.is_none_or(|most| numbers.len() < most) {
            assert!(numbers.insert(number.parse().unwrap()), "{text} is said twice");
        }
        if killed_after == Some(numbers.len()) {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(status.success() || killed_after.is_some(), "{status}");
    numbers
}

/// Lets `writers` processes of four threads append `lines` lines each through a group log; every third is killed on its way.
fn race_of_groups(writers: usize, lines: usize) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log.jsonl");
    let threads: Vec<_> = (0..writers)
        .map(|writer| {
            let log = log.clone();
            let killed_after = (writer % 3 == 2).then_some(lines / 2);
            std::thread::spawn(move || acknowledged_by_threads(start(&log, writer, lines, 4), killed_after))
        })
        .collect();
    let acknowledged: Vec<BTreeSet<usize>> =
        threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    append_json_lines(&log, &[serde_json::json!({"writer": writers, "number": 0})]).unwrap();

    let mut found = vec![BTreeSet::new(); writers + 1];
    let tail = for_each_line(&log, |at, bytes| {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("line {at}: {error}"));
        let number = |key: &str| value[key].as_u64().unwrap() as usize;
        let (writer, number) = (number("writer"), number("number"));
        assert!(writer == writers || value == line(writer, number), "line {at} is whole");
        assert!(found[writer].insert(number), "line {at} repeats {number} of {writer}");
        Ok::<(), Error>(())
    });
    assert_eq!(tail.unwrap().torn_bytes, 0);
    for (writer, acknowledged) in acknowledged.iter().enumerate() {
        let lost: Vec<_> = acknowledged.difference(&found[writer]).collect();
        assert!(lost.is_empty(), "writer {writer} lost {lost:?}");
        assert!(writer % 3 == 2 || found[writer].len() == lines, "writer {writer}");
    }
}

#[test]
fn eight_processes_of_four_threads_lose_double_and_tear_nothing() {
    race_of_groups(8, 500);
}

#[test]
#[ignore = "endurance: 8 processes of four threads with 10,000 lines of 3 kB each"]
fn eight_processes_of_four_threads_with_ten_thousand_lines_each() {
    race_of_groups(8, 10_000);
}
