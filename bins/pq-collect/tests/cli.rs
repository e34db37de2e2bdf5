//! The command as a user runs it, in a fresh folder.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use slide_data::Manifest;
use slide_data::image::ImageFormat;

use common::support::encoded;
use common::{Place, images, support};

fn snapshot(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(snapshot(&entry.path()));
        } else {
            files.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn decks_become_slides_and_a_second_run_changes_nothing() {
    let place = Place::new();
    place.write("data/raw/manual_uploads/Our deck 🚀.pdf", &support::deck(1, 4));
    for (at, image) in images(2, 3).iter().enumerate() {
        place.write(
            &format!("data/raw/manual_uploads/caf\u{e9} deck/{at}.png"),
            &encoded(image, ImageFormat::Png),
        );
        place.write(&format!("data/raw/manual_uploads/again/{at}.jpg"), &encoded(image, ImageFormat::Jpeg));
    }
    place.write("data/raw/manual_uploads/broken.pdf", b"%PDF-1.7 nothing");
    place.write("data/raw/manual_uploads/not an image.png", b"text");
    let report = place.json(&["--json"]);
    assert_eq!(report["slides_new"], 10);
    assert_eq!(report["decks"], 3);
    assert_eq!(report["set_aside"].as_array().unwrap().len(), 2);
    assert_eq!(report["duplicates"], 3, "the JPEG copies repeat the PNG slides");
    assert_eq!(report["groups"], 2, "decks that share slides are one group");
    let manifest = Manifest::read(&place.raw()).unwrap();
    for slide in &manifest.slides {
        assert!(Manifest::image_path(&place.raw(), &slide.slide_id).exists(), "{}", slide.slide_id);
    }
    let before = snapshot(&place.raw());
    let again = place.json(&["--json"]);
    assert_eq!((&again["slides_new"], &again["unchanged"]), (&Value::from(0), &again["inputs"]));
    assert_eq!(again["set_aside"], report["set_aside"]);
    assert!(snapshot(&place.raw()) == before, "a second run changed a file");
    let (code, out, _) = place.run(&["show", &manifest.slides[0].slide_id]);
    assert!(code == Some(0) && out.contains("manual_uploads") || out.contains("deck"), "{out}");
    assert_eq!(place.run(&["verify"]).0, Some(0));
    assert_eq!(place.run(&["show", "nobody"]).0, Some(2));
}

#[test]
fn a_pipe_gets_no_progress_bar_and_failures_are_named_on_stderr() {
    let place = Place::new();
    place.write("in/deck.pdf", &support::deck(3, 1));
    place.write("in/empty.pdf", b"");
    let (code, out, err) = place.run(&["in"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("1 slides new") && out.contains("in/empty.pdf"), "{out}");
    assert!(err.contains("in/empty.pdf") && !err.contains('█') && !err.contains('\r'), "{err}");
}

#[test]
fn what_cannot_run_ends_with_status_2_and_a_hint() {
    let place = Place::new();
    let (code, _, err) = place.run(&[]);
    assert!(code == Some(2) && err.contains("hint:") && err.contains("manual_uploads"), "{err}");
    let (code, _, err) = place.run(&["no such file.pdf"]);
    assert!(code == Some(2) && err.contains("no such file.pdf") && err.contains("hint:"), "{err}");
    let blocked = Place::new();
    blocked.write("data", b"a file where the folder should be");
    let (code, _, err) = blocked.run(&["config"]);
    assert!(code == Some(2) && err.contains("data/raw") && err.contains("hint:"), "{err}");
}

#[test]
fn a_run_killed_at_any_moment_leaves_a_whole_store_and_the_next_goes_on() {
    let place = Place::new();
    for seed in 0..6 {
        place.write(&format!("in/{seed}.pdf"), &support::deck(10 + seed, 4));
    }
    // PQ_KILLS=200 is the long form.
    let kills = std::env::var("PQ_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut dice = support::Dice(3);
    for round in 0..kills {
        if round % 10 == 9 {
            let _ = std::fs::remove_dir_all(place.0.path().join("data")); // begin again
        }
        let mut child = place.command(&["in"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(dice.roll(900) as u64));
        let _ = child.kill();
        child.wait().unwrap();
        let (code, out, err) = place.run(&["verify"]);
        assert_eq!(code, Some(0), "after {round}: {out}{err}");
    }
    let report = place.json(&["in", "--json"]);
    assert_eq!(report["slides"], 24);
    assert_eq!(report["inputs"], 6);
}

#[test]
fn splits_come_with_their_proof_and_a_leak_is_refused() {
    let place = Place::new();
    for seed in 0..8 {
        place.write(&format!("in/{seed}.pdf"), &support::deck(30 + seed, 3));
    }
    place.json(&["in", "--json"]);
    let proof = place.json(&["splits", "--json"]);
    assert_eq!(proof["decks"], 8);
    assert!(proof["pairs"].as_u64().unwrap() > 0);
    let path = place.0.path().join("data/labeled/splits.json");
    let frozen = std::fs::read(&path).unwrap();
    place.json(&["splits", "--json"]);
    assert_eq!(std::fs::read(&path).unwrap(), frozen);
    // A manifest that hides that two decks share a slide must be found out from the images.
    let mut manifest = Manifest::read(&place.raw()).unwrap();
    let copy = manifest.slides[0].clone();
    let group = copy.group.clone();
    let splits: slide_data::Splits = slide_data::Contract::read(&path).unwrap();
    let other = manifest
        .slides
        .iter_mut()
        .find(|slide| splits.groups[&slide.group] != splits.groups[&group])
        .unwrap();
    std::fs::copy(
        Manifest::image_path(&place.raw(), &copy.slide_id),
        Manifest::image_path(&place.raw(), &other.slide_id),
    )
    .unwrap();
    (other.sha256, other.phash) = (copy.sha256.clone(), copy.phash.clone());
    let lines: String = manifest.slides.iter().map(|s| serde_json::to_string(s).unwrap() + "\n").collect();
    place.write("data/raw/manifest.jsonl", lines.as_bytes());
    let (code, _, err) = place.run(&["splits"]);
    assert!(code == Some(2) && err.contains("near-duplicates"), "{err}");
}

#[test]
fn exports_and_card_say_what_the_data_is() {
    let place = Place::new();
    place.write("in/deck.pdf", &support::deck(50, 3));
    place.json(&["in", "--json", "--license", "CC-BY-4.0"]);
    assert_eq!(place.run(&["export", "out"]).0, Some(0));
    let lines = std::fs::read_to_string(place.0.path().join("out/train/metadata.jsonl")).unwrap();
    let row: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(place.0.path().join("out/train").join(row["file_name"].as_str().unwrap()).exists());
    // A second export replaces the first, and nothing else.
    assert_eq!(place.run(&["export", "out", "--format", "parquet"]).0, Some(0));
    let parquet = std::fs::read(place.0.path().join("out/data/train-00000-of-00001.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    assert!(!place.0.path().join("out/train").exists());
    let (code, _, err) = place.run(&["export", "in"]);
    assert!(code == Some(2) && err.contains("other files") && err.contains("hint:"), "{err}");
    let (code, card, _) = place.run(&["card"]);
    assert!(
        code == Some(0) && card.contains("CC-BY-4.0") && card.contains("3 usable slides are not labelled"),
        "{card}"
    );
}
