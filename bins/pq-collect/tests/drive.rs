//! A drive of many formats: each file is collected, set aside or passed over, and the sum is right.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test fails by panicking; a drive has many files"
)]

mod common;
#[path = "common/drive.rs"]
mod drive;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slide_data::Manifest;

use common::{Place, images, support};
use drive::{DriveFile, Fate};

/// The drive in the folder `drive` of a fresh place.
fn place_with_drive() -> (Place, Vec<DriveFile>) {
    let place = Place::new();
    let files = drive::files(&images(200, 11));
    for file in &files {
        place.write(&format!("drive/{}", file.name), &file.bytes);
    }
    (place, files)
}

/// The lines of a list of the report: origin, without the drive's own name, to reason.
fn lines(report: &Value, list: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |line: &Value| {
        let origin = text(&line["origin"]);
        (origin.strip_prefix("drive/").unwrap_or(&origin).to_owned(), text(&line["reason"]))
    };
    report[list].as_array().unwrap().iter().map(row).collect()
}

/// What stands in the report for a file: the folder, where that is one entry.
fn entry(name: &str) -> &str {
    let whole = ["__MACOSX", ".git", "bundle.key"];
    whole.into_iter().find(|folder| name.starts_with(&format!("{folder}/"))).unwrap_or(name)
}

/// Without `LibreOffice`, whatever this machine has.
fn collect(place: &Place, args: &[&str]) -> (Option<i32>, String, String) {
    let output = place.command(args).env("PATH", "/nowhere").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_file_of_a_drive_gets_its_line_and_the_sum_is_right() {
    let (place, files) = place_with_drive();
    let formats: BTreeSet<_> = files.iter().map(|file| entry(file.name)).collect();
    assert!(formats.len() >= 60 && formats.len() == files.len(), "{} formats", formats.len());
    let (code, out, err) = collect(&place, &["drive", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let (set_aside, passed) = (lines(&report, "set_aside"), lines(&report, "passed_over"));
    let mut slides: BTreeMap<String, usize> = BTreeMap::new();
    for slide in Manifest::read(&place.raw()).unwrap().slides {
        let origin = slide.source.origin.strip_prefix("drive/").unwrap().to_owned();
        let file = origin.split('!').next().unwrap().to_owned();
        *slides.entry(file).or_default() += 1;
    }
    for file in &files {
        let found = |list: &[(String, String)]| -> Vec<String> {
            list.iter().filter(|(origin, _)| origin == entry(file.name)).map(|(_, why)| why.clone()).collect()
        };
        let (aside, over) = (found(&set_aside), found(&passed));
        let came = slides.get(file.name).copied().unwrap_or(0);
        match file.fate {
            Fate::Slides(count) => {
                assert_eq!(
                    (came, aside.len(), over.len()),
                    (count, 0, 0),
                    "{}: {aside:?} {over:?}",
                    file.name
                );
            }
            Fate::SetAside(words) => {
                assert_eq!((came, aside.len(), over.len()), (0, 1, 0), "{}: {aside:?} {over:?}", file.name);
                assert!(aside[0].contains(words), "{}: {}", file.name, aside[0]);
            }
            Fate::PassedOver(words) => {
                assert_eq!((came, aside.len(), over.len()), (0, 0, 1), "{}: {aside:?} {over:?}", file.name);
                assert!(over[0].contains(words), "{}: {}", file.name, over[0]);
            }
        }
    }
    let count = |is: fn(&Fate) -> bool| files.iter().filter(|file| is(&file.fate)).count();
    let wanted = [
        ("seen", files.len()),
        ("collected", count(|fate| matches!(fate, Fate::Slides(_)))),
        ("refused", count(|fate| matches!(fate, Fate::SetAside(_)))),
    ];
    for (key, wanted) in wanted {
        assert_eq!(report[key], wanted, "{key}");
    }
    assert_eq!(passed.len(), count(|fate| matches!(fate, Fate::PassedOver(_))));
    // What waits for LibreOffice is read again, the rest is not, and the lists stay.
    let (_, out, _) = collect(&place, &["drive", "--json"]);
    let again: Value = serde_json::from_str(&out).unwrap();
    for key in ["seen", "collected", "refused", "set_aside", "passed_over"] {
        let sorted = |report: &Value| {
            let mut rows = report[key].as_array().cloned().unwrap_or_else(|| vec![report[key].clone()]);
            rows.sort_by_key(Value::to_string);
            rows
        };
        assert_eq!(sorted(&again), sorted(&report), "{key}");
    }
    let waiting = set_aside.iter().filter(|(_, reason)| reason.contains("LibreOffice")).count();
    assert_eq!(
        again["unchanged"].as_u64().unwrap() as usize,
        report["inputs"].as_u64().unwrap() as usize - waiting
    );
}

#[test]
fn the_lines_for_people_have_the_same_sum() {
    let (place, files) = place_with_drive();
    let (code, out, err) = collect(&place, &["drive"]);
    assert_eq!(code, Some(0), "{err}");
    let numbers: Vec<usize> = out
        .lines()
        .next()
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    let [seen, collected, refused, passed] = numbers[..] else { panic!("{out}") };
    assert_eq!((seen, seen), (files.len(), collected + refused + passed), "{out}");
    for file in files.iter().filter(|file| !matches!(file.fate, Fate::Slides(_))) {
        let start = format!("  drive/{}: ", entry(file.name));
        assert_eq!(out.lines().filter(|line| line.starts_with(&start)).count(), 1, "{}: {out}", file.name);
    }
}

#[test]
fn a_folder_without_anything_that_can_be_read_says_so_for_each_file() {
    let place = Place::new();
    place.write("data/raw/manual_uploads/talk.mp4", b"\0\0\0\x18ftypisom");
    place.write("data/raw/manual_uploads/deck.gslides", b"{}");
    let (code, _, err) = place.run(&[]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("talk.mp4") && err.contains("a film") && err.contains("deck.gslides"), "{err}");
    place.write("data/raw/manual_uploads/photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1");
    let (code, out, _) = place.run(&[]);
    assert!(
        code == Some(0) && out.contains("photo.heic: is a HEIC image") && out.contains("2 passed over"),
        "{out}"
    );
}

#[test]
fn keynote_is_converted_and_its_thumbnails_are_no_slides() {
    let place = Place::new();
    let png = support::encoded(&images(210, 1)[0], slide_data::image::ImageFormat::Png);
    let key = support::zip(&[("Index/Slide-1.iwa", b"x"), ("Data/st1.png", &png), ("preview.jpg", &png)]);
    place.write("in/deck.key", &key);
    place.write(
        "in/all.zip",
        &support::zip(&[("talks/deck 2.key", &key), ("talks/deck.pdf", &support::deck(211, 1))]),
    );
    place.write("converted.pdf", &support::deck(212, 3));
    place.converter();
    let report = place.json_with_converter(&["in", "--json"]);
    assert_eq!(report["slides_new"], 4, "the same Keynote file twice is one deck: {report:#}");
    let slides = Manifest::read(&place.raw()).unwrap().slides;
    let origins: BTreeSet<_> = slides.iter().map(|slide| slide.source.origin.as_str()).collect();
    assert!(
        !origins.iter().any(|origin| origin.contains("st1") || origin.contains("preview")),
        "{origins:?}"
    );
    assert_eq!(report["set_aside"], serde_json::json!([]));
}
