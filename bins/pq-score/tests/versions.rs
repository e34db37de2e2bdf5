//! A deck beside an older version of it, as a user compares them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking, and shares a module"
)]

mod common;

use std::collections::BTreeMap;

use common::{SCORE, project};
use pq_testing::project::{Project, code, stderr};
use project_files::{Contract as _, ErrorSpread, RunFiles, ValidationResults};
use sample_decks::{Deck, Quality, render_pdf};
use serde_json::Value;

/// Slides, from 0, that are worked on.
const WORKED: [usize; 2] = [1, 4];

/// Writes two versions of a deck; returns how many slides they have.
fn decks(project: &Project) -> usize {
    let before = Deck::draw(5, 0);
    let after = Deck::worked_on(5, 0, |place, quality| {
        WORKED.contains(&place).then(|| Quality { readability: 5.0 - quality.readability / 4.0, ..*quality })
    });
    for (name, deck) in [("old.pdf", &before), ("new.pdf", &after)] {
        std::fs::write(project.path(name), render_pdf(&deck.scenes()).unwrap()).unwrap();
    }
    before.slides.len()
}

fn compare(project: &Project, more: &[&str]) -> (Vec<Value>, std::process::Output) {
    let args = [&["--adapter", "outputs/run-1", "--before", "old.pdf", "new.pdf"], more].concat();
    let output = project.run(SCORE, &args);
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    (lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), output)
}

fn tendencies(versions: &Value) -> Vec<&str> {
    let changed = versions["changed"].as_array().unwrap();
    let all = changed.iter().flat_map(|slide| slide["differences"].as_array().unwrap());
    all.map(|found| found["tendency"].as_str().unwrap()).collect()
}

#[test]
fn the_changed_slides_are_found_scored_in_both_versions_and_compared() {
    let project = project();
    let slides = decks(&project);
    let (lines, output) = compare(&project, &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(lines.len(), slides + 1, "a line a slide of the newer version, and one of the comparison");
    let versions = &lines[slides]["versions"];
    let places: Vec<(u64, u64)> = versions["changed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|slide| (slide["before"].as_u64().unwrap(), slide["after"].as_u64().unwrap()))
        .collect();
    assert_eq!(places, [(2, 2), (5, 5)], "{versions}");
    assert_eq!(versions["kept"].as_array().unwrap().len(), slides - 2);
    for part in ["moved", "added", "removed"] {
        assert_eq!(versions[part], serde_json::json!([]), "{versions}");
    }
    let after = versions["changed"][0]["differences"][0]["after"].as_f64().unwrap();
    assert!((after - lines[1]["expected"]["clarity"].as_f64().unwrap()).abs() < 1e-12);
    assert!(tendencies(versions).iter().all(|said| *said == "unclear"), "it was never validated");
    assert_eq!(
        project.read("monitoring/predictions.jsonl").lines().count(),
        slides,
        "the older one is not logged"
    );
}

#[test]
fn what_was_measured_of_the_model_decides_what_is_said() {
    let project = project();
    decks(&project);
    let sharp = ErrorSpread { deviation: 1e-9, slope: 1.0, degrees: 60.0 };
    let keys = ["clarity", "design", "readability", "content_quality"];
    let error_spread: BTreeMap<String, ErrorSpread> = keys.map(|key| (key.to_owned(), sharp)).into();
    let results = ValidationResults {
        schema_version: ValidationResults::VERSION,
        error_spread,
        ..ValidationResults::default()
    };
    results.write(&RunFiles::new(project.path("outputs/run-1")).validation()).unwrap();
    let (lines, output) = compare(&project, &["--no-log"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let said = tendencies(&lines.last().unwrap()["versions"]);
    assert!(said.contains(&"better") || said.contains(&"worse"), "{said:?}");
    let (lines, output) = compare(&project, &["--no-log", "--html", "report.html"]);
    assert_eq!((code(&output), lines.len()), (0, 0), "{}", stderr(&output));
    let page = project.read("report.html");
    assert!(page.contains("Before and after") && page.contains("alt=\"Slide 2 before\""));
    assert!(!page.contains("<script") && !page.contains("<textarea"), "what is not logged is not corrected");
    assert!(!project.path("monitoring").exists(), "nothing is logged");
}

#[test]
fn an_older_version_that_is_not_there_or_of_several_decks_is_refused_before_anything_is_loaded() {
    let project = project();
    decks(&project);
    for (args, said) in [
        (["--before", "none.pdf", "new.pdf", "--no-log"], "none.pdf"),
        (["--before", "old.pdf", "new.pdf", "old.pdf"], "one deck"),
    ] {
        let output = project.run(SCORE, &[&["--adapter", "outputs/run-1"], &args[..]].concat());
        assert_eq!(code(&output), 2);
        assert!(stderr(&output).contains(said) && output.stdout.is_empty(), "{}", stderr(&output));
    }
}
