//! Kill, torn write and cut network with several people rating at once: nothing lost, doubled or on the wrong slide.
//!
//! `make test` runs a few trials; `TRIALS=1000 cargo test -p pq-label --test trials -- --ignored --nocapture` runs many.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::sync::RwLock;
use std::time::Duration;

use common::{Client, Server, Site};
use serde_json::{Value, json};
use slide_label::Kind;

const PEOPLE: usize = 3;
const STEPS: usize = 8;
const SLIDES: usize = 6;

/// What one person sent and was told is saved, in order, and what must count in the end.
#[derive(Default)]
struct Memory {
    acknowledged: Vec<Value>,
    current: BTreeMap<String, Option<Value>>,
    heads: BTreeMap<String, String>,
    /// The value before the newest, for undo.
    before: BTreeMap<String, (String, Option<Value>)>,
}

impl Memory {
    /// A rating, a change or an undo of this person.
    fn next(&self, rng: &mut fastrand::Rng, name: &str, step: usize) -> Value {
        let slide = format!("deck{}-{:03}", rng.usize(0..2), rng.usize(1..=SLIDES / 2));
        let (id, base) = (format!("{name}-{step}"), self.heads.get(&slide));
        match self.before.get(&slide) {
            Some((newest, _)) if rng.u8(0..4) == 0 => {
                json!({"id": id, "kind": "undone", "slide_id": slide, "annotator": name, "base": base, "undoes": newest})
            }
            _ => json!({"id": id, "kind": "rated", "slide_id": slide, "annotator": name, "base": base,
                "scores": {"clarity": rng.u8(1..=5), "design": rng.u8(1..=5)}}),
        }
    }

    fn note(&mut self, event: Value) {
        let slide = event["slide_id"].as_str().unwrap().to_owned();
        let id = event["id"].as_str().unwrap().to_owned();
        self.heads.insert(slide.clone(), id.clone());
        if event["kind"] == "undone" {
            let (_, value) = self.before.remove(&slide).unwrap();
            self.current.insert(slide, value);
        } else {
            let value = self.current.insert(slide.clone(), Some(event["scores"].clone())).flatten();
            self.before.insert(slide, (id, value));
        }
        self.acknowledged.push(event);
    }
}

/// Sends one event until it is acknowledged, over a connection that breaks before, within and after the request.
fn send(client: &Client, url: &RwLock<String>, event: &Value, rng: &mut fastrand::Rng) {
    for _ in 0..400 {
        let address = url.read().unwrap().clone();
        match rng.u8(0..8) {
            0 => cut_request(&address, event, rng),
            1 => drop(client.moved_to(&address).post("/events", event)), // the answer is lost on its way
            _ => {
                if let Some((status, answer)) = client.moved_to(&address).post("/events", event) {
                    assert_eq!(status, 200, "{event}: {answer}");
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    panic!("{event} was never acknowledged");
}

/// A request whose connection breaks in the middle.
fn cut_request(url: &str, event: &Value, rng: &mut fastrand::Rng) {
    let Ok(mut stream) = TcpStream::connect(url.trim_start_matches("http://")) else { return };
    let body = event.to_string();
    let host = url.trim_start_matches("http://");
    let request = format!(
        "POST /api/events HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(&request.as_bytes()[..rng.usize(1..request.len())]);
}

fn person(index: usize, url: &RwLock<String>, seed: u64) -> (String, Memory) {
    let mut rng = fastrand::Rng::with_seed(seed * 31 + index as u64);
    let name = format!("p{index}");
    let client = loop {
        let address = url.read().unwrap().clone();
        match Client::sign_in(&address, &name) {
            Some(client) => break client,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let mut memory = Memory::default();
    for step in 0..STEPS {
        let event = memory.next(&mut rng, &name, step);
        send(&client, url, &event, &mut rng);
        memory.note(event);
    }
    (name, memory)
}

/// What a power cut leaves of a line that was being written.
fn tear(site: &Site, rng: &mut fastrand::Rng) {
    let line = json!({"schema_version": 1, "id": "torn", "kind": "rated", "slide_id": "deck0-001", "annotator": "p0",
        "at": "2026-01-01T00:00:00Z", "scores": {"clarity": 1}})
    .to_string();
    let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(site.journal()) else { return };
    file.write_all(&line.as_bytes()[..rng.usize(1..line.len())]).unwrap();
    if rng.bool() {
        file.write_all(&vec![0; rng.usize(1..600)]).unwrap(); // blocks that were allotted but never filled
    }
}

fn trial(site: &Site, seed: u64) {
    let _ = std::fs::remove_dir_all(site.data().join("labeled"));
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut server = Server::start(site, &["--port", "0"]);
    let url = RwLock::new(server.url.clone());
    let memories: Vec<(String, Memory)> = std::thread::scope(|scope| {
        let people: Vec<_> = (0..PEOPLE)
            .map(|index| {
                let url = &url;
                scope.spawn(move || person(index, url, seed))
            })
            .collect();
        for _ in 0..rng.u8(1..=2) {
            std::thread::sleep(Duration::from_millis(rng.u64(5..80)));
            server.kill();
            if rng.u8(0..4) > 0 {
                tear(site, &mut rng);
            }
            server = Server::start(site, &["--port", "0"]);
            url.write().unwrap().clone_from(&server.url);
        }
        people.into_iter().map(|person| person.join().expect("the person rated to the end")).collect()
    });
    assert_eq!(server.stop(), 0);
    check(site, &memories, seed);
}

fn check(site: &Site, memories: &[(String, Memory)], seed: u64) {
    let events = site.events();
    let ids: BTreeSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), events.len(), "trial {seed}: an event is doubled");
    assert_eq!(events.len(), PEOPLE * STEPS, "trial {seed}: an event is lost or not ours");
    let store = site.store();
    for (name, memory) in memories {
        for sent in &memory.acknowledged {
            let held = store
                .event(sent["id"].as_str().unwrap())
                .unwrap_or_else(|| panic!("trial {seed}: {sent} is lost"));
            assert_eq!(
                (held.slide_id(), held.annotator()),
                (sent["slide_id"].as_str().unwrap(), name.as_str())
            );
            let scores = if held.kind() == Kind::Undone { Value::Null } else { json!(held.scores()) };
            assert_eq!(scores, sent["scores"], "trial {seed}");
        }
        for (slide, expected) in &memory.current {
            let found = store.current(slide, name).map(|event| json!(event.scores()));
            assert_eq!(&found, expected, "trial {seed}: {name} on {slide}");
        }
    }
    let (status, out, _) = site.run(&["verify"]);
    assert_eq!(status, 0, "trial {seed}: {out}");
}

#[test]
fn a_few_trials_of_kill_torn_write_and_cut_network_lose_nothing() {
    let site = Site::new(2, SLIDES / 2, "");
    (0..4).for_each(|seed| trial(&site, seed));
}

#[test]
#[ignore = "takes minutes; TRIALS says how many"]
fn many_trials_lose_nothing() {
    let trials = std::env::var("TRIALS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let site = Site::new(2, SLIDES / 2, "");
    let mut events = 0;
    for seed in 0..trials {
        trial(&site, 1000 + seed);
        events += PEOPLE * STEPS;
        if (seed + 1) % 50 == 0 {
            eprintln!("{} trials, {events} events, nothing lost, doubled or misplaced", seed + 1);
        }
    }
}
