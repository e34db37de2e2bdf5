//! A project with a file of every kind that speaks of slides.

use std::path::Path;

use jiff::Timestamp;
use pq_cli::{Layout, Storage};
use project_files::{Manifest as Release, RunFiles, RunRecord};
use serde_json::json;
use slide_data::collect::{Collector, DataConfig, Decisions, InProcess, Reader, Staying, Store};
use slide_data::image::RgbImage;
use slide_data::render::find_inputs;
use slide_data::{Contract as _, Limits, Manifest, SlideRecord, Split, Splits};

use super::{FILE, support};

pub(super) fn layout(root: &Path) -> Layout {
    let storage = Storage {
        data_dir: root.join("data"),
        monitoring_dir: root.join("monitoring"),
        registry_dir: root.join("registry"),
    };
    Layout::new(&storage, &root.join("outputs"))
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn lines(values: impl IntoIterator<Item = serde_json::Value>) -> String {
    values.into_iter().map(|value| value.to_string() + "\n").collect()
}

/// The decks: one that will be forgotten, a later version of it, which shares its pages and its group, and others.
fn collect(layout: &Layout) -> Vec<SlideRecord> {
    let uploads = layout.slides().uploads();
    std::fs::create_dir_all(&uploads).unwrap();
    std::fs::write(uploads.join(FILE), support::deck(700, 4)).unwrap();
    let pages: Vec<String> = [1, 2, 3, 8, 9].map(|number| support::slide(700, number)).into();
    std::fs::write(uploads.join("second version.pdf"), support::pdf(&pages)).unwrap();
    for seed in 701..704 {
        std::fs::write(uploads.join(format!("other {seed}.pdf")), support::deck(seed, 2)).unwrap();
    }
    let config =
        DataConfig { limits: Limits { longest_edge: 640, ..Limits::default() }, ..DataConfig::default() };
    let mut store = Store::open(layout.slides().root()).unwrap();
    let (staying, decisions) = (Staying::default(), Decisions::default());
    // One after the other, so that the group is named after the first.
    for file in [FILE, ""] {
        let inputs = find_inputs(&uploads.join(file), Some(&uploads)).unwrap();
        let mut collector = Collector {
            store: &mut store,
            config: &config,
            readers: 1,
            retry: false,
            staying: &staying,
            decisions: &decisions,
        };
        let reader = || -> Box<dyn Reader + Send> { Box::new(InProcess) };
        collector.run(&inputs, &reader, &()).unwrap();
    }
    store.slides().to_vec()
}

pub(super) fn deck_of<'a>(slides: &'a [SlideRecord], file: &str) -> Vec<&'a SlideRecord> {
    slides.iter().filter(|slide| slide.source.origin == file).collect()
}

/// A file of every kind that speaks of slides, each of the deck and of another one.
pub(super) fn project(root: &Path) -> Vec<SlideRecord> {
    let layout = layout(root);
    let slides = collect(&layout);
    let own = deck_of(&slides, FILE);
    let (own, other) = (own.as_slice(), deck_of(&slides, "other 702.pdf")[0]);
    assert_eq!(own.len(), 4);
    let second = deck_of(&slides, "second version.pdf");
    assert!(second.iter().all(|slide| slide.group == own[0].deck_id), "a group that is named after the deck");
    assert_eq!(second.iter().filter(|slide| slide.duplicate_of.is_some()).count(), 3);
    people(&layout, own, other);
    production(&layout, own[1], other);
    run(&RunFiles::new(layout.outputs().join("r1")), &slides, own[0], other);
    run(&RunFiles::new(layout.outputs().join("r2")), &slides[slides.len() - 1..], other, other);
    release(&layout, own[0]);
    write(&layout.feature_cache().join("ab.features"), "numbers");
    write(&layout.kept().features().join("cd").join("cdef"), "numbers");
    write(&layout.slides().root().join("contact_sheet.html"), &own[0].slide_id);
    slides
}

fn people(layout: &Layout, own: &[&SlideRecord], other: &SlideRecord) {
    let event = |id: &str, slide: &SlideRecord| json!({"schema_version": 1, "id": id, "kind": "skipped", "slide_id": slide.slide_id, "annotator": "Ana", "at": "2026-01-02T03:04:05Z"});
    let odd = format!("{{\"slide_id\":  \"{}\", \"schema_version\": 1, \"odd\": true}}\n", other.slide_id);
    write(
        &layout.journal(),
        &(lines([event("a", own[0]), event("b", other)]) + &odd + &lines([event("c", own[1])])),
    );
    write(
        &layout.journal().with_extension("jsonl.torn"),
        &format!("{{\"slide_id\":\"{}\",\"an\n", own[0].slide_id),
    );
    let label = |slide: &SlideRecord| {
        (
            slide.slide_id.clone(),
            json!({"schema_version": 1, "clarity": 4, "notes": "", "image_path": slide.slide_id, "annotators": 1, "distribution": {"clarity": [0, 0, 0, 1, 0]}}),
        )
    };
    let labels = json!(serde_json::Map::from_iter([label(own[0]), label(own[1]), label(other)]));
    write(&layout.labels(), &labels.to_string());
    let groups = [(own[0].group.clone(), Split::Test), (other.group.clone(), Split::Train)];
    let mut splits = Splits { schema_version: 2, groups: groups.into(), ..Splits::default() };
    splits.freeze_test(&Manifest { slides: own.iter().map(|slide| (*slide).clone()).collect() });
    let frozen = slide_data::Labels::read(&layout.labels()).unwrap();
    assert!(splits.freeze_test_labels(&frozen, "Ana", "a run began", Timestamp::UNIX_EPOCH));
    splits.write(&layout.splits()).unwrap();
    let calibration = json!({"schema_version": 1, "slides": [own[2].slide_id, other.slide_id]});
    write(&layout.calibration(), &calibration.to_string());
    let decision = |kind: &str, slides: &[&SlideRecord]| {
        let slides: Vec<&str> = slides.iter().map(|slide| slide.slide_id.as_str()).collect();
        json!({"schema_version": 1, "kind": kind, "slides": slides, "by": "Ana", "why": "", "at": "2026-01-02T03:04:05Z"})
    };
    let decisions = [
        decision("include", &[own[0], other]),
        decision("different", &[own[0], other]),
        decision("include", &[own[1]]),
    ];
    write(&layout.slide_decisions(), &lines(decisions));
    let correction = |id: &str, slide: &SlideRecord| json!({"schema_version": 1, "id": id, "slide_id": slide.slide_id, "model_version": "v1", "annotator": "user", "corrected_at": "2026-01-02T03:04:05Z", "predicted": {}, "scores": {"clarity": 5}, "notes": ""});
    write(&layout.corrections(), &lines([correction("c-1", own[0]), correction("c-2", other)]));
}

fn prediction(slide: &SlideRecord) -> serde_json::Value {
    let prediction = slide_data::Prediction {
        deck_id: slide.deck_id.clone(),
        sha256: slide.sha256.clone(),
        ..slide_data::Prediction::sample(&slide.slide_id)
    };
    serde_json::to_value(prediction).unwrap()
}

fn production(layout: &Layout, own: &SlideRecord, other: &SlideRecord) {
    // A slide of the deck that only production knows.
    let only = SlideRecord { slide_id: format!("{}-p099", own.deck_id), ..own.clone() };
    write(&layout.predictions(), &lines([own, &only, other].map(prediction)));
    let failed = |slide: &SlideRecord| json!({"schema_version": 1, "id": slide.slide_id.replace(&slide.deck_id, "f"), "deck_id": slide.deck_id, "part": "page 7", "failed_at": "2026-01-02T03:04:05Z", "model_version": "v1", "kind": "error", "reason": "cannot be read: no end"});
    write(&layout.failures(), &lines([own, other].map(failed)));
    let of_replica = Layout::failures_beside(&layout.replica_predictions("pod-a"));
    write(&of_replica, &lines([other, own].map(failed)));
    let kept = |slide: &SlideRecord, pixels: &str| {
        let source = serde_json::to_value(&slide.source).unwrap();
        json!({"schema_version": 1, "slide_id": slide.slide_id, "deck_id": slide.deck_id, "deck": slide.source.origin.trim_end_matches(".pdf"), "number": 1, "source": source, "sha256": pixels, "scored_at": "2026-01-02T03:04:05Z"})
    };
    let (both, alone) = ("0a".repeat(32), "0b".repeat(32));
    write(&layout.kept().index(), &lines([kept(own, &both), kept(&only, &alone), kept(other, &both)]));
    for pixels in [&both, &alone] {
        RgbImage::new(2, 2).save(layout.kept().image(pixels)).unwrap();
    }
    let audit = |slide: &SlideRecord| json!({"schema_version": 1, "slide_id": slide.slide_id, "deck_id": slide.deck_id, "sha256": slide.sha256, "model_version": "v1", "scored_at": "2026-01-02T03:04:05Z", "drawn_at": "2026-01-03T03:04:05Z", "probability": 0.5, "deck_slides": 2, "distributions": {}});
    write(&layout.audits(), &lines([audit(&only), audit(other)]));
    let report = json!({"schema_version": 2, "decks": [{"deck_id": own.deck_id, "slides": 2}, {"deck_id": other.deck_id, "slides": 1}]});
    write(&layout.latest_drift(), &report.to_string());
    write(&layout.latest_drift().with_extension("html"), &format!("<td>{}</td>", own.deck_id));
    write(&layout.drift_reports().join("2026-01-01.html"), &format!("<td>{}</td>", other.deck_id));
}

fn run(run: &RunFiles, slides: &[SlideRecord], slide: &SlideRecord, other: &SlideRecord) {
    let name = run.dir().file_name().unwrap().to_string_lossy().into_owned();
    let mut record = RunRecord::read(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../crates/project-files/samples/v3/run.json"
    )))
    .unwrap();
    record.run_id = name;
    record.corrections =
        [("c-1".to_owned(), slide.slide_id.clone()), ("c-2".to_owned(), other.slide_id.clone())].into();
    record.started_from = None;
    record.write(&run.record()).unwrap();
    let manifest: Vec<_> = slides.iter().map(|slide| serde_json::to_value(slide).unwrap()).collect();
    write(&run.data().join("manifest.jsonl"), &lines(manifest));
    let label = |slide: &SlideRecord| {
        (
            slide.slide_id.clone(),
            json!({"schema_version": 1, "clarity": 4, "notes": "", "image_path": "", "annotators": 1, "distribution": {}}),
        )
    };
    write(
        &run.data().join("labels.json"),
        &json!(serde_json::Map::from_iter([label(slide), label(other)])).to_string(),
    );
    let groups = [(slide.group.clone(), "train"), (other.group.clone(), "train")];
    let groups: serde_json::Map<String, serde_json::Value> =
        groups.into_iter().map(|(group, split)| (group, json!(split))).collect();
    write(&run.data().join("splits.json"), &json!({"schema_version": 2, "groups": groups}).to_string());
    let correction = json!({"schema_version": 1, "id": "c-1", "slide_id": slide.slide_id, "model_version": "v1", "annotator": "user", "corrected_at": "2026-01-02T03:04:05Z", "predicted": {}, "scores": {"clarity": 5}, "notes": ""});
    write(&run.data().join("corrections.jsonl"), &lines([correction]));
    write(&run.reference_predictions(), &lines([slide, other].map(prediction)));
    write(&run.test_predictions(), &lines([slide, other].map(prediction)));
    let doubtful = json!({"schema_version": 1, "created_at": "2026-01-02T03:04:05Z", "model_version": "r", "made_from": {}, "ratings": 2, "labels": [
        {"slide_id": slide.slide_id, "criterion": "clarity", "score": 1, "distance": 2.0, "by": "r"}, {"slide_id": other.slide_id, "criterion": "clarity", "score": 1, "distance": 1.5, "by": "r"}]});
    write(&run.doubtful_labels(), &doubtful.to_string());
    write(&run.report(), "<img src=\"data:image/png;base64,AAAA\">");
    write(&run.tracking().join("table.bin"), "a picture of a slide");
    write(&run.adapter_weights(), &record.run_id);
}

/// A version of the run, a run that began with it, and a version of that one.
fn release(layout: &Layout, slide: &SlideRecord) {
    for (version, of_run) in [("v1.0.0", "r1"), ("v1.1.0", "r3")] {
        let files = layout.version(version);
        let release = Release {
            schema_version: 1,
            version: version.to_owned(),
            run_id: of_run.to_owned(),
            files: [("README.md".to_owned(), durable_files::hash_bytes(b""))].into(),
            ..Release::default()
        };
        release.write(&files.manifest()).unwrap();
    }
    write(&layout.version("v1.0.0").reference_predictions(), &lines([prediction(slide)]));
    let third = RunFiles::new(layout.outputs().join("r3"));
    let mut record = RunRecord::read(&RunFiles::new(layout.outputs().join("r2")).record()).unwrap();
    record.run_id = "r3".to_owned();
    let sha256 = slide_data::sha256_hex(b"r1");
    record.started_from = Some(project_files::StartedFrom { name: "v1.0.0".to_owned(), sha256 });
    record.corrections.clear();
    record.write(&third.record()).unwrap();
    write(&third.data().join("manifest.jsonl"), "");
    write(&third.adapter_weights(), "r3");
}
