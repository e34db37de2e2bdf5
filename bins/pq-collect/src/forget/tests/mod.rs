#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod project;
#[path = "../../../../../crates/slide-data/tests/support/mod.rs"]
mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use slide_data::{SlideRecord, Split, Splits};

use super::*;
use crate::forget::hand::files_below;
use project::{deck_of, layout, project};

const FILE: &str = "acme confidential.pdf";
const EVENT: &str = "slides were forgotten: withdrawn";

/// All files below a folder but for locks, each by its place.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = files_below(root).into_iter().filter(|path| !path.to_string_lossy().ends_with("lock"));
    files.map(|path| (path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

fn copy(from: &BTreeMap<PathBuf, Vec<u8>>, to: &Path) {
    for (place, bytes) in from {
        let path = to.join(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

fn made(root: &Path, file: &str) -> Plan {
    let layout = layout(root);
    let mut store = Store::open(layout.slides().root()).unwrap();
    let decks = choose::choose(&store, &layout, file).unwrap();
    let asked = Asked { by: "Ana".to_owned(), why: "withdrawn".to_owned(), at: Timestamp::UNIX_EPOCH };
    make(&mut store, &layout, &Staying::default(), decks, asked).unwrap()
}

/// Carries the plan that lies in a project out, up to the change with this number; says whether it came to its end.
fn carry(root: &Path, changes: usize) -> bool {
    let layout = layout(root);
    let Some(plan) = Plan::read_if_present(&plan::path(&layout)).unwrap() else { return true };
    let mut store = Store::open(layout.slides().root()).unwrap();
    let left = Cell::new(changes);
    let stop = || left.replace(left.get().saturating_sub(1)) == 0;
    match carry_out(&mut store, &layout, &Staying::default(), &plan, &stop) {
        Ok(outcome) => {
            assert!(outcome.left.is_empty(), "{:?}", outcome.left);
            true
        }
        Err(error) => {
            assert!(error.is::<Stopped>(), "{error:#}");
            false
        }
    }
}

/// What must stand nowhere any more.
fn traces_of(slides: &[SlideRecord]) -> Vec<Vec<u8>> {
    let own = deck_of(slides, FILE);
    let others: Vec<&str> = slides
        .iter()
        .filter(|slide| slide.source.origin != FILE)
        .map(|slide| slide.sha256.as_str())
        .collect();
    let pixels = own.iter().map(|slide| slide.sha256.as_str()).filter(|pixels| !others.contains(pixels));
    let pixels: Vec<&str> = pixels.collect();
    assert!(!pixels.is_empty(), "a page of the deck that its second version has not");
    let page = support::slide(700, 4);
    let text = page.lines().find(|line| line.contains("(- ")).unwrap();
    let words = [own[0].deck_id.as_str(), FILE, "acme confidential", &own[0].source.sha256, text];
    let keys = pixels.iter().map(|pixels| durable_files::from_hex(&pixels[..32]).unwrap());
    let texts = words.into_iter().chain(pixels.iter().copied()).map(|word| word.as_bytes().to_vec());
    texts.chain(keys).collect()
}

fn found(files: &BTreeMap<PathBuf, Vec<u8>>, traces: &[Vec<u8>]) -> Vec<PathBuf> {
    let holds = |bytes: &[u8], trace: &[u8]| bytes.windows(trace.len()).any(|part| part == trace);
    let speaks = |place: &PathBuf, bytes: &[u8]| {
        traces.iter().any(|trace| holds(bytes, trace) || holds(place.to_string_lossy().as_bytes(), trace))
    };
    files.iter().filter(|(place, bytes)| speaks(place, bytes)).map(|(place, _)| place.clone()).collect()
}

#[test]
fn nothing_of_a_deck_is_left_wherever_it_is_killed_and_finished() {
    let dir = tempfile::tempdir().unwrap();
    let slides = project(dir.path());
    let traces = traces_of(&slides);
    let before = snapshot(dir.path());
    let speaking = found(&before, &traces);
    assert!(speaking.len() > 25, "the deck is in every kind of file: {speaking:?}");

    let plan = made(dir.path(), FILE);
    assert_eq!(snapshot(dir.path()), before, "making a plan changes nothing");
    write_json(&plan::path(&layout(dir.path())), &plan).unwrap();
    let begun = snapshot(dir.path());
    assert!(carry(dir.path(), usize::MAX));
    let end = snapshot(dir.path());
    let registry = |place: &PathBuf| place.starts_with("registry");
    let left: Vec<PathBuf> = found(&end, &traces).into_iter().filter(|place| !registry(place)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(before.iter().filter(|(place, _)| registry(place)).all(|(place, bytes)| end[place] == *bytes));

    let mut kills = 0;
    while !carry_killed(&begun, &end, kills) {
        kills += 1;
        assert!(kills < 500);
    }
    assert!(kills > 30, "{kills} places to be killed in");
}

/// Kills it at a change, finishes it, and compares; says whether it was at its end before.
fn carry_killed(
    begun: &BTreeMap<PathBuf, Vec<u8>>,
    end: &BTreeMap<PathBuf, Vec<u8>>,
    changes: usize,
) -> bool {
    let dir = tempfile::tempdir().unwrap();
    copy(begun, dir.path());
    let is_whole = carry(dir.path(), changes);
    if !is_whole {
        assert!(
            refuse_unfinished(&layout(dir.path())).is_err(),
            "killed at {changes}: other commands refuse"
        );
    }
    assert!(carry(dir.path(), usize::MAX));
    let after = snapshot(dir.path());
    let differs: Vec<&PathBuf> =
        end.keys().chain(after.keys()).filter(|place| end.get(*place) != after.get(*place)).collect();
    assert!(differs.is_empty(), "killed at {changes}: {differs:?}");
    is_whole
}

/// How much of each kind goes.
fn assert_counts(plan: &Plan) {
    let counts = |kind: &str| plan.removed.get(kind).copied().unwrap_or_default();
    let expected = [
        ("ratings", 3),
        ("labels", 2),
        ("slides", 4),
        ("pictures", 4),
        ("scored slides", 2),
        ("pages that could not be scored", 2),
        ("kept slides", 2),
        ("audits", 1),
        ("corrections", 1),
        ("files", 1),
        ("calibration slides", 1),
        ("decisions about slides", 3),
        ("pages of validations and tracked tables", 2),
    ];
    for (kind, count) in expected {
        assert_eq!(counts(kind), count, "{kind}: {:?}", plan.removed);
    }
}

#[test]
fn the_rest_is_as_it_was_and_the_test_set_says_what_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let slides = project(dir.path());
    let layout = layout(dir.path());
    let journal = std::fs::read_to_string(layout.journal()).unwrap();
    let journal: Vec<&str> = journal.lines().collect();
    let plan = made(dir.path(), FILE);
    assert_eq!(
        plan.runs,
        [("r1", "trained on"), ("r3", "began with an adapter that was trained on")]
            .map(|(run, how)| (run.to_owned(), how.to_owned()))
            .into()
    );
    assert_eq!(plan.versions.keys().collect::<Vec<_>>(), ["v1.0.0", "v1.1.0"]);
    assert_eq!(plan.released.len(), 1, "{:?}", plan.released);
    assert_eq!(plan.related.len(), 1, "the second version");
    assert_counts(&plan);
    write_json(&plan::path(&layout), &plan).unwrap();
    assert!(carry(dir.path(), usize::MAX));

    assert_eq!(std::fs::read_to_string(layout.journal()).unwrap(), [journal[1], journal[2], ""].join("\n"));
    let store = Store::open(layout.slides().root()).unwrap();
    assert!(slide_data::collect::verify(&store).is_empty());
    assert_eq!(store.slides().len(), slides.len() - 4);
    let second = deck_of(store.slides(), "second version.pdf");
    assert!(
        second.iter().all(|slide| slide.duplicate_of.is_none() && slide.group == slide.deck_id),
        "{second:#?}"
    );
    let splits = Splits::read(&layout.splits()).unwrap();
    assert_eq!(
        splits.groups.get(&second[0].group),
        Some(&Split::Test),
        "the group goes on under another name"
    );
    assert_eq!(splits.frozen_test, Some(BTreeSet::new()));
    let event = splits.test_history.last().unwrap();
    assert_eq!((event.lost, event.changed, event.by.as_str(), event.why.as_str()), (4, 2, "Ana", EVENT));
    assert!(event.before.as_ref().is_some_and(|before| *before != event.after));
    let kept = entries_of(layout.kept().root());
    assert_eq!(
        kept,
        [format!("{}.png", "0a".repeat(32)), "kept_slides.jsonl".to_owned()],
        "one image is shown by another slide"
    );
    assert!(
        layout.outputs().join("r2/report.html").exists() && !layout.outputs().join("r1/report.html").exists()
    );
    assert!(layout.drift_reports().join("2026-01-01.html").exists());
    let receipt = Forgotten::read_log(&store.forgotten()).unwrap().entries.pop().unwrap();
    assert_eq!((receipt.removed, receipt.left), (plan.removed, 1));
}

fn entries_of(folder: &Path) -> Vec<String> {
    let names =
        files_below(folder).into_iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with("lock")).collect()
}
