//! Logs that programs of several versions append to: a line of a newer one stops no reader and is lost to no writer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use project_files::{Contract, Error};

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Entry {
    schema_version: u32,
    id: u32,
}

impl Contract for Entry {
    const NAME: &'static str = "entry";
    const VERSION: u32 = 1;
}

fn entry(id: u32) -> Entry {
    Entry { schema_version: 1, id }
}

const NEWER: &str = "{\"schema_version\":2,\"key\":[7]}\n";

#[test]
fn a_line_of_a_newer_version_is_counted_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    assert!(Entry::read_shared_log_if_present(&path).unwrap().entries.is_empty());
    std::fs::write(&path, format!("{NEWER}{{\"id\":1,\"schema_version\":1}}\nno line\n")).unwrap();
    assert!(matches!(Entry::read_log(&path), Err(Error::Newer { line: Some(1), found: 2, .. })));
    let log = Entry::read_shared_log_if_present(&path).unwrap();
    assert_eq!((log.entries, log.defects.broken_lines), (vec![entry(1)], 2));
    assert!(log.defects.examples[0].reason.contains("version 2"), "{:?}", log.defects.examples);
    // All programs but this one were renewed.
    std::fs::write(&path, NEWER).unwrap();
    let log = Entry::read_shared_log_if_present(&path).unwrap();
    assert_eq!((log.entries.len(), log.defects.broken_lines), (0, 1));
    std::fs::write(&path, "something else\n").unwrap();
    assert!(Entry::read_shared_log_if_present(&path).is_err());
}

#[test]
fn lines_of_a_newer_version_stay_when_the_log_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    std::fs::write(&path, format!("{{\"id\":1,\"schema_version\":1}}\n{NEWER}no line\n")).unwrap();
    assert!(matches!(Entry::replace_log(&path, &[]), Err(Error::Newer { .. })));
    Entry::replace_shared_log(&path, &[entry(2)]).unwrap();
    assert_eq!(Entry::newer_lines(&path).unwrap(), NEWER.as_bytes());
    assert_eq!(Entry::read_shared_log_if_present(&path).unwrap().entries, [entry(2)]);
    assert_eq!(std::fs::read_to_string(dir.path().join("log.jsonl.broken")).unwrap(), "no line\n");
}
