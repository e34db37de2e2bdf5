//! Decks that their owners want back: forgotten by name, and known when they come again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use slide_data::collect::{ForgettingAct, Forgotten};
use slide_data::{Contract as _, Manifest, Splits};

use common::Place;
use common::support::{deck, zip};

fn origins(place: &Place) -> Vec<String> {
    let mut origins: Vec<String> =
        Manifest::read(&place.raw()).unwrap().slides.into_iter().map(|slide| slide.source.origin).collect();
    origins.dedup();
    origins
}

fn deck_id(place: &Place, origin: &str) -> String {
    let slides = Manifest::read(&place.raw()).unwrap().slides;
    slides.into_iter().find(|slide| slide.source.origin == origin).unwrap().deck_id
}

/// Decks of three owners, one of them in an archive; two of one name.
fn place() -> Place {
    let place = Place::new();
    place.write("in/acme.pdf", &deck(800, 2));
    place.write("in/deck.pdf", &deck(801, 2));
    place.write("in/old/deck.pdf", &deck(802, 2));
    place.write("in/all.zip", &zip(&[("one.pdf", &deck(803, 2)), ("two.pdf", &deck(804, 2))]));
    place.json(&["in", "--json", "--license", "Acme Inc."]);
    place.write("more/beta.pdf", &deck(805, 2));
    place.write("more/gamma.pdf", &deck(806, 2));
    place.json(&["more", "--json", "--license", "Beta GmbH, mail of 3 May"]);
    place
}

#[test]
fn a_name_that_is_not_clear_is_refused_with_what_it_may_mean() {
    let place = place();
    let before = std::fs::read(place.raw().join("manifest.jsonl")).unwrap();
    let (code, _, err) = place.run(&["forget", "deck.pdf"]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("in/deck.pdf") && err.contains("in/old/deck.pdf") && err.contains("by its id"),
        "{err}"
    );
    let (code, _, err) = place.run(&["forget", "beta"]);
    assert!(code == Some(2) && err.contains("more/beta.pdf") && err.contains("Beta GmbH"), "{err}");
    let (code, _, err) = place.run(&["forget", "nobody"]);
    assert!(code == Some(2) && err.contains("no deck, file or owner is called `nobody`"), "{err}");
    let (code, _, err) = place.run(&["forget"]);
    assert!(code == Some(2) && err.contains("nothing is to be finished"), "{err}");
    let (code, out, _) = place.run(&["forget", "in/deck.pdf", "--dry-run"]);
    assert!(code == Some(0) && out.contains("would be forgotten") && out.contains("2 slides"), "{out}");
    assert_eq!(std::fs::read(place.raw().join("manifest.jsonl")).unwrap(), before, "nothing was changed");
    assert!(!place.raw().join("forgotten.jsonl").exists());
}

#[test]
fn a_deck_goes_by_its_id_a_file_by_its_name_and_all_decks_of_an_owner_by_the_licence() {
    let place = place();
    let id = deck_id(&place, "in/deck.pdf");
    let report = place.json(&["forget", &id, "--json", "--by", "Ana", "--reason", "withdrawn"]);
    assert_eq!((&report["decks"], &report["removed"]["slides"]), (&1.into(), &2.into()), "{report:#}");
    let elsewhere = report["elsewhere"][0].as_str().unwrap();
    assert!(elsewhere.ends_with("in/deck.pdf"), "what lies outside the store is named: {elsewhere}");
    assert!(place.0.path().join("in/deck.pdf").exists(), "and stays");
    let (code, out, _) = place.run(&["forget", &id]);
    assert!(code == Some(0) && out.contains("was forgotten on"), "{out}");
    assert_eq!(place.json(&["forget", "all.zip", "--json"])["decks"], 2, "all decks of an archive");
    assert_eq!(place.json(&["forget", "beta gmbh, mail of 3 may", "--json"])["decks"], 2);
    assert_eq!(origins(&place), ["in/acme.pdf", "in/old/deck.pdf"]);
    assert_eq!(place.run(&["verify"]).0, Some(0));
    let receipts = Forgotten::read_log(&place.raw().join("forgotten.jsonl")).unwrap().entries;
    assert_eq!(receipts.len(), 3);
    assert_eq!((receipts[0].by.as_str(), receipts[0].why.as_str()), ("Ana", "withdrawn"));
    let text = std::fs::read_to_string(place.raw().join("forgotten.jsonl")).unwrap();
    assert!(!text.contains(&id) && !text.contains(".pdf"), "{text}");
}

#[test]
fn the_same_file_is_not_collected_again_unless_it_is_asked_for() {
    let place = place();
    place.json(&["forget", "acme.pdf", "--json"]);
    place.json(&["forget", "all.zip!one.pdf", "--json"]);
    for _ in 0..2 {
        // Under another name and touched: it is known by what it holds.
        std::fs::copy(place.0.path().join("in/acme.pdf"), place.0.path().join("in/renamed.pdf")).unwrap();
        place.write("in/all.zip", &std::fs::read(place.0.path().join("in/all.zip")).unwrap());
        let report = place.json(&["in", "--json"]);
        assert_eq!((&report["seen"], &report["refused"]), (&5.into(), &2.into()), "{report:#}");
        let reasons: Vec<&str> = report["set_aside"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["reason"].as_str().unwrap())
            .collect();
        assert_eq!(reasons.len(), 3, "{reasons:?}");
        assert!(reasons.iter().all(|reason| reason.contains("--again")), "{reasons:?}");
        assert_eq!(origins(&place).len(), 5);
    }
    let text = std::fs::read_to_string(place.raw().join("inputs.jsonl")).unwrap();
    assert!(!text.contains("renamed.pdf"), "no record is kept of it");
    let report = place.json(&["in", "--again", "--json"]);
    assert_eq!((&report["refused"], &report["slides_new"]), (&0.into(), &4.into()), "{report:#}");
    let receipts = Forgotten::read_log(&place.raw().join("forgotten.jsonl")).unwrap().entries;
    assert_eq!(receipts.last().unwrap().act, ForgettingAct::TakenAgain);
    place.write("in/acme.pdf", &deck(800, 2));
    assert_eq!(place.json(&["in", "--json"])["refused"], 0, "it is no longer forgotten");
}

#[test]
fn what_was_fetched_or_uploaded_goes_with_its_deck() {
    let place = Place::new();
    place.write("data/raw/manual_uploads/Acme Inc/round/acme.pdf", &deck(810, 2));
    place.write("data/raw/manual_uploads/beta.pdf", &deck(811, 2));
    place.json(&["--json"]);
    let report = place.json(&["forget", "acme.pdf", "--json"]);
    assert_eq!(report["removed"]["files"], 1, "{report:#}");
    assert!(!place.raw().join("manual_uploads/Acme Inc").exists(), "empty folders go too");
    let report = place.json(&["--json"]);
    assert_eq!((&report["seen"], &report["slides"]), (&1.into(), &2.into()), "{report:#}");
}

#[test]
fn the_frozen_test_set_goes_on_and_says_what_it_lost() {
    let place = Place::new();
    for seed in 0..8 {
        place.write(&format!("in/{seed} of many.pdf"), &deck(820 + seed, 3));
    }
    place.json(&["in", "--json"]);
    place.json(&["splits", "--freeze-test", "--json", "--set", "splits.test=0.4"]);
    let path = place.0.path().join("data/labeled/splits.json");
    let splits = Splits::read(&path).unwrap();
    let test = splits.frozen_test.unwrap();
    assert!(test.len() > 3, "of two decks at least: {test:?}");
    let deck = test.first().unwrap().rsplit_once('-').unwrap().0.to_owned();
    place.json(&["forget", &deck, "--json", "--by", "Ana", "--reason", "withdrawn"]);
    let (code, out, err) = place.run(&["splits"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(&format!("the test set is frozen at {} slides", test.len() - 3)), "{out}");
    assert!(
        out.contains("the test set lost 3 slides") && out.contains("Ana: slides were forgotten: withdrawn"),
        "{out}"
    );
    assert!(Splits::read(&path).unwrap().frozen_test.unwrap().iter().all(|slide| test.contains(slide)));
}

#[test]
fn while_a_forgetting_is_not_at_its_end_nothing_else_is_done() {
    let place = place();
    // Somebody rates: the first step cannot be done.
    place.write("data/labeled/ratings.jsonl", b"");
    let lock = std::fs::File::create(place.0.path().join("data/labeled/ratings.jsonl.lock")).unwrap();
    lock.lock().unwrap();
    let (code, _, err) = place.run(&["forget", "acme.pdf"]);
    assert!(code == Some(2) && err.contains("in use by another process"), "{err}");
    for other in [&["in"][..], &["verify"], &["splits"], &["forget", "beta.pdf", "--dry-run"]] {
        let (code, _, err) = place.run(other);
        assert!(code == Some(2) && err.contains("`pq-collect forget`, without a name"), "{other:?}: {err}");
    }
    assert_eq!(origins(&place).len(), 7, "nothing was removed yet");
    drop(lock);
    let (code, out, err) = place.run(&["forget"]);
    assert!(code == Some(0) && out.contains("forgotten:"), "{out}{err}");
    assert_eq!(origins(&place).len(), 6);
    assert_eq!(place.run(&["verify"]).0, Some(0));
}
