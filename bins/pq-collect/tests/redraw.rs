//! Slides of earlier runs that are drawn anew, and what keeps its picture.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use slide_data::{Manifest, SlideRecord};

use common::support::{deck, pdf, slide, zip};
use common::{Place, support};

fn slides(place: &Place) -> Vec<SlideRecord> {
    let mut slides = Manifest::read(&place.raw()).unwrap().slides;
    slides.sort_by(|a, b| (&a.source.origin, a.number).cmp(&(&b.source.origin, b.number)));
    slides
}

fn rate(place: &Place, slide: &SlideRecord) {
    let event = serde_json::json!({"schema_version": 1, "id": "a", "kind": "skipped", "slide_id": slide.slide_id, "annotator": "Ana", "at": "2026-01-02T03:04:05Z"});
    place.write("data/labeled/ratings.jsonl", format!("{event}\n").as_bytes());
}

/// Changes the records of files as text.
fn records(place: &Place, change: impl Fn(serde_json::Value) -> serde_json::Value) {
    let path = place.raw().join("inputs.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| change(serde_json::from_str(line).unwrap()).to_string() + "\n");
    std::fs::write(&path, lines.collect::<String>()).unwrap();
}

#[test]
fn pages_are_drawn_in_the_size_that_is_set_now_but_for_rated_ones() {
    let place = Place::new();
    place.write("in/deck.pdf", &deck(900, 3));
    place.write(
        "in/pictures/1.png",
        &support::encoded(&common::images(901, 1)[0], slide_data::image::ImageFormat::Png),
    );
    place.json(&["in", "--json"]);
    let before = slides(&place);
    rate(&place, &before[1]);
    let larger = ["in", "--json", "--set", "limits.longest_edge=800"];
    let report = place.json(&larger);
    assert_eq!((&report["redrawn"], &report["kept_pictures"]), (&2.into(), &1.into()), "{report:#}");
    assert_eq!((&report["slides_new"], &report["unchanged"]), (&0.into(), &1.into()), "{report:#}");
    let after = slides(&place);
    assert_eq!(after.iter().map(|slide| slide.width).collect::<Vec<_>>(), [800, 640, 800, 640]);
    assert_eq!(
        (&after[1], &after[3]),
        (&before[1], &before[3]),
        "what was rated, and images, are as they were"
    );
    for (old, new) in before.iter().zip(&after) {
        assert_eq!((&old.slide_id, &old.group, old.number), (&new.slide_id, &new.group, new.number));
    }
    assert_eq!(place.run(&["verify"]).0, Some(0));
    let report = place.json(&larger);
    assert_eq!((&report["redrawn"], &report["unchanged"]), (&0.into(), &2.into()), "once is enough");
}

#[test]
fn where_fonts_were_installed_what_lacked_them_is_drawn_anew() {
    let place = Place::new();
    let fonts = |font: &str| {
        let slide =
            format!("<p:sld><a:r><a:rPr><a:latin typeface=\"{font}\"/></a:rPr><a:t>x</a:t></a:r></p:sld>");
        let link = "<Relationship Id=\"rId1\" Type=\"http://x/slide\" Target=\"slides/slide1.xml\"/>";
        let main = "<p:sldIdLst><p:sldId id=\"256\" r:id=\"rId1\"/></p:sldIdLst>";
        zip(&[
            ("ppt/presentation.xml", main.as_bytes()),
            ("ppt/_rels/presentation.xml.rels", link.as_bytes()),
            ("ppt/slides/slide1.xml", slide.as_bytes()),
        ])
    };
    place.write("in/lacks.pptx", &fonts("Aptos Nowhere"));
    place.write("in/whole.pptx", &fonts("Helvetica"));
    place.write("converted.pdf", &pdf(&[slide(910, 1)]));
    place.converter();
    place.json_with_converter(&["in", "--json"]);
    let before = slides(&place);
    assert!(before[0].excluded && !before[1].excluded, "{before:#?}");
    let text = std::fs::read_to_string(place.raw().join("inputs.jsonl")).unwrap();
    assert_eq!(
        text.matches("\"fonts\":\"\"").count(),
        1,
        "the fonts of the machine matter to one of them: {text}"
    );
    let report = place.json_with_converter(&["in", "--json"]);
    assert_eq!(report["unchanged"], 2);

    // Other fonts by now: the converter breaks lines elsewhere.
    place.write("converted.pdf", &pdf(&[support::drawn_anew(&slide(910, 1))]));
    records(&place, |mut record| {
        if record["drawn"]["fonts"] != "" {
            record["drawn"]["fonts"] = "0123456789abcdef".into();
        }
        record
    });
    let report = place.json_with_converter(&["in", "--json"]);
    assert_eq!((&report["unchanged"], &report["redrawn"]), (&1.into(), &1.into()), "{report:#}");
    let after = slides(&place);
    assert_ne!(after[0].sha256, before[0].sha256);
    assert_eq!(after[1], before[1]);
    assert_eq!(place.run(&["verify"]).0, Some(0));
    let report = place.json_with_converter(&["in", "--json"]);
    assert_eq!((&report["unchanged"], &report["redrawn"]), (&2.into(), &0.into()), "once is enough");
}

#[test]
fn the_text_of_what_an_earlier_program_collected_is_read_where_the_file_still_lies() {
    let place = Place::new();
    place.write("in/here.pdf", &deck(920, 2));
    place.write("in/gone.pdf", &deck(921, 2));
    place.json(&["in", "--json"]);
    let before = slides(&place);
    let texts = std::fs::read(place.raw().join(".texts")).unwrap();
    std::fs::remove_file(place.raw().join(".texts")).unwrap();
    std::fs::remove_file(place.0.path().join("in/gone.pdf")).unwrap();
    records(&place, |mut record| {
        record.as_object_mut().unwrap().remove("drawn");
        record
    });
    let (code, out, err) = place.run(&["in"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("1 documents were collected before text was read"), "{out}");
    assert_eq!(slides(&place), before, "nothing else changed");
    let read = std::fs::read(place.raw().join(".texts")).unwrap();
    assert_eq!(2 * (read.len() - 8), texts.len() - 8, "of one of two files");
    assert_eq!(place.json(&["in", "--json"])["unchanged"], 1, "once is enough");
}
