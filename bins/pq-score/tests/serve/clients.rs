//! Clients that are many, slow, foreign or send what they should not.

use std::time::{Duration, Instant};

use pq_testing::project::{code, stderr};
use slide_data::{Contract as _, FailedInput, FailureKind};

use crate::common::{self, Service, deck, drawn, logged, project, raw, slide};

#[test]
fn more_than_fits_is_told_to_come_again_and_nothing_is_lost_of_what_was_taken() {
    let project = project();
    let service = Service::start(
        &project,
        &["serve.queue_slides=1", "serve.batch_tokens=1", "serve.queue_decks=1", "serve.decks_at_once=1"],
    );
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..24)
            .map(|seed| {
                scope.spawn({
                    let service = &service;
                    move || {
                        (0..3)
                            .map(|at| service.post("/slides", &drawn(3 * seed + at), None))
                            .collect::<Vec<_>>()
                    }
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let (rated, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!rated.is_empty() && !refused.is_empty(), "{} {}", rated.len(), refused.len());
    for answer in &refused {
        assert_eq!(answer.status, 429, "{}", answer.body);
        assert!(answer.retry_after.is_some_and(|seconds| (1..=120).contains(&seconds)), "{answer:?}");
    }
    assert_eq!(logged(&project).len(), rated.len(), "what was answered is logged, and nothing else");
    let pdf = std::fs::read(deck()).unwrap();
    let decks: Vec<u16> = (0..6).map(|_| service.post("/decks?name=d.pdf", &pdf, None).status).collect();
    assert!(decks.contains(&202) && decks.contains(&429), "{decks:?}");
    let counted = service.metric("pq_score_refused_total{status=\"429\",reason=\"busy\"}");
    assert!(counted >= refused.len() as f64, "{counted}");
}

#[test]
fn who_sends_slowly_is_left() {
    let project = project();
    let service = Service::start(&project, &["serve.body_timeout_s=1"]);
    for path in ["/slides", "/decks", "/corrections"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nabc");
        let (answer, took) = raw(&service, head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
        assert!(took < Duration::from_secs(20), "{path}: {took:?}");
    }
    assert_eq!(service.post("/slides", &slide(&project, 0, 1), None).status, 200, "others are served");
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read_or_decoded() {
    let project = project();
    let service = Service::start(&project, &["serve.max_slide_mib=1", "serve.max_pages=2"]);
    let head = "POST /slides HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99000000\r\n\r\n";
    let (answer, took) = raw(&service, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(took < Duration::from_secs(5), "nothing was waited for: {took:?}");
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let chunked = format!(
        "POST /slides HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunk}1\r\nx\r\n0\r\n\r\n"
    );
    let (answer, _) = raw(&service, chunked.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413") || answer.is_empty(), "{answer}");

    let mut vast = drawn(1);
    vast[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]); // 60,000 × 60,000
    let crc = crc(&vast[12..29]);
    vast[29..33].copy_from_slice(&crc.to_be_bytes());
    let refused = service.post("/slides", &vast, None);
    assert!(
        refused.status == 422 && refused.body.contains("too large"),
        "{} {}",
        refused.status,
        refused.body
    );
    let long = service.deck("long.pdf", &std::fs::read(deck()).unwrap());
    assert!(long["state"] == "failed" && long["failed"].to_string().contains("max_pages"), "{long}");
    for (body, word) in [(&b"no image"[..], "no image"), (b"", "empty"), (b"%PDF-1.4", "POST /decks")] {
        let refused = service.post("/slides", body, None);
        assert!(refused.status == 422 && refused.body.contains(word), "{} {}", refused.status, refused.body);
    }
    let hopeless = service.deck("x.pdf", b"%PDF-1.4 and nothing else");
    assert_eq!(hopeless["state"], "failed", "{hopeless}");
    assert_eq!(logged(&project).len(), 0);
    // Each of them is noted for pq-monitor: what was not even read a moment after it was answered.
    let noted = || FailedInput::read_log(&project.path("monitoring/failures.jsonl")).unwrap().entries;
    let since = Instant::now();
    while noted().len() < 8 && since.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let noted = noted();
    let (errors, refusals): (Vec<_>, Vec<_>) =
        noted.iter().partition(|failed| failed.kind == FailureKind::Error);
    assert_eq!((errors.len(), refusals.len()), (1, 7), "{noted:#?}");
    let unread = refusals.iter().filter(|failed| failed.deck_id.is_none()).count();
    assert_eq!(
        (unread, errors[0].deck_id.is_some()),
        (3, true),
        "two were too large to be sent, one was empty"
    );
}

/// The check sum of a PNG chunk.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn a_form_may_hold_several_slides_and_one_that_is_broken_refuses_all() {
    let project = project();
    let service = Service::start(&project, &[]);
    let form = |slides: &[&[u8]]| {
        let mut body = Vec::new();
        for (at, bytes) in slides.iter().enumerate() {
            let head =
                format!("--b\r\ncontent-disposition: form-data; name=\"f\"; filename=\"{at}.png\"\r\n\r\n");
            body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
        }
        body.extend(b"--b--\r\n");
        let head = format!(
            "POST /slides HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        raw(&service, &[head.into_bytes(), body].concat()).0
    };
    let (one, two) = (slide(&project, 0, 1), slide(&project, 0, 2));
    let answer = form(&[&one, &two, &one]);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let json = serde_json::from_str::<serde_json::Value>(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let slides = json["slides"].as_array().unwrap();
    assert_eq!(
        slides.iter().map(|slide| slide["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["0.png", "1.png", "2.png"]
    );
    assert_eq!(slides[0]["scores"]["distributions"], slides[2]["scores"]["distributions"]);
    assert_eq!(logged(&project).len(), 3);
    let answer = form(&[&one, b"broken"]);
    assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("1.png"), "{answer}");
    assert!(form(&[]).starts_with("HTTP/1.1 422"));
    assert_eq!(logged(&project).len(), 3);
}

const TOKEN: &str = "0123456789abcdef-a-secret";

#[test]
fn only_who_shows_the_token_is_served_and_it_is_never_printed() {
    let project = project();
    let mut service = Service::launch(common::command(&project, &[]), Some(TOKEN));
    service.wait_ready();
    let slide = slide(&project, 0, 1);
    assert_eq!(service.post("/slides", &slide, None).status, 200);
    let routes = ["/decks/x", "/decks/x/report", "/decks/x/result", "/scores/x", "/metrics"];
    for shown in [None, Some("0123456789abcdef-a-secreT"), Some("0123456789abcdef"), Some("")] {
        service.token = shown.map(str::to_owned);
        for path in ["/slides", "/decks", "/corrections"] {
            let refused = service.post(path, &slide, None);
            assert!(refused.status == 401 && !refused.body.contains("secre"), "{path}: {}", refused.body);
        }
        for path in routes {
            assert_eq!(service.get(path).status, 401, "{path}");
        }
        for path in ["/", "/docs", "/health", "/ready", "/openapi.json"] {
            assert_eq!(service.get(path).status, 200, "{path}");
        }
    }
    assert_eq!(logged(&project).len(), 1);
    let said = service.said.lock().unwrap().clone();
    assert!(said.contains("POST slides") && !said.contains("secre"), "{said}");
    let kept = pq_testing::adverse::leaks(&project.path("."), &[TOKEN], &[]);
    assert!(kept.is_empty(), "{kept:?}");
}

#[test]
fn without_a_token_only_this_machine_and_its_own_pages_are_answered() {
    let project = project();
    let service = Service::start(&project, &[]);
    for line in ["host: evil.example", "host: localhost\r\nx-forwarded-for: 10.0.0.1"] {
        let (answer, _) =
            raw(&service, format!("GET / HTTP/1.1\r\n{line}\r\nconnection: close\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 403"), "{line}: {answer}");
    }
    for line in ["origin: http://evil.example", "sec-fetch-site: cross-site"] {
        let text = format!(
            "POST /corrections HTTP/1.1\r\nhost: localhost\r\n{line}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
        );
        let (answer, _) = raw(&service, text.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 403"), "{line}: {answer}");
    }
    let open = project
        .run(common::SCORE, &["serve", "--host", "0.0.0.0", "--port", "0", "--adapter", "outputs/run-1"]);
    assert!(code(&open) == 2 && stderr(&open).contains("PQ_SCORE_TOKEN"), "{}", stderr(&open));
    let mut short = project.command(common::SCORE, &["serve", "--port", "0", "--adapter", "outputs/run-1"]);
    let short = short.env("PQ_SCORE_TOKEN", "sesame").output().unwrap();
    assert!(code(&short) == 2 && !stderr(&short).contains("sesame"), "{}", stderr(&short));
}
