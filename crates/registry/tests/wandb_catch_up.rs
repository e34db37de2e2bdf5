//! Earlier runs that a run which begins sends in the background.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod service;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use registry::tracking::{End, Tracker as _};
use registry::wandb::{CatchUp, RunInfo, WandbConfig, WandbOptions, WandbRun, spooled, sync};
use service::{Fault, Service, assert_has, info, options};
use test_server::Answer;

const SUCCESS: End = End { exit_code: 0, was_stopped: false };

fn start(options: &WandbOptions, run: &str, completed_steps: u64) -> WandbRun {
    let info = RunInfo { completed_steps, ..info(run) };
    WandbRun::start(&WandbConfig::default(), options, &info).unwrap()
}

fn log(run: &WandbRun, steps: std::ops::RangeInclusive<u32>) {
    for step in steps {
        run.log(
            u64::from(step),
            &BTreeMap::from([
                ("train/loss".to_owned(), f64::from(step) / 4.0),
                ("eval/mae".to_owned(), f64::from(step)),
            ]),
        );
    }
}

/// A run that was tracked without a service, and ended or was killed.
fn earlier(folder: &Path, name: &str, is_killed: bool) {
    let run = start(&WandbOptions { api_key: None, ..options("http://127.0.0.1:9", folder) }, name, 0);
    log(&run, 1..=20);
    if !is_killed {
        run.finish(SUCCESS, &|| false);
    }
}

fn wait_for(catch_up: &CatchUp) {
    let until = Instant::now() + Duration::from_secs(20);
    while !catch_up.is_done() {
        assert!(Instant::now() < until, "it takes for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The folders of four earlier runs, begun for a service at `base`.
fn four(base: &str, dir: &Path) -> Vec<std::path::PathBuf> {
    let folders: Vec<_> = ["whole", "killed", "part", "elsewhere"].map(|name| dir.join(name)).into();
    for (folder, is_killed) in folders.iter().zip([false, true, false, false]) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        earlier(folder, &name, is_killed);
        if name != "elsewhere" {
            let spool = folder.join(format!("{name}.spool"));
            rebase(&spool, base);
        }
    }
    folders
}

/// Lets a spool have been begun for another service.
fn rebase(spool: &Path, base: &str) {
    let text = std::fs::read_to_string(spool).unwrap().replace("http://127.0.0.1:9", base);
    let lines = text.lines().map(|line| {
        let json = &line[9..];
        format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
    });
    std::fs::write(spool, lines.collect::<String>()).unwrap();
}

#[test]
fn what_earlier_runs_lack_is_sent_once() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let folders = four(&service.server.base, dir.path());
    let options = service.options(dir.path());
    let catch_up = CatchUp::start(&options, folders.clone());
    wait_for(&catch_up);
    assert_eq!(catch_up.sent_lines(), 60);
    for run in ["whole", "killed", "part"] {
        assert_has(&service, run, 1..=20);
    }
    let state = |run: &str| (service.run(run).state, service.run(run).exit_code);
    assert_eq!(state("whole"), ("finished".to_owned(), Some(0)));
    assert_eq!(state("killed"), ("running".to_owned(), None), "it may be carried on");
    assert!(!service.ids().contains(&"elsewhere".to_owned()), "it was begun for another service");
    service.server.take();
    let again = CatchUp::start(&options, folders);
    wait_for(&again);
    assert_eq!((again.sent_lines(), service.server.take().len()), (0, 0), "nothing is asked twice");
}

#[test]
fn a_service_that_hangs_delays_neither_beginning_nor_end() {
    let service = Service::with_faults(|_| Some(Fault::Instead(Answer::Hang(Duration::from_secs(30)))));
    let dir = tempfile::tempdir().unwrap();
    let folders = four(&service.server.base, dir.path());
    let begun = Instant::now();
    let catch_up = CatchUp::start(&service.options(dir.path()), folders);
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
    while service.server.requests().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
    let ending = Instant::now();
    drop(catch_up);
    assert!(ending.elapsed() < Duration::from_secs(1), "{:?}", ending.elapsed());
}

/// Whoever only sends a run lets go of it as soon as it is to be carried on.
#[test]
fn a_run_that_is_carried_on_is_let_go() {
    let slow = Service::with_faults(|_| Some(Fault::Instead(Answer::Hang(Duration::from_secs(30)))));
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("killed");
    earlier(&folder, "killed", true);
    rebase(&folder.join("killed.spool"), &slow.server.base);
    let catch_up = CatchUp::start(&slow.options(dir.path()), vec![folder.clone()]);
    while slow.server.requests().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = Instant::now();
    let service = Service::start();
    let run = start(&service.options(&folder), "killed", 20);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    log(&run, 21..=30);
    assert!(run.finish(SUCCESS, &|| false).complete);
    assert_has(&service, "killed", 1..=30);
    wait_for(&catch_up);
    assert_eq!(catch_up.sent_lines(), 0);
    assert!(
        std::fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .all(|file| file.path().extension() != Some("wanted".as_ref()))
    );
}

#[test]
fn a_run_that_is_being_tracked_is_left_alone() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let run = start(&service.options(dir.path()), "live", 0);
    log(&run, 1..=10);
    let catch_up = CatchUp::start(&service.options(dir.path()), vec![dir.path().to_owned()]);
    wait_for(&catch_up);
    assert_eq!(catch_up.sent_lines(), 0);
    log(&run, 11..=20);
    assert!(run.finish(SUCCESS, &|| false).complete);
    assert_has(&service, "live", 1..=20);
    drop(run);
    let spooled = spooled(dir.path()).unwrap();
    assert!(spooled[0].is_whole);
    let again = sync(&spooled[0], &service.options(dir.path()), &|| false).unwrap();
    assert_eq!(again.finished.sent_lines, 0);
}
