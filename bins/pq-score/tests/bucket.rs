//! Scoring in shards with manifest and parts in a bucket, at a program that stands in for S3, with a proxy before it that fails as it is told.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

#[path = "../../../crates/registry/tests/moto/mod.rs"]
#[allow(dead_code, reason = "the registry's tests use all of it")]
mod moto;

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Duration;

use moto::{Proxy, SECRET, options};
use pq_testing::project::{Project, base_model, code, fake_run, stderr};
use pq_testing::{SmallDisk, adverse};
use registry::Objects;
use test_server::hub::Fault;
use test_server::moto::Moto;
use test_server::{Answer, text};

const SCORE: &str = env!("CARGO_BIN_EXE_pq-score");
const AT: &str = "2026-11-30T06:00:00Z";
const FOLDER: &str = "s3://rater/slides/rater";

pq_testing::tests! {
    shards_through_a_bucket_give_what_one_process_gives: needs Moto;
    faults_of_the_service_are_survived: needs Moto;
    what_the_bucket_has_of_another_scoring_is_refused: needs Moto;
    what_the_bucket_needs_is_named: needs Moto;
    a_bucket_without_permission_is_named_and_nothing_is_half_written: needs Moto;
    full_scratch_space_ends_the_shard: needs FullDisk, Moto;
}

/// A project whose store is in the bucket as well, and what one process on this machine gives.
fn project(moto: &Moto) -> (Project, Objects, Vec<u8>) {
    let project = Project::new(4);
    fake_run(&project);
    moto.bucket("rater");
    let objects = Objects::open(&options(&moto.base, "rater", None)).unwrap();
    let put = |name: &str| {
        let content = std::fs::read(project.path("data/raw").join(name)).unwrap();
        assert!(objects.create(name, &content).unwrap());
    };
    put("manifest.jsonl");
    for entry in std::fs::read_dir(project.path("data/raw/slides")).unwrap().flatten() {
        put(&format!("slides/{}", entry.file_name().to_string_lossy()));
    }
    let args =
        ["data/raw/manifest.jsonl", "--adapter", "outputs/run-1", "--parts", "alone", "--scored-at", AT];
    let base = format!("model.name={}", base_model().display());
    let alone = project.bare_command(SCORE).args(args).args(["--set", &base]).output().unwrap();
    assert_eq!(code(&alone), 0, "{}", stderr(&alone));
    let merged = project.bare_command(SCORE).args(["merge", "alone", "--no-log"]).output().unwrap();
    assert_eq!(code(&merged), 0, "{}", stderr(&merged));
    let expected = std::fs::read(project.path("alone/scored.parquet")).unwrap();
    (project, objects, expected)
}

/// The command with the bucket's keys in its environment.
fn command(project: &Project, base: &str, args: &[&str]) -> Command {
    let mut command = project.bare_command(SCORE);
    for name in ["AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", SECRET);
    command.env("AWS_ENDPOINT_URL", base).args(args);
    command
}

fn shard(project: &Project, base: &str, shard: &str) -> Output {
    let manifest = format!("{FOLDER}/manifest.jsonl");
    let parts = format!("{FOLDER}/scored");
    let model = format!("model.name={}", base_model().display());
    let args =
        ["--adapter", "outputs/run-1", &manifest, "--parts", &parts, "--scored-at", AT, "--shard", shard];
    command(project, base, &[&args[..], &["--set", &model]].concat()).output().unwrap()
}

fn merge(project: &Project, base: &str) -> Output {
    let parts = format!("{FOLDER}/scored");
    command(project, base, &["merge", &parts, "--no-log", "--output", "scored.parquet"]).output().unwrap()
}

#[track_caller]
fn done(output: &Output) {
    assert_eq!(code(output), 0, "{}", stderr(output));
    assert!(!stderr(output).contains(SECRET), "{}", stderr(output));
}

fn shards_through_a_bucket_give_what_one_process_gives() {
    let moto = Moto::start();
    let (project, objects, expected) = project(&moto);
    for number in [2, 0] {
        done(&shard(&project, &moto.base, &format!("{number}/3")));
    }
    let early = merge(&project, &moto.base);
    let said = String::from_utf8_lossy(&early.stdout).into_owned();
    assert!(code(&early) == 1 && said.contains("Run again: 1 "), "{said}");
    for _ in 0..2 {
        done(&shard(&project, &moto.base, "1/3"));
    }
    assert_eq!(objects.names("scored").unwrap().len(), 4, "a plan and three parts");
    done(&merge(&project, &moto.base));
    assert_eq!(std::fs::read(project.path("scored.parquet")).unwrap(), expected);
    // A picture that is not there is left out with its reason; one that is there again is scored.
    let gone = "slides/deck2-p001.png";
    let picture = objects.get(gone).unwrap().unwrap();
    objects.remove(gone).unwrap();
    for name in objects.names("scored").unwrap().iter().filter(|name| name.starts_with("part-00001")) {
        objects.remove(&format!("scored/{name}")).unwrap();
    }
    let lacks = [0, 1, 2].map(|number| code(&shard(&project, &moto.base, &format!("{number}/3"))));
    assert_eq!(code(&merge(&project, &moto.base)), i32::from(lacks.contains(&1)));
    assert!(objects.create(gone, &picture.content).unwrap());
    for number in 0..3 {
        done(&shard(&project, &moto.base, &format!("{number}/3")));
    }
    done(&merge(&project, &moto.base));
    assert_eq!(std::fs::read(project.path("scored.parquet")).unwrap(), expected);
    let leaks = adverse::leaks(&project.path(""), &[SECRET], &[]);
    assert!(leaks.is_empty(), "{leaks:?}");
}

/// What is asked for the first time fails, in each of the ways there are.
fn faults_of_the_service_are_survived() {
    let moto = Moto::start();
    let (project, objects, expected) = project(&moto);
    let cut = Answer::Cut { status: 200, headers: Vec::new(), body: b"<half".to_vec(), announced: 1000 };
    let faults: [(&str, Fault); 4] = [
        ("500", Fault::Instead(text(500, "<Error><Code>InternalError</Code></Error>"))),
        ("lost after", Fault::Afterwards(Answer::Lost)),
        ("cut", Fault::Afterwards(cut)),
        ("slow", Fault::Instead(Answer::Hang(Duration::from_millis(700)))),
    ];
    for (name, fault) in faults {
        let proxy = Proxy::before(&moto);
        let mut seen = BTreeSet::new();
        proxy.on_request(move |request| {
            let is_first = seen.insert((request.method.clone(), request.path.clone()));
            if is_first { fault.clone() } else { Fault::None }
        });
        for number in 0..2 {
            done(&shard(&project, &proxy.server.base, &format!("{number}/2")));
        }
        done(&merge(&project, &proxy.server.base));
        assert_eq!(std::fs::read(project.path("scored.parquet")).unwrap(), expected, "{name}");
        for part in objects.names("scored").unwrap() {
            objects.remove(&format!("scored/{part}")).unwrap();
        }
    }
    // A service that never answers well ends the shard, and nothing is there that is not whole.
    let proxy = Proxy::before(&moto);
    proxy.on_request(|request| {
        let is_image = request.path.contains("/slides/deck");
        if is_image {
            Fault::Instead(text(500, "<Error><Code>InternalError</Code></Error>"))
        } else {
            Fault::None
        }
    });
    let output = shard(&project, &proxy.server.base, "0/2");
    assert!(code(&output) == 2 && stderr(&output).contains("hint:"), "{}", stderr(&output));
    let names = objects.names("scored").unwrap();
    assert_eq!(names, ["plan.json"], "no part is there");
}

fn what_the_bucket_has_of_another_scoring_is_refused() {
    let moto = Moto::start();
    let (project, objects, _) = project(&moto);
    done(&shard(&project, &moto.base, "0/2"));
    let output = shard(&project, &moto.base, "1/3");
    assert!(code(&output) == 2 && stderr(&output).contains("shards: 2 there, 3 here"), "{}", stderr(&output));
    done(&shard(&project, &moto.base, "1/2"));
    let names = objects.names("scored").unwrap();
    let name = format!("scored/{}", names.iter().find(|name| name.starts_with("part-00001")).unwrap());
    let whole = objects.get(&name).unwrap().unwrap().content;
    objects.remove(&name).unwrap();
    objects.create(&name, &whole[..whole.len() / 2]).unwrap();
    let output = merge(&project, &moto.base);
    assert!(code(&output) == 1 && stderr(&output).contains("cut short"), "{}", stderr(&output));
}

fn what_the_bucket_needs_is_named() {
    let moto = Moto::start();
    let (project, objects, _) = project(&moto);
    let parts = format!("{FOLDER}/scored");
    let mut keyless = command(&project, &moto.base, &["merge", &parts]);
    let output = keyless.env_remove("AWS_ACCESS_KEY_ID").output().unwrap();
    assert!(code(&output) == 2 && stderr(&output).contains("AWS_ACCESS_KEY_ID"), "{}", stderr(&output));
    let output = command(&project, &moto.base, &["merge", "s3://nobody/scored"]).output().unwrap();
    assert!(code(&output) == 2 && stderr(&output).contains("s3://nobody"), "{}", stderr(&output));
    objects.remove("manifest.jsonl").unwrap();
    let output = shard(&project, &moto.base, "0/2");
    assert!(code(&output) == 2 && stderr(&output).contains("manifest.jsonl"), "{}", stderr(&output));
}

/// It may be read and not written, or listed and not read.
fn a_bucket_without_permission_is_named_and_nothing_is_half_written() {
    let moto = Moto::start();
    let (project, objects, expected) = project(&moto);
    let proxy = Proxy::before(&moto);
    let denied = |method: &'static str, what: &'static str| {
        move |request: &test_server::Request| {
            let answer =
                text(403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>");
            let is_meant = request.method == method && request.path.contains(what);
            if is_meant { Fault::Instead(answer) } else { Fault::None }
        }
    };
    for (method, what) in [("GET", "manifest.jsonl"), ("PUT", "plan.json"), ("PUT", "part-")] {
        proxy.on_request(denied(method, what));
        let output = shard(&project, &proxy.server.base, "0/1");
        let said = stderr(&output);
        assert!(
            code(&output) == 2 && said.contains("s3://rater") && said.contains("hint:"),
            "{what}: {said}"
        );
        let names = objects.names("scored").unwrap();
        assert!(names.iter().all(|name| name == "plan.json"), "{what}: {names:?}");
    }
    proxy.heal();
    done(&shard(&project, &proxy.server.base, "0/1"));
    proxy.on_request(denied("GET", "part-"));
    let output = merge(&project, &proxy.server.base);
    assert!(code(&output) == 2 && stderr(&output).contains("hint:"), "{}", stderr(&output));
    assert!(!project.path("scored.parquet").exists());
    proxy.heal();
    done(&merge(&project, &proxy.server.base));
    assert_eq!(std::fs::read(project.path("scored.parquet")).unwrap(), expected);
}

fn full_scratch_space_ends_the_shard() {
    let moto = Moto::start();
    let (project, objects, expected) = project(&moto);
    let disk = SmallDisk::at(&project.path("scratch"), "1m");
    let parts = format!("{FOLDER}/scored");
    let (manifest, model) =
        (format!("{FOLDER}/manifest.jsonl"), format!("model.name={}", base_model().display()));
    let args =
        ["--adapter", "outputs/run-1", &manifest, "--parts", &parts, "--scored-at", AT, "--set", &model];
    let score =
        || command(&project, &moto.base, &args).env("TMPDIR", project.path("scratch")).output().unwrap();
    disk.fill();
    let output = score();
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(objects.names("scored").unwrap().is_empty(), "nothing is there");
    disk.make_room();
    done(&score());
    done(&merge(&project, &moto.base));
    assert_eq!(std::fs::read(project.path("scored.parquet")).unwrap(), expected);
}
