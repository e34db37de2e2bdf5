//! How often the gate passes, fails, or leaves undecided raters of every kind.
//!
//!     cargo bench -p vlm-eval --bench gate [-- DRAWS]
//!
//! Seeded; 1,000 draws of each take minutes. `docs/decisions/0015-gate.md` has the figures.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

#[path = "../tests/simulation/raters.rs"]
mod raters;
#[path = "../tests/simulation/mod.rs"]
mod simulation;

use raters::{RATERS, Release, count};

fn main() {
    let draws = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1000);
    println!("{:60} {:>8} {:>10} {:>8}", format!("of {draws} draws"), "pass", "undecided", "fail");
    for rater in RATERS {
        let [pass, undecided, fail] = count(rater, draws);
        let wrong = if rater.release == Release::Never && pass > 0 { "wrong" } else { "" };
        println!("{:60} {pass:>8} {undecided:>10} {fail:>8} {wrong}", rater.name);
    }
}
