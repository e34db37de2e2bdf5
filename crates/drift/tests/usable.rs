//! Which corrections a training can learn from, and what becomes of bad lines.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use drift::{Known, Learnable, usable};
use jiff::{SignedDuration, Timestamp};
use project_files::{RunRecord, sha256_hex};
use slide_data::{Correction, Label, Labels, Score, SlideRecord, Split, Splits};

fn now() -> Timestamp {
    "2025-06-04T12:00:00Z".parse().expect("a timestamp")
}

fn ago(days: f64) -> Timestamp {
    now() - SignedDuration::from_secs_f64(days * 86_400.0)
}

fn sample<T: project_files::Contract>(name: &str) -> T {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../project-files/samples");
    T::read(&samples.join(name)).unwrap()
}

fn correction(id: &str, slide: &str, at: Timestamp) -> Correction {
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
fn learnable() -> Learnable {
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
    let all: Vec<Correction> = [
        ("a", "train"),
        ("b", "train"),
        ("b", "train"),
        ("c", "test"),
        ("d", "bare"),
        ("e", "elsewhere"),
        ("f", "new"),
    ]
    .map(|(id, slide)| correction(id, slide, ago(1.0)))
    .to_vec();
    let mut late = correction("g", "train", ago(-3.0));
    let log: Vec<String> = all.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    let run = |read: usize| RunRecord {
        started_at: ago(0.5),
        inputs: [
            ("corrections.jsonl".to_owned(), sha256_hex(log[..read].concat().as_bytes())),
            ("labels.json".to_owned(), "aa".to_owned()),
        ]
        .into(),
        ..sample::<RunRecord>("v2/run.json")
    };
    let learn = |known: &Known, all: &[Correction]| usable(all, &learnable(), known, "aa", now());
    let bytes = log.concat();
    // The run read the first line; the others came later, whatever their dates say.
    let found = learn(&Known::new(&run(1), bytes.as_bytes()), &all);
    assert_eq!((found.corrections, found.is_new), (2, Some(true)));
    assert_eq!(found.unusable.values().sum::<usize>(), 3, "{:?}", found.unusable);
    let known = Known { train_slides: Some(2), ..Known::new(&run(7), bytes.as_bytes()) };
    let found = learn(&known, &all);
    assert_eq!((found.corrections, found.is_new), (0, Some(false)));
    assert_ne!(found.key, learn(&known, &all[2..]).key);
    // The log was rewritten: its dates decide.
    let rewritten = Known::new(&run(1), b"something else\n");
    assert_eq!((rewritten.corrections.as_ref(), learn(&rewritten, &all).corrections), (None, 0));
    late.scores.clear();
    let odd = [late, correction("h", "train", ago(-900.0))];
    let found = learn(&Known::default(), &odd);
    assert_eq!((found.corrections, found.unusable.get("dated ahead of now")), (0, Some(&2)));
}

#[test]
fn bad_lines_of_a_log_are_set_aside_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("corrections.jsonl");
    let good = serde_json::to_string(&correction("a", "s", ago(1.0))).unwrap();
    let newer = good.replace("\"schema_version\":1", "\"schema_version\":9");
    let bad = [&good[..30], "\0\0\0\0", "{\"x\": NaN}", "{\"other\": 1}", &newer, "[]"];
    let text = format!("{good}\n{}\n{good}\n{{\"torn", bad.join("\n"));
    std::fs::write(&path, text).unwrap();
    let log = drift::read_lines::<Correction>(&path).unwrap();
    assert_eq!((log.entries.len(), log.defects.broken_lines, log.defects.torn_bytes), (2, 6, 6));
    std::fs::write(&path, "{}\n").unwrap();
    assert!(drift::read_lines::<Correction>(&path).is_err(), "not one line is a correction");
    assert!(drift::read_lines_if_present::<Correction>(&dir.path().join("none")).unwrap().entries.is_empty());
}
