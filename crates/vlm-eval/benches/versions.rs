//! How often a change that was planted in a deck is found, and how often "better" is said of what is not.
//!
//!     cargo bench -p vlm-eval --bench versions [-- PAIRS]
//!
//! Seeded. Each pair has a model that was validated on decks of its own: what it errs by is measured as `pq-validate` measures it. A
//! deck has twelve slides.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

#[path = "../tests/simulation/coverage.rs"]
mod coverage;
#[path = "../tests/simulation/mod.rs"]
mod simulation;
#[path = "../tests/simulation/versions.rs"]
mod versions;

use versions::{Setting, Work, count};

fn main() {
    let pairs = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1000);
    let percent = |count: usize| 100.0 * count as f64 / pairs as f64;
    println!(
        "{:56} {:>8} {:>14} {:>13}",
        format!("of {pairs} pairs, in percent"),
        "found",
        "false better",
        "false worse"
    );
    for (name, noise, of_deck) in
        [("good model", 0.45, 0.2), ("middling model", 0.85, 0.35), ("poor model", 1.3, 0.4)]
    {
        for decks in [8, 20] {
            let setting = Setting { noise, of_deck, decks };
            for (redrawn, improved, by) in [
                (4, 0, 0.0),
                (12, 0, 0.0),
                (4, 4, 1.0),
                (4, 4, 1.5),
                (4, 4, 2.0),
                (6, 3, 2.0),
                (1, 1, 2.0),
                (1, 1, 3.0),
            ] {
                let said = count(setting, Work { redrawn, improved, by }, pairs, 17);
                println!(
                    "{:56} {:>8.1} {:>14.1} {:>13.1}",
                    format!("{name}, {decks} decks; {improved} of {redrawn} redrawn slides by {by}"),
                    percent(said.found),
                    percent(said.wrong_better),
                    percent(said.wrong_worse)
                );
            }
        }
    }
}
