//! Two places that shall come to the same store.

use std::collections::BTreeMap;
use std::path::Path;

use slide_data::Contract as _;
use slide_data::collect::InputRecord;

use super::Place;

/// One set of uploads for both: a file's time of change is noted.
pub(crate) fn copy_of(place: &Place) -> Place {
    let copy = Place::new();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([place.0.path().join("data"), copy.0.path().to_owned()])
        .status();
    assert!(copied.unwrap().success());
    copy
}

#[track_caller]
pub(crate) fn done(result: (Option<i32>, String, String)) -> String {
    assert_eq!(result.0, Some(0), "{}", result.2);
    result.1
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

fn records(place: &Place) -> BTreeMap<String, InputRecord> {
    let lines = InputRecord::read_log(&place.raw().join("inputs.jsonl")).unwrap().entries;
    lines.into_iter().map(|line| (line.origin.clone(), line)).collect()
}

#[track_caller]
pub(crate) fn assert_same(one: &Place, other: &Place) {
    let manifest = |place: &Place| std::fs::read_to_string(place.raw().join("manifest.jsonl")).unwrap();
    assert_eq!(manifest(one), manifest(other));
    assert!(files(&one.raw().join("slides")) == files(&other.raw().join("slides")), "the pictures");
    assert_eq!(records(one), records(other));
    for place in [one, other] {
        done(place.run(&["splits"]));
    }
    let splits =
        |place: &Place| std::fs::read_to_string(place.0.path().join("data/labeled/splits.json")).unwrap();
    assert_eq!(splits(one), splits(other));
}
