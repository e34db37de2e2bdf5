//! The raters that a gate must not release, and those that it must.

#![allow(dead_code, unreachable_pub, reason = "tests and benches use their part")]

use std::collections::BTreeMap;

use fastrand::Rng;
use jiff::Timestamp;
use project_files::ValidationResults;
use slide_data::{Label, Rubric};
use vlm_eval::{EvaluationInput, EvaluationOptions, Outcome, evaluate};

use crate::simulation::{Design, RARE, Seen, World, around, keys, model, normal, sure};

/// Whether a release is right.
#[derive(Clone, Copy, PartialEq)]
pub enum Release {
    /// The model is bad, or too little is known of it.
    Never,
    /// The model is good and its labels are not.
    Sometimes,
    /// The model is good, and the test set can show it.
    Mostly,
}

/// A kind of rater with the test set that it is tried on.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub release: Release,
    decks: usize,
    slides: usize,
    design: fn(&mut Design),
    /// Changes the labels after they were drawn.
    labels: fn(&mut World),
    rate: fn(&mut World, &mut Rng),
}

const USUAL: Kind = Kind {
    name: "",
    release: Release::Never,
    decks: 20,
    slides: 10,
    design: |_| {},
    labels: |_| {},
    rate: |world, rng| world.rate(&mut good(), rng),
};

/// As good as the demo's model: off by about 0.45 points, within one 98 %, kappa 0.8.
fn good() -> impl FnMut(&Seen, &mut Rng) -> [f64; 5] {
    model(0.45, 0.2)
}

/// Good but on one criterion.
fn but_on(criterion: usize, world: &mut World, rng: &mut Rng, bad: fn(&Seen, &mut Rng) -> [f64; 5]) {
    let mut good = good();
    world.rate(
        &mut |seen, rng| if seen.criterion == criterion { bad(seen, rng) } else { good(seen, rng) },
        rng,
    );
}

fn inverted(seen: &Seen, _: &mut Rng) -> [f64; 5] {
    around(6.0 - seen.quality, 0.7)
}

fn marginal(rng: &mut Rng) -> [f64; 5] {
    sure((3.1 + 1.25 * normal(rng)).round().clamp(1.0, 5.0) as u8)
}

pub const RATERS: &[Kind] = &[
    Kind { name: "always 3", rate: |world, rng| world.rate(&mut |_, _| sure(3), rng), ..USUAL },
    Kind {
        name: "every score as probable as the others",
        rate: |world, rng| world.rate(&mut |_, _| [0.2; 5], rng),
        ..USUAL
    },
    Kind { name: "random", rate: |world, rng| world.rate(&mut |_, rng| sure(rng.u8(1..=5)), rng), ..USUAL },
    Kind {
        name: "good, clarity at random",
        rate: |world, rng| but_on(0, world, rng, |_, rng| marginal(rng)),
        ..USUAL
    },
    Kind {
        name: "good, clarity always 3",
        rate: |world, rng| but_on(0, world, rng, |_, _| sure(3)),
        ..USUAL
    },
    Kind {
        name: "good, data visualization inverted",
        rate: |world, rng| but_on(RARE, world, rng, inverted),
        ..USUAL
    },
    Kind {
        name: "good, data visualization at random, 8 decks",
        decks: 8,
        rate: |world, rng| but_on(RARE, world, rng, |_, rng| marginal(rng)),
        ..USUAL
    },
    Kind { name: "good, design inverted", rate: |world, rng| but_on(1, world, rng, inverted), ..USUAL },
    Kind {
        name: "always 3 but one right rating, labels near 3",
        design: |design| design.spread = [0.1, 0.3, 0.3],
        rate: |world, rng| {
            let mut is_first = true;
            world.rate(
                &mut |seen, _| match seen.label {
                    Some(label) if label != 3 && std::mem::take(&mut is_first) => sure(label),
                    _ => sure(3),
                },
                rng,
            );
        },
        ..USUAL
    },
    Kind {
        name: "always 3, copies 3 % of the ratings",
        rate: |world, rng| {
            world.rate(&mut |seen, rng| sure(seen.label.filter(|_| rng.f64() < 0.03).unwrap_or(3)), rng);
        },
        ..USUAL
    },
    Kind {
        name: "always 3, copies 3 %, labels near 3",
        design: |design| design.spread = [0.1, 0.3, 0.3],
        rate: |world, rng| {
            world.rate(&mut |seen, rng| sure(seen.label.filter(|_| rng.f64() < 0.03).unwrap_or(3)), rng);
        },
        ..USUAL
    },
    Kind { name: "good, one deck of 40 slides", decks: 1, slides: 40, ..USUAL },
    Kind { name: "good, 2 decks of 5 slides", decks: 2, slides: 5, ..USUAL },
    Kind { name: "good, 5 slides", decks: 5, slides: 1, ..USUAL },
    Kind { name: "good, 1 slide", decks: 1, slides: 1, ..USUAL },
    Kind { name: "good, 4 decks of 15 slides", decks: 4, slides: 15, ..USUAL },
    Kind { name: "good, only clarity is rated", labels: |world| keep_only(world, 0), ..USUAL },
    Kind { name: "good, one rater", design: |design| design.raters = 1, ..USUAL },
    Kind {
        name: "draws from the marginals",
        rate: |world, rng| world.rate(&mut |_, rng| marginal(rng), rng),
        ..USUAL
    },
    Kind {
        name: "draws from the marginals, 5 decks of 6 slides",
        decks: 5,
        slides: 6,
        rate: |world, rng| world.rate(&mut |_, rng| marginal(rng), rng),
        ..USUAL
    },
    Kind { name: "knows only how good a deck is", rate: |world, rng| know_the_deck(world, rng), ..USUAL },
    Kind {
        name: "good, 7 raters who disagree (1.6 points)",
        release: Release::Sometimes,
        design: |design| (design.raters, design.noise) = (7, 1.6),
        ..USUAL
    },
    Kind { name: "good, 8 decks of 10 slides (the demo)", release: Release::Mostly, decks: 8, ..USUAL },
    Kind { name: "good, 12 decks of 10 slides", release: Release::Mostly, decks: 12, ..USUAL },
    Kind { name: "good, 20 decks of 10 slides", release: Release::Mostly, ..USUAL },
    Kind {
        name: "a noisy copy of the people, 8 decks",
        release: Release::Mostly,
        decks: 8,
        rate: |world, rng| world.rate(&mut noisy_copy, rng),
        ..USUAL
    },
];

fn noisy_copy(seen: &Seen, rng: &mut Rng) -> [f64; 5] {
    let label = f64::from(seen.label.unwrap_or(3));
    around((label + 0.5 * normal(rng)).clamp(1.0, 5.0), 0.6)
}

/// The mean quality of a deck, for each of its slides and criteria.
fn know_the_deck(world: &mut World, rng: &mut Rng) {
    let decks = world.deck.last().map_or(0, |last| last + 1);
    let (mut sums, mut counts) = (vec![0.0; decks], vec![0.0; decks]);
    for (quality, deck) in world.quality.iter().zip(&world.deck) {
        sums[*deck] += quality.iter().sum::<f64>();
        counts[*deck] += quality.len() as f64;
    }
    let places: Vec<usize> = world.deck.clone();
    let mut asked = 0;
    world.rate(
        &mut |_, _| {
            let deck = places[asked / crate::simulation::CRITERIA];
            asked += 1;
            around(sums[deck] / counts[deck], 0.7)
        },
        rng,
    );
}

fn keep_only(world: &mut World, criterion: usize) {
    for item in &mut world.items {
        for (c, key) in keys().iter().enumerate().filter(|(c, _)| *c != criterion) {
            let _ = c;
            item.label.scores.insert(key.clone(), None);
            item.label.distribution.remove(key);
        }
    }
}

/// The gate's answer for one draw.
pub fn judge(kind: &Kind, seed: u64) -> ValidationResults {
    let mut rng = Rng::with_seed(seed);
    let mut design = Design::new(kind.decks, kind.slides..=kind.slides);
    (kind.design)(&mut design);
    let mut world = World::draw(&design, &mut rng);
    (kind.labels)(&mut world);
    (kind.rate)(&mut world, &mut rng);
    let train: Vec<Label> = World::draw(&Design { decks: 30, ..design }, &mut rng)
        .items
        .into_iter()
        .map(|item| item.label)
        .collect();
    let inputs: BTreeMap<String, String> = ValidationResults::sample().inputs;
    let input = EvaluationInput {
        rubric: &Rubric::default(),
        items: &world.items,
        train_labels: Some(&train),
        champion: None,
        before: None,
        cheap_baselines: &[],
        overrides: &[],
        model_version: "simulated",
        inputs: &inputs,
        options: EvaluationOptions { reachable: false, ..EvaluationOptions::default() },
        now: Timestamp::UNIX_EPOCH,
    };
    match evaluate(&input) {
        Ok(evaluation) => evaluation.results,
        Err(vlm_eval::Error::Empty { .. }) => ValidationResults::default(),
        Err(error) => unreachable!("what is drawn is valid: {error}"),
    }
}

/// How often a rater passes, is undecided, and fails.
pub fn count(kind: &Kind, draws: usize) -> [usize; 3] {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = |thread: usize| {
        let mut counts = [0; 3];
        for draw in (thread..draws).step_by(threads) {
            counts[match judge(kind, draw as u64).outcome {
                Outcome::Pass => 0,
                Outcome::Undecided => 1,
                Outcome::Fail => 2,
            }] += 1;
        }
        counts
    };
    let all: Vec<[usize; 3]> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("no draw panics")).collect()
    });
    std::array::from_fn(|at| all.iter().map(|counts| counts[at]).sum())
}
