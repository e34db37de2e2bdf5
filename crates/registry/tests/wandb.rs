//! Tracking against a strict stand-in of the service.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod service;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use registry::Error;
use registry::tracking::{End, Finished, Tracker as _};
use registry::wandb::{RunInfo, WandbConfig, WandbMode, WandbOptions, WandbRun, spooled, sync};
use serde_json::{Value, json};
use service::{Fault, KEY, Service, assert_has, endpoint, html, info, options};
use test_server::{Answer, Server, redirect, text};

const SUCCESS: End = End { exit_code: 0, was_stopped: false };

fn start(options: &WandbOptions, info: &RunInfo) -> WandbRun {
    WandbRun::start(&WandbConfig::default(), options, info).unwrap()
}

/// Two calls a step, as training logs its loss and then its evaluation.
fn log(run: &WandbRun, steps: std::ops::RangeInclusive<u32>) {
    for step in steps {
        run.log(u64::from(step), &BTreeMap::from([("train/loss".to_owned(), f64::from(step) / 4.0)]));
        std::thread::sleep(Duration::from_millis(2));
        run.log(u64::from(step), &BTreeMap::from([("eval/mae".to_owned(), f64::from(step))]));
    }
}

fn finish(run: &WandbRun, end: End) -> Finished {
    run.finish(end, &|| false)
}

/// What happens on bad days at each of the endpoints, several times in a row.
#[test]
fn no_fault_of_the_service_costs_a_line_or_reaches_the_caller() {
    let busy = || Answer::Status(429, vec![("Retry-After", "0.02".to_owned())], b"{}".to_vec());
    let faults: [(&str, &dyn Fn() -> Fault); 9] = [
        ("busy", &|| Fault::Instead(busy())),
        ("500", &|| Fault::Instead(text(500, "oops"))),
        ("captive portal", &|| Fault::Instead(html(200))),
        ("proxy", &|| Fault::Instead(html(403))),
        ("redirect", &|| Fault::Instead(redirect(302, "http://portal.invalid/"))),
        ("closed", &|| Fault::Instead(Answer::Lost)),
        ("lost answer", &|| Fault::Afterwards(Answer::Lost)),
        ("garbled answer", &|| Fault::Afterwards(text(200, "{\"da"))),
        ("hanging", &|| Fault::Instead(Answer::Hang(Duration::from_millis(150)))),
    ];
    for at in ["RunResumeStatus", "UpsertBucket", "file_stream", "CreateRunFiles", "put"] {
        for (name, fault) in &faults {
            // The answer to an upload has no content that could be garbled or a page.
            if at == "put" && ["captive portal", "proxy", "redirect", "garbled answer"].contains(name) {
                continue;
            }
            let (left, answer) = (AtomicUsize::new(3), Mutex::new(fault()));
            let service = Service::with_faults(move |request| {
                let is_hit = endpoint(request) == at
                    && left
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                        .is_ok();
                is_hit.then(|| answer.lock().unwrap().clone())
            });
            let dir = tempfile::tempdir().unwrap();
            let begun = Instant::now();
            let run = start(&service.options(dir.path()), &info("one"));
            run.file("notes/a.txt", b"content");
            log(&run, 1..=10);
            assert!(begun.elapsed() < Duration::from_secs(1), "{at} {name}: {:?}", begun.elapsed());
            let finished = finish(&run, SUCCESS);
            assert!(finished.complete && finished.problem.is_none(), "{at} {name}: {finished:?}");
            assert_has(&service, "one", 1..=10);
            let kept = service.run("one");
            assert_eq!((kept.state.as_str(), kept.exit_code), ("finished", Some(0)), "{at} {name}");
            assert_eq!(kept.files["notes/a.txt"], b"content", "{at} {name}");
            assert!(kept.uploaded.contains("notes/a.txt"), "{at} {name}");
        }
    }
}

#[test]
fn a_hanging_server_delays_neither_start_nor_steps_and_the_end_by_what_is_set() {
    let service = Service::with_faults(|_| Some(Fault::Instead(Answer::Hang(Duration::from_secs(30)))));
    let dir = tempfile::tempdir().unwrap();
    let short = WandbOptions { finish_timeout: Duration::from_millis(400), ..service.options(dir.path()) };
    let begun = Instant::now();
    let run = start(&short, &info("one"));
    let (url, _) = run.wait_for_page(Duration::from_millis(500));
    assert!(url.is_none() && begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let begun = Instant::now();
    log(&run, 1..=20);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let finished = finish(&run, SUCCESS);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(!finished.complete && finished.problem.is_some());
    drop(run);
    let well = Service::start();
    assert!(sync_all(dir.path(), &well).iter().all(|finished| finished.complete));
    assert_has(&well, "one", 1..=20);
}

#[test]
fn the_end_waits_no_longer_than_somebody_wants_to() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&options("http://127.0.0.1:9", dir.path()), &info("one"));
    log(&run, 1..=2);
    let begun = Instant::now();
    assert!(!run.finish(SUCCESS, &|| true).complete);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// Sends what is on disk, as often as it takes.
fn sync_all(folder: &Path, service: &Service) -> Vec<Finished> {
    let runs = spooled(folder).unwrap();
    runs.iter().map(|run| sync(run, &service.options(folder), &|| false).unwrap().finished).collect()
}

#[test]
fn a_key_that_is_revoked_in_the_middle_loses_nothing() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let run = start(&service.options(dir.path()), &info("one"));
    log(&run, 1..=10);
    while service.run("one").history.is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    service.revoke(true);
    log(&run, 11..=20);
    let begun = Instant::now();
    let finished = finish(&run, SUCCESS);
    assert!(!finished.complete && finished.problem.unwrap().contains("not logged in"));
    assert!(begun.elapsed() < Duration::from_secs(2), "a refusal is not waited for");
    drop(run);
    assert!(!spooled(dir.path()).unwrap()[0].is_whole);
    let refused = &sync_all(dir.path(), &service)[0];
    assert!(!refused.complete && refused.problem.is_some());
    service.revoke(false);
    for expected in [true, false] {
        let synced = &sync_all(dir.path(), &service)[0];
        assert!(synced.complete && (synced.sent_lines > 0) == expected, "{synced:?}");
        assert_has(&service, "one", 1..=20);
        assert!(spooled(dir.path()).unwrap()[0].is_whole);
    }
}

#[test]
fn an_end_is_shown_as_what_it_was() {
    // The official client reports 255 of a run that a person ended.
    let ends = [(0, false, "finished", 0), (2, false, "failed", 2), (1, true, "killed", 255)];
    for (exit_code, was_stopped, state, shown) in ends {
        let service = Service::start();
        let dir = tempfile::tempdir().unwrap();
        let run = start(&service.options(dir.path()), &info("one"));
        log(&run, 1..=3);
        assert!(finish(&run, End { exit_code, was_stopped }).complete);
        let kept = service.run("one");
        assert_eq!((kept.state.as_str(), kept.exit_code), (state, Some(shown)));
    }
}

#[test]
fn stop_is_heard_and_an_old_one_is_not() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let run = start(&service.options(dir.path()), &info("one"));
    log(&run, 1..=5);
    assert!(!run.is_stop_asked());
    service.change("one", |run| run.is_stopped = true);
    let since = Instant::now();
    for step in 6.. {
        log(&run, step..=step);
        if run.is_stop_asked() || since.elapsed() > Duration::from_mins(1) {
            break;
        }
    }
    assert!(run.is_stop_asked());
    finish(&run, End { exit_code: 1, was_stopped: true });
    drop(run);
    let resumed = start(&service.options(dir.path()), &RunInfo { completed_steps: 5, ..info("one") });
    log(&resumed, 6..=30);
    assert!(finish(&resumed, SUCCESS).complete && !resumed.is_stop_asked());
}

#[test]
fn a_run_of_somebody_else_is_left_as_it_is() {
    let service = Service::start();
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = start(&service.options(theirs.path()), &info("one"));
    log(&run, 1..=12);
    finish(&run, SUCCESS);
    let run = start(&service.options(mine.path()), &info("one"));
    log(&run, 1..=6);
    let finished = finish(&run, SUCCESS);
    let url = finished.url.unwrap();
    let id = url.rsplit('/').next().unwrap();
    assert!(finished.complete && id.starts_with("one-"), "{url}");
    drop(run);
    assert_has(&service, "one", 1..=12);
    assert_has(&service, id, 1..=6);
    let resumed = start(&service.options(mine.path()), &RunInfo { completed_steps: 6, ..info("one") });
    log(&resumed, 7..=9);
    assert!(finish(&resumed, SUCCESS).complete);
    assert_has(&service, "one", 1..=12);
    assert_has(&service, id, 1..=9);
    // A run that begins anew in the same folder is a new one, and so is each that has only its name.
    for anew in [RunInfo { id: None, ..info("one") }, info("one")] {
        let anew = start(&service.options(mine.path()), &anew);
        log(&anew, 1..=2);
        let finished = finish(&anew, SUCCESS);
        assert!(finished.complete && !finished.url.unwrap().ends_with(id));
    }
    assert_eq!(service.ids().len(), 4);
}

#[test]
fn a_resumed_run_carries_on_from_its_checkpoint() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let run = start(&service.options(dir.path()), &info("one"));
    log(&run, 1..=75);
    while service.run("one").history.len() < 60 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(run); // as a kill leaves it
    let sent = service.run("one").history.len();
    let resumed = start(&service.options(dir.path()), &RunInfo { completed_steps: 50, ..info("one") });
    log(&resumed, 51..=100);
    assert!(finish(&resumed, SUCCESS).complete);
    assert_has(&service, "one", 1..=100);
    let lines = service.run("one").lines();
    let runtimes: Vec<f64> = lines.iter().map(|line| line["_runtime"].as_f64().unwrap()).collect();
    assert!(sent >= 60 && runtimes[99] > runtimes[49], "{runtimes:?}");
    let summary: Value = serde_json::from_str(&service.run("one").summary).unwrap();
    assert_eq!((summary["_step"].clone(), summary["train/loss"].clone()), (json!(100), json!(25)));
}

/// A line that was sent without its evaluation, because the process was killed in between, gets it when the run is resumed.
#[test]
fn the_last_line_is_completed() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let run = start(&service.options(dir.path()), &info("one"));
    log(&run, 1..=4);
    run.log(5, &BTreeMap::from([("train/loss".to_owned(), 1.25)]));
    drop(run);
    assert!(sync_all(dir.path(), &service)[0].complete);
    assert_eq!(service.run("one").steps(), [1, 2, 3, 4, 5]);
    let resumed = start(&service.options(dir.path()), &RunInfo { completed_steps: 4, ..info("one") });
    log(&resumed, 5..=8);
    assert!(finish(&resumed, SUCCESS).complete);
    service.change("one", |run| run.overwritten = 0); // the one line
    assert_has(&service, "one", 1..=8);
}

#[test]
fn everything_of_a_page_arrives() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let config = WandbConfig {
        group: "sweep".to_owned(),
        notes: "why".to_owned(),
        tags: vec!["a".to_owned()],
        ..WandbConfig::default()
    };
    let about = RunInfo {
        host: "node-7".to_owned(),
        program: "pq-train".to_owned(),
        commit: "4f0c".to_owned(),
        ..info("one")
    };
    let run = WandbRun::start(&config, &service.options(dir.path()), &about).unwrap();
    log(&run, 1..=2);
    run.console("step 1: loss 0.5\n");
    run.console("two\nlines");
    run.system(&BTreeMap::from([("cpu".to_owned(), 12.5)]));
    run.summary(&BTreeMap::from([("best/mae".to_owned(), 0.4)]));
    run.log(3, &BTreeMap::from([("train/loss".to_owned(), f64::NAN)]));
    run.file("wandb-metadata.json", b"{}");
    run.file("../outside", b"no");
    run.file("wandb-metadata.json", b"{\"os\":1}");
    let finished = finish(&run, SUCCESS);
    assert!(finished.complete, "{finished:?}");
    let kept = service.run("one");
    assert!(kept.history[2].contains("\"train/loss\":NaN"), "{}", kept.history[2]);
    assert!(kept.console[0].ends_with(" step 1: loss 0.5") && kept.console[1].ends_with(" two lines"));
    let event: Value = serde_json::from_str(&kept.events[0]).unwrap();
    assert_eq!((event["system.cpu"].clone(), event["_wandb"].clone()), (json!(12.5), json!(true)));
    assert!(kept.summary.contains("\"best/mae\":0.4"), "{}", kept.summary);
    assert_eq!(kept.files, BTreeMap::from([("wandb-metadata.json".to_owned(), b"{\"os\":1}".to_vec())]));
    for (name, value) in [
        ("groupName", json!("sweep")),
        ("notes", json!("why")),
        ("tags", json!(["a"])),
        ("host", json!("node-7")),
        ("program", json!("pq-train")),
        ("commit", json!("4f0c")),
    ] {
        assert_eq!(kept.fields[name], value, "{name}");
    }
    assert_eq!(kept.config["training"]["value"]["learning_rate"], json!(1e-4));
}

/// Nothing but the header of the requests to the service holds the key.
#[test]
fn the_key_is_nowhere_on_disk_nor_in_a_body() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let run = start(&service.options(dir.path()), &info("one"));
    log(&run, 1..=3);
    run.file("a.json", b"{}");
    service.revoke(true);
    log(&run, 4..=6);
    let finished = finish(&run, SUCCESS);
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("api:{KEY}"));
    let is_clean = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        !text.contains(KEY) && !text.contains(&encoded)
    };
    assert!(is_clean(format!("{finished:?} {run:?} {:?}", service.options(dir.path())).as_bytes()));
    let mut files = vec![dir.path().to_owned()];
    let mut count = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert!(is_clean(&std::fs::read(&path).unwrap()), "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 3);
    for request in service.server.requests() {
        assert!(is_clean(&request.body) && is_clean(request.path.as_bytes()));
        assert!(request.method != "PUT" || request.header("authorization").is_none());
    }
}

#[test]
fn who_requires_tracking_is_told_before_anything_runs() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let good = service.options(dir.path());
    assert!(WandbRun::check(&WandbConfig::default(), &good).is_ok());
    let elsewhere = WandbConfig { entity: "someone-else".to_owned(), ..WandbConfig::default() };
    let error = WandbRun::check(&elsewhere, &good).unwrap_err();
    assert!(matches!(error, Error::Refused { status: 403, .. }), "{error}");
    let short = WandbOptions { api_key: Some("k3y".to_owned()), ..good.clone() };
    let error = WandbRun::check(&WandbConfig::default(), &short).unwrap_err();
    assert!(matches!(error, Error::Domain { .. }) && !error.to_string().contains("k3y"), "{error}");
    let away = options("http://127.0.0.1:9", dir.path());
    let error = WandbRun::check(&WandbConfig::default(), &away).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    // Who does not is not kept from training by any of it.
    let run = start(&short, &info("one"));
    log(&run, 1..=2);
    let finished = finish(&run, SUCCESS);
    assert!(!finished.complete && finished.problem.unwrap().contains("WANDB_API_KEY"));
}

#[test]
fn one_process_sends_a_run_at_a_time() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let run = start(&service.options(dir.path()), &info("one"));
    log(&run, 1..=2);
    let busy = sync(&spooled(dir.path()).unwrap()[0], &service.options(dir.path()), &|| false);
    assert!(matches!(busy, Err(Error::SpoolBusy { .. })));
    assert!(finish(&run, SUCCESS).complete);
}

#[test]
fn a_server_that_comes_back_gets_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let down = Server::start(|_| text(503, ""));
    let run = start(&options(&down.base, dir.path()), &info("one"));
    log(&run, 1..=5);
    assert!(!run.finish(SUCCESS, &|| true).complete);
    drop(run);
    let service = Service::start();
    let offline = WandbConfig { mode: WandbMode::Offline, ..WandbConfig::default() };
    let resumed = RunInfo { completed_steps: 3, ..info("one") };
    let run = WandbRun::start(&offline, &service.options(dir.path()), &resumed).unwrap();
    log(&run, 4..=8);
    assert!(finish(&run, SUCCESS).complete && service.ids().is_empty());
    drop(run);
    assert!(sync_all(dir.path(), &service)[0].complete);
    assert_has(&service, "one", 1..=8);
}
