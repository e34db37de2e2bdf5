//! How much of the command's own rate the service holds when eight clients ask at once, and what a deck of which little changed takes.
//!
//! `cargo bench -p pq-score --bench load -- [SLIDES] [ROUNDS]`. Slides are drawn from a fixed seed, all different, and rated by the tiny
//! model of the tests (`fixtures/parity/text-all`) at 512 pixels; `EDGE=pixels` takes another size. Both sides log and keep
//! what they rate.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a measurement, which prints and may stop at a surprise"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{SCORE, Service, drawn, project, zipped};
use pq_testing::project::Project;

const CLIENTS: usize = 8;

fn number(at: usize, usual: usize) -> usize {
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    given.get(at).copied().unwrap_or(usual)
}

fn settings() -> Vec<String> {
    let edge = std::env::var("EDGE").unwrap_or_else(|_| "512".to_owned());
    vec![format!("processor.longest_edge={edge}")]
}

/// The images of a round, as files and in memory; no two rounds share one.
fn slides(round: usize, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|at| drawn(round * count + at)).collect()
}

/// A run whose images are as large as asked: a run keeps its own setting.
fn prepare(project: &Project, settings: &[String]) {
    let edge = settings[0].replace("processor.longest_edge=", "longest_edge = ");
    let config = project.read("outputs/run-1/config.toml").replace("longest_edge = 128", &edge);
    project.write("outputs/run-1/config.toml", &config);
}

fn command(project: &Project, settings: &[String]) -> Command {
    let mut command = common::command(project, &settings.iter().map(String::as_str).collect::<Vec<_>>());
    command.env("RUST_LOG", "warn,pq_score=info");
    command
}

/// Slides a second of the command itself, without the time that it takes to start: two lengths, and their difference.
fn offline(project: &Project, settings: &[String], images: &[Vec<u8>]) -> f64 {
    let time = |name: &str, images: &[Vec<u8>]| {
        let folder = project.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (at, image) in images.iter().enumerate() {
            std::fs::write(folder.join(format!("{at:04}.png")), image).unwrap();
        }
        let mut args = vec!["--adapter", "outputs/run-1", "--json", name];
        for setting in settings {
            args.extend(["--set", setting]);
        }
        let start = Instant::now();
        let output = project.run(SCORE, &args);
        assert!(output.status.success(), "{}", pq_testing::project::stderr(&output));
        std::fs::remove_dir_all(folder).unwrap();
        start.elapsed()
    };
    let start = time("one", &images[..1]);
    let all = time("all", &images[1..]);
    (images.len() - 2) as f64 / all.saturating_sub(start).as_secs_f64()
}

/// Slides a second of the service with eight clients, each of which asks again as soon as it is answered.
fn served(service: &Service, images: &[Vec<u8>]) -> (f64, Vec<Duration>) {
    let start = Instant::now();
    let times: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mine = images.iter().skip(client).step_by(CLIENTS);
                    let ask = |image: &Vec<u8>| {
                        let start = Instant::now();
                        let answer = service.post("/slides", image, None);
                        assert_eq!(answer.status, 200, "{}", answer.body);
                        start.elapsed()
                    };
                    mine.map(ask).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    (images.len() as f64 / start.elapsed().as_secs_f64(), times)
}

fn deck_of(service: &Service, slides: &[Vec<u8>]) -> f64 {
    let start = Instant::now();
    let state = service.deck("deck.zip", &zipped(slides));
    assert_eq!(state["state"], "done", "{state}");
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let (count, rounds) = (number(0, 120), number(1, 5));
    let settings = settings();
    let (mut rates, mut shares, mut changed, mut waits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let project = project();
    prepare(&project, &settings);
    let service = Service::launch(command(&project, &settings), None);
    service.wait_ready();
    for round in 0..rounds {
        // In turn, so that what else the machine does meets both alike.
        let offline = offline(&project, &settings, &slides(2 * round, count));
        let (served, times) = served(&service, &slides(2 * round + 1, count));
        rates.push(offline);
        shares.push(served / offline);
        waits.push(median(times.iter().map(Duration::as_secs_f64).collect()));
        let mut deck: Vec<Vec<u8>> = (0..20).map(|at| drawn(2_000_000 + 20 * round + at)).collect();
        let first = deck_of(&service, &deck);
        deck[3] = drawn(1_000_000 + 2 * round);
        deck[11] = drawn(1_000_001 + 2 * round);
        let second = deck_of(&service, &deck);
        changed.push(second / first);
        println!(
            "round {}: command {offline:.2} slides/s, service {served:.2} ({:.1} %), deck {first:.2} s, with 2 of 20 changed {second:.2} s ({:.1} %)",
            round + 1,
            100.0 * shares[round],
            100.0 * changed[round],
        );
    }
    println!(
        "{count} slides, {CLIENTS} clients, median of {rounds}: command {:.2} slides/s; the service holds {:.1} % of it, a client waits {:.3} s; a deck with 2 of 20 slides changed takes {:.1} % of its first time",
        median(rates),
        100.0 * median(shares),
        median(waits),
        100.0 * median(changed),
    );
}
