//! Fifty people rate at once on a store of 20,000 slides and 50,000 ratings: `cargo bench -p pq-label --bench load`.
//!
//! Each person asks for the next slides, loads an image and rates it, with half a second of thought on average (people take ten times
//! as long). Printed are the times until a rating is acknowledged (it is on disk then) and until an image's bytes are there.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measuring program prints and stops at the first surprise"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::{Client, Server, Site};
use serde_json::json;

const PEOPLE: usize = 50;
const SLIDES: usize = 20_000;
const RATINGS: usize = 50_000;
const SECONDS: u64 = 20;

fn main() {
    let site = Site::new(0, 0, "raters_per_slide = 4");
    fill(&site);
    let started = Instant::now();
    let server = Server::start(&site, &["--port", "0"]);
    println!("start with {SLIDES} slides and {RATINGS} ratings: {:.2} s", started.elapsed().as_secs_f64());
    let times = Mutex::new((Vec::new(), Vec::new(), Vec::new()));
    std::thread::scope(|scope| {
        for person in 0..PEOPLE {
            let (server, times) = (&server, &times);
            scope.spawn(move || {
                let measured = rate(&server.url, person);
                let mut times = times.lock().expect("no thread failed");
                times.0.extend(measured.0);
                times.1.extend(measured.1);
                times.2.extend(measured.2);
            });
        }
    });
    let (ratings, images, queues) = times.into_inner().expect("no thread failed");
    println!("{PEOPLE} people, {SECONDS} s, {:.0} ratings a second", ratings.len() as f64 / SECONDS as f64);
    for (what, mut times) in [("rating acknowledged", ratings), ("picture", images), ("next slides", queues)]
    {
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "{what}: median {:.1} ms, p95 {:.1} ms, p99 {:.1} ms ({})",
            at(0.5),
            at(0.95),
            at(0.99),
            times.len()
        );
    }
    println!("memory (peak resident): {} MB", server.peak_memory_mb());
}

type Times = (Vec<Duration>, Vec<Duration>, Vec<Duration>);

fn rate(url: &str, person: usize) -> Times {
    let client = Client::sign_in(url, &format!("Person {person}")).expect("the server answers");
    let mut rng = fastrand::Rng::with_seed(person as u64);
    let mut times = Times::default();
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let mut count = 0;
    while Instant::now() < end {
        let asked = Instant::now();
        let (_, queue) =
            client.post("/queue", &json!({"assigned": [], "count": 5})).expect("the server answers");
        times.2.push(asked.elapsed());
        let slide = queue["slides"][0]["slide_id"].as_str().expect("slides are left").to_owned();
        let asked = Instant::now();
        let (status, bytes) = client.get(&format!("/slides/{slide}/image")).expect("the server answers");
        times.1.push(asked.elapsed());
        assert!(status == 200 && bytes.len() > 50_000);
        std::thread::sleep(Duration::from_millis(rng.u64(0..1000)));
        count += 1;
        let event = json!({"id": format!("load-{person}-{count}"), "kind": "rated", "slide_id": slide, "annotator": client.name,
            "scores": {"clarity": 4, "design": 3, "data_visualization": null, "readability": 5, "content_quality": 2}});
        let sent = Instant::now();
        let (status, _) = client.post("/events", &event).expect("the server answers");
        times.0.push(sent.elapsed());
        assert_eq!(status, 200);
    }
    times
}

/// Slides that share a few images of usual size, and ratings of 25 people.
fn fill(site: &Site) {
    let raw = site.data().join("raw");
    let mut rng = fastrand::Rng::with_seed(1);
    let images: Vec<_> = (0..10)
        .map(|index| {
            let path = raw.join(format!("image-{index}.png"));
            let noise: Vec<u8> = (0..150_000).map(|_| rng.u8(..)).collect();
            std::fs::write(&path, [b"\x89PNG\r\n\x1a\n".to_vec(), noise].concat()).unwrap();
            path
        })
        .collect();
    let mut manifest = String::new();
    for slide in 0..SLIDES {
        let id = format!("slide-{slide:05}");
        std::fs::hard_link(&images[slide % 10], raw.join("slides").join(format!("{id}.png"))).unwrap();
        let _ = writeln!(manifest, "{}", common::record(&id, slide / 15, slide % 15 + 1));
    }
    std::fs::write(raw.join("manifest.jsonl"), manifest).unwrap();
    let mut journal = String::new();
    for rating in 0..RATINGS {
        let (slide, person) = (rating % SLIDES, rating / SLIDES * 8 + rating % 8);
        let scores: Vec<u8> = (0..5).map(|_| rng.u8(1..=5)).collect();
        let event = json!({"schema_version": 1, "id": format!("old-{rating}"), "kind": "rated", "slide_id": format!("slide-{slide:05}"),
            "annotator": format!("Earlier {person}"), "at": "2026-01-01T00:00:00Z", "scores": {"clarity": scores[0], "design": scores[1],
            "data_visualization": scores[2], "readability": scores[3], "content_quality": scores[4]}, "seconds": 12.5});
        let _ = writeln!(journal, "{event}");
    }
    std::fs::create_dir_all(site.data().join("labeled")).unwrap();
    std::fs::write(site.journal(), journal).unwrap();
}
