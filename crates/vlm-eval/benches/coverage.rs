//! How often the 95 % intervals of an evaluation hold what they estimate, at the numbers of decks that teams have.
//!
//!     cargo bench -p vlm-eval --bench coverage [-- DATA_SETS]
//!
//! First how long an evaluation of 1,000 slides takes. Then a table in percent: for each design and number of decks the share of drawn data sets whose interval holds the value
//! that a very large test set would give. Seeded; 2,000 data sets take minutes. `docs/decisions/0015-gate.md` has the figures.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

#[path = "../tests/simulation/coverage.rs"]
mod coverage;
#[path = "../tests/simulation/mod.rs"]
mod simulation;

use coverage::{MEASURES, cover};

/// Evaluates 1,000 slides of 100 decks with all intervals, the power and the slices.
fn time() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut world = simulation::World::draw(&simulation::Design::new(100, 10..=10), &mut rng);
    world.rate(&mut simulation::model(0.45, 0.2), &mut rng);
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let start = std::time::Instant::now();
            std::hint::black_box(coverage::results(&world));
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("1,000 slides of 100 decks, five criteria, all intervals: {:.3} s (median of five)", times[2]);
}

fn main() {
    time();
    let data_sets = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(2000);
    println!("{:24} {}", "design, decks", MEASURES.map(|name| format!("{name:>22}")).concat());
    for (name, noise, of_deck) in
        [("good model", 0.45, 0.2), ("middling model", 0.85, 0.35), ("poor model", 1.3, 0.4)]
    {
        for decks in [5, 8, 12, 20, 50] {
            let covered = cover(noise, of_deck, decks, data_sets);
            let cells = covered.map(|share| format!("{:>22.1}", 100.0 * share)).concat();
            println!("{:24} {cells}", format!("{name}, {decks}"));
        }
    }
}
