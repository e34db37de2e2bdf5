//! Slides that are not what their authors see, steps of builds and handouts: flagged, left out by default, and said.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fmt::Write as _;

use slide_data::{Manifest, SlideRecord};

use common::support::{pdf, zip};
use common::{Place, support};

fn slides(place: &Place) -> Vec<SlideRecord> {
    let mut slides = Manifest::read(&place.raw()).unwrap().slides;
    slides.sort_by_key(|slide| (slide.deck_id.clone(), slide.number));
    slides
}

/// A presentation of two slides: the first is set in Arial, the second in Aptos.
fn pptx() -> Vec<u8> {
    let link = |id: &str, target: &str| {
        format!("<Relationship Id=\"{id}\" Type=\"http://x/slide\" Target=\"{target}\"/>")
    };
    let links = link("rId1", "slides/slide1.xml") + &link("rId2", "slides/slide2.xml");
    let slide = |font: &str| {
        format!("<p:sld><a:r><a:rPr><a:latin typeface=\"{font}\"/></a:rPr><a:t>x</a:t></a:r></p:sld>")
    };
    zip(&[
        ("ppt/presentation.xml", b"<p:sldIdLst><p:sldId id=\"256\" r:id=\"rId1\"/><p:sldId id=\"257\" r:id=\"rId2\"/></p:sldIdLst>"),
        ("ppt/_rels/presentation.xml.rels", links.as_bytes()),
        ("ppt/slides/slide1.xml", slide("Helvetica").as_bytes()),
        ("ppt/slides/slide2.xml", slide("Aptos Nowhere").as_bytes()),
    ])
}

#[test]
fn a_presentation_drawn_without_its_fonts_is_flagged_and_one_line_says_what_to_do() {
    let place = Place::new();
    place.write("in/deck.pptx", &pptx());
    place.write("converted.pdf", &support::deck(300, 2));
    place.converter();
    let report = place.json_with_converter(&["in", "--json"]);
    assert_eq!(report["missing_fonts"], serde_json::json!({"Aptos Nowhere": 1}), "{report:#}");
    let slides = slides(&place);
    assert!(slides[0].missing_fonts.is_empty() && !slides[0].excluded, "{:?}", slides[0]);
    assert!(slides[1].excluded && slides[1].quality.contains_key("fonts_missing"), "{:?}", slides[1]);
    assert_eq!(slides[1].missing_fonts, ["Aptos Nowhere"]);
    let (_, out, _) = place.run(&["in"]);
    let lines: Vec<_> = out.lines().filter(|line| line.starts_with("fonts that were not there")).collect();
    assert!(lines.len() == 1 && lines[0].contains("Aptos Nowhere (1 slides)"), "{out}");
    let (_, out, _) = place.run(&["show", &slides[1].slide_id]);
    assert!(out.contains("missing: Aptos Nowhere"), "{out}");
    // The rule is a setting.
    let place = Place::new();
    place.write("in/deck.pptx", &pptx());
    place.write("converted.pdf", &support::deck(300, 2));
    place.converter();
    let report = place.json_with_converter(&["in", "--json", "--set", "quality.exclude=[\"blank\"]"]);
    assert_eq!((&report["flagged"], &report["excluded"]), (&1.into(), &0.into()), "{report:#}");
}

/// The first lines of a slide: its head and `steps` of what stands below.
fn step(seed: u64, steps: usize) -> String {
    let whole = support::slide(seed, 3);
    let lines: Vec<&str> = whole.lines().collect();
    let head = lines.iter().position(|line| line.contains("(- ")).unwrap();
    let mut page = lines[..head].join("\n") + "\n";
    for at in 0..steps {
        let _ = writeln!(
            page,
            "0.1 g BT /F1 26 Tf 80 {} Td (Point {at} of what deck {seed} has to say) Tj ET",
            380 - 60 * at
        );
    }
    page
}

#[test]
fn of_a_build_the_last_step_is_kept_and_the_others_lead_to_it() {
    let place = Place::new();
    // Four slides of five steps each, then two that share a template and are no steps.
    let mut pages: Vec<String> =
        (0..4).flat_map(|seed| (1..=5).map(move |steps| step(310 + seed, steps))).collect();
    pages.extend([support::slide(320, 1), support::slide(320, 2)]);
    place.write("in/deck.pdf", &pdf(&pages));
    let report = place.json(&["in", "--json"]);
    assert_eq!((&report["slides"], &report["excluded"]), (&22.into(), &16.into()), "{report:#}");
    let slides = slides(&place);
    for (at, slide) in slides.iter().enumerate() {
        let is_step = at < 20 && at % 5 != 4;
        assert_eq!(slide.quality.contains_key("build_step"), is_step, "page {}: {:?}", at + 1, slide.quality);
        let next = is_step.then(|| slides[at + 1].slide_id.clone());
        assert_eq!(slide.completed_by, next, "page {}", at + 1);
    }
    assert_eq!(place.run(&["verify"]).0, Some(0));
}

#[test]
fn drawn_decks_have_no_steps_and_no_handouts() {
    let place = Place::new();
    for seed in 0..12 {
        place.write(&format!("in/{seed}.pdf"), &support::deck(330 + seed, 8));
    }
    place.json(&["in", "--json"]);
    let odd: Vec<_> = slides(&place)
        .into_iter()
        .filter(|slide| slide.completed_by.is_some() || slide.quality.contains_key("handout"))
        .collect();
    assert!(odd.is_empty(), "{odd:?}");
}
