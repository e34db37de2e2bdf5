//! The loop over many made-up teams: `cargo bench -p pitchquest-drift --bench loop [-- PART…]`. Seeded; prints tables.

#![allow(clippy::print_stdout, reason = "its tables are what it is for")]

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use simulation::World;
use simulation::experiments::{false_alarms, found, names_lost_charts, weeks_to_find_a_drop};
use simulation::year::{Year, year};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|part| !part.starts_with("--")).collect();
    let parts: [(&str, fn()); 5] = [
        ("level", level),
        ("power", power),
        ("accuracy", accuracy),
        ("discrepancy", discrepancy),
        ("years", years),
    ];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part();
        }
    }
}

fn level() {
    println!("false alarms of {} comparisons each, nominal 5 %", sims());
    for (what, world, giant) in [
        ("decks of 6 to 14 slides", World::default(), false),
        ("one deck with nine tenths of the slides", World::default(), true),
    ] {
        println!("{what}");
        for training in [36, 100, 400] {
            for slides in [30, 100, 300, 1000, 10_000] {
                if giant && slides < 300 {
                    continue;
                }
                let few = if slides > 1000 { sims() / 4 } else { sims() };
                let count = false_alarms(&world, training, slides, giant, few, 1);
                println!(
                    "  {training:>4} training decks {slides:>6} slides  {:>5.2} % of {}",
                    count.percent(),
                    count.of
                );
            }
        }
    }
}

fn sims() -> usize {
    std::env::var("SIMS").ok().and_then(|sims| sims.parse().ok()).unwrap_or(2000)
}

fn power() {
    let usual = World::default();
    for (what, world, slides) in [
        ("-1.0 on all criteria", World { score_shift: -1.0, ..usual }, 300),
        ("new template in half of the decks", World { template: 2, ..usual }, 200),
        ("charts vanish", World { charts: 0.02, ..usual }, 300),
    ] {
        let (count, reports) = found(&world, 36, slides, 100, 2);
        let named = reports.iter().filter(|report| names_lost_charts(report)).count();
        let scores: Vec<f64> = reports.iter().filter_map(|report| report.drift_score).collect();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        println!(
            "{what}, {slides} slides: {} of 100, mean score {mean:.2}, charts named {named}",
            count.found
        );
    }
}

fn accuracy() {
    let level = 0.01 * drift::Share::PERFORMANCE / drift::LOOKS_A_YEAR;
    let mut weeks = [0; 4];
    for seed in 0..100 {
        let found = weeks_to_find_a_drop(0.10, 2, level, seed);
        weeks[found.unwrap_or(3)] += 1;
    }
    println!(
        "-10 points: before it {}, in week 1 {}, in week 2 {}, not in two weeks {}",
        weeks[0], weeks[1], weeks[2], weeks[3]
    );
}

/// 1,000 slides × 960 numbers, once with each slide a deck of its own and once with ten a deck.
fn discrepancy() {
    let mut rng = fastrand::Rng::with_seed(3);
    let features: Vec<f32> = (0..1000 * 960).map(|_| rng.f32()).collect();
    for of_deck in [1, 10] {
        let deck: Vec<usize> = (0..1000).map(|slide| slide / of_deck).collect();
        let is_recent: Vec<bool> = (0..1000 / of_deck).map(|deck| deck % 2 == 0).collect();
        let input = drift::MmdInput { features: &features, width: 960, deck: &deck, is_recent: &is_recent };
        let started = std::time::Instant::now();
        let found = drift::mmd(&input, 1000, 1);
        let seconds = started.elapsed().as_secs_f64();
        let p = found.map_or(f64::NAN, |found| found.p_value);
        println!(
            "discrepancy of 1,000 × 960, decks of {of_deck}, 1,000 re-labellings: {seconds:.2} s (p = {p:.2})"
        );
    }
}

fn years() {
    let count = std::env::var("YEARS").ok().and_then(|years| years.parse().ok()).unwrap_or(1000);
    let mut all = Vec::new();
    let started = std::time::Instant::now();
    for seed in 0..count {
        all.push(year(seed));
    }
    let with = |what: fn(&Year) -> usize| all.iter().filter(|year| what(year) > 0).count();
    println!(
        "{count} years without a change, weekly looks: a retraining in {}, drift fired in {}, accuracy in {}, other triggers in {}; a drift report called it drift in {}; {} corrections a year; {:.0} s",
        with(|year| year.retrained),
        with(|year| year.drift),
        with(|year| year.performance),
        with(|year| year.others),
        with(|year| year.reported),
        all.iter().map(|year| year.corrections).sum::<usize>() / all.len().max(1),
        started.elapsed().as_secs_f64()
    );
}
