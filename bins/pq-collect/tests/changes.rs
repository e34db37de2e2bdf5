//! What a later run applies anew: rules, licences, new versions of files; and what is published.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slide_data::image::ImageFormat;
use slide_data::{Contract as _, Manifest, SlideRecord, Splits};

use common::support::{deck, encoded, pdf, slide};
use common::{Place, images};

fn slides(place: &Place) -> Vec<SlideRecord> {
    Manifest::read(&place.raw()).unwrap().slides
}

fn counts<const N: usize>(report: &Value, keys: [&str; N]) -> [u64; N] {
    keys.map(|key| report[key].as_u64().unwrap())
}

#[test]
fn rules_are_applied_to_slides_that_were_collected_before() {
    let place = Place::new();
    place.write("in/deck.pdf", &deck(600, 4));
    place.json(&["in", "--json"]);
    let before = std::fs::read(place.raw().join("manifest.jsonl")).unwrap();
    let strict = ["in", "--json", "--set", "quality.too_small=400"];
    let keys = ["unchanged", "usable", "excluded", "newly_excluded", "newly_included"];
    let report = place.json(&strict);
    assert_eq!(counts(&report, keys), [1, 0, 4, 4, 0], "{report:#}");
    assert!(slides(&place).iter().all(|slide| (slide.quality["too_small"] - 360.0).abs() < 1e-9));
    assert_eq!(counts(&place.json(&strict), keys), [1, 0, 4, 0, 0], "once is enough");
    // Which flags exclude is applied without looking at the images.
    let flagged = [&strict[..], &["--set", "quality.exclude=[\"blank\"]"]].concat();
    assert_eq!(counts(&place.json(&flagged), keys), [1, 4, 0, 0, 4]);
    let (_, out, _) = place.run(&["in"]);
    assert!(!out.contains("rules or decisions"), "in use they were already: {out}");
    assert_eq!(std::fs::read(place.raw().join("manifest.jsonl")).unwrap(), before, "as it was");
    let (_, out, _) = place.run(&["in", "--set", "quality.too_small=400"]);
    assert!(out.contains("4 slides of earlier runs are left out now"), "{out}");
}

#[test]
fn rules_leave_the_frozen_test_set_as_it_is() {
    let place = Place::new();
    for seed in 0..4 {
        place.write(&format!("in/{seed}.pdf"), &deck(610 + seed, 3));
    }
    place.json(&["in", "--json"]);
    place.json(&["splits", "--freeze-test", "--json"]);
    let path = place.0.path().join("data/labeled/splits.json");
    let test = Splits::read(&path).unwrap().frozen_test.unwrap();
    let report = place.json(&["in", "--json", "--set", "quality.too_small=400"]);
    assert_eq!(report["held"], test.len(), "{report:#}");
    let usable = slides(&place).into_iter().filter(|slide| !slide.excluded).map(|slide| slide.slide_id);
    assert_eq!(usable.collect::<BTreeSet<_>>(), test);
}

#[test]
fn a_licence_that_is_stated_later_reaches_the_slides_and_one_that_is_not_repeated_stays() {
    let place = Place::new();
    place.write("in/deck.pdf", &deck(620, 2));
    place.write("in/zip.zip", &common::support::zip(&[("inner.pdf", &deck(621, 2))]));
    place.write("other/deck.pdf", &deck(622, 2));
    place.json(&["in", "other", "--json"]);
    let licences = |place: &Place| -> BTreeMap<String, Option<String>> {
        slides(place).into_iter().map(|slide| (slide.source.origin, slide.source.license)).collect()
    };
    assert!(licences(&place).values().all(Option::is_none));
    place.write("in/source.toml", b"license = \"CC-BY-4.0\"");
    let report = place.json(&["in", "--json"]);
    assert_eq!(counts(&report, ["unchanged", "licences"]), [2, 4], "{report:#}");
    let stated = licences(&place);
    assert_eq!(stated["in/deck.pdf"].as_deref(), Some("CC-BY-4.0"));
    assert_eq!(stated["in/zip.zip!inner.pdf"].as_deref(), Some("CC-BY-4.0"));
    assert_eq!(stated["other/deck.pdf"], None);
    assert_eq!(place.json(&["other", "--json", "--license", "by consent"])["licences"], 2);
    assert_eq!(place.json(&["other", "--json"])["licences"], 0);
    assert_eq!(licences(&place)["other/deck.pdf"].as_deref(), Some("by consent"));
}

#[test]
fn a_new_version_of_a_file_replaces_what_it_no_longer_has() {
    let place = Place::new();
    let pages = |own: &[(u64, usize)]| pdf(&own.iter().map(|&(seed, n)| slide(seed, n)).collect::<Vec<_>>());
    place.write("in/deck.pdf", &pages(&[(630, 1), (630, 2), (630, 3), (630, 4)]));
    place.json(&["in", "--json"]);
    let first = slides(&place);
    // The third page is another one now, and the fourth is gone.
    place.write("in/deck.pdf", &pages(&[(630, 1), (630, 2), (631, 3)]));
    let report = place.json(&["in", "--json"]);
    assert_eq!(counts(&report, ["slides_new", "outdated", "usable", "groups"]), [3, 2, 3, 1], "{report:#}");
    let after = slides(&place);
    assert_eq!(after[..2], first[..2], "what the new version repeats stays as it is, with its ratings");
    assert!(after[2..4].iter().all(|slide| slide.excluded && slide.quality.contains_key("replaced")));
    assert!(after[4..6].iter().all(|slide| slide.duplicate_of.is_some()));
    assert!(!after[6].excluded && after[6].duplicate_of.is_none());
    let again = place.json(&["in", "--json"]);
    assert_eq!(counts(&again, ["unchanged", "outdated", "usable"]), [1, 0, 3]);
    // The first version comes back.
    place.write("in/deck.pdf", &pages(&[(630, 1), (630, 2), (630, 3), (630, 4)]));
    let report = place.json(&["in", "--json"]);
    assert_eq!(
        counts(&report, ["slides_new", "outdated", "newly_included", "usable"]),
        [0, 1, 2, 4],
        "{report:#}"
    );
    assert_eq!(slides(&place)[..4], first[..]);
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

#[test]
fn a_changed_image_takes_the_place_of_the_old_one() {
    let place = Place::new();
    let pages = images(640, 4);
    let png = |at: usize| encoded(&pages[at], ImageFormat::Png);
    for at in 0..3 {
        place.write(&format!("in/acme/{at}.png"), &png(at));
    }
    place.json(&["in", "--json"]);
    place.write("in/acme/1.png", &png(3));
    let report = place.json(&["in", "--json"]);
    assert_eq!(counts(&report, ["slides_new", "outdated", "usable", "decks"]), [1, 1, 3, 1], "{report:#}");
    let slides = slides(&place);
    let mut used: Vec<_> =
        slides.iter().filter(|s| !s.excluded).map(|s| (s.number, s.source.origin.as_str())).collect();
    used.sort_unstable();
    assert_eq!(used, [(1, "in/acme/0.png"), (2, "in/acme/1.png"), (3, "in/acme/2.png")]);
}

#[test]
fn a_copy_elsewhere_keeps_the_old_version_and_a_file_that_is_gone_is_named() {
    let place = Place::new();
    place.write("in/deck.pdf", &deck(650, 3));
    place.write("copy/deck.pdf", &deck(650, 3));
    place.json(&["in", "copy", "--json"]);
    place.write("in/deck.pdf", &deck(651, 3));
    let report = place.json(&["in", "--json"]);
    assert_eq!(counts(&report, ["outdated", "usable"]), [0, 6], "{report:#}");
    assert_eq!(report["missing"], serde_json::json!([]));
    std::fs::remove_file(place.0.path().join("copy/deck.pdf")).unwrap();
    place.write("data/raw/manual_uploads/own.pdf", &deck(652, 1));
    place.json(&["--json"]);
    std::fs::remove_file(place.0.path().join("data/raw/manual_uploads/own.pdf")).unwrap();
    let report = place.json(&["in", "--json"]);
    assert_eq!(report["missing"], serde_json::json!(["copy/deck.pdf", "own.pdf"]));
    let (_, out, _) = place.run(&["in"]);
    assert!(out.contains("2 files are no longer where they were") && out.contains("  own.pdf"), "{out}");
}

#[test]
fn what_is_published_has_a_licence_and_no_names() {
    let place = Place::new();
    place.write("secret name/licensed.pdf", &deck(660, 2));
    place.write("in/unlicensed.pdf", &deck(661, 2));
    place.json(&["in", "--json"]);
    let (code, _, err) = place.run(&["export", "out", "--public"]);
    assert!(code == Some(2) && err.contains("--license") && !place.0.path().join("out").exists(), "{err}");
    place.json(&["secret name", "--json", "--license", "CC-BY-4.0"]);
    for (format, files) in [("image-folder", 2), ("parquet", 1)] {
        let (code, out, err) = place.run(&["export", "out", "--public", "--format", format]);
        assert!(code == Some(0) && out.contains(&format!("train 2, in {files} files")), "{out}{err}");
        let mut seen = 0;
        let mut folders = vec![place.0.path().join("out")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                let bytes = std::fs::read(entry.path()).unwrap();
                for word in [&b"secret name"[..], b"licensed.pdf", b"\"notes\"", b"\"origin\""] {
                    assert!(
                        !bytes.windows(word.len()).any(|part| part == word),
                        "{}",
                        entry.path().display()
                    );
                }
                seen += 1;
            }
        }
        assert!(seen > 2, "{format}");
    }
    let (_, out, _) = place.run(&["export", "all"]);
    assert!(out.contains("train 4"), "without --public nothing is left out: {out}");
}

#[test]
fn what_people_decide_holds_over_the_rules_and_over_new_runs() {
    let place = Place::new();
    place.write("in/a.pdf", &deck(690, 3));
    place.write("in/b.pdf", &deck(691, 2));
    place.json(&["in", "--json"]);
    let mut ids: Vec<_> =
        slides(&place).into_iter().map(|slide| (slide.source.origin, slide.number, slide.slide_id)).collect();
    ids.sort();
    let ids: Vec<String> = ids.into_iter().map(|(_, _, id)| id).collect();
    let usable = |args: &[&str]| counts(&place.json(&[args, &["--json"]].concat()), ["usable"])[0];
    assert_eq!(usable(&["decide", "exclude", "a.pdf", "--by", "Ana", "--why", "a test print"]), 2);
    assert_eq!(usable(&["decide", "automatic", &ids[0], "--by", "Ben"]), 3);
    assert_eq!(usable(&["in"]), 3, "a later run changes nothing");
    // A copy of what was left out is left out with it.
    place.write("copy/again.pdf", &pdf(&[slide(690, 2), slide(690, 3)]));
    assert_eq!(usable(&["copy"]), 3);
    std::fs::remove_dir_all(place.0.path().join("copy")).unwrap();
    // Against the rules.
    let strict = ["in", "--set", "quality.too_small=400"];
    assert_eq!(usable(&strict), 0);
    assert_eq!(usable(&["decide", "include", &ids[4], "--by", "Ana", "--set", "quality.too_small=400"]), 1);
    assert_eq!(usable(&["in"]), 3);
    // The store is made anew from the files.
    std::fs::remove_dir_all(place.raw()).unwrap();
    assert_eq!(usable(&["in"]), 3);
    let left_out: BTreeSet<String> =
        slides(&place).into_iter().filter(|s| s.excluded).map(|s| s.slide_id).collect();
    assert_eq!(left_out, BTreeSet::from([ids[1].clone(), ids[2].clone()]));
    let (_, out, _) = place.run(&["show", &ids[1]]);
    assert!(out.contains("decided"), "{out}");
    let log = std::fs::read_to_string(place.0.path().join("data/labeled/slide_decisions.jsonl")).unwrap();
    assert!(
        log.lines().count() == 3 && log.contains("a test print") && log.contains("\"by\":\"Ben\""),
        "{log}"
    );
    for (args, word) in [
        (&["decide", "exclude", "nobody", "--by", "Ana"][..], "nobody"),
        (&["decide", "same", &ids[0], "--by", "Ana"], "two"),
        (&["decide", "licence", &ids[0], "--by", "Ana"], "license"),
        (&["decide", "exclude", &ids[0], "--by", " "], "by"),
    ] {
        let (code, _, err) = place.run(args);
        assert!(code == Some(2) && err.contains(word), "{args:?}: {err}");
    }
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

#[test]
fn people_make_slides_one_or_two_and_state_licences() {
    let place = Place::new();
    let own: Vec<String> = (1..=3).map(|number| slide(700, number)).collect();
    place.write("in/a.pdf", &pdf(&own));
    place.write("in/b.pdf", &pdf(&[own[2].clone(), slide(701, 1), slide(701, 2), slide(701, 3)]));
    for seed in 0..4 {
        place.write(&format!("in/c{seed}.pdf"), &deck(710 + seed, 3));
    }
    assert_eq!(place.json(&["in", "--json"])["duplicates"], 1);
    let all = slides(&place);
    let repeat = all.iter().find(|slide| slide.duplicate_of.is_some()).unwrap();
    let (repeat, original) = (repeat.slide_id.clone(), repeat.duplicate_of.clone().unwrap());
    let keys = ["duplicates", "decided_pairs"];
    let report = place.json(&["decide", "different", &repeat, &original, "--by", "Ana", "--json"]);
    assert_eq!(counts(&report, keys), [0, 1], "{report:#}");
    assert_eq!(counts(&place.json(&["in", "--json"]), keys), [0, 0]);
    let (code, out, err) = place.run(&["splits"]);
    assert!(code == Some(0), "{out}{err}");
    let others = ["in/c0.pdf", "in/c1.pdf"]
        .map(|origin| all.iter().find(|slide| slide.source.origin == origin).unwrap().slide_id.clone());
    let report = place.json(&["decide", "same", &others[0], &others[1], "--by", "Ana", "--json"]);
    assert_eq!(counts(&report, keys), [1, 1], "{report:#}");
    let report =
        place.json(&["decide", "licence", "in/c3.pdf", "--license", "by consent", "--by", "Ana", "--json"]);
    assert_eq!(report["licences"], 3);
    // All of it is found again when the store is made anew, also by way of another file.
    std::fs::remove_dir_all(place.raw()).unwrap();
    let report = place.json(&["in", "--json", "--license", "CC0"]);
    assert_eq!(report["duplicates"], 1, "{report:#}");
    let after = slides(&place);
    let of = |id: &str| after.iter().find(|slide| slide.slide_id == id).unwrap();
    assert!(of(&repeat).duplicate_of.is_none() && of(&original).duplicate_of.is_none());
    let pair = others.map(|id| of(&id).clone());
    assert!(pair.iter().any(|slide| slide.duplicate_of.is_some()));
    assert_eq!(pair[0].group, pair[1].group, "decks that share a slide are one group");
    let licensed = after.iter().filter(|slide| slide.source.license.as_deref() == Some("by consent")).count();
    assert_eq!(licensed, 3);
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

#[test]
fn a_deck_is_shown_by_its_id_its_file_or_its_folder() {
    let place = Place::new();
    place.write("in/deck one.pdf", &deck(680, 3));
    place.write("in/folder/1.png", &encoded(&images(681, 1)[0], ImageFormat::Png));
    place.json(&["in", "--json"]);
    let deck = slides(&place).iter().find(|slide| slide.number == 3).unwrap().deck_id.clone();
    for (name, count) in
        [(deck.as_str(), 3), ("deck one.pdf", 3), ("in/deck one.pdf", 3), ("in/folder", 1), ("in", 4)]
    {
        let (code, out, err) = place.run(&["show", name]);
        assert!(
            code == Some(0) && out.lines().count() == count && out.contains(", used"),
            "{name}: {out}{err}"
        );
        assert_eq!(place.json(&["show", name, "--json"]).as_array().unwrap().len(), count);
    }
    for stranger in ["one.pdf", "fold", "d000"] {
        let (code, _, err) = place.run(&["show", stranger]);
        assert!(code == Some(2) && err.contains("hint:"), "{stranger}: {err}");
    }
}

#[test]
fn an_export_of_nothing_is_refused() {
    let place = Place::new();
    place.write("in/deck.pdf", &deck(670, 2));
    place.json(&["in", "--json", "--set", "quality.too_small=400"]);
    let (code, _, err) = place.run(&["export", "out"]);
    assert!(code == Some(2) && err.contains("no slide can be exported") && err.contains("hint:"), "{err}");
    assert!(!place.0.path().join("out").exists());
}
