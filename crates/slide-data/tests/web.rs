//! Fetching from a local site: robots.txt, opt-outs, redirects, resuming.
#![cfg(feature = "collect")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use slide_data::Limits;
use slide_data::collect::source::{Source, UrlList, Web, WebConfig};

struct Site {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

/// Serves `path → (status, extra headers, body)` and notes each request's path and user agent.
fn serve(pages: HashMap<&'static str, (u16, &'static str, Vec<u8>)>) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let agent = lines
                .take_while(|line| !line.is_empty())
                .find(|l| l.to_lowercase().starts_with("user-agent"));
            seen.lock().unwrap().push(format!("{path} {}", agent.unwrap_or_default()));
            let (status, headers, body) = pages.get(path.as_str()).cloned().unwrap_or((404, "", Vec::new()));
            let head = format!(
                "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    Site { address, requests }
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
        ("/robots.txt", (200, "", b"User-agent: *\nDisallow: /private\n".to_vec())),
        ("/", (200, "", links.as_bytes().to_vec())),
        ("/ok.pdf", (200, "", deck.clone())),
        ("/private/no.pdf", (200, "", deck.clone())),
        ("/noai.pdf", (200, "X-Robots-Tag: noai, noindex\r\n", deck.clone())),
        ("/moved.pdf", (302, "Location: /private/no.pdf\r\n", Vec::new())),
        ("/more", (200, "", b"<html><a href=two.pdf>x</a>".to_vec())),
        ("/two.pdf", (200, "", support::deck(2, 1))),
        ("/closed", (200, "", b"<html><meta name=robots content=noai><a href=three.pdf>x</a>".to_vec())),
    ]));
    let dir = tempfile::tempdir().unwrap();
    let config = WebConfig { start_urls: vec![site.address.clone()], pause_s: 0.0, ..WebConfig::default() };
    let web = Web { config, limits: limits() };
    let offer = web.offer(dir.path(), &|| false).unwrap();
    let mut found: Vec<_> = offer.inputs.iter().map(|i| i.origin.rsplit('/').next().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, ["ok.pdf", "two.pdf"]);
    let reasons: Vec<_> = offer.set_aside.iter().map(|s| format!("{}: {}", s.origin, s.reason)).collect();
    for (path, words) in [
        ("/private/no.pdf", "robots.txt"),
        ("/noai.pdf", "noai"),
        ("/moved.pdf", "robots.txt"),
        ("/closed", "opts out"),
    ] {
        assert!(reasons.iter().any(|r| r.contains(path) && r.contains(words)), "{path}: {reasons:?}");
    }
    let requests = site.requests.lock().unwrap().clone();
    assert!(
        !requests.iter().any(|r| r.starts_with("/private") || r.starts_with("/three.pdf")),
        "{requests:?}"
    );
    assert!(requests.iter().all(|r| r.contains("PitchQuest/")), "{requests:?}");
    assert_eq!(requests.iter().filter(|r| r.starts_with("/robots.txt")).count(), 1);
}

#[test]
fn what_was_fetched_is_not_fetched_again() {
    let site = serve(HashMap::from([("/a.pdf", (200, "", support::deck(3, 1)))]));
    let dir = tempfile::tempdir().unwrap();
    let list = UrlList {
        urls: vec![format!("{}/a.pdf", site.address)],
        license: None,
        pause_s: 0.0,
        limits: limits(),
    };
    let first = list.offer(dir.path(), &|| false).unwrap();
    let second = list.offer(dir.path(), &|| false).unwrap();
    assert_eq!(first.inputs, second.inputs);
    assert_eq!(site.requests.lock().unwrap().iter().filter(|r| r.starts_with("/a.pdf")).count(), 1);
}

#[test]
fn a_site_whose_rules_cannot_be_read_is_left_alone() {
    let site = serve(HashMap::from([
        ("/robots.txt", (503, "", Vec::new())),
        ("/a.pdf", (200, "", support::deck(4, 1))),
    ]));
    let dir = tempfile::tempdir().unwrap();
    let urls =
        vec![format!("{}/a.pdf", site.address), "file:///etc/passwd".to_owned(), "nonsense".to_owned()];
    let list = UrlList { urls, license: None, pause_s: 0.0, limits: limits() };
    let offer = list.offer(dir.path(), &|| false).unwrap();
    assert_eq!((offer.inputs.len(), offer.set_aside.len()), (0, 3), "{:?}", offer.set_aside);
}

#[test]
fn requests_to_one_host_keep_their_distance_and_an_interrupted_list_goes_on_later() {
    let deck = |seed| (200, "", support::deck(seed, 1));
    let site = serve(HashMap::from([
        ("/robots.txt", (200, "", b"User-agent: *\nCrawl-delay: 0.3\n".to_vec())),
        ("/1.pdf", deck(5)),
        ("/2.pdf", deck(6)),
        ("/3.pdf", deck(7)),
    ]));
    let dir = tempfile::tempdir().unwrap();
    let urls = (1..=3).map(|number| format!("{}/{number}.pdf", site.address)).collect();
    let list = UrlList { urls, license: Some("CC-BY-4.0".to_owned()), pause_s: 0.1, limits: limits() };
    let asked = std::cell::Cell::new(0);
    let after_two = || asked.replace(asked.get() + 1) == 2;
    let start = std::time::Instant::now();
    assert_eq!(list.offer(dir.path(), &after_two).unwrap().inputs.len(), 2);
    // The site asks for more than our own pause.
    assert!(start.elapsed().as_secs_f64() >= 0.3, "{:?}", start.elapsed());
    let rest = list.offer(dir.path(), &|| false).unwrap();
    assert_eq!(rest.inputs.len(), 3);
    assert!(rest.inputs.iter().all(|input| input.license.as_deref() == Some("CC-BY-4.0")));
    for number in 1..=3 {
        let path = format!("/{number}.pdf");
        let count = site.requests.lock().unwrap().iter().filter(|line| line.starts_with(&path)).count();
        assert_eq!(count, 1, "{path}");
    }
}
