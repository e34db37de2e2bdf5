//! Draws data sets and counts how often an interval holds the truth.

#![allow(dead_code, unreachable_pub, reason = "tests and benches use their part")]

use std::collections::BTreeMap;

use fastrand::Rng;
use jiff::Timestamp;
use slide_data::Rubric;
use vlm_eval::{EvaluationInput, EvaluationOptions, Interval, ValidationResults, evaluate};

use crate::simulation::{Design, World, model};

/// What is looked at: of all ratings, and of the criterion that few slides have.
pub const MEASURES: [&str; 10] = [
    "overall_mae",
    "overall_within_1",
    "overall_exact",
    "overall_qwk",
    "overall_gain",
    "overall_rps",
    "data_visualization_mae",
    "data_visualization_qwk",
    "readability_within_1",
    "overall_relative",
];

/// Evaluates what is drawn; the criterion that is rarely there is the rubric's third.
pub fn results(world: &World) -> ValidationResults {
    let train = constant_labels();
    evaluate(&EvaluationInput {
        rubric: &Rubric::default(),
        items: &world.items,
        train_labels: Some(&train),
        champion: None,
        before: None,
        cheap_baselines: &[],
        overrides: &[],
        model_version: "simulated",
        inputs: &BTreeMap::new(),
        options: EvaluationOptions { reachable: false, ..EvaluationOptions::default() },
        now: Timestamp::UNIX_EPOCH,
    })
    .expect("what is drawn is valid")
    .results
}

/// Training labels whose best constant is 3, so that the constant is the same in every draw.
fn constant_labels() -> Vec<slide_data::Label> {
    let scores = Rubric::default().keys().map(|key| (key.to_owned(), slide_data::Score::new(3))).collect();
    vec![slide_data::Label { scores, ..slide_data::Label::default() }]
}

fn read(results: &ValidationResults) -> [(f64, Option<Interval>); MEASURES.len()] {
    let baseline = results.baseline.as_ref().expect("there is a constant");
    MEASURES.map(|name| match name {
        "overall_gain" => (baseline.gains["overall_mae"].value, baseline.gains["overall_mae"].interval),
        "overall_relative" => {
            (baseline.relative_gains["overall"].value, baseline.relative_gains["overall"].interval)
        }
        _ => (results.metrics.get(name).copied().unwrap_or(f64::NAN), results.intervals.get(name).copied()),
    })
}

fn drawn(noise: f64, of_deck: f64, decks: usize, rng: &mut Rng) -> World {
    let mut world = World::draw(&Design::new(decks, 5..=15), rng);
    world.rate(&mut model(noise, of_deck), rng);
    world
}

/// The share of data sets whose interval holds the value that very many decks give. Data sets without an interval count as not
/// held.
pub fn cover(noise: f64, of_deck: f64, decks: usize, data_sets: usize) -> [f64; MEASURES.len()] {
    // The truth: the mean over large sets, each a ratio of sums over many decks.
    let many = if data_sets < 500 { 6 } else { 40 };
    let mut truth = [0.0; MEASURES.len()];
    for seed in 0..many {
        let results = results(&drawn(noise, of_deck, 150, &mut Rng::with_seed(1_000_000 + seed)));
        truth.iter_mut().zip(read(&results)).for_each(|(sum, (value, _))| *sum += value / many as f64);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = |thread: usize| {
        let mut held = [0_usize; MEASURES.len()];
        for set in (thread..data_sets).step_by(threads) {
            let mut rng = Rng::with_seed((decks * 100_000 + set) as u64);
            let found = read(&results(&drawn(noise, of_deck, decks, &mut rng)));
            for ((held, (_, interval)), truth) in held.iter_mut().zip(found).zip(truth) {
                *held += usize::from(interval.is_some_and(|i| i.low <= truth && truth <= i.high));
            }
        }
        held
    };
    let all: Vec<[usize; MEASURES.len()]> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("no draw panics")).collect()
    });
    std::array::from_fn(|at| all.iter().map(|held| held[at]).sum::<usize>() as f64 / data_sets as f64)
}
