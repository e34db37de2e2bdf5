//! Tables with pictures, confusion matrices and runs that their machine ends, at the service, offline and for TensorBoard.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod service;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use registry::tracking::{Cell, Confusion, End, EventFiles, Picture, Table, Tracker};
use registry::wandb::{RunInfo, WandbConfig, WandbRun, config_yaml};
use serde_json::{Value, json};
use service::{Service, info};

const SUCCESS: End = End { exit_code: 0, was_stopped: false };

/// A PNG of this colour, by the format's own definition: one pixel, stored without compression.
fn png(colour: [u8; 3]) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], content: &[u8]| {
        let body = [&kind[..], content].concat();
        let sum = crc32fast::hash(&body).to_be_bytes();
        [&(content.len() as u32).to_be_bytes()[..], &body, &sum].concat()
    };
    let row = [&[0][..], &colour].concat();
    let (a, b) = row.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    let size = row.len() as u16;
    let stored = [
        &[0x78, 1, 1][..],
        &size.to_le_bytes(),
        &(!size).to_le_bytes(),
        &row,
        &((b << 16) | a).to_be_bytes(),
    ]
    .concat();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0]),
        chunk(b"IDAT", &stored),
        chunk(b"IEND", &[]),
    ]
    .concat()
}

fn table(score: f64) -> Table {
    let picture = |colour| Cell::Picture(Picture::of_png(&png(colour)).unwrap());
    Table {
        columns: ["picture", "slide", "people", "model"].map(str::to_owned).into(),
        rows: vec![
            vec![
                picture([255, 0, 0]),
                Cell::Text("a \"1\"".to_owned()),
                Cell::Number(4.0),
                Cell::Number(score),
            ],
            vec![picture([0, 0, 255]), Cell::Text("b".to_owned()), Cell::Missing, Cell::Number(f64::NAN)],
        ],
    }
}

fn confusion() -> Confusion {
    let mut confusion = Confusion::new(["1", "2", "3"].map(str::to_owned).into());
    for (actual, predicted) in [(0, 0), (1, 2), (1, 2), (2, 1)] {
        confusion.count(actual, predicted);
    }
    confusion
}

fn evaluate(tracker: &dyn Tracker) {
    for step in [5, 10] {
        tracker.log(step, &BTreeMap::from([("eval/mae".to_owned(), 0.5)]));
        tracker.table(step, "eval/slides", &table(step as f64));
        tracker.confusion(step, "eval/confusion", &confusion());
    }
}

fn run(service: &Service, folder: &std::path::Path, pictures: bool) -> WandbRun {
    let config = WandbConfig { pictures, ..WandbConfig::default() };
    let about = RunInfo { charts: vec!["eval/confusion".to_owned()], ..info("one") };
    WandbRun::start(&config, &service.options(folder), &about).unwrap()
}

#[test]
fn a_table_and_its_pictures_are_files_that_a_line_points_to() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let tracked = run(&service, dir.path(), true);
    evaluate(&tracked);
    assert!(tracked.finish(SUCCESS, &|| false).complete);
    let kept = service.run("one");
    assert_eq!((kept.steps(), service.complaints()), (vec![5, 10], Vec::new()));
    for (line, step) in kept.lines().iter().zip([5, 10]) {
        assert_eq!(line["eval/mae"], 0.5, "one line a step");
        let reference = &line["eval/slides"];
        assert_eq!(
            (&reference["_type"], &reference["nrows"], &reference["ncols"]),
            (&json!("table-file"), &json!(2), &json!(4))
        );
        let content = &kept.files[reference["path"].as_str().unwrap()];
        assert_eq!(reference["sha256"], json!(durable_files::sha256_hex(content)));
        assert_eq!(reference["size"], json!(content.len()));
        let stored: Value =
            serde_json::from_str(&String::from_utf8_lossy(content).replace("NaN", "null")).unwrap();
        assert_eq!(stored["columns"], json!(["picture", "slide", "people", "model"]));
        assert_eq!(stored["data"][0].as_array().unwrap()[1..], [json!("a \"1\""), json!(4), json!(step)]);
        assert_eq!(stored["data"][1][2], Value::Null);
        let image = &stored["data"][1][0];
        assert_eq!((&image["_type"], &image["width"]), (&json!("image-file"), &json!(1)));
        assert_eq!(kept.files[image["path"].as_str().unwrap()], png([0, 0, 255]));
        let gallery = &line["eval/slides_pictures"];
        assert_eq!((&gallery["_type"], &gallery["count"]), (&json!("images/separated"), &json!(2)));
        assert_eq!(gallery["filenames"][1], image["path"]);
        assert_eq!(gallery["captions"][0], json!(format!("slide: a \"1\", people: 4, model: {step}")));
        let pairs = &kept.files[line["eval/confusion_table"]["path"].as_str().unwrap()];
        let pairs: Value = serde_json::from_slice(pairs).unwrap();
        assert_eq!((pairs["data"].as_array().unwrap().len(), &pairs["data"][5]), (9, &json!(["2", "3", 2])));
    }
    assert_eq!(kept.files.len(), 6, "two tables, two matrices that differ by step alone, two pictures");
    assert!(kept.files.keys().all(|name| kept.uploaded.contains(name)));
    let panel = &kept.config["_wandb"]["value"]["visualize"]["eval/confusion"];
    assert_eq!(panel["panel_config"]["panelDefId"], "wandb/confusion_matrix/v1");
    assert!(panel.to_string().contains("eval/confusion_table"), "{panel}");
}

#[test]
fn pictures_stay_on_the_machine_unless_they_are_asked_for() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    assert!(!WandbConfig::default().pictures);
    let tracked = run(&service, dir.path(), false);
    evaluate(&tracked);
    assert!(tracked.finish(SUCCESS, &|| false).complete);
    let kept = service.run("one");
    assert!(kept.files.keys().all(|name| name.starts_with("media/table/")), "{:?}", kept.files.keys());
    assert_eq!(kept.lines()[0]["eval/slides_pictures"], Value::Null);
    let content = &kept.files[kept.lines()[0]["eval/slides"]["path"].as_str().unwrap()];
    assert!(String::from_utf8_lossy(content).contains("[null,\"a \\\"1\\\"\",4,5]"));
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        assert!(!entry.path().join("media/images").exists());
    }
}

#[test]
fn a_run_that_its_machine_ends_is_shown_as_preempted() {
    let (service, dir) = (Service::start(), tempfile::tempdir().unwrap());
    let tracked = run(&service, dir.path(), false);
    tracked.log(1, &BTreeMap::from([("train/loss".to_owned(), 1.0)]));
    tracked.preempting();
    let until = Instant::now() + Duration::from_secs(10);
    while service.run("one").state != "preempting" {
        assert!(Instant::now() < until, "{}", service.run("one").state);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(tracked.finish(End { exit_code: 1, was_stopped: false }, &|| false).complete);
    assert_eq!(service.run("one").state, "preempted");
    drop(tracked);
    service.change("one", |run| run.is_preempting = false);
    let config = WandbConfig::default();
    let about = RunInfo { completed_steps: 1, ..info("one") };
    let carried_on = WandbRun::start(&config, &service.options(dir.path()), &about).unwrap();
    carried_on.log(2, &BTreeMap::from([("train/loss".to_owned(), 0.5)]));
    assert!(carried_on.finish(SUCCESS, &|| false).complete);
    let kept = service.run("one");
    assert_eq!(
        (kept.state.as_str(), kept.steps()),
        ("finished", vec![1, 2]),
        "an old mark is not told again"
    );
    let ours = &kept.config["pitchquest"]["value"];
    assert_eq!((&ours["attempts"], &ours["resumed_at_step"]), (&json!(2), &json!(1)));
}

#[test]
fn event_files_hold_pictures_texts_and_histograms() {
    let dir = tempfile::tempdir().unwrap();
    let files = EventFiles::start(dir.path(), "node-7", 0).unwrap();
    evaluate(&files);
    assert!(files.finish(SUCCESS, &|| false).complete);
    let content = std::fs::read(files.path()).unwrap();
    let holds = |part: &[u8]| content.windows(part.len()).filter(|window| *window == part).count();
    for (part, times) in [
        (&png([255, 0, 0])[..], 2),
        (b"eval/slides/1", 2),
        (b"| a \"1\" | 4 | 10 |", 1),
        (b"| 2 | 0 | 0 | 2 |", 2),
        (b"eval/confusion/error", 2),
    ] {
        assert_eq!(holds(part), times, "{}", String::from_utf8_lossy(part));
    }
}

#[test]
fn a_configuration_is_a_file_too() {
    let config = BTreeMap::from([("training".to_owned(), json!({"learning_rate": 1e-9}))]);
    assert_eq!(config_yaml(&config), "\"training\":\n    value: {\"learning_rate\": 1.0e-9}\n");
}
