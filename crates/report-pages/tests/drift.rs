//! The drift report holds what it should, escaped, in one self-contained file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;

use common::{assert_self_contained, image, keep};
use drift::{
    DriftReport, DriftSizes, DriftStatus, FeatureDrift, FeatureGroup, GroupPower, MovedDeck, VisionDrift,
};
use jiff::Timestamp;
use report_pages::{ExampleSlide, render_drift_report};

fn feature(name: &str, shift: f64, drifted: bool) -> FeatureDrift {
    let quantiles = |shift: f64| (0..=20).map(|i| f64::from(i * i) / 400.0 + shift).collect();
    FeatureDrift {
        name: name.to_owned(),
        group: FeatureGroup::Image,
        reference_slides: 192,
        recent_slides: 96,
        reference_mean: 0.341_5,
        recent_mean: 0.341_5 + shift,
        psi: shift,
        js_divergence: shift / 4.0,
        ks: shift / 2.0,
        wasserstein: shift * 12_345.6,
        p_value: 0.005,
        adjusted_p_value: if drifted { 0.01 } else { 0.8 },
        power: drifted.then_some(0.93),
        drifted,
        strength: if drifted { 0.7 } else { 0.0 },
        quantiles: [quantiles(0.0), quantiles(shift)],
    }
}

fn report(status: DriftStatus, features: Vec<FeatureDrift>) -> DriftReport {
    DriftReport {
        schema_version: 2,
        created_at: Timestamp::UNIX_EPOCH,
        model_version: Some("v4".to_owned()),
        status,
        drift_score: (status != DriftStatus::Insufficient).then_some(0.42),
        threshold: 0.30,
        p_value: Some(0.01),
        reasons: vec![
            "the drift score 0.42 is above 0.30".to_owned(),
            "changed: picture.background_brightness".to_owned(),
        ],
        sizes: DriftSizes {
            reference_slides: 192,
            reference_decks: 24,
            recent_slides: 96,
            recent_decks: 12,
            ..DriftSizes::default()
        },
        alpha: 0.05,
        permutations: 999,
        power: Some(0.9),
        power_shift: 1.0,
        groups: vec![GroupPower {
            group: FeatureGroup::Model,
            power: Some(0.41),
            weakest: Some("score.<i>".to_owned()),
            more_decks: Some(6),
            more_slides: Some(58),
        }],
        features,
        vision: None,
        decks: vec![MovedDeck {
            deck_id: "deck <7>".to_owned(),
            slides: 12,
            distance: 3.25,
            features: vec!["picture.contrast".to_owned()],
            example_slide: "deck-7-3".to_owned(),
        }],
        left_out: Vec::new(),
        inputs: BTreeMap::from([("predictions.jsonl".to_owned(), "9f".repeat(32))]),
    }
}

/// An image for each of these decks.
fn images(decks: &[&str]) -> BTreeMap<String, ExampleSlide> {
    let example = |seed| ExampleSlide { name: format!("<pitch>.pdf, slide {seed}"), image: image(seed) };
    decks.iter().zip(1..).map(|(deck, seed)| ((*deck).to_owned(), example(seed))).collect()
}

#[test]
fn the_finding_comes_first_and_each_feature_is_drawn() {
    let names = [
        "picture.background_brightness",
        "picture.<b>",
        "score.clarity",
        "entropy.design",
        "picture.contrast",
    ];
    let features =
        names.iter().zip(0u8..).map(|(name, i)| feature(name, 0.4 - 0.1 * f64::from(i), i < 2)).collect();
    let page = render_drift_report(&report(DriftStatus::Drifted, features), &images(&["deck <7>"])).unwrap();
    keep("drift.html", &page);
    assert_self_contained(&page);
    assert!(!page.contains("<b>") && page.contains("picture.&lt;b&gt;"));
    for part in [
        "<section class=\"verdict fail\"",
        "Drift: recent slides differ from those of training",
        "threshold 0.30",
        "v4 · 96 recent slides of 12 decks",
        "a shift of one standard deviation",
        "192 &#x2f; 96",
        "deck &lt;7&gt;",
        "deck-7-3",
        "<figcaption>&lt;pitch&gt;.pdf, slide 1<br><small>of deck &lt;7&gt;</small></figcaption>",
        "58 more slides of 6 more decks",
        "score.&lt;i&gt;",
        "(999 times)",
        "93 %",
        "4938",
        "predictions.jsonl",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<img src=\"data:image/png").count(), 1);
    assert_eq!(page.matches("<svg class=\"distributions\"").count(), 5);
    assert_eq!(page.matches("<span class=\"off\">changed</span>").count(), 2);
}

#[test]
fn what_the_vision_tower_saw_is_shown_where_it_was_compared() {
    let without = report(DriftStatus::Stable, vec![feature("score.clarity", 0.1, false)]);
    assert!(!render_drift_report(&without, &images(&[])).unwrap().contains("As the vision tower sees them"));
    let vision = VisionDrift {
        base: "0123456789abcdef".to_owned(),
        reference_slides: 190,
        reference_decks: 23,
        recent_slides: 95,
        recent_decks: 11,
        mmd_squared: 0.031_25,
        mmd_p_value: 0.000_01,
        auc: 0.874,
        auc_p_value: 0.002,
        adjusted_p_value: 0.004,
        permutations: 999,
        ks: 0.41,
        drifted: true,
        strength: 0.41,
        most_unlike: vec!["deck <9>".to_owned()],
    };
    let page = render_drift_report(
        &DriftReport { vision: Some(vision), ..without },
        &images(&["deck <9>", "deck 8"]),
    )
    .unwrap();
    keep("drift-vision.html", &page);
    assert_self_contained(&page);
    for part in [
        "As the vision tower sees them",
        "Some features changed, not enough",
        "95 slides of 11 recent decks, 190 of 23 decks of training",
        "<td>0.87</td>",
        "<td>&lt; 0.001</td>",
        "0.004",
        "A share of 0.41 of the slides",
        "deck &lt;9&gt;",
        "<figcaption>&lt;pitch&gt;.pdf, slide 1<br><small>of deck &lt;9&gt;</small></figcaption>",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn each_status_has_its_words_and_colour() {
    let change = || vec![feature("score.clarity", 0.1, true)];
    for (status, features, class, finding) in [
        (DriftStatus::Stable, Vec::new(), "pass", "No drift seen"),
        (DriftStatus::Stable, change(), "pass", "Some features changed, not enough"),
        (DriftStatus::Insufficient, Vec::new(), "unsure", "Too little data to tell"),
    ] {
        let page = render_drift_report(&report(status, features), &BTreeMap::new()).unwrap();
        assert_self_contained(&page);
        assert!(
            page.contains(&format!("<section class=\"verdict {class}\"")) && page.contains(finding),
            "{finding}"
        );
        let has_score = status != DriftStatus::Insufficient;
        assert_eq!(page.contains("drift score, 0 to 1"), has_score);
    }
}
