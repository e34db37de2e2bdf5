//! The service as its clients meet it: the program itself, over sockets.
#![cfg(unix)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod endings;
mod feedback;
mod log;
mod versions;

use common::{SCORE, Service, deck, logged, project, slide, zipped};
use pq_testing::project::{Project, code, stderr};
use serde_json::Value;
use slide_data::Prediction;

fn prediction(value: &Value) -> Prediction {
    serde_json::from_value(value.clone()).unwrap()
}

/// What the command itself says of files.
fn offline(project: &Project, args: &[&str]) -> Vec<Prediction> {
    let output = project.run(SCORE, &[&["--adapter", "outputs/run-1", "--no-log"], args].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn scores_are_those_of_the_command_to_the_bit() {
    let project = project();
    let service = Service::start(&project, &["serve.batch_tokens=1"]);
    for number in 1..=3 {
        let rated = service.post("/slides?name=s.png", &slide(&project, 1, number), None);
        assert_eq!(rated.status, 200, "{}", rated.body);
        let scores = prediction(&rated.json()["slides"][0]["scores"]);
        let alone = offline(&project, &["--batch", "1", &format!("data/raw/slides/deck1-p{number:03}.png")]);
        assert_eq!(scores.distributions, alone[0].distributions, "to the bit");
        let read =
            |p: &Prediction| (p.expected.clone(), p.chosen.clone(), p.interval.clone(), p.features.clone());
        assert_eq!(read(&scores), read(&alone[0]));
        assert_eq!((&scores.sha256, &scores.model_version), (&alone[0].sha256, &alone[0].model_version));
    }
    let path = deck();
    let state = service.deck("001-oriflow.pdf", &std::fs::read(&path).unwrap());
    let result = service.get(&format!("/decks/{}/result", state["id"].as_str().unwrap())).json();
    let pages: Vec<Prediction> =
        result["slides"].as_array().unwrap().iter().map(|page| prediction(&page["scores"])).collect();
    let alone = offline(&project, &["--batch", "1", path.to_str().unwrap()]);
    assert!(pages.len() == alone.len() && pages.len() > 3, "{state}");
    for (page, alone) in pages.iter().zip(&alone) {
        assert_eq!((&page.slide_id, &page.deck_id), (&alone.slide_id, &alone.deck_id));
        assert_eq!(page.distributions, alone.distributions, "{}", page.slide_id);
    }
    assert_eq!(state["pages"], pages.len());
    assert_eq!(logged(&project).len(), 3 + pages.len(), "each is logged once");
}

#[test]
fn a_batch_of_many_clients_changes_no_score() {
    let project = project();
    let service = Service::start(&project, &["serve.batch_wait_ms=200"]);
    let alone = offline(&project, &["data/raw/slides"]);
    std::thread::scope(|scope| {
        for deck in 0..6 {
            let (service, project, alone) = (&service, &project, &alone);
            scope.spawn(move || {
                let rated = service.post("/slides", &slide(project, deck, 2), None);
                let scores = prediction(&rated.json()["slides"][0]["scores"]);
                let same = alone.iter().find(|other| other.sha256 == scores.sha256).unwrap();
                assert_eq!(scores.distributions, same.distributions, "to the bit");
            });
        }
    });
    assert!(service.metric("pq_score_batch_slides_count") < 6.0, "some went together");
}

#[test]
fn of_a_deck_that_changed_a_little_only_that_is_rated() {
    let project = project();
    let service = Service::start(&project, &[]);
    let mut slides: Vec<Vec<u8>> = (0..20).map(common::drawn).collect();
    let first = service.deck("deck.zip", &zipped(&slides));
    assert_eq!((&first["scored"], &first["cached"]), (&20.into(), &0.into()), "{first}");
    slides[3] = common::drawn(100);
    slides[11] = common::drawn(101);
    let before = service.metric("pq_score_slides_total{outcome=\"rated\"}");
    let second = service.deck("deck.zip", &zipped(&slides));
    assert_eq!((&second["scored"], &second["cached"]), (&20.into(), &18.into()), "{second}");
    assert_eq!((before, service.metric("pq_score_slides_total{outcome=\"rated\"}")), (20.0, 22.0));
    let lines = logged(&project);
    assert_eq!(lines.len(), 40);
    for slide in &lines[20..] {
        let known = lines[..20].iter().find(|known| known.sha256 == slide.sha256);
        assert!(known.is_none_or(|known| known.distributions == slide.distributions && known.id != slide.id));
    }
}

#[test]
fn it_is_alive_at_once_ready_when_it_can_rate_and_says_what_it_does() {
    let project = project();
    let service = Service::launch(common::command(&project, &[]), None);
    assert_eq!(service.get("/health").body, "ok");
    let early = service.post("/slides", &slide(&project, 0, 1), None);
    assert!(early.status == 200 || (early.status == 503 && early.retry_after.is_some()), "{}", early.body);
    service.wait_ready();
    assert_eq!(service.post("/slides", &slide(&project, 0, 1), None).status, 200);
    let lines = logged(&project);
    assert!(lines.iter().all(|line| line.slide_id != "warm-up"), "the first slide of all is nobody's");
    let described = service.get("/openapi.json").json();
    assert!(described["paths"]["/slides"]["post"].is_object());
    let metrics = service.get("/metrics").body;
    for line in [
        "pq_score_requests_total{route=\"POST slides\",status=\"200\"}",
        "pq_score_waiting_slides 0",
        "pq_score_batch_seconds_count",
        "pq_score_wait_seconds_sum",
        "pq_score_model_info{version=\"run-1\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    for page in ["/", "/docs", "/assets/page.js", "/assets/page.css", "/assets/report.js"] {
        let page = service.get(page);
        assert_eq!(page.status, 200);
        assert!(!page.body.contains("https://"), "nothing comes from elsewhere");
    }
    assert_eq!(service.get("/assets/../main.rs").status, 404);
}
