//! What was drawn to tell how good the model is lies first in everybody's queue, as long as a rating counts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use slide_data::{Audit, Contract as _, Manifest, Rubric, Score, SlideRecord};
use slide_label::{Audits, Calibration, Event, Kind, LabelConfig, Queue, Store};

fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

fn audit(slide: &str, days_ago: i64) -> Audit {
    let scored_at = now() - SignedDuration::from_hours(24 * days_ago);
    Audit {
        schema_version: 1,
        slide_id: slide.to_owned(),
        deck_id: "deck".to_owned(),
        sha256: String::new(),
        model_version: "v1".to_owned(),
        scored_at,
        drawn_at: scored_at,
        probability: 0.5,
        deck_slides: 3,
        distributions: [].into(),
        chosen: [].into(),
    }
}

#[test]
fn a_rating_counts_for_so_many_days_and_the_models_scores_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audits.jsonl");
    assert_eq!(Audits::read(&path, 14.0, now()).unwrap(), Audits::default(), "nothing was drawn yet");
    Audit::append(&path, &[audit("old", 15), audit("new", 14), audit("today", 0), audit("ahead", -3)])
        .unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("not an audit\n{text}")).unwrap();
    let audits = Audits::read(&path, 14.0, now()).unwrap();
    assert_eq!(audits.drawn, ["ahead", "new", "old", "today"].map(str::to_owned).into());
    assert_eq!(audits.open, ["ahead", "new", "today"].map(str::to_owned).into());
}

#[test]
fn drawn_slides_come_before_calibration_and_disputes_until_they_have_their_raters() {
    let decks = ["a", "b", "c", "d"];
    let slides = decks.iter().flat_map(|deck| (1..=5).map(|number| SlideRecord::sample(deck, number)));
    let manifest = Manifest { slides: slides.collect() };
    let mut store = Store::new(Rubric::default());
    let rate = |store: &mut Store, queue: Option<&mut Queue>, slide: &str, who: &str, clarity: u8| {
        let id = format!("{who}-{slide}");
        let mut event = Event::new(id, Kind::Rated, slide, who, now());
        event.scores.insert("clarity".to_owned(), Score::new(clarity));
        store.apply(event);
        if let Some(queue) = queue {
            queue.update(store, slide, who);
        }
    };
    // People are at odds about a slide, which usually comes first.
    rate(&mut store, None, "a-1", "Ben", 1);
    rate(&mut store, None, "a-1", "Cleo", 5);
    let config = LabelConfig { raters_per_slide: 2, calibration_slides: 3, ..LabelConfig::default() };
    let dir = tempfile::tempdir().unwrap();
    let calibration =
        Calibration::of(&dir.path().join("calibration.json"), &manifest, &store, &config).unwrap();
    let mut queue = Queue::new(&manifest, &store, &config, &calibration);
    let drawn = ["b-4", "b-5", "c-2"].map(str::to_owned);
    queue.put_first(drawn.iter().chain(["not collected".to_owned()].iter()));
    let start = Instant::now();
    for who in ["Ana", "Dora"] {
        let mut first: Vec<String> = queue.next(who, &[], &[], 3, start);
        first.sort();
        assert_eq!(first, drawn, "{who}");
        for slide in &first {
            rate(&mut store, Some(&mut queue), slide, who, 3);
        }
    }
    // Two people rated them: a third is asked for other things.
    let next = queue.next("Eve", &[], &[], 20, start);
    assert!(next.len() > 10 && drawn.iter().all(|slide| !next.contains(slide)), "{next:?}");
}
