//! Slides from production, as pq-score keeps them: what was corrected or drawn comes in for training, and nothing else changes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::support::{deck, encoded};
use common::{Place, images};
use project_files::KeptFiles;
use slide_data::image::ImageFormat;
use slide_data::render::{RenderedSlide, load_bytes};
use slide_data::{
    Contract as _, Correction, KeptConfig, KeptSlide, KeptSlides, Limits, Manifest, Score, SlideRecord,
    Split, Splits, pixels_sha256,
};

fn at() -> jiff::Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// The slides of a drawn deck, as pq-score reads them.
fn rendered(name: &str, seed: u64, count: usize) -> Vec<RenderedSlide> {
    let limits = Limits { longest_edge: 640, ..Limits::default() };
    load_bytes(name, deck(seed, count), &limits).into_iter().map(Result::unwrap).collect()
}

/// Keeps slides as pq-score does.
fn keep(place: &Place, slides: &[RenderedSlide]) {
    let files = KeptFiles::new(place.0.path().join("monitoring/kept"));
    let mut kept = KeptSlides::open(files, KeptConfig::default()).unwrap();
    let record = |slide: &RenderedSlide| KeptSlide {
        schema_version: KeptSlide::VERSION,
        slide_id: slide.slide_id.clone(),
        deck_id: slide.deck_id.clone(),
        deck: slide.deck.clone(),
        number: slide.number,
        source: slide.source.clone(),
        sha256: pixels_sha256(&slide.image),
        scored_at: at(),
    };
    let slides: Vec<_> = slides.iter().map(|slide| (record(slide), &slide.image)).collect();
    kept.keep(&slides).unwrap();
}

fn correct(place: &Place, slides: &[&str]) {
    let corrections: Vec<Correction> = slides
        .iter()
        .map(|slide| Correction {
            schema_version: 1,
            id: format!("c-{slide}"),
            slide_id: (*slide).to_owned(),
            model_version: "v1".to_owned(),
            annotator: "user".to_owned(),
            corrected_at: at(),
            predicted: [].into(),
            scores: [("clarity".to_owned(), Score::new(2))].into(),
            notes: String::new(),
        })
        .collect();
    Correction::append(&place.0.path().join("data/user_feedback/corrections.jsonl"), &corrections).unwrap();
}

/// A store of twelve decks, each in one split.
fn collected() -> Place {
    let place = Place::new();
    for seed in 0..12 {
        place.write(&format!("in/deck {seed}.pdf"), &deck(100 + seed, 3));
    }
    place.json(&["in", "--json"]);
    place.json(&["splits", "--json"]);
    place
}

fn splits(place: &Place) -> Splits {
    Splits::read(&place.0.path().join("data/labeled/splits.json")).unwrap()
}

fn slides(place: &Place) -> Vec<SlideRecord> {
    Manifest::read(&place.raw()).unwrap().slides
}

fn files(folder: &Path) -> BTreeSet<(String, Vec<u8>)> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found
}

#[test]
fn a_corrected_stranger_comes_in_for_training_and_a_second_run_changes_nothing() {
    let place = collected();
    let (before, splits_before) = (slides(&place), splits(&place));
    let (stranger, untouched) = (rendered("stranger.pdf", 1, 4), rendered("untouched.pdf", 2, 3));
    keep(&place, &stranger);
    keep(&place, &untouched);
    let corrected =
        [stranger[1].slide_id.as_str(), stranger[3].slide_id.as_str(), "d0-never-kept", &before[0].slide_id];
    correct(&place, &corrected);
    let report = place.json(&["production", "--json"]);
    for (key, count) in [("asked", 4), ("known", 1), ("slides_new", 2), ("decks", 1), ("held_out", 0)] {
        assert_eq!(report[key], count, "{key}: {report}");
    }
    assert_eq!(report["not_kept"], serde_json::json!(["d0-never-kept"]));
    let after = slides(&place);
    assert_eq!(after[..before.len()], before[..], "what was there stays as it was");
    for (record, slide) in after[before.len()..].iter().zip([&stranger[1], &stranger[3]]) {
        assert_eq!(
            (&record.slide_id, &record.deck_id, record.number),
            (&slide.slide_id, &slide.deck_id, slide.number)
        );
        assert_eq!((&record.source, record.scored_at), (&slide.source, Some(at())));
        assert_eq!(record.sha256, pixels_sha256(&slide.image));
        assert_eq!(record.group, stranger[0].deck_id);
        assert!(Manifest::image_path(&place.raw(), &record.slide_id).exists());
    }
    let expected: BTreeSet<&str> = after.iter().map(|slide| slide.slide_id.as_str()).collect();
    let stored: BTreeSet<String> = std::fs::read_dir(place.raw().join("slides"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        stored.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        expected,
        "no other image came in"
    );
    let mut expected = splits_before;
    expected.groups.insert(stranger[0].deck_id.clone(), Split::Train);
    assert_eq!(splits(&place).groups, expected.groups);
    assert_eq!(place.run(&["verify"]).0, Some(0));

    let data = files(&place.0.path().join("data"));
    let again = place.json(&["production", "--json"]);
    assert_eq!((&again["known"], &again["slides_new"]), (&3.into(), &0.into()));
    assert!(files(&place.0.path().join("data")) == data, "a second run changed a file");
    let (code, out, _) = place.run(&["production"]);
    assert!(code == Some(0) && out.contains("4 slides were corrected or drawn"), "{out}");
    // The whole deck is collected later: its other slides join, and stay in training.
    place.write("later/stranger.pdf", &deck(1, 4));
    let whole = place.json(&["later", "--json"]);
    assert_eq!(whole["slides_new"], 2, "{whole}");
    assert!(
        slides(&place)
            .iter()
            .filter(|s| s.deck_id == stranger[0].deck_id)
            .all(|s| s.group == stranger[0].deck_id)
    );
}

#[test]
fn what_shares_a_slide_with_a_deck_of_the_test_is_never_trained_on() {
    let place = collected();
    let (before, splits_before) = (slides(&place), splits(&place));
    let of_split = |split: Split| {
        let mut own = before.iter().filter(|slide| splits_before.of(slide) == Some(split));
        own.next().unwrap().clone()
    };
    let (test, val, train) = (of_split(Split::Test), of_split(Split::Val), of_split(Split::Train));
    // A new version of a deck: one of its slides is a JPEG copy of one of the store's, and another one is corrected.
    let mut versions = Vec::new();
    for (seed, held) in [(11, &test), (12, &val), (13, &train)] {
        let mut version = rendered(&format!("version {seed}.pdf"), seed, 2);
        let stored = slide_data::image::open(Manifest::image_path(&place.raw(), &held.slide_id)).unwrap();
        let copy = encoded(&stored.into_rgb8(), ImageFormat::Jpeg);
        version[0].image = slide_data::image::load_from_memory(&copy).unwrap().into_rgb8();
        keep(&place, &version);
        versions.push(version);
    }
    correct(&place, &versions.iter().map(|version| version[1].slide_id.as_str()).collect::<Vec<_>>());
    // And a correction of the copy itself.
    correct(&place, &[&versions[0][0].slide_id]);
    let report = place.json(&["production", "--json"]);
    assert_eq!(
        (&report["slides_new"], &report["duplicates"], &report["held_out"]),
        (&4.into(), &1.into(), &2.into())
    );
    let (after, splits_after) = (slides(&place), splits(&place));
    assert_eq!(splits_after.groups, splits_before.groups, "every deck joined a group that has a split");
    let of = |id: &str| after.iter().find(|slide| slide.slide_id == id).unwrap();
    let [like_test, like_val, like_train] = [0, 1, 2].map(|at: usize| of(&versions[at][1].slide_id));
    assert_eq!(
        (&like_test.group, &like_val.group, &like_train.group),
        (&test.group, &val.group, &train.group)
    );
    let found = [like_test, like_val, like_train].map(|slide| splits_after.of(slide));
    assert_eq!(found, [None, None, Some(Split::Train)]);
    assert_eq!(of(&versions[0][0].slide_id).duplicate_of.as_ref(), Some(&test.slide_id));
    // Nor is it tested on: the test set is what it was.
    let test_set = |slides: &[SlideRecord], splits: &Splits| -> Vec<(String, String)> {
        let own = slides
            .iter()
            .filter(|slide| slide.duplicate_of.is_none() && splits.of(slide) == Some(Split::Test));
        own.map(|slide| (slide.slide_id.clone(), slide.sha256.clone())).collect()
    };
    assert_eq!(test_set(&after, &splits_after), test_set(&before, &splits_before));
    let proof = place.json(&["splits", "--json"]);
    assert_eq!(proof["held_out"], 2, "{proof}");
}

#[test]
fn what_was_drawn_for_the_audit_comes_in_too() {
    let place = collected();
    let stranger = rendered("stranger.pdf", 1, 3);
    keep(&place, &stranger);
    let sample =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/project-files/samples/v1/audits.jsonl");
    let mut audit = slide_data::Audit::read_log(&sample).unwrap().entries.remove(0);
    audit.slide_id.clone_from(&stranger[2].slide_id);
    slide_data::Audit::append(&place.0.path().join("monitoring/audits.jsonl"), &[audit]).unwrap();
    let report = place.json(&["production", "--json"]);
    assert_eq!((&report["asked"], &report["slides_new"]), (&1.into(), &1.into()));
    assert_eq!(slides(&place).last().unwrap().slide_id, stranger[2].slide_id);
}

#[test]
fn broken_images_and_files_are_named_and_change_nothing_else() {
    let place = collected();
    let before = slides(&place).len();
    let stranger = rendered("stranger.pdf", 1, 3);
    keep(&place, &stranger);
    correct(&place, &stranger.iter().map(|slide| slide.slide_id.as_str()).collect::<Vec<_>>());
    let kept = KeptFiles::new(place.0.path().join("monitoring/kept"));
    let image = |at: usize| kept.image(&pixels_sha256(&stranger[at].image));
    std::fs::write(image(0), encoded(&images(7, 1)[0], ImageFormat::Png)).unwrap();
    std::fs::remove_file(image(1)).unwrap();
    let mut index = std::fs::read_to_string(kept.index()).unwrap();
    index.insert_str(0, "{\"torn\n");
    std::fs::write(kept.index(), index).unwrap();
    let report = place.json(&["production", "--json"]);
    assert_eq!(
        (&report["slides_new"], report["set_aside"].as_array().unwrap().len()),
        (&1.into(), 2),
        "{report}"
    );
    assert_eq!(slides(&place).len(), before + 1);
    assert_eq!(place.run(&["verify"]).0, Some(0));
    // A splits file that cannot be read: nothing is brought in, and the file stays.
    std::fs::write(image(0), encoded(&stranger[0].image, ImageFormat::Png)).unwrap();
    place.write("data/labeled/splits.json", b"{\"schema_version\":99,\"groups\":{}}");
    let (code, _, err) = place.run(&["production"]);
    assert!(code == Some(2) && err.contains("99"), "{err}");
    assert_eq!(slides(&place).len(), before + 1);
}

#[test]
fn lines_that_a_newer_program_wrote_stop_nothing() {
    let place = collected();
    let stranger = rendered("stranger.pdf", 1, 4);
    keep(&place, &stranger);
    correct(&place, &[stranger[1].slide_id.as_str()]);
    for log in [
        "data/user_feedback/corrections.jsonl",
        "monitoring/kept/kept_slides.jsonl",
        "monitoring/audits.jsonl",
    ] {
        let path = place.0.path().join(log);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, format!("{{\"schema_version\":9,\"id\":\"n\"}}\n{text}")).unwrap();
    }
    let (code, out, err) = place.run(&["production", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["asked"], &report["slides_new"]), (&1.into(), &1.into()), "{report}");
    assert!(err.contains("corrections.jsonl") && err.contains("version 9"), "{err}");
}
