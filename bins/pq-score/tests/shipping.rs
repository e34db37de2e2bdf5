//! A service that ships its log to a bucket, at a program that stands in for S3, with a proxy before it that fails as it is told.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

mod common;
#[path = "../../../crates/registry/tests/moto/mod.rs"]
#[allow(dead_code, reason = "the registry's tests use all of it")]
mod moto;

use std::collections::BTreeSet;
use std::process::Command;

use common::{Service, drawn, project, wait_until};
use moto::{Proxy, SECRET, options};
use pq_testing::project::Project;
use registry::Objects;
use slide_data::{Contract as _, Prediction};
use test_server::hub::Fault;
use test_server::moto::Moto;
use test_server::text;

pq_testing::tests! {
    what_is_answered_comes_to_the_bucket_and_at_the_end_all_of_it: needs Moto;
    a_service_that_is_killed_ships_the_rest_when_it_starts_again: needs Moto;
    a_bucket_that_does_not_answer_costs_no_answer_and_no_line: needs Moto;
    what_shipping_needs_is_named: needs Moto;
}

fn command(project: &Project, base: &str, every: &str) -> Command {
    let mut command = common::command(project, &[]);
    for name in ["AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    command
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_ENDPOINT_URL", base);
    command.args(["--replica", "pod-a", "--ship", "s3://rater/slides/rater", "--ship-every", every]);
    command
}

fn bucket(moto: &Moto) -> Objects {
    moto.bucket("rater");
    Objects::open(&options(&moto.base, "rater", None)).unwrap()
}

/// The ids of all lines in the bucket.
fn shipped(objects: &Objects) -> Vec<String> {
    let mut ids = Vec::new();
    // The slides themselves go there too, each under a name of its own.
    let names = objects.names("pod-a").unwrap();
    for name in names.into_iter().filter(|name| !name.contains(".kept")) {
        let content = objects.get(&format!("pod-a/{name}")).unwrap().unwrap().content;
        let lines = content.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        ids.extend(lines.map(|line| Prediction::parse(name.as_ref(), None, line).unwrap().id.unwrap()));
    }
    ids
}

fn rate(service: &Service, seeds: std::ops::Range<usize>) -> BTreeSet<String> {
    let id = |seed: usize| {
        let answer = service.post("/slides", &drawn(seed), Some(&format!("key-{seed}")));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["slides"][0]["scores"]["id"].as_str().unwrap().to_owned()
    };
    seeds.map(id).collect()
}

fn launch(command: Command) -> Service {
    let service = Service::launch(command, None);
    service.wait_ready();
    service
}

fn what_is_answered_comes_to_the_bucket_and_at_the_end_all_of_it() {
    let (moto, project) = (Moto::start(), project());
    let objects = bucket(&moto);
    let mut service = launch(command(&project, &moto.base, "1"));
    let mut answered = rate(&service, 0..3);
    wait_until("the first lines are shipped", || shipped(&objects).len() == 3);
    answered.extend(rate(&service, 3..7));
    service.signal("-TERM");
    assert_eq!(service.wait().code(), Some(0), "{}", service.said.lock().unwrap());
    let ids = shipped(&objects);
    assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>()), (7, answered));
    assert!(!service.said.lock().unwrap().contains(SECRET));
    assert_eq!(project.read("monitoring/replicas/pod-a/predictions.jsonl"), "");
}

fn a_service_that_is_killed_ships_the_rest_when_it_starts_again() {
    let (moto, project) = (Moto::start(), project());
    let objects = bucket(&moto);
    let mut service = launch(command(&project, &moto.base, "3600"));
    let answered = rate(&service, 0..5);
    service.kill();
    assert!(shipped(&objects).is_empty());
    let mut service = launch(command(&project, &moto.base, "3600"));
    service.signal("-TERM");
    assert_eq!(service.wait().code(), Some(0), "{}", service.said.lock().unwrap());
    let ids = shipped(&objects);
    assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>()), (5, answered));
}

fn a_bucket_that_does_not_answer_costs_no_answer_and_no_line() {
    let (moto, project) = (Moto::start(), project());
    let objects = bucket(&moto);
    let proxy = Proxy::before(&moto);
    let refuse = |_: &test_server::Request| {
        Fault::Instead(text(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"))
    };
    proxy.on_request(refuse);
    let mut service = launch(command(&project, &proxy.server.base, "1"));
    let mut answered = rate(&service, 0..3);
    wait_until("it is said", || service.said.lock().unwrap().contains("waits on this machine"));
    answered.extend(rate(&service, 3..4));
    // The answers of what is done are lost now; then all is well.
    let mut seen = BTreeSet::new();
    proxy.on_request(move |request| {
        let is_first = seen.insert((request.method.clone(), request.path.clone()));
        if is_first { Fault::Afterwards(test_server::Answer::Lost) } else { Fault::None }
    });
    wait_until("all is shipped", || shipped(&objects).len() == 4);
    // At the end nothing goes: it says so, and the next service of the name ships it.
    proxy.on_request(refuse);
    answered.extend(rate(&service, 4..6));
    service.signal("-TERM");
    assert_eq!(service.wait().code(), Some(1), "{}", service.said.lock().unwrap());
    assert!(service.said.lock().unwrap().contains("shipped by the next service of this name"));
    proxy.heal();
    let mut service = launch(command(&project, &proxy.server.base, "3600"));
    service.signal("-TERM");
    assert_eq!(service.wait().code(), Some(0));
    let ids = shipped(&objects);
    assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>()), (6, answered));
}

fn what_shipping_needs_is_named() {
    let (moto, project) = (Moto::start(), project());
    let refused = |mut command: Command, why: &str| {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(why), "{said}");
    };
    let mut keyless = command(&project, &moto.base, "1");
    keyless.env_remove("AWS_SECRET_ACCESS_KEY");
    refused(keyless, "AWS_SECRET_ACCESS_KEY");
    let mut nameless = common::command(&project, &[]);
    nameless.args(["--ship", "s3://rater/log"]);
    refused(nameless, "--replica");
    let mut no_bucket = common::command(&project, &[]);
    no_bucket.args(["--replica", "pod-a", "--ship", "/shared/log"]);
    refused(no_bucket, "is no place in a bucket");
}
