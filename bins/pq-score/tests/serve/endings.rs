//! Ends: SIGTERM, Ctrl-C, a model that is not there.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pq_testing::project::{code, stderr};

use crate::common::{SCORE, Service, deck, drawn, logged, project, slide, wait_until, zipped};

#[test]
fn sigterm_ends_what_was_begun_and_takes_nothing_new() {
    let project = project();
    let mut service = Service::start(&project, &[]);
    let slides: Vec<Vec<u8>> = (0..40).map(drawn).collect();
    let taken = service.post("/decks?name=deck.zip", &zipped(&slides), None);
    assert_eq!(taken.status, 202, "{}", taken.body);
    let job = taken.json()["id"].as_str().unwrap().to_owned();
    service.signal("-TERM");
    wait_until("it drains", || service.get("/ready").status == 503);
    assert_eq!(service.get("/health").status, 200);
    let late = service.post("/slides", &slide(&project, 0, 1), None);
    assert!(late.status == 503 && late.body.contains("draining"), "{}", late.body);
    let state = service.wait_for_deck(&job);
    assert_eq!((&state["state"], &state["scored"]), (&"done".into(), &40.into()), "{state}");
    assert_eq!(service.wait().code(), Some(0));
    assert_eq!(logged(&project).len(), 40);
}

#[test]
fn an_idle_service_ends_at_once() {
    for signal in ["-TERM", "-INT"] {
        let project = project();
        let mut service = Service::start(&project, &[]);
        assert_eq!(service.post("/slides", &slide(&project, 0, 1), None).status, 200);
        let start = Instant::now();
        service.signal(signal);
        assert_eq!(service.wait().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

#[test]
fn clients_that_stop_reading_hold_up_nobody_and_not_the_end() {
    let project = project();
    let mut service = Service::start(&project, &[]);
    let deck = service.deck("deck.pdf", &std::fs::read(deck()).unwrap());
    let path = format!("/decks/{}/report", deck["id"].as_str().unwrap());
    let report = service.get(&path).body.len();
    let asked = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(200);
    assert!(200 * report > 40 << 20, "more than the sockets' buffers hold: {report} bytes a report");
    let stalled: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(service.url.trim_start_matches("http://")).unwrap();
            stream.write_all(asked.as_bytes()).unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    assert_eq!(service.get(&path).body.len(), report);
    for number in 1..4 {
        assert_eq!(service.post("/slides", &slide(&project, 1, number), None).status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "others are served: {:?}", start.elapsed());
    let before_end = logged(&project).len();
    service.signal("-TERM");
    assert_eq!(service.wait().code(), Some(0), "{}", service.said.lock().unwrap());
    assert!(start.elapsed() < Duration::from_secs(20), "nobody waits for them: {:?}", start.elapsed());
    assert_eq!(logged(&project).len(), before_end);
    drop(stalled);
}

#[test]
fn what_takes_too_long_to_end_is_left_undone_and_said() {
    let project = project();
    let mut service = Service::start(&project, &["serve.drain_s=0", "serve.batch_tokens=1"]);
    let slides: Vec<Vec<u8>> = (0..200).map(drawn).collect();
    let taken = service.post("/decks?name=deck.zip", &zipped(&slides), None);
    assert_eq!(taken.status, 202, "{}", taken.body);
    wait_until("it has begun", || !logged(&project).is_empty());
    let start = Instant::now();
    service.signal("-TERM");
    assert_eq!(service.wait().code(), Some(1), "{}", service.said.lock().unwrap());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    pq_testing::adverse::assert_whole(&project.path("."));
    assert!(logged(&project).len() < 200);
}

#[test]
fn without_a_model_it_ends_and_says_why() {
    let project = project();
    let args = ["serve", "--port", "0", "--adapter", "outputs/run-1"];
    let mut command = project.bare_command(SCORE);
    let output = command.args(args).args(["--set", "model.name=nowhere"]).output().unwrap();
    assert!(code(&output) == 2 && stderr(&output).contains("nowhere"), "{}", stderr(&output));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = project.run(SCORE, &["serve", "--port", &port, "--adapter", "outputs/run-1"]);
    assert!(code(&output) == 2 && stderr(&output).contains("--port"), "{}", stderr(&output));
    for setting in ["serve.queue_slides=0", "serve.batch_wait_ms=99999", "serve.nonsense=1"] {
        let output = project.run(SCORE, &["serve", "--adapter", "outputs/run-1", "--set", setting]);
        let name = setting.split('=').next().unwrap();
        assert!(code(&output) == 2 && stderr(&output).contains(name), "{}", stderr(&output));
    }
}
