//! Labels, agreement and ceilings against simulated raters whose truth is known.
//!
//!     cargo bench -p slide-label --bench simulations [-- REPEATS]
//!
//! Prints for twelve designs the share of labels that equal the truth under three rules, the agreement shown beside the truth, and
//! noise and ceiling beside the truth. Seeded; 400 repeats take minutes.
#![allow(clippy::print_stdout, unreachable_pub, reason = "a bench reports on stdout, and is no library")]

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use simulation::{DESIGNS, RatersOf, ceilings, consensus, shown_agreement};

fn main() {
    let repeats = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(400);
    println!("{:52}{:>9}{:>9}{:>9}", "labels equal to the truth", "median", "whole", "shrunk");
    for design in &DESIGNS {
        let [median, whole, shrunk] = consensus(design, repeats, 1);
        println!("{:52}{median:>9.3}{whole:>9.3}{shrunk:>9.3}", design.name);
    }
    println!("\n{:52}{:>9}{:>9}", "agreement within one point outside calibration", "shown", "truth");
    for noises in [(0.4, 0.9), (0.9, 0.4), (0.6, 0.6)] {
        let (shown, truth) = shown_agreement(noises, repeats, 1);
        println!(
            "{:52}{shown:>9.3}{truth:>9.3}",
            format!("noise {} in calibration, {} outside", noises.0, noises.1)
        );
    }
    println!("\n{:52}{:>16}{:>16}{:>9}{:>9}", "ceiling, noise .6", "noise", "exact", "truth", "covered");
    let plans: [(&str, RatersOf); 3] = [
        ("2 each", |_| 2),
        ("3 each", |_| 3),
        ("6 for a tenth, else 1", |slide| if slide % 10 == 0 { 6 } else { 1 }),
    ];
    for (name, raters_of) in plans {
        for slides in [30, 60, 100, 200, 400] {
            let found = ceilings(0.6, slides, raters_of, repeats, 1);
            let cell = |(mean, deviation): (f64, f64)| format!("{mean:.3} ± {deviation:.3}");
            let (noise, exact) = (cell(found.noise), cell(found.exact));
            let name = format!("{slides} slides, {name}");
            println!("{name:52}{noise:>16}{exact:>16}{:>9.3}{:>9.2}", found.truth, found.covered);
        }
    }
}
