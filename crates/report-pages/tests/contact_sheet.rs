//! The contact sheet shows what was flagged or repeats another slide, and why.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{HOSTILE, assert_self_contained, keep};
use report_pages::render_contact_sheet;
use slide_data::SlideRecord;

fn slide(number: usize, flags: &[(&str, f64)]) -> SlideRecord {
    let mut slide = SlideRecord::sample("deck", number);
    slide.slide_id = format!("deck-p{number:03}");
    "uploads/deck.pdf".clone_into(&mut slide.source.origin);
    slide.quality = flags.iter().map(|(flag, value)| ((*flag).to_owned(), *value)).collect();
    slide
}

fn slides() -> Vec<SlideRecord> {
    let mut slides = vec![
        slide(1, &[]),
        slide(2, &[("blank", 0.987_654)]),
        slide(3, &[("too_small", 120.0), ("blurred", 3.5)]),
        slide(4, &[]),
        slide(5, &[("blank", 1.0)]),
    ];
    slides[2].excluded = true;
    slides[3].duplicate_of = Some("deck-p001".to_owned());
    HOSTILE.clone_into(&mut slides[4].source.origin);
    slides
}

#[test]
fn every_flag_has_its_slides_with_the_reason() {
    let page = render_contact_sheet(&slides()).unwrap();
    keep("contact_sheet.html", &page);
    assert_self_contained(&page);
    for part in [
        "5 slides, 3 flagged (of these 1 left out by the rules of <code>data.toml</code>), 1 repeat another.",
        "<h2>blank (2)</h2>",
        "share of background: 0.988</span>",
        "<h2>too small (1)</h2>",
        "shorter edge in pixels: 120</span> · <b class=\"no\">left out</b>",
        "<h2>repeats another slide (1)</h2>",
        "repeats <a href=\"slides/deck-p001.png\">deck-p001</a></span>",
        "<img loading=\"lazy\" src=\"slides/deck-p004.png\" alt=\"deck-p004\">",
        "&lt;script&gt;",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<figure>").count(), 5, "a slide with two flags stands in two places");
    assert!(!page.contains("photograph"), "no heading without slides");
}

#[test]
fn nothing_flagged_is_a_page_too() {
    let page = render_contact_sheet(&[slide(1, &[])]).unwrap();
    assert_self_contained(&page);
    assert!(page.contains("1 slides, 0 flagged") && !page.contains("<h2>"));
}

#[test]
fn what_people_left_out_and_what_was_replaced_is_shown() {
    let page =
        render_contact_sheet(&[slide(1, &[("decided", 1.0)]), slide(2, &[("replaced", 1.0)])]).unwrap();
    for part in [
        "<h2>decided (1)</h2>",
        "a person left it out</span>",
        "a new version of its file does not have it</span>",
    ] {
        assert!(page.contains(part), "{part}");
    }
}
