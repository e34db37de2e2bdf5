//! Corrections of slides that nobody rated: counted until a run learned from them, and named where none can.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use drift::{Known, Learnable, Usable, usable};
use jiff::{SignedDuration, Timestamp};
use project_files::{Contract, RunRecord, sha256_hex};
use slide_data::{Correction, Label, Labels, Score, SlideRecord, Split, Splits};

fn now() -> Timestamp {
    "2025-06-02T12:00:00Z".parse().unwrap()
}

fn correction(slide: &str, score: Option<u8>) -> Correction {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../project-files/samples/v1/corrections.jsonl");
    let sample = Correction::read_log(&path).unwrap().entries.remove(0);
    Correction {
        id: format!("of {slide}"),
        slide_id: slide.to_owned(),
        corrected_at: now() - SignedDuration::from_hours(24),
        scores: [("clarity".to_owned(), score.and_then(Score::new))].into(),
        ..sample
    }
}

fn record(name: &str) -> SlideRecord {
    SlideRecord { slide_id: name.to_owned(), group: name.to_owned(), ..SlideRecord::sample(name, 1) }
}

/// Slides from production: one for training, one that shares a slide with a deck of the test, one that repeats another.
fn learnable() -> Learnable {
    let scored = |name: &str| SlideRecord { scored_at: Some(now()), ..record(name) };
    let slides = [
        record("rated"),
        scored("stranger"),
        SlideRecord { group: "test".to_owned(), ..scored("like-test") },
        SlideRecord { duplicate_of: Some("rated".to_owned()), ..scored("repeats") },
        SlideRecord { excluded: true, ..scored("blank") },
    ];
    let label = Label { scores: [("clarity".to_owned(), Score::new(2))].into(), ..Label::default() };
    let labels = Labels { slides: [("rated".to_owned(), label)].into() };
    let mut splits = Splits::default();
    splits.groups.insert("test".to_owned(), Split::Test);
    splits.train_on(["rated", "stranger", "repeats", "blank"]);
    Learnable::new(&slides, &labels, &splits).with_kept(["kept".to_owned()])
}

fn learn(corrections: &[Correction], known: &Known) -> Usable {
    usable(corrections, &learnable(), known, "aa", now())
}

#[test]
fn what_teaches_counts_and_what_does_not_is_named() {
    let slides = ["rated", "stranger", "like-test", "repeats", "blank", "kept", "unknown"];
    let all: Vec<Correction> = slides.map(|slide| correction(slide, Some(4))).to_vec();
    let found = learn(&all, &Known::default());
    assert_eq!(found.corrections, 2, "{found:?}");
    let named: Vec<(&str, usize)> =
        found.unusable.iter().map(|(why, count)| (why.as_str(), *count)).collect();
    assert_eq!(
        named,
        [
            ("of kept slides, which `pq-collect production` brings in", 1),
            ("of slides kept for validation or test", 1),
            ("of slides that repeat another or are left out", 2),
            ("of slides that were neither collected nor kept", 1),
        ]
    );
    // That a criterion does not apply teaches where it does not, of a slide that people rated and of another.
    let none = learn(&[correction("rated", None), correction("stranger", None)], &Known::default());
    assert_eq!((none.corrections, none.unusable.len()), (2, 0));
}

#[test]
fn a_correction_that_was_read_before_its_slide_was_there_counts_still() {
    let all = [correction("stranger", Some(4)), correction("kept", Some(1))];
    let log: String = all.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    let sample =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../project-files/samples/v3/run.json");
    let run = |corrected: &[&str], train_slides| {
        let mut run = RunRecord::read(&sample).unwrap();
        run.inputs = [
            ("corrections.jsonl".to_owned(), sha256_hex(log.as_bytes())),
            ("labels.json".to_owned(), "aa".to_owned()),
        ]
        .into();
        run.corrections =
            corrected.iter().map(|slide| (format!("of {slide}"), (*slide).to_owned())).collect();
        run.data.train_slides = train_slides;
        Known::new(&run, log.as_bytes())
    };
    // It read the log, and the slide was brought in afterwards; or an earlier program trained, which passed over such slides.
    let found = learn(&all, &run(&[], 1));
    assert_eq!((found.corrections, found.more_slides, found.is_new), (1, 0, Some(true)), "{found:?}");
    assert_eq!(found.unusable.values().sum::<usize>(), 1, "{found:?}");
    // It learned from it: the slide is one of those that it trained on, and nothing is new.
    let found = learn(&all, &run(&["stranger"], 2));
    assert_eq!((found.corrections, found.more_slides, found.is_new), (0, 0, Some(false)), "{found:?}");
    assert_eq!(found.unusable.values().sum::<usize>(), 1, "the kept one waits: {found:?}");
}
