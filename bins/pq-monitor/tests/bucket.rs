//! `pq-monitor --bucket` at a program that stands in for S3, with a proxy before it that fails as it is told.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

#[path = "../../../crates/registry/tests/moto/mod.rs"]
#[allow(dead_code, reason = "the registry's tests use all of it")]
mod moto;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use moto::{Proxy, SECRET, options};
use pq_testing::adverse::write_file;
use project_files::{Layout, Storage};
use registry::Objects;
use slide_data::prediction_log::ship;
use slide_data::{Contract as _, Prediction};
use tempfile::TempDir;
use test_server::hub::Fault;
use test_server::moto::Moto;
use test_server::{Answer, text};

pq_testing::tests! {
    what_was_shipped_is_taken_into_the_log_once: needs Moto;
    faults_of_the_service_are_survived_and_nothing_is_lost: needs Moto;
    a_bucket_that_refuses_is_named_and_takes_nothing_twice: needs Moto;
}

fn project() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_file(dir.path(), "config/monitoring.toml", include_str!("../../../config/monitoring.toml"));
    std::fs::create_dir_all(dir.path().join("data")).unwrap();
    dir
}

fn layout(folder: &Path) -> Layout {
    let storage = Storage { monitoring_dir: folder.join("monitoring"), ..Storage::default() };
    Layout::new(&storage, &folder.join("outputs"))
}

fn take_in(dir: &TempDir, base: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-monitor"));
    for name in ["AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    command
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_ENDPOINT_URL", base);
    command.current_dir(dir.path()).args(["--compact", "--bucket", "s3://rater/slides/rater"]);
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    assert!(!stderr(output).contains(SECRET), "{}", stderr(output));
}

/// Logs slides on a service's machine and ships them.
fn log_and_ship(objects: &Objects, machine: &TempDir, replica: &str, ids: std::ops::Range<usize>) {
    let layout = layout(machine.path());
    let line = |id: usize| {
        let id = format!("{replica}-{id}");
        // Today's lines stay in the log.
        Prediction { scored_at: jiff::Timestamp::now(), id: Some(id.clone()), ..Prediction::sample(&id) }
    };
    let lines: Vec<_> = ids.map(line).collect();
    Prediction::append(&layout.replica_predictions(replica), &lines).unwrap();
    ship(&layout, replica, |name, content| {
        objects
            .create(name, content)
            .map_err(|error| slide_data::Error::Segment { path: name.into(), reason: error.to_string() })
    })
    .unwrap();
}

fn ids(dir: &TempDir) -> Vec<String> {
    let log = Prediction::read_log_if_present(&layout(dir.path()).predictions()).unwrap();
    log.entries.into_iter().filter_map(|slide| slide.id).collect()
}

fn bucket(moto: &Moto) -> Objects {
    moto.bucket("rater");
    Objects::open(&options(&moto.base, "rater", None)).unwrap()
}

fn what_was_shipped_is_taken_into_the_log_once() {
    let moto = Moto::start();
    let (objects, dir, machines) = (bucket(&moto), project(), [project(), project()]);
    done(&take_in(&dir, &moto.base));
    for round in 0..3 {
        for (machine, replica) in machines.iter().zip(["pod-a", "pod-b"]) {
            log_and_ship(&objects, machine, replica, round * 3..round * 3 + 3);
        }
    }
    assert_eq!(objects.names("pod-a").unwrap().len(), 3);
    done(&take_in(&dir, &moto.base));
    let found = ids(&dir);
    assert_eq!((found.len(), found.iter().collect::<BTreeSet<_>>().len()), (18, 18));
    assert!(objects.names("").unwrap().is_empty(), "{:?}", objects.names(""));
    done(&take_in(&dir, &moto.base));
    assert_eq!(ids(&dir).len(), 18);
    // A segment that lost its end is left and named; the others come in.
    log_and_ship(&objects, &machines[0], "pod-a", 9..10);
    let name = format!("pod-a/{}", objects.names("pod-a").unwrap()[0]);
    let whole = objects.get(&name).unwrap().unwrap().content;
    objects.remove(&name).unwrap();
    assert!(objects.create(&name, &whole[..whole.len() / 2]).unwrap());
    log_and_ship(&objects, &machines[1], "pod-b", 9..11);
    let output = take_in(&dir, &moto.base);
    assert!(output.status.code() == Some(2) && stderr(&output).contains(&name), "{}", stderr(&output));
    assert_eq!((ids(&dir).len(), objects.names("pod-b").unwrap().len()), (20, 0));
}

/// What is asked for the first time fails, in each of the ways there are.
fn faults_of_the_service_are_survived_and_nothing_is_lost() {
    let moto = Moto::start();
    let objects = bucket(&moto);
    let cut = Answer::Cut { status: 200, headers: Vec::new(), body: b"<half".to_vec(), announced: 1000 };
    let internal = || text(500, "<Error><Code>InternalError</Code></Error>");
    let faults: [(&str, Fault); 4] = [
        ("500", Fault::Instead(internal())),
        ("500 after it was done", Fault::Afterwards(internal())),
        ("lost after it was done", Fault::Afterwards(Answer::Lost)),
        ("cut", Fault::Afterwards(cut)),
    ];
    for (name, fault) in faults {
        let (dir, machine, proxy) = (project(), project(), Proxy::before(&moto));
        log_and_ship(&objects, &machine, "pod-a", 0..3);
        log_and_ship(&objects, &machine, "pod-b", 0..2);
        let mut seen = BTreeSet::new();
        proxy.on_request(move |request| {
            let is_first = seen.insert((request.method.clone(), request.path.clone()));
            if is_first { fault.clone() } else { Fault::None }
        });
        done(&take_in(&dir, &proxy.server.base));
        assert_eq!(ids(&dir).len(), 5, "{name}");
        assert!(objects.names("").unwrap().is_empty(), "{name}");
    }
}

fn a_bucket_that_refuses_is_named_and_takes_nothing_twice() {
    let moto = Moto::start();
    let (objects, dir, machine, proxy) = (bucket(&moto), project(), project(), Proxy::before(&moto));
    log_and_ship(&objects, &machine, "pod-a", 0..3);
    let denied = |methods: &'static [&'static str]| {
        move |request: &test_server::Request| {
            let answer = text(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
            if methods.contains(&request.method.as_str()) { Fault::Instead(answer) } else { Fault::None }
        }
    };
    proxy.on_request(denied(&["GET"]));
    let output = take_in(&dir, &proxy.server.base);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("s3://rater"), "{}", stderr(&output));
    assert!(stderr(&output).contains("hint:") && ids(&dir).is_empty());
    // It may read and not remove: the lines are taken once, however often it is tried.
    // Objects are removed by DELETE, or many at once by POST.
    proxy.on_request(denied(&["DELETE", "POST"]));
    for _ in 0..3 {
        assert_eq!(take_in(&dir, &proxy.server.base).status.code(), Some(2));
        assert_eq!(ids(&dir).len(), 3);
    }
    proxy.heal();
    done(&take_in(&dir, &proxy.server.base));
    assert_eq!(ids(&dir).len(), 3);
    assert!(objects.names("").unwrap().is_empty());
}
