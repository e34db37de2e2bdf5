//! Processes that are killed at random moments, while the service fails at random: in the end it has what `metrics.jsonl` has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use registry::tracking::{End, Tracker as _};
use registry::wandb::{CatchUp, RunInfo, WandbConfig, WandbOptions, WandbRun, spooled, sync};
use serde_json::{Value, json};
use service::{Fault, Service, info, options};
use test_server::{Answer, text};

const STEPS: u64 = 60;
const CHECKPOINT_EVERY: u64 = 10;

fn loss(step: u64) -> f64 {
    ((step as f64 * 0.37).sin() * 1024.0).round() / 1024.0 // few digits, so that each reader reads the same
}

fn checkpoint(folder: &Path) -> u64 {
    std::fs::read_to_string(folder.join("checkpoint")).map_or(0, |text| text.parse().unwrap())
}

/// The part of a training: metrics are written, then logged; the checkpoint comes after. Started by the other tests.
#[test]
#[ignore = "a process of the other tests"]
fn child() {
    let Ok(text) = std::env::var("TRACKED_CHILD") else { return };
    let asked: Value = serde_json::from_str(&text).unwrap();
    let folder = PathBuf::from(asked["folder"].as_str().unwrap());
    let completed_steps = checkpoint(&folder);
    let metrics = folder.join("metrics.jsonl");
    let kept: String = std::fs::read_to_string(&metrics)
        .unwrap_or_default()
        .lines()
        .take(completed_steps as usize)
        .flat_map(|line| [line, "\n"])
        .collect();
    std::fs::write(folder.join("metrics.new"), kept).unwrap();
    std::fs::rename(folder.join("metrics.new"), &metrics).unwrap();
    let mut options = options(asked["base"].as_str().unwrap(), &folder.join("tracking"));
    options.finish_timeout = Duration::from_millis(500);
    if asked["offline"] == true {
        options.api_key = None;
    }
    let about = RunInfo { completed_steps, id: None, ..info("run") };
    let run = WandbRun::start(&WandbConfig::default(), &options, &about).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&metrics).unwrap();
    for step in completed_steps + 1..=STEPS {
        writeln!(file, "{}", json!({"step": step, "loss": loss(step)})).unwrap();
        run.log(step, &BTreeMap::from([("train/loss".to_owned(), loss(step))]));
        run.console(&format!("step {step}"));
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..3000)));
        if step.is_multiple_of(CHECKPOINT_EVERY) {
            run.log(step, &BTreeMap::from([("eval/mae".to_owned(), loss(step) + 1.0)]));
            run.system(&BTreeMap::from([("cpu".to_owned(), step as f64)]));
            let next = folder.join("checkpoint.new");
            std::fs::write(&next, step.to_string()).unwrap();
            std::fs::rename(next, folder.join("checkpoint")).unwrap();
        }
    }
    run.finish(End { exit_code: 0, was_stopped: false }, &|| false);
    std::fs::write(folder.join("done"), "").unwrap();
}

fn spawn(folder: &Path, base: &str, is_offline: bool) -> Child {
    let asked = json!({"folder": folder, "base": base, "offline": is_offline});
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("TRACKED_CHILD", asked.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Fails so many of a thousand requests, in all the ways there are.
fn shaky(share: Arc<AtomicU32>) -> Service {
    Service::with_faults(move |_| {
        if fastrand::u32(0..1000) >= share.load(Ordering::Relaxed) {
            return None;
        }
        Some(match fastrand::u32(0..7) {
            0 => Fault::Instead(text(500, "oops")),
            1 => Fault::Instead(Answer::Status(429, vec![("Retry-After", "0.02".to_owned())], Vec::new())),
            2 => Fault::Instead(text(200, "<html>")),
            3 => Fault::Instead(Answer::Lost),
            4 => Fault::Instead(Answer::Hang(Duration::from_millis(30))),
            _ => Fault::Afterwards(Answer::Lost),
        })
    })
}

fn send_rest(folder: &Path, options: &WandbOptions) -> bool {
    let runs = spooled(&folder.join("tracking")).unwrap();
    let sent = runs.iter().map(|run| sync(run, options, &|| false).unwrap().finished.complete);
    sent.filter(|is_complete| !is_complete).count() == 0 // all are sent, also after one that failed
}

/// One training: killed now and then, online and offline, while the service fails; then everything is sent, twice.
fn one_life(seed: u64) {
    fastrand::seed(seed);
    let share = Arc::new(AtomicU32::new(0));
    let service = shaky(Arc::clone(&share));
    let dir = tempfile::tempdir().unwrap();
    let mut rest = options(&service.server.base, &dir.path().join("tracking"));
    rest.finish_timeout = Duration::from_millis(300);
    while !dir.path().join("done").exists() {
        share.store([0, 100, 400, 1000][fastrand::usize(0..4)], Ordering::Relaxed);
        let mut child = spawn(dir.path(), &service.server.base, fastrand::u32(0..4) == 0);
        if fastrand::u32(0..4) > 0 {
            std::thread::sleep(Duration::from_millis(fastrand::u64(10..150)));
            child.kill().unwrap();
        }
        child.wait().unwrap();
        if fastrand::u32(0..4) == 0 {
            send_rest(dir.path(), &rest);
        }
    }
    share.store(0, Ordering::Relaxed);
    rest.finish_timeout = Duration::from_secs(20);
    if seed.is_multiple_of(2) {
        // As the start of another run does it, without anybody asking.
        let catch_up = CatchUp::start(&rest, vec![dir.path().join("tracking")]);
        while !catch_up.is_done() {
            std::thread::sleep(Duration::from_millis(2));
        }
    } else {
        assert!(send_rest(dir.path(), &rest), "seed {seed}");
    }
    let lines = service.run(&spooled(&rest.folder).unwrap().last().unwrap().id).history.len();
    assert_eq!(lines as u64, STEPS, "seed {seed}");
    assert!(send_rest(dir.path(), &rest), "seed {seed}");
    let runs = spooled(&dir.path().join("tracking")).unwrap();
    let run = service.run(&runs.last().unwrap().id);
    let metrics = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    let expected: Vec<(u64, f64)> = metrics
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["step"].as_u64().unwrap(), line["loss"].as_f64().unwrap()))
        .collect();
    let found: Vec<(u64, f64)> = run
        .lines()
        .iter()
        .map(|line| (line["_step"].as_u64().unwrap(), line["train/loss"].as_f64().unwrap()))
        .collect();
    assert_eq!(found, expected, "seed {seed}");
    assert_eq!(found.len() as u64, STEPS, "seed {seed}");
    for line in run.lines() {
        let step = line["_step"].as_u64().unwrap();
        let mae = step.is_multiple_of(CHECKPOINT_EVERY).then(|| loss(step) + 1.0);
        assert_eq!(line["eval/mae"].as_f64(), mae, "seed {seed}, step {step}");
    }
    assert_eq!((run.state.as_str(), service.complaints()), ("finished", Vec::new()), "seed {seed}");
    let console: BTreeSet<&String> = run.console.iter().collect();
    assert!(console.len() >= STEPS as usize && console.len() == run.console.len(), "seed {seed}");
    assert!(runs.iter().all(|run| run.is_whole || service.run(&run.id).exit_code.is_none()), "seed {seed}");
}

#[test]
fn kills_and_outages_neither_lose_nor_double_a_line() {
    (0..20).for_each(one_life);
}

#[test]
#[ignore = "endurance: 500 lives"]
fn five_hundred_kills_and_outages_neither_lose_nor_double_a_line() {
    (1000..1500).for_each(one_life);
}
