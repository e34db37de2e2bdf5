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

/// A presentation of these slides.
fn presentation(slides: &[String]) -> Vec<u8> {
    let (mut list, mut links) = (String::new(), String::new());
    let mut parts = Vec::new();
    for (at, slide) in slides.iter().enumerate() {
        let _ = write!(list, "<p:sldId id=\"{}\" r:id=\"rId{at}\"/>", 256 + at);
        let _ = write!(
            links,
            "<Relationship Id=\"rId{at}\" Type=\"http://x/slide\" Target=\"slides/slide{at}.xml\"/>"
        );
        parts.push((format!("ppt/slides/slide{at}.xml"), slide.as_bytes()));
    }
    let list = format!("<p:sldIdLst>{list}</p:sldIdLst>");
    parts.push(("ppt/presentation.xml".to_owned(), list.as_bytes()));
    parts.push(("ppt/_rels/presentation.xml.rels".to_owned(), links.as_bytes()));
    zip(&parts.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect::<Vec<_>>())
}

/// A presentation of two slides: the first is set in Helvetica, the second in Aptos.
fn pptx() -> Vec<u8> {
    let slide = |font: &str| {
        format!("<p:sld><a:r><a:rPr><a:latin typeface=\"{font}\"/></a:rPr><a:t>x</a:t></a:r></p:sld>")
    };
    presentation(&[slide("Helvetica"), slide("Aptos Nowhere")])
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

/// A slide with a box of a place and size in points, and a page of 960 × 540 points where its text stands in lines from a height on.
fn boxed(rule: &str, top: u32, height: u32) -> String {
    let place = format!(
        "<a:off x=\"{}\" y=\"{}\"/><a:ext cx=\"{}\" cy=\"{}\"/>",
        80 * 12_700,
        top * 12_700,
        700 * 12_700,
        height * 12_700
    );
    let run = |text: &str| {
        format!("<a:p><a:r><a:rPr><a:latin typeface=\"Helvetica\"/></a:rPr><a:t>{text}</a:t></a:r></a:p>")
    };
    let text = (0..4).map(|line| run(&format!("Line {line} of the text in the box")));
    let body = format!("<p:txBody><a:bodyPr>{rule}</a:bodyPr>{}</p:txBody>", text.collect::<String>());
    format!("<p:sld><p:sp><p:spPr><a:xfrm>{place}</a:xfrm></p:spPr>{body}</p:sp></p:sld>")
}

fn page_of_lines(seed: u64) -> String {
    let line = |at: u32| {
        format!("0.1 g BT /F1 26 Tf 80 {} Td (Line {at} of the text in the box) Tj ET\n", 410 - 60 * at)
    };
    support::slide(seed, 1).lines().take(3).collect::<Vec<_>>().join("\n")
        + "\n"
        + &(0..4).map(line).collect::<String>()
}

#[test]
fn text_that_leaves_its_box_is_flagged_and_left_out_where_the_box_holds_all_of_it() {
    let place = Place::new();
    let autofit = "<a:normAutofit/>";
    place.write(
        "in/deck.pptx",
        &presentation(&[boxed(autofit, 100, 240), boxed(autofit, 100, 120), boxed("", 100, 120)]),
    );
    place.write("converted.pdf", &pdf(&[page_of_lines(340), page_of_lines(341), page_of_lines(342)]));
    place.converter();
    place.json_with_converter(&["in", "--json"]);
    let flags: Vec<(bool, Vec<String>)> = slides(&place)
        .into_iter()
        .map(|slide| {
            (slide.excluded, slide.quality.into_keys().filter(|flag| flag.starts_with("text_")).collect())
        })
        .collect();
    let wanted =
        [(false, vec![]), (true, vec!["text_moved".to_owned()]), (false, vec!["text_overflows".to_owned()])];
    assert_eq!(flags, wanted);
}

#[test]
fn a_line_that_runs_out_of_the_page_is_flagged_and_decoration_is_not() {
    let words = "(A line that is too long for the page and runs out of it at its right side) Tj ET\n";
    let line = |x: u32, size: u32, words: &str| format!("0.1 g BT /F1 {size} Tf {x} 300 Td {words}");
    let clipped = format!("q 100 100 500 300 re W n {} Q\n", line(60, 26, words));
    let pages = [
        line(60, 34, words),
        line(60, 20, words),
        line(700, 500, "(7) Tj ET\n"),
        format!("q 0 0 960 540 re W n {} Q\n", line(60, 34, words)),
        clipped,
    ];
    let heads = (0..).map(|at| support::slide(350 + at, 1));
    let pages: Vec<String> = pages.iter().zip(heads).map(|(page, head)| head + page).collect();
    let place = Place::new();
    place.write("in/deck.pdf", &pdf(&pages));
    place.json(&["in", "--json"]);
    let flagged: Vec<bool> =
        slides(&place).iter().map(|slide| slide.quality.contains_key("text_overflows")).collect();
    assert_eq!(flagged, [true, false, false, true, false]);
    assert!(slides(&place).iter().all(|slide| !slide.excluded), "their author sees the same");
}

#[test]
fn fonts_that_cannot_be_read_from_a_file_are_said_to_be_unknown() {
    let place = Place::new();
    let name: Vec<u8> = "PowerPoint Document".encode_utf16().flat_map(u16::to_le_bytes).collect();
    place.write("in/old.ppt", &[b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".as_slice(), &[0; 1600], &name].concat());
    place.write("converted.pdf", &support::deck(360, 2));
    place.converter();
    let report = place.json_with_converter(&["in", "--json"]);
    assert_eq!((&report["unknown_fonts"], &report["excluded"]), (&2.into(), &0.into()), "{report:#}");
    let (_, out, _) = place.run(&["in"]);
    assert!(out.contains("fonts that could not be looked up: of 2 slides"), "{out}");
}
