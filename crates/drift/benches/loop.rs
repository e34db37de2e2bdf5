//! The loop over many made-up teams: `cargo bench -p pitchquest-drift --bench loop [-- PART…]`. Seeded; prints tables.

#![allow(clippy::print_stdout, reason = "its tables are what it is for")]

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use drift::DriftConfig;
use simulation::World;
use simulation::experiments::{
    both_sides, compared, false_alarms, fires, found, names_lost_charts, weeks_to_find_a_drop,
};
use simulation::year::{Year, year};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|part| !part.starts_with("--")).collect();
    let parts: [(&str, fn()); 7] = [
        ("level", level),
        ("power", power),
        ("accuracy", accuracy),
        ("discrepancy", discrepancy),
        ("speed", speed),
        ("sketch", sketch),
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
    let usual = World { whole: number("WHOLE", 0) > 0, ..World::default() };
    let blind = World { has_vision: false, ..usual };
    for (what, world, giant, sizes) in [
        ("decks of 6 to 14 slides", usual, 0, [30, 100, 300, 1000, 10_000].as_slice()),
        ("the same without vision features", blind, 0, &[30, 300, 1000]),
        ("recent decks of 1 to 3 slides", World { slides: (1, 3), ..usual }, 0, &[100, 300]),
        ("and one deck of 500 slides", usual, 500, &[300]),
        ("and one deck of 5,000 slides", usual, 5000, &[300]),
    ] {
        println!("{what}");
        // Decks of training are of 6 to 14 slides in any case.
        let before = World { slides: usual.slides, ..world };
        for training in numbers("TRAINING", &[36, 100, 400]) {
            for slides in numbers("SIZES", sizes) {
                let few = if slides + giant > 1000 { sims().div_ceil(4) } else { sims() };
                let started = Instant::now();
                let count = false_alarms([&before, &world], training, slides, giant, few, number("SEED", 1));
                let (any, seconds) = (count.any, started.elapsed().as_secs_f64());
                println!(
                    "  {training:>4} training decks {slides:>6} slides  {:>5.2} % of {} (standard error {:.2}; features {:.2} %, vision features {:.2} %; {seconds:.0} s)",
                    any.percent(),
                    any.of,
                    any.standard_error(),
                    count.features.percent(),
                    count.vision.percent()
                );
            }
        }
    }
}

/// Those of these that a variable names, which holds numbers between spaces; all where there is none.
fn numbers(variable: &str, all: &[usize]) -> Vec<usize> {
    let named = std::env::var(variable).ok();
    let named: Option<Vec<usize>> =
        named.map(|text| text.split_whitespace().filter_map(|number| number.parse().ok()).collect());
    all.iter().copied().filter(|number| named.as_ref().is_none_or(|named| named.contains(number))).collect()
}

fn sims() -> usize {
    number("SIMS", 2000) as usize
}

fn power() {
    let (usual, sims) = (World::default(), number("SIMS", 100) as usize);
    for (what, world, slides) in [
        ("-1.0 on all criteria", World { score_shift: -1.0, ..usual }, 300),
        ("new template in half of the decks", World { template: 2, ..usual }, 200),
        ("charts vanish", World { charts: 0.02, ..usual }, 300),
        ("half of the decks look different to the vision tower alone", World { unnamed: 2, ..usual }, 300),
    ] {
        let started = Instant::now();
        let (count, reports) = found(&world, 36, slides, sims, number("SEED", 2), &DriftConfig::default());
        let named = reports.iter().filter(|report| names_lost_charts(report)).count();
        let scores: Vec<f64> = reports.iter().filter_map(|report| report.drift_score).collect();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let fired: Vec<[bool; 2]> = reports.iter().map(fires).collect();
        let of = |when: usize| fired.iter().filter(|fired| fired[when]).count();
        println!(
            "{what}, {slides} slides: drift in {} of {}, mean score {mean:.2}, charts named {named}; the trigger fires at once in {}, once it lasted in {} ({:.0} s)",
            count.found,
            count.of,
            of(0),
            of(1),
            started.elapsed().as_secs_f64()
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
        let started = Instant::now();
        let found = drift::mmd(&input, 1000, 1);
        let seconds = started.elapsed().as_secs_f64();
        let p = found.map_or(f64::NAN, |found| found.p_value);
        println!(
            "discrepancy of 1,000 × 960, decks of {of_deck}, 1,000 re-labellings: {seconds:.2} s (p = {p:.2})"
        );
    }
}

/// How long one comparison takes, with re-labellings as they are set unless MAX says how many.
fn speed() {
    let config = DriftConfig::default();
    let most = number("MAX", config.max_permutations as u64) as usize;
    let config =
        DriftConfig { permutations: config.permutations.min(most), max_permutations: most, ..config };
    let usual = World::default();
    for (training, slides) in [(36, 300), (100, 1000), (400, 20_000)] {
        for (what, now) in [
            ("no change", usual),
            ("a new template in every other deck", World { template: 2, ..usual }),
            ("every other deck looks different to the vision tower alone", World { unnamed: 2, ..usual }),
        ] {
            let mut rng = fastrand::Rng::with_seed(4);
            let sides = both_sides([&usual, &now], training, slides, 0, &mut rng);
            let started = Instant::now();
            let report = compared(&sides, &config, &mut rng);
            let vision = report.vision.as_ref().map_or(0, |vision| vision.permutations);
            println!(
                "comparison of {training} training decks and {slides} slides, {what}: {:.2} s, {} and {vision} re-labellings",
                started.elapsed().as_secs_f64(),
                report.permutations
            );
        }
    }
}

/// How often the discrepancy of whole vectors (960 numbers) and that of 64 random projections find the same change, at 5 %.
fn sketch() {
    const WIDTH: usize = 960;
    let sims = number("SIMS", 200) as usize;
    println!(
        "60 decks of training and 30 recent ones, 8 slides each, 999 re-labellings; found in % of {sims}, whole and sketched"
    );
    // Later directions matter less and less, as pooled outputs of a vision tower have it.
    let deviation = |at: usize| 1.0 / (1.0 + at as f64 / 20.0);
    for (what, every, until, size) in [
        ("nothing", 1, 0, 0.0),
        ("the eight strongest directions by half a deviation", 1, 8, 0.5),
        ("every tenth direction by half a deviation", 10, WIDTH, 0.5),
        ("every direction by a quarter of a deviation", 1, WIDTH, 0.25),
        ("one direction by one and a half deviations", 1, 1, 1.5),
    ] {
        let mut rng = fastrand::Rng::with_seed(11);
        let mut found = [0usize; 2];
        for _ in 0..sims {
            let projection: Vec<f64> = (0..64 * WIDTH).map(|_| simulation::normal(&mut rng) / 8.0).collect();
            let (mut whole, mut small) = (Vec::new(), Vec::new());
            for deck in 0..90 {
                let of_deck: Vec<f64> = (0..WIDTH).map(|_| simulation::normal(&mut rng)).collect();
                for _ in 0..8 {
                    let vector: Vec<f64> = (0..WIDTH)
                        .map(|at| {
                            let moved = deck >= 60 && at < until && at % every == 0;
                            let own =
                                0.3f64.sqrt() * of_deck[at] + 0.7f64.sqrt() * simulation::normal(&mut rng);
                            deviation(at) * (own + if moved { size } else { 0.0 })
                        })
                        .collect();
                    let project =
                        |row: &[f64]| row.iter().zip(&vector).map(|(a, b)| a * b).sum::<f64>() as f32;
                    small.extend(projection.chunks_exact(WIDTH).map(project));
                    whole.extend(vector.iter().map(|value| *value as f32));
                }
            }
            let deck: Vec<usize> = (0..720).map(|slide| slide / 8).collect();
            let is_recent: Vec<bool> = (0..90).map(|deck| deck >= 60).collect();
            for (found, (features, width)) in found.iter_mut().zip([(&whole, WIDTH), (&small, 64)]) {
                let input = drift::MmdInput { features, width, deck: &deck, is_recent: &is_recent };
                *found += usize::from(drift::mmd(&input, 999, 5).is_ok_and(|found| found.p_value <= 0.05));
            }
        }
        let [whole, small] = found.map(|found| 100.0 * found as f64 / sims as f64);
        println!("  {what}: {whole:.1} and {small:.1}");
    }
}

/// The number that a variable holds.
fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

fn years() {
    let (first, count, threads) = (number("FIRST_YEAR", 0), number("YEARS", 1000), number("THREADS", 1));
    let has_vision = number("VISION", 0) > 0;
    let (next, started) = (AtomicU64::new(first), Instant::now());
    let mut all: Vec<(u64, Year)> = std::thread::scope(|scope| {
        let work = || {
            let mut own = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return own;
                }
                let year = year(seed, has_vision);
                if year.retrained > 0 {
                    println!("year {seed}: {year:?}");
                }
                own.push((seed, year));
            }
        };
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    all.sort_by_key(|(seed, _)| *seed);
    let with = |what: fn(&Year) -> usize| all.iter().filter(|(_, year)| what(year) > 0).count();
    let retrained = with(|year| year.retrained);
    println!(
        "{} years without a change (seeds from {first}), weekly looks, {} vision features: a retraining in {retrained}, so with a confidence of 95 % in at most {:.2} % of them; drift fired in {}, accuracy in {}, other triggers in {}; a drift report called it drift in {}; {} corrections a year; {:.0} s",
        all.len(),
        if has_vision { "with" } else { "without" },
        100.0 * upper_bound(retrained, all.len(), 0.95),
        with(|year| year.drift),
        with(|year| year.performance),
        with(|year| year.others),
        with(|year| year.reported),
        all.iter().map(|(_, year)| year.corrections).sum::<usize>() / all.len().max(1),
        started.elapsed().as_secs_f64()
    );
}

/// The share that is at least as large as the true one with this confidence, where so many of so many were found (Clopper and Pearson
/// 1934, one side): at it, as few as that come with a chance of one less the confidence.
fn upper_bound(found: usize, of: usize, confidence: f64) -> f64 {
    if found >= of {
        return 1.0;
    }
    let chance_of_so_few = |share: f64| {
        // C(of, i) · share^i · (1 - share)^(of - i), each from the one before.
        let mut log_term = of as f64 * (-share).ln_1p();
        let mut sum = log_term.exp();
        for i in 1..=found {
            log_term += ((of - i + 1) as f64 / i as f64).ln() + share.ln() - (-share).ln_1p();
            sum += log_term.exp();
        }
        sum
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if chance_of_so_few(middle) > 1.0 - confidence { low = middle } else { high = middle }
    }
    high
}
