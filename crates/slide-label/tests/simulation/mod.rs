//! Simulated raters whose truth is known: how well labels, agreement and ceilings find it.
#![allow(dead_code, reason = "the bench and the tests each use their own part")]

use fastrand::Rng;
use slide_data::{Answer, Score, Tally};
use slide_label::agreement::{
    AgreementOptions, RatingMatrix, agreement, human_ceiling, severity, shrunk_severity,
};

const CRITERIA: usize = 5;

/// Who rates which slide.
#[derive(Debug, Clone, Copy)]
pub enum Plan {
    /// So many people drawn anew for each slide.
    Drawn(usize),
    /// Always the same two together.
    FixedPairs,
    /// Everybody the first ten slides, two people each of the others.
    Calibrated,
    /// One to three people, drawn anew for each slide.
    Unequal,
}

/// One design of a project.
#[derive(Debug, Clone, Copy)]
pub struct Design {
    pub name: &'static str,
    pub slides: usize,
    pub raters: usize,
    pub plan: Plan,
    /// Standard deviation between raters, in points, of what all criteria share, and of each criterion's own.
    pub severity: (f64, f64),
    /// Whether the first rater gives any score.
    pub has_guesser: bool,
}

const fn design(
    name: &'static str,
    slides: usize,
    raters: usize,
    plan: Plan,
    severity: (f64, f64),
    has_guesser: bool,
) -> Design {
    Design { name, slides, raters, plan, severity, has_guesser }
}

/// Small and large teams, severe and alike ones, dense and thin plans.
pub const DESIGNS: [Design; 12] = [
    design("200 slides, 6 raters, 2 each, severity .5", 200, 6, Plan::Drawn(2), (0.5, 0.0), false),
    design("200 slides, 6 raters, 2 each, no severity", 200, 6, Plan::Drawn(2), (0.0, 0.0), false),
    design("100 slides, 10 raters, 3 each, severity .5", 100, 10, Plan::Drawn(3), (0.5, 0.0), false),
    design("40 slides, 10 raters, 2 each, severity .3", 40, 10, Plan::Drawn(2), (0.3, 0.0), false),
    design("20 slides, 10 raters, 2 each, severity .3", 20, 10, Plan::Drawn(2), (0.3, 0.0), false),
    design("20 slides, 10 raters, 2 each, no severity", 20, 10, Plan::Drawn(2), (0.0, 0.0), false),
    design("100 slides, 10 raters, 3 each, by criterion .5", 100, 10, Plan::Drawn(3), (0.0, 0.5), false),
    design("20 slides, 10 raters, 2 each, by criterion .3", 20, 10, Plan::Drawn(2), (0.0, 0.3), false),
    design("60 slides, 8 raters in fixed pairs, severity .5", 60, 8, Plan::FixedPairs, (0.5, 0.0), false),
    design("200 slides, 10 raters, calibrated, .4 and .2", 200, 10, Plan::Calibrated, (0.4, 0.2), false),
    design("100 slides, 6 raters, 1 to 3 each, severity .5", 100, 6, Plan::Unequal, (0.5, 0.0), false),
    design("200 slides, 6 raters, one guessing, severity .5", 200, 6, Plan::Drawn(2), (0.5, 0.0), true),
];

/// A draw from the standard normal (Box and Muller).
pub fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

fn score(value: f64) -> u8 {
    value.round().clamp(1.0, 5.0) as u8
}

/// Ratings, and the true score of each slide and criterion.
pub struct Drawn {
    pub matrix: RatingMatrix,
    ratings: Vec<Vec<(u32, [u8; CRITERIA])>>,
    truth: Vec<[u8; CRITERIA]>,
}

fn raters_of(design: &Design, slide: usize, rng: &mut Rng) -> Vec<u32> {
    let mut all: Vec<u32> = (0..design.raters as u32).collect();
    rng.shuffle(&mut all);
    let count = match design.plan {
        Plan::FixedPairs => {
            let first = 2 * (slide % (design.raters / 2)) as u32;
            return vec![first, first + 1];
        }
        Plan::Drawn(count) => count,
        Plan::Calibrated => {
            if slide < 10 {
                design.raters
            } else {
                2
            }
        }
        Plan::Unequal => 1 + slide % 3,
    };
    all.truncate(count);
    all.sort_unstable();
    all
}

/// Draws a project. Noise has a part that all criteria of a rating share: people like a slide or do not.
pub fn draw(design: &Design, rng: &mut Rng) -> Drawn {
    let names = (0..design.raters).map(|rater| format!("r{rater:02}")).collect();
    let mut matrix = RatingMatrix::new((0..CRITERIA).map(|c| format!("c{c}")).collect(), names);
    let (shared, own) = design.severity;
    let leniency: Vec<[f64; CRITERIA]> = (0..design.raters)
        .map(|_| {
            let of_rater = shared * normal(rng);
            std::array::from_fn(|_| of_rater + own * normal(rng))
        })
        .collect();
    let (mut ratings, mut truth) = (Vec::new(), Vec::new());
    for slide in 0..design.slides {
        let of_slide = 3.0 + 0.6 * normal(rng);
        let quality: [f64; CRITERIA] = std::array::from_fn(|_| of_slide + 0.6 * normal(rng));
        let raters = raters_of(design, slide, rng);
        let mut rate = |rater: u32| {
            let liking = 0.3 * normal(rng);
            let codes = std::array::from_fn(|c| {
                if design.has_guesser && rater == 0 {
                    return rng.u8(1..=5);
                }
                score(quality[c] + leniency[rater as usize][c] + liking + 0.5 * normal(rng))
            });
            (rater, codes)
        };
        let given: Vec<_> = raters.into_iter().map(&mut rate).collect();
        matrix.push(&format!("s{slide:04}"), slide as u32 / 10, given.iter().map(|(r, c)| (*r, &c[..])));
        truth.push(quality.map(score));
        ratings.push(given);
    }
    Drawn { matrix, ratings, truth }
}

impl Drawn {
    /// The share of labels that equal the truth: by the median, by the mean after the whole severity is taken out, and by the
    /// rule, which takes out what is likely of it.
    pub fn correct(&self) -> [f64; 3] {
        let whole: Vec<Vec<f64>> = (0..CRITERIA).map(|c| severity(&self.matrix, Some(c))).collect();
        let shrunk = shrunk_severity(&self.matrix);
        let mut hits = [0.0; 3];
        for (given, truth) in self.ratings.iter().zip(&self.truth) {
            for criterion in 0..CRITERIA {
                let answers = || given.iter().map(|(r, codes)| (*r as usize, answer(codes[criterion])));
                let corrected = |severities: &[Vec<f64>]| {
                    Tally::severity_corrected(answers().map(|(r, a)| (a, severities[criterion][r])))
                };
                let rules = [Tally::of(answers().map(|(_, a)| a)), corrected(&whole), corrected(&shrunk)];
                for (hits, tally) in hits.iter_mut().zip(rules) {
                    let is_true = tally.target().score().map(Score::get) == Some(truth[criterion]);
                    *hits += f64::from(u8::from(is_true));
                }
            }
        }
        hits.map(|hits| hits / (self.truth.len() * CRITERIA) as f64)
    }
}

fn answer(code: u8) -> Answer {
    Score::new(code).map_or(Answer::NotApplicable, Answer::Score)
}

/// The mean shares of [`Drawn::correct`] over so many draws.
pub fn consensus(design: &Design, repeats: u32, seed: u64) -> [f64; 3] {
    let mut rng = Rng::with_seed(seed);
    let mut sum = [0.0; 3];
    for _ in 0..repeats {
        let found = draw(design, &mut rng).correct();
        sum.iter_mut().zip(found).for_each(|(sum, found)| *sum += found / f64::from(repeats));
    }
    sum
}

/// The mean agreement within one point that is shown for the slides outside calibration, and the truth: how often two of the raters
/// agree on those very slides. Ten people rate ten slides, two of them each of 190 others. `noises`: on calibration slides, on others.
pub fn shown_agreement(noises: (f64, f64), repeats: u32, seed: u64) -> (f64, f64) {
    let mut rng = Rng::with_seed(seed);
    let names = (0..10).map(|rater| format!("r{rater:02}")).collect::<Vec<_>>();
    let (mut shown, mut truth) = (0.0, 0.0);
    for _ in 0..repeats {
        let mut matrix = RatingMatrix::new(vec!["clarity".to_owned()], names.clone());
        for slide in 0..200u32 {
            let (noise, raters) = if slide < 10 { (noises.0, 10) } else { (noises.1, 2) };
            let quality = 3.0 + 0.9 * normal(&mut rng);
            let mut rate = || [score(quality + noise * normal(&mut rng))];
            let codes: Vec<[u8; 1]> = (0..raters).map(|_| rate()).collect();
            if slide >= 10 {
                let agreeing = (0..100).filter(|_| rate()[0].abs_diff(rate()[0]) <= 1).count();
                truth += agreeing as f64 / 100.0 / 190.0 / f64::from(repeats);
            }
            matrix.push(&format!("s{slide:03}"), slide / 5, (0u32..).zip(codes.iter().map(|c| &c[..])));
        }
        matrix.mark_calibration(|slide| slide < "s010");
        let found = agreement(&matrix, AgreementOptions { resamples: 0, seed: 0 });
        shown += found.criteria[0].within_one.value.unwrap_or(f64::NAN) / f64::from(repeats);
    }
    (shown, truth)
}

/// Of one criterion over so many draws: the mean of noise and reachable share of equal scores, their standard deviations, and how
/// often the interval of the share held what is true over all slides (where there was one).
pub struct Ceilings {
    pub noise: (f64, f64),
    pub exact: (f64, f64),
    pub truth: f64,
    pub covered: f64,
    /// How many draws had an interval.
    pub intervals: usize,
}

/// Qualities from 1 to 5 in steps of a twentieth.
const BINS: usize = 81;

fn bin(quality: f64) -> usize {
    ((quality - 1.0) * 20.0).round() as usize
}

/// How often the label of so many people equals its most frequent value, for each quality: who knows the quality can do no better.
/// Between two scores the label is the even one, so that is not always the rounded quality.
fn best(noise: f64, raters: u32, rng: &mut Rng) -> [f64; BINS] {
    const DRAWS: usize = 1500;
    std::array::from_fn(|bin| {
        let quality = 1.0 + bin as f64 / 20.0;
        let mut counts = [0.0; Score::LEVELS];
        for _ in 0..if raters == 0 { 0 } else { DRAWS } {
            let codes: Vec<u8> = (0..raters).map(|_| score(quality + noise * normal(rng))).collect();
            if let Some(label) = Tally::of(codes.iter().map(|code| answer(*code))).target().score() {
                counts[label.index()] += 1.0 / DRAWS as f64;
            }
        }
        counts.into_iter().fold(0.0, f64::max)
    })
}

/// How many rate the slide of a number.
pub type RatersOf = fn(u32) -> u32;

/// Slides of decks of ten; `raters_of` says how many rate the slide of this number.
pub fn ceilings(noise: f64, slides: u32, raters_of: RatersOf, repeats: u32, seed: u64) -> Ceilings {
    let mut rng = Rng::with_seed(seed);
    let names: Vec<String> = (0..10).map(|rater| format!("r{rater:02}")).collect();
    let most = (0..slides).map(raters_of).max().unwrap_or(1);
    let reachable: Vec<[f64; BINS]> = (0..=most).map(|raters| best(noise, raters, &mut rng)).collect();
    let (mut found, mut hits) = (Vec::new(), 0.0);
    for _ in 0..repeats {
        let mut matrix = RatingMatrix::new(vec!["clarity".to_owned()], names.clone());
        let mut of_deck = 0.0;
        for slide in 0..slides {
            if slide % 10 == 0 {
                of_deck = 0.5 * normal(&mut rng);
            }
            let quality = (3.0 + of_deck + 0.75 * normal(&mut rng)).clamp(1.0, 5.0);
            let codes: Vec<[u8; 1]> =
                (0..raters_of(slide)).map(|_| [score(quality + noise * normal(&mut rng))]).collect();
            hits += reachable[codes.len()][bin(quality)];
            matrix.push(&slide.to_string(), slide / 10, (0u32..).zip(codes.iter().map(|c| &c[..])));
        }
        found.extend(human_ceiling(&matrix));
    }
    let truth = hits / f64::from(slides) / f64::from(repeats);
    let values = |of: fn(&slide_label::agreement::Ceiling) -> Option<f64>| {
        let values: Vec<f64> = found.iter().filter_map(of).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        (mean, (square / (values.len() as f64 - 1.0)).sqrt())
    };
    let intervals: Vec<(f64, f64)> =
        found.iter().filter_map(|ceiling| Some((ceiling.exact.low?, ceiling.exact.high?))).collect();
    let held = intervals.iter().filter(|(low, high)| *low <= truth && truth <= *high).count();
    Ceilings {
        noise: values(|ceiling| ceiling.noise.value),
        exact: values(|ceiling| ceiling.exact.value),
        truth,
        covered: held as f64 / intervals.len() as f64,
        intervals: intervals.len(),
    }
}
