//! Tracking against a small stand-in of the service.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use registry::Error;
use registry::wandb::{RunInfo, WandbConfig, WandbMode, WandbOptions, WandbRun};
use serde_json::{Value, json};
use test_server::{Answer, Request, Server, json};

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

fn options(base: &str, dir: &std::path::Path) -> WandbOptions {
    WandbOptions {
        base_url: base.to_owned(),
        api_key: KEY.to_owned(),
        offline_dir: dir.to_owned(),
        flush_interval: Duration::from_millis(20),
        finish_timeout: Duration::from_secs(10),
        http: http_client::Options::default(),
    }
}

fn info() -> RunInfo {
    let config = BTreeMap::from([("learning_rate".to_owned(), json!(1e-4))]);
    RunInfo { id: "run-1".to_owned(), config, ..RunInfo::default() }
}

fn graphql(request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    match body["operationName"].as_str().unwrap() {
        "UpsertBucket" => json(
            200,
            &json!({"data": {"upsertBucket": {"inserted": true, "bucket": {"id": "x", "name": "run-1",
                "project": {"name": "pitchquest", "entity": {"name": "team"}}, "historyLineCount": 0}}}}),
        ),
        "RunResumeStatus" => json(
            200,
            &json!({"data": {"model": {"bucket": {"id": "x", "historyLineCount": 3,
                "historyTail": "[\"{\\\"_step\\\":2,\\\"_runtime\\\":9.5}\"]", "summaryMetrics": "{}"}}}}),
        ),
        other => json(400, &json!({"errors": [{"message": format!("unknown {other}")}]})),
    }
}

/// All history lines that arrived, by their offset; the same offset twice must hold the same line.
fn history(server: &Server) -> BTreeMap<u64, Value> {
    let mut lines = BTreeMap::new();
    for request in server.asked("POST", "file_stream") {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let part = &body["files"]["wandb-history.jsonl"];
        let offset = part["offset"].as_u64().unwrap_or(0);
        for (index, line) in (0..).zip(part["content"].as_array().into_iter().flatten()) {
            let line: Value = serde_json::from_str(line.as_str().unwrap()).unwrap();
            let earlier = lines.insert(offset + index, line.clone());
            assert!(earlier.is_none_or(|earlier| earlier == line));
        }
    }
    lines
}

/// Two calls a step, as training logs its loss and then its evaluation.
fn log_ten(run: &WandbRun) {
    for step in 0..10u32 {
        run.log(u64::from(step), &BTreeMap::from([("train/loss".to_owned(), f64::from(step) / 4.0)]));
        std::thread::sleep(Duration::from_millis(8));
        run.log(u64::from(step), &BTreeMap::from([("eval/mae".to_owned(), f64::from(step))]));
    }
}

#[test]
fn every_line_arrives_once_though_answers_fail_and_get_lost() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        if request.path == "/graphql" {
            return graphql(request);
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            1 => json(500, &json!({"error": "busy"})),
            2 => Answer::Lost,
            _ => json(200, &json!({"exitcode": null, "limits": {}})),
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let run = WandbRun::start(&WandbConfig::default(), &options(&server.base, dir.path()), &info()).unwrap();
    assert!(run.url().unwrap().ends_with("/team/pitchquest/runs/run-1"));
    log_ten(&run);
    let finished = run.finish(0);
    assert!(finished.complete && finished.offline.is_none(), "{finished:?}");
    let lines = history(&server);
    assert_eq!(lines.len(), 10);
    for (step, line) in (0..).zip(lines.values()) {
        assert_eq!(line["_step"], json!(step), "one line a step");
        assert_eq!(line["train/loss"].as_f64(), Some(f64::from(step) / 4.0));
        assert_eq!(line["eval/mae"].as_f64(), Some(f64::from(step)));
    }
    let last: Value =
        serde_json::from_slice(&server.asked("POST", "file_stream").last().unwrap().body).unwrap();
    assert_eq!((last["complete"].clone(), last["exitcode"].clone()), (json!(true), json!(0)));
}

#[test]
fn a_refusal_in_the_middle_leaves_an_offline_file_and_training_goes_on() {
    let server = Server::start(|request| match request.path.as_str() {
        "/graphql" => graphql(request),
        _ => json(401, &json!({"error": "user is not logged in"})),
    });
    let dir = tempfile::tempdir().unwrap();
    let run = WandbRun::start(&WandbConfig::default(), &options(&server.base, dir.path()), &info()).unwrap();
    log_ten(&run);
    let finished = run.finish(0);
    assert!(!finished.complete && finished.problem.unwrap().contains("not logged in"));
    let file = std::fs::read(finished.offline.unwrap().join("run-run-1.wandb")).unwrap();
    assert_eq!(records(&file), [21, 17, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 18]);
}

#[test]
fn a_wrong_key_is_refused_before_training() {
    let server = Server::start(|_| json(401, &json!({"errors": [{"message": "user is not logged in"}]})));
    let dir = tempfile::tempdir().unwrap();
    let error =
        WandbRun::start(&WandbConfig::default(), &options(&server.base, dir.path()), &info()).unwrap_err();
    assert!(matches!(error, Error::Refused { status: 401, .. }) && !error.to_string().contains(KEY));
    assert_eq!(server.asked("POST", "/graphql").len(), 1);
}

#[test]
fn a_resumed_run_carries_on_after_its_last_line() {
    let server = Server::start(|request| match request.path.as_str() {
        "/graphql" => graphql(request),
        _ => json(200, &json!({})),
    });
    let dir = tempfile::tempdir().unwrap();
    let resumed = RunInfo { resume: true, ..info() };
    let run = WandbRun::start(&WandbConfig::default(), &options(&server.base, dir.path()), &resumed).unwrap();
    log_ten(&run);
    assert!(run.finish(0).complete);
    let lines = history(&server);
    assert_eq!(lines.keys().copied().collect::<Vec<_>>(), (3..10).collect::<Vec<u64>>());
    assert_eq!(lines[&3]["_step"], json!(3), "steps 0 to 2 were logged before");
    assert!(lines[&3]["_runtime"].as_f64().unwrap() > 9.5);
}

#[test]
fn an_offline_run_of_many_lines_is_a_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = WandbConfig { mode: WandbMode::Offline, ..WandbConfig::default() };
    let run = WandbRun::start(&config, &options("http://127.0.0.1:9", dir.path()), &info()).unwrap();
    for step in 0..3000 {
        run.log(step, &BTreeMap::from([("a/long/name/to/cross/the/borders/of/blocks".to_owned(), f64::NAN)]));
    }
    let finished = run.finish(0);
    let file = std::fs::read(finished.offline.unwrap().join("run-run-1.wandb")).unwrap();
    assert_eq!(records(&file).iter().filter(|field| **field == 2).count(), 3000);
}

/// The field numbers of the records in an offline file; every checksum is verified.
fn records(file: &[u8]) -> Vec<u64> {
    assert_eq!(&file[..7], [b':', b'W', b'&', b'B', 0xE1, 0xBE, 0]);
    let (mut at, mut record, mut fields) = (7, Vec::new(), Vec::new());
    while at < file.len() {
        if 32768 - at % 32768 < 7 {
            at += 32768 - at % 32768;
            continue;
        }
        let length = usize::from(u16::from_le_bytes([file[at + 4], file[at + 5]]));
        let (kind, data) = (file[at + 6], &file[at + 7..at + 7 + length]);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&file[at + 6..at + 7 + length]);
        assert_eq!(hasher.finalize().to_le_bytes(), file[at..at + 4]);
        record.extend_from_slice(data);
        if kind == 1 || kind == 4 {
            let number = record.iter().skip(1).position(|byte| byte & 0x80 == 0).unwrap() + 2;
            let (mut tag, mut shift) = (0u64, 0);
            for byte in &record[number..] {
                tag |= u64::from(byte & 0x7F) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            fields.push(tag >> 3);
            record.clear();
        }
        at += 7 + length;
    }
    fields
}
