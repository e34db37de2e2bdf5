//! How often the 95 % intervals of an evaluation hold what they estimate, at the numbers of decks that teams have.
//!
//!     cargo bench -p vlm-eval --bench coverage [-- DATA_SETS]
//!
//! Prints a table in percent: for each design and number of decks the share of drawn data sets whose interval holds the value
//! that a very large test set would give. Seeded; 2,000 data sets take minutes. `docs/decisions/0015-gate.md` has the figures.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

#[path = "../tests/simulation/coverage.rs"]
mod coverage;
#[path = "../tests/simulation/mod.rs"]
mod simulation;

use coverage::{MEASURES, cover};

fn main() {
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
