//! Fetching from a local site: robots.txt, opt-outs, redirects, resuming.
#![cfg(feature = "collect")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use http_client::{Options, Retry};
use slide_data::Limits;
use slide_data::collect::source::{Source, UrlList, Web, WebConfig};
use test_server::{Answer, Server};

/// Status, headers and body.
type Page = (u16, Vec<(&'static str, &'static str)>, Vec<u8>);

/// Serves `path → (status, headers, body)`.
fn serve(pages: HashMap<&'static str, Page>) -> Server {
    Server::start(move |request| {
        let (status, headers, body) =
            pages.get(request.path.as_str()).cloned().unwrap_or((404, vec![], Vec::new()));
        let headers = headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Answer::Status(status, headers, body)
    })
}

fn count(site: &Server, path: &str) -> usize {
    site.requests().iter().filter(|request| request.path == path).count()
}

fn limits() -> Limits {
    Limits { time_limit_s: 5, ..Limits::default() }
}

#[test]
fn a_site_is_followed_within_its_rules() {
    let deck = support::deck(1, 1);
    let links = "<html><a href=/ok.pdf>1</a><a href='/private/no.pdf'>2</a><a href=/noai.pdf>3</a><a href=/moved.pdf>4</a>\
                 <a href=/more>5</a><a href=/closed>6</a>";
    let site = serve(HashMap::from([
        ("/robots.txt", (200, vec![], b"User-agent: *\nDisallow: /private\n".to_vec())),
        ("/", (200, vec![], links.as_bytes().to_vec())),
        ("/ok.pdf", (200, vec![], deck.clone())),
        ("/private/no.pdf", (200, vec![], deck.clone())),
        ("/noai.pdf", (200, vec![("X-Robots-Tag", "noai, noindex")], deck.clone())),
        ("/moved.pdf", (302, vec![("Location", "/private/no.pdf")], Vec::new())),
        ("/more", (200, vec![], b"<html><a href=two.pdf>x</a>".to_vec())),
        ("/two.pdf", (200, vec![], support::deck(2, 1))),
        ("/closed", (200, vec![], b"<html><meta name=robots content=noai><a href=three.pdf>x</a>".to_vec())),
    ]));
    let dir = tempfile::tempdir().unwrap();
    let config = WebConfig { start_urls: vec![site.base.clone()], pause_s: 0.0, ..WebConfig::default() };
    let web = Web { config, limits: limits(), http: Options::default() };
    let batch = web.batch(dir.path(), &|| false).unwrap();
    let mut found: Vec<_> = batch.inputs.iter().map(|i| i.origin.rsplit('/').next().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, ["ok.pdf", "two.pdf"]);
    let reasons: Vec<_> = batch.set_aside.iter().map(|s| format!("{}: {}", s.origin, s.reason)).collect();
    for (path, words) in [
        ("/private/no.pdf", "robots.txt"),
        ("/noai.pdf", "noai"),
        ("/moved.pdf", "robots.txt"),
        ("/closed", "opts out"),
    ] {
        assert!(reasons.iter().any(|r| r.contains(path) && r.contains(words)), "{path}: {reasons:?}");
    }
    for request in site.requests() {
        assert!(!request.path.starts_with("/private") && request.path != "/three.pdf", "{}", request.path);
        assert!(request.header("user-agent").unwrap().starts_with("PitchQuest/"), "{request:?}");
    }
    assert_eq!(count(&site, "/robots.txt"), 1);
}

#[test]
fn what_was_fetched_is_not_fetched_again() {
    let site = serve(HashMap::from([("/a.pdf", (200, vec![], support::deck(3, 1)))]));
    let dir = tempfile::tempdir().unwrap();
    let list = UrlList {
        urls: vec![format!("{}/a.pdf", site.base)],
        license: None,
        pause_s: 0.0,
        limits: limits(),
        http: Options::default(),
    };
    let first = list.batch(dir.path(), &|| false).unwrap();
    let second = list.batch(dir.path(), &|| false).unwrap();
    assert_eq!(first.inputs, second.inputs);
    assert_eq!(count(&site, "/a.pdf"), 1);
}

#[test]
fn a_site_whose_rules_cannot_be_read_is_left_alone() {
    let site = serve(HashMap::from([
        ("/robots.txt", (503, vec![], Vec::new())),
        ("/a.pdf", (200, vec![], support::deck(4, 1))),
    ]));
    let dir = tempfile::tempdir().unwrap();
    let urls = vec![format!("{}/a.pdf", site.base), "file:///etc/passwd".to_owned(), "nonsense".to_owned()];
    let list = UrlList { urls, license: None, pause_s: 0.0, limits: limits(), http: Options::default() };
    let batch = list.batch(dir.path(), &|| false).unwrap();
    assert_eq!((batch.inputs.len(), batch.set_aside.len()), (0, 3), "{:?}", batch.set_aside);
}

#[test]
fn requests_to_one_host_keep_their_distance_and_an_interrupted_list_goes_on_later() {
    let deck = |seed| (200, vec![], support::deck(seed, 1));
    let site = serve(HashMap::from([
        ("/robots.txt", (200, vec![], b"User-agent: *\nCrawl-delay: 0.3\n".to_vec())),
        ("/1.pdf", deck(5)),
        ("/2.pdf", deck(6)),
        ("/3.pdf", deck(7)),
    ]));
    let dir = tempfile::tempdir().unwrap();
    let urls = (1..=3).map(|number| format!("{}/{number}.pdf", site.base)).collect();
    let list = UrlList {
        urls,
        license: Some("CC-BY-4.0".to_owned()),
        pause_s: 0.1,
        limits: limits(),
        http: Options::default(),
    };
    let index = dir.path().join("index.jsonl");
    let after_two = || std::fs::read_to_string(&index).is_ok_and(|lines| lines.lines().count() >= 2);
    let start = std::time::Instant::now();
    assert_eq!(list.batch(dir.path(), &after_two).unwrap().inputs.len(), 2);
    // The site asks for more than our own pause.
    assert!(start.elapsed().as_secs_f64() >= 0.3, "{:?}", start.elapsed());
    let rest = list.batch(dir.path(), &|| false).unwrap();
    assert_eq!(rest.inputs.len(), 3);
    assert!(rest.inputs.iter().all(|input| input.license.as_deref() == Some("CC-BY-4.0")));
    for number in 1..=3 {
        let path = format!("/{number}.pdf");
        assert_eq!(count(&site, &path), 1, "{path}");
    }
}

#[test]
fn a_busy_site_is_asked_again_after_the_wait_that_it_names() {
    let (deck, busy) = (support::deck(8, 1), std::sync::atomic::AtomicBool::new(true));
    let site = Server::start(move |request| match request.path.as_str() {
        "/a.pdf" if busy.swap(false, std::sync::atomic::Ordering::SeqCst) => {
            Answer::Status(429, vec![("Retry-After", "1".to_owned())], Vec::new())
        }
        "/a.pdf" => Answer::Status(200, vec![], deck.clone()),
        _ => Answer::Status(404, vec![], Vec::new()),
    });
    let dir = tempfile::tempdir().unwrap();
    let urls = vec![format!("{}/a.pdf", site.base)];
    let list = UrlList { urls, license: None, pause_s: 0.0, limits: limits(), http: Options::default() };
    assert_eq!(list.batch(dir.path(), &|| false).unwrap().inputs.len(), 1);
    let asked = site.asked("GET", "/a.pdf");
    assert!(asked.len() == 2 && asked[1].at - asked[0].at >= Duration::from_secs(1));
}

#[test]
fn what_is_larger_than_allowed_is_refused_before_it_is_read_and_a_hanging_site_can_be_left() {
    let site = Server::start(|request| match request.path.as_str() {
        "/large.pdf" => {
            Answer::Cut { status: 200, headers: vec![], body: b"%PDF-".to_vec(), announced: 1 << 33 }
        }
        "/hanging.pdf" => Answer::Hang(Duration::from_secs(30)),
        _ => Answer::Status(404, vec![], Vec::new()),
    });
    let dir = tempfile::tempdir().unwrap();
    let http = Options { retry: Retry::NONE, ..Options::default() };
    let list = |file: &str| UrlList {
        urls: vec![format!("{}/{file}", site.base)],
        license: None,
        pause_s: 0.0,
        limits: Limits { time_limit_s: 20, ..limits() },
        http: http.clone(),
    };
    let batch = list("large.pdf").batch(dir.path(), &|| false).unwrap();
    assert!(batch.set_aside[0].reason.contains("max_file_mib"), "{:?}", batch.set_aside);
    let begun = std::time::Instant::now();
    let is_interrupted = || begun.elapsed() > Duration::from_millis(500);
    let batch = list("hanging.pdf").batch(dir.path(), &is_interrupted).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert!(batch.inputs.is_empty() && batch.set_aside.is_empty(), "an interrupted list goes on later");
}
