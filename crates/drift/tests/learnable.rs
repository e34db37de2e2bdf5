//! Corrections of slides that nobody rated: counted until a run learned from them, and named where none can.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use drift::{Known, Learnable, Usable, usable};
use jiff::{SignedDuration, Timestamp};
use project_files::{Contract, RunRecord, sha256_hex};
use slide_data::{Correction, Label, Labels, Score, SlideRecord, Split, Splits};

fn now() -> Timestamp {
    "2025-06-02T12:00:00Z".parse().unwrap()
}

fn ago(days: f64) -> Timestamp {
    now() - SignedDuration::from_secs_f64(days * 86_400.0)
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../project-files/samples")
}

fn correction(slide: &str, score: Option<u8>) -> Correction {
    let sample = Correction::read_log(&samples().join("v1/corrections.jsonl")).unwrap().entries.remove(0);
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

/// A clock that was wrong: the run set the correction aside, and the next one can learn from it.
#[test]
fn a_correction_that_was_dated_ahead_of_the_run_counts_once_its_time_has_come() {
    let early = correction("rated", Some(4));
    let ahead =
        Correction { id: "ahead".to_owned(), corrected_at: ago(0.5), ..correction("stranger", Some(1)) };
    let all = [early, ahead];
    let log: String = all.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    let mut run = RunRecord::read(&samples().join("v3/run.json")).unwrap();
    run.inputs = [("corrections.jsonl".to_owned(), sha256_hex(log.as_bytes()))].into();
    run.corrections = [("of rated".to_owned(), "rated".to_owned())].into();
    run.started_at = ago(0.8);
    assert_eq!(learn(&all, &Known::new(&run, log.as_bytes())).corrections, 1);
    // One that says so obeyed it: it was told to take this time for now.
    run.corrections.insert("ahead".to_owned(), "stranger".to_owned());
    assert_eq!(learn(&all, &Known::new(&run, log.as_bytes())).corrections, 0);
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
    let sample = samples().join("v3/run.json");
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
        run.started_at = ago(0.5);
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

#[test]
fn clicks_on_one_slide_are_what_was_said_last_and_a_repetition_is_nothing_new() {
    let said = |id: usize, score: u8| Correction {
        id: format!("click {id:03}"),
        corrected_at: now() - SignedDuration::from_mins(200 - id as i64),
        ..correction("rated", Some(score))
    };
    let clicks: Vec<Correction> = (0..120).map(|id| said(id, 1 + (id % 5) as u8)).collect();
    let found = learn(&clicks, &Known::default());
    assert_eq!(found.corrections, 1, "{found:?}");
    assert_eq!(found.unusable.get("that repeat others or were corrected again since"), Some(&119));
    // Another says the same once more, of what a run has learned and of what it has not.
    let again: Vec<Correction> = clicks.iter().cloned().chain([said(150, 5)]).collect();
    assert_eq!(learn(&again, &Known::default()).key, found.key);
    let read = clicks.iter().map(|correction| correction.id.clone()).collect();
    let known = Known { corrections: Some(read), ..Known::default() };
    assert_eq!(learn(&again, &known).corrections, 0);
    let other: Vec<Correction> = again.iter().cloned().chain([said(151, 2)]).collect();
    assert_eq!(learn(&other, &known).corrections, 1);
    assert_ne!(learn(&other, &known).key, found.key);
}

fn correction_at(id: &str, slide: &str, at: Timestamp) -> Correction {
    Correction {
        schema_version: 1,
        id: id.to_owned(),
        slide_id: slide.to_owned(),
        model_version: "v4".to_owned(),
        annotator: "user".to_owned(),
        corrected_at: at,
        predicted: BTreeMap::new(),
        scores: [("clarity".to_owned(), Score::new(3))].into(),
        notes: String::new(),
    }
}

/// A labelled slide of each split, one without a label, and one that nobody collected.
fn of_each_split() -> Learnable {
    let mut slides: Vec<SlideRecord> = Vec::new();
    let (mut labels, mut splits) = (Labels::default(), Splits::default());
    for (name, split) in
        [("train", Some(Split::Train)), ("test", Some(Split::Test)), ("new", None), ("bare", None)]
    {
        slides.push(SlideRecord {
            slide_id: name.to_owned(),
            group: name.to_owned(),
            ..SlideRecord::sample(name, 1)
        });
        splits.groups.extend(split.map(|split| (name.to_owned(), split)));
        if name != "bare" {
            let label = Label { scores: [("clarity".to_owned(), Score::new(2))].into(), ..Label::default() };
            labels.slides.insert(name.to_owned(), label);
        }
    }
    Learnable::new(&slides, &labels, &splits)
}

#[test]
fn corrections_count_from_where_the_run_read_on_and_the_useless_are_named() {
    let mut all: Vec<Correction> = [
        ("a", "train"),
        ("b", "train"),
        ("b", "train"),
        ("c", "test"),
        ("d", "bare"),
        ("e", "elsewhere"),
        ("f", "new"),
    ]
    .map(|(id, slide)| correction_at(id, slide, ago(1.0)))
    .to_vec();
    // The second of the same slide says something else.
    for again in &mut all[1..3] {
        again.scores.insert("clarity".to_owned(), Score::new(5));
    }
    let mut late = correction_at("g", "train", ago(-3.0));
    let log: Vec<String> = all.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    let run = |read: usize| RunRecord {
        started_at: ago(0.5),
        inputs: [
            ("corrections.jsonl".to_owned(), sha256_hex(log[..read].concat().as_bytes())),
            ("labels.json".to_owned(), "aa".to_owned()),
        ]
        .into(),
        ..RunRecord::read(&samples().join("v2/run.json")).unwrap()
    };
    let learn = |known: &Known, all: &[Correction]| usable(all, &of_each_split(), known, "aa", now());
    let bytes = log.concat();
    // The run read the first line; the others came later, whatever their dates say.
    let found = learn(&Known::new(&run(1), bytes.as_bytes()), &all);
    assert_eq!((found.corrections, found.is_new), (3, Some(true)));
    assert_eq!(found.unusable.values().sum::<usize>(), 2, "{:?}", found.unusable);
    let corrected = ["bare".to_owned()].into();
    let known = Known { train_slides: Some(3), corrected, ..Known::new(&run(7), bytes.as_bytes()) };
    let found = learn(&known, &all);
    assert_eq!((found.corrections, found.is_new), (0, Some(false)));
    assert_eq!(found.key, learn(&known, &all[2..]).key, "what was overtaken teaches nothing");
    assert_ne!(found.key, learn(&known, &all[3..]).key);
    // The log was rewritten: its dates decide.
    let rewritten =
        Known { corrected: ["bare".to_owned()].into(), ..Known::new(&run(1), b"something else\n") };
    assert_eq!((rewritten.corrections.as_ref(), learn(&rewritten, &all).corrections), (None, 0));
    late.scores.clear();
    let odd = [late, correction_at("h", "train", ago(-900.0))];
    let found = learn(&Known::default(), &odd);
    assert_eq!((found.corrections, found.unusable.get("dated ahead of now")), (0, Some(&2)));
}

#[test]
fn what_a_run_that_was_tried_since_learned_counts_no_more() {
    let all = [correction("rated", Some(4))];
    let champion = Known {
        corrections: Some(std::collections::BTreeSet::new()),
        train_slides: Some(1),
        labels: Some("of then".to_owned()),
        ..Known::default()
    };
    let found = learn(&all, &champion);
    assert_eq!((found.corrections, found.is_new), (1, Some(true)));
    let tried = Known {
        corrections: Some([all[0].id.clone()].into()),
        labels: Some("aa".to_owned()),
        ..champion.clone()
    };
    let known = Known { tried: vec![tried], ..champion };
    let found = learn(&all, &known);
    assert_eq!((found.corrections, found.is_new), (0, Some(false)), "{found:?}");
    // Another says something else of that slide.
    let other = Correction { id: "other".to_owned(), ..correction("rated", Some(1)) };
    let said: Vec<Correction> = all.iter().cloned().chain([other]).collect();
    assert_eq!(learn(&said, &known).corrections, 1);
}
