//! Fetching checkpoints from a small local Hub that has bad days.
#![cfg(feature = "download")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use durable_files::sha256_hex;
use http_client::{Options, Timeouts};
use hub_client::{Error, HubOptions, fetch, fetch_with};
use project_files::with_causes;
use support::{CDN, COMMIT, CONFIG, FakeHub, Kind, MODEL, git_blob, quick, weights};
use test_server::{Answer, ranged, text};

fn repository(cache: &Path) -> PathBuf {
    cache.join("models--o--n")
}

fn blobs(cache: &Path) -> usize {
    std::fs::read_dir(repository(cache).join("blobs")).map_or(0, Iterator::count)
}

fn assert_whole(folder: &Path) {
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), weights());
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), CONFIG);
}

#[test]
fn a_public_checkpoint_comes_through_hf_hub_without_the_token_and_is_found_offline() {
    let (hub, cache) = (FakeHub::good(), tempfile::tempdir().unwrap());
    let mut options = hub.options(cache.path());
    let folder = fetch_with("o/n", None, &options, quick()).unwrap();
    assert!(folder.ends_with(format!("models--o--n/snapshots/{COMMIT}")));
    assert_whole(&folder);
    assert!(!folder.join("README.md").exists());
    for request in hub.content_requests() {
        assert!(request.header("user-agent").unwrap().contains("hf-hub"), "{}", request.path);
        assert_eq!(request.header("authorization"), None, "{}", request.path);
    }
    for request in hub.server.asked("GET", "/api/") {
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"), "{}", request.path);
    }
    assert!(!repository(cache.path()).join(".partial").exists());
    hub.server.take();
    assert_eq!(fetch("o/n", None, &options).unwrap(), folder);
    assert!(
        hub.server.requests().iter().all(|request| request.path.starts_with("/api/")),
        "nothing is fetched twice"
    );

    hub.server.take();
    options.offline = true;
    assert_eq!(fetch("o/n", None, &options).unwrap(), folder);
    assert_eq!(fetch("o/n", Some(COMMIT), &options).unwrap(), folder);
    assert!(hub.server.requests().is_empty());
    std::fs::write(folder.join("model.safetensors"), b"these are other weights").unwrap();
    assert!(matches!(fetch("o/n", None, &options), Err(Error::Damaged { .. })));

    options.offline = false;
    assert_whole(&fetch_with("o/n", None, &options, quick()).unwrap());
}

#[test]
fn a_private_checkpoint_is_fetched_with_the_token_which_never_reaches_the_storage() {
    let hub = FakeHub::start(Kind { is_private: true }, |_| None);
    let cache = tempfile::tempdir().unwrap();
    assert_whole(&fetch_with("o/n", None, &hub.options(cache.path()), quick()).unwrap());
    assert!(!hub.storage.requests().is_empty());
    for request in hub.storage.requests() {
        assert_eq!(request.header("authorization"), None);
    }
    for request in hub.server.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"), "{}", request.path);
    }
    let none = HubOptions { token: None, ..hub.options(cache.path()) };
    let error = fetch_with("o/n", None, &none, quick()).unwrap_err();
    assert!(with_causes(&error).contains("needs a token"), "{}", with_causes(&error));
}

#[test]
fn what_is_wrong_never_becomes_a_file() {
    let longer = [weights(), b"and more".to_vec()].concat();
    let mut other = weights();
    other[77] ^= 1;
    let html = b"<!doctype html><html><body>Sign in to this network</body></html>".to_vec();
    let cases: [(&str, u16, Vec<u8>, &str); 6] = [
        (CDN, 200, other, "hash"),
        (CDN, 200, longer, "larger than"),
        (CDN, 200, html.clone(), "bytes"),
        (CDN, 403, b"<Error>expired</Error>".to_vec(), "403"),
        (MODEL, 200, html, "bytes"),
        (MODEL, 401, b"{\"error\": \"no\"}".to_vec(), "the token is not valid"),
    ];
    for is_private in [false, true] {
        for (path, status, body, named) in cases.clone() {
            let hook = move |request: &test_server::Request| {
                (request.path == path).then(|| Answer::Status(status, vec![], body.clone()))
            };
            let hub = FakeHub::start(Kind { is_private }, hook);
            let cache = tempfile::tempdir().unwrap();
            let error = fetch_with("o/n", None, &hub.options(cache.path()), quick()).unwrap_err();
            let words = with_causes(&error);
            assert!(words.contains(named) && !words.contains("secret"), "{path} {status}: {words}");
            assert!(blobs(cache.path()) <= 1, "{path} {status}");
            assert!(!repository(cache.path()).join("refs/main").exists());
        }
    }
}

#[test]
fn a_web_page_in_place_of_the_listing_is_named() {
    let hub = FakeHub::start(Kind::default(), |request| {
        request.path.contains("/tree/").then(|| text(200, "<html><body>Sign in</body></html>"))
    });
    let cache = tempfile::tempdir().unwrap();
    let error = fetch_with("o/n", None, &hub.options(cache.path()), quick()).unwrap_err();
    assert!(with_causes(&error).contains("a web page where JSON"), "{}", with_causes(&error));
}

#[test]
fn a_body_that_breaks_off_is_taken_up_where_it_ended() {
    for is_private in [false, true] {
        let cut = AtomicUsize::new(0);
        let hub = FakeHub::start(Kind { is_private }, move |request| {
            let is_body = request.path == CDN && request.header("range") != Some("bytes=0-0");
            if !is_body || cut.fetch_add(1, Ordering::SeqCst) > 2 {
                return None;
            }
            let Answer::Status(status, headers, body) = ranged(request, vec![], &weights()) else {
                return None;
            };
            Some(Answer::Cut { status, headers, announced: body.len(), body: body[..100_000].to_vec() })
        });
        let cache = tempfile::tempdir().unwrap();
        assert_whole(&fetch_with("o/n", None, &hub.options(cache.path()), quick()).unwrap());
        let ranges: Vec<String> = hub
            .storage
            .requests()
            .iter()
            .filter_map(|request| request.header("range").map(str::to_owned))
            .collect();
        for from in ["bytes=100000-", "bytes=200000-", "bytes=300000-"] {
            assert!(ranges.iter().any(|range| range == from), "{ranges:?}");
        }
    }
}

#[test]
fn a_part_that_is_no_beginning_of_the_file_is_fetched_anew() {
    for length in [1000, weights().len(), weights().len() + 5] {
        let (hub, cache) = (FakeHub::good(), tempfile::tempdir().unwrap());
        let hash = sha256_hex(&weights());
        let folder = repository(cache.path()).join(".partial").join(&hash).join("models--o--n/blobs");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{hash}.part")), vec![9; length]).unwrap();
        assert_whole(&fetch_with("o/n", None, &hub.options(cache.path()), quick()).unwrap());
        assert!(!repository(cache.path()).join(".partial").exists());
    }
}

#[test]
fn a_call_is_cancelled_within_a_second_and_goes_on_without_hf_hub_where_that_hangs() {
    let hang = |request: &test_server::Request| {
        let is_theirs = request.header("user-agent").is_some_and(|agent| agent.contains("hf-hub"));
        (is_theirs && request.path == CDN).then_some(Answer::Hang(Duration::from_secs(30)))
    };
    let hub = FakeHub::start(Kind::default(), hang);
    let cache = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let cancel = Some(Arc::new(move || begun.elapsed() > Duration::from_millis(700)) as http_client::Cancel);
    let outcome = fetch_with("o/n", None, &hub.options(cache.path()), Options { cancel, ..quick() });
    assert!(outcome.unwrap_err().is_cancelled());
    assert!(begun.elapsed() < Duration::from_millis(1700), "{:?}", begun.elapsed());

    let short = Duration::from_millis(400);
    let timeouts = Timeouts { connect: short, first_byte: short, idle: short };
    let options = Options { timeouts, ..quick() };
    assert_whole(&fetch_with("o/n", None, &hub.options(cache.path()), options).unwrap());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let hub = FakeHub::start(Kind::default(), |request| {
        let evil =
            serde_json::json!([{"type": "file", "path": "../evil.json", "size": 1, "oid": git_blob(b"x")}]);
        request.path.contains("/tree/").then(|| test_server::json(200, &evil))
    });
    let cache = tempfile::tempdir().unwrap();
    let options = hub.options(cache.path());
    for id in ["", "name", "../..", "a/b/c", "a/..", "a/b?c", ".a/b"] {
        assert!(matches!(fetch(id, None, &options), Err(Error::Id { .. })), "{id}");
    }
    for revision in ["", "../../x", "/x", "a/../b", "a//b", ".x"] {
        assert!(matches!(fetch("o/n", Some(revision), &options), Err(Error::Revision { .. })), "{revision}");
    }
    assert!(hub.server.requests().is_empty());
    assert!(matches!(fetch("o/n", None, &options), Err(Error::Missing { .. })));
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}

/// The example `fetch`, which the test run builds beside this test.
fn command(hub: &FakeHub, cache: &Path) -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/fetch");
    let mut command = Command::new(path);
    command.arg(&hub.server.base).arg("o/n").arg(cache).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Serves the weights slowly: a second or so.
fn slow(request: &test_server::Request) -> Option<Answer> {
    let is_body = request.path == CDN && request.header("range") != Some("bytes=0-0");
    if !is_body || request.header("range").is_some_and(|range| range != "bytes=0-") {
        return None;
    }
    Some(Answer::Drip { headers: vec![], body: weights(), piece: 20_000, pause: Duration::from_millis(50) })
}

#[test]
fn a_killed_process_is_taken_up_by_the_next() {
    let hub = FakeHub::start(Kind::default(), slow);
    let cache = tempfile::tempdir().unwrap();
    let mut child = command(&hub, cache.path()).spawn().unwrap();
    let hash = sha256_hex(&weights());
    let part = repository(cache.path()).join(format!(".partial/{hash}/models--o--n/blobs/{hash}.part"));
    let length = || std::fs::metadata(&part).map_or(0, |metadata| metadata.len());
    let until = Instant::now() + Duration::from_secs(20);
    while length() < 60_000 {
        assert!(Instant::now() < until, "nothing arrived");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = length();
    assert!((60_000..400_000).contains(&left));
    hub.storage.take();
    assert!(command(&hub, cache.path()).status().unwrap().success());
    let options = HubOptions { offline: true, ..hub.options(cache.path()) };
    assert_whole(&fetch("o/n", None, &options).unwrap());
    let wanted = format!("bytes={left}-");
    assert!(hub.storage.requests().iter().any(|request| request.header("range") == Some(&wanted)));
    assert!(!repository(cache.path()).join(".partial").exists(), "nothing is left behind");
}

#[test]
fn of_several_processes_one_fetches() {
    let hub = FakeHub::start(Kind::default(), slow);
    let cache = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..4).map(|_| command(&hub, cache.path()).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let bodies =
        hub.storage.requests().iter().filter(|request| request.header("range") == Some("bytes=0-")).count();
    assert_eq!(bodies, 1);
    assert_whole(&fetch("o/n", None, &hub.options(cache.path())).unwrap());
}
