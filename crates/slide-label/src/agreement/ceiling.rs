use std::collections::BTreeMap;

use serde::Serialize;
use slide_data::Score;
use slide_data::ceiling::{Ceiling as Reachable, reachable, reachable_near};
use statistics::{Jackknife, delete_one};

use super::{Estimate, RatingMatrix};
use crate::consensus::median;

/// What the raters' noise leaves to reach on one criterion.
///
/// Each score is taken as a hidden quality plus normal noise, rounded and cut to 1 to 5. The noise and the spread of qualities are
/// those under which the ratings are most likely; the ceiling is what a model that knows every hidden quality would score against
/// the median of each slide's raters. Intervals (95 %) leave out one deck, or one of twenty groups of decks, at a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceiling {
    /// The criterion's key.
    pub criterion: String,
    /// Slides that at least two people scored: what is known of the noise comes from these.
    pub slides: usize,
    /// Whether these slides or their decks are too few to go by; then nothing has an interval.
    pub is_too_few: bool,
    /// The raters' noise in points (standard deviation; differences in severity are part of it).
    pub noise: Estimate,
    /// How many people stand behind a label, as a mean over the slides.
    pub raters_per_label: f64,
    /// The best reachable share within one point of the label.
    pub within_one: Estimate,
    /// The best reachable share of equal scores.
    pub exact: Estimate,
    /// The smallest reachable mean absolute error, the prediction being any number.
    pub mae: Estimate,
    /// How often a person is within one point of the median of the others: what people themselves reach.
    pub person_within_one: f64,
    /// The mean distance of a person from the median of the others.
    pub person_mae: f64,
}

type Counts = [u32; Score::LEVELS];

/// With fewer slides that two people scored, noise and ceiling are mostly chance: of thirty, `benches/simulations.rs` finds the
/// noise off by a tenth of a point and more.
const FEWEST_SLIDES: usize = 40;
/// With fewer decks an interval says little.
const FEWEST_DECKS: usize = 5;
/// Groups of decks that are left out one at a time.
const BLOCKS: usize = 20;
const CONFIDENCE: f64 = 0.95;

/// The ceiling of each criterion that at least two people scored on some slide.
pub fn human_ceiling(matrix: &RatingMatrix) -> Vec<Ceiling> {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..matrix.criteria().len())
            .map(|criterion| scope.spawn(move || of_criterion(matrix, criterion)))
            .collect();
        running
            .into_iter()
            .filter_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// The counts of the rated slides, by deck.
fn counts_by_deck(matrix: &RatingMatrix, criterion: usize) -> BTreeMap<usize, Vec<Counts>> {
    let mut decks: BTreeMap<usize, Vec<Counts>> = BTreeMap::new();
    for slide in 0..matrix.slides().len() {
        let counts = matrix.counts(slide, criterion);
        if counts != Counts::default() {
            decks.entry(matrix.cluster_of(slide)).or_default().push(counts);
        }
    }
    decks
}

fn of_criterion(matrix: &RatingMatrix, criterion: usize) -> Option<Ceiling> {
    let decks = counts_by_deck(matrix, criterion);
    let has_two = |counts: &&Counts| counts.iter().sum::<u32>() >= 2;
    let all: Vec<Counts> = decks.values().flatten().copied().collect();
    let slides = all.iter().filter(has_two).count();
    let informative = decks.values().filter(|counts| counts.iter().any(|counts| has_two(&counts))).count();
    let is_too_few = slides < FEWEST_SLIDES || informative < FEWEST_DECKS;
    let found = reachable(all.iter().copied())?;
    let blocks = blocks(decks.into_values());
    let [noise, within_one, exact, mae] = estimates(&found, if is_too_few { &[] } else { &blocks });
    let (person_within_one, person_mae) = person_against_others(&all);
    Some(Ceiling {
        criterion: matrix.criteria()[criterion].clone(),
        slides,
        is_too_few,
        noise,
        raters_per_label: found.raters_per_label,
        within_one,
        exact,
        mae,
        person_within_one,
        person_mae,
    })
}

/// The decks dealt out to at most twenty groups.
fn blocks(decks: impl ExactSizeIterator<Item = Vec<Counts>>) -> Vec<Vec<Counts>> {
    let mut blocks: Vec<Vec<Counts>> = vec![Vec::new(); decks.len().min(BLOCKS)];
    for (index, deck) in decks.enumerate() {
        blocks[index % BLOCKS].extend(deck);
    }
    blocks
}

/// Noise, share within one point, share of equal scores and mean error, with intervals where there are blocks to leave out.
fn estimates(found: &Reachable, blocks: &[Vec<Counts>]) -> [Estimate; 4] {
    let values = |of: &Reachable| [of.noise, of.within_one, of.exact, of.mae].map(Some).to_vec();
    let left_out = delete_one(blocks.len(), |weights| {
        if weights.iter().all(|weight| *weight > 0.0) {
            return values(found);
        }
        let kept = blocks.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
        let near = reachable_near(found.noise, kept.flat_map(|(counts, _)| counts.iter().copied()));
        near.map_or_else(|| vec![None; 4], |near| values(&near))
    });
    let whole = [found.noise, found.within_one, found.exact, found.mae];
    let most = [f64::INFINITY, 1.0, 1.0, f64::INFINITY];
    std::array::from_fn(|index| {
        let interval = left_out.get(index).and_then(Option::as_ref).and_then(interval);
        let (low, high) =
            interval.map_or((None, None), |(low, high)| (Some(low.max(0.0)), Some(high.min(most[index]))));
        Estimate { value: Some(whole[index]), low, high }
    })
}

fn interval(jackknife: &Jackknife) -> Option<(f64, f64)> {
    jackknife.interval(CONFIDENCE)
}

/// How each person stands to the median of the others: the share within one point, and the mean distance.
fn person_against_others(slides: &[Counts]) -> (f64, f64) {
    let mut patterns: BTreeMap<Counts, f64> = BTreeMap::new();
    for counts in slides {
        *patterns.entry(*counts).or_default() += 1.0;
    }
    let (mut total, mut near, mut distance) = (0.0, 0.0, 0.0);
    for (counts, times) in &patterns {
        for apart in distances_to_others(counts) {
            total += times;
            distance += times * apart;
            near += if apart <= 1.0 { *times } else { 0.0 };
        }
    }
    (near / total, distance / total)
}

/// How far each score of a slide lies from the median of its other scores; of a single score nothing.
fn distances_to_others(counts: &Counts) -> Vec<f64> {
    let codes: Vec<u8> =
        (1..=5u8).zip(counts).flat_map(|(code, &count)| std::iter::repeat_n(code, count as usize)).collect();
    if codes.len() < 2 {
        return Vec::new();
    }
    let of = |index: usize| {
        let mut others = codes.clone();
        let own = others.remove(index);
        let score = median(&others)??;
        Some(f64::from(own.abs_diff(score.get())))
    };
    (0..codes.len()).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A draw from the standard normal (Box and Muller).
    fn normal(rng: &mut fastrand::Rng) -> f64 {
        (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
    }

    #[test]
    fn noise_and_ceiling_of_simulated_raters_are_found() {
        const NOISE: f64 = 0.7;
        let mut rng = fastrand::Rng::with_seed(7);
        let raters: Vec<String> = (0..3).map(|i| format!("r{i}")).collect();
        let mut matrix = RatingMatrix::new(vec!["clarity".to_owned()], raters);
        let (mut near, mut error) = (0.0, 0.0);
        let slides = 4000;
        for slide in 0..slides {
            let hidden = 1.5 + 3.0 * rng.f64();
            let mut give = || [(hidden + NOISE * normal(&mut rng)).round().clamp(1.0, 5.0) as u8];
            let given = [give(), give(), give()];
            let label = median(&given.concat()).flatten().unwrap().get();
            let apart = (f64::from(label) - hidden.round()).abs();
            near += f64::from(u8::from(apart <= 1.0)) / f64::from(slides);
            error += apart / f64::from(slides);
            matrix.push(&slide.to_string(), slide as u32, (0..3).zip(given.iter().map(|g| &g[..])));
        }
        let ceiling = &human_ceiling(&matrix)[0];
        // 4,000 slides leave about one hundredth on a share and a few hundredths on the noise.
        let is_near = |estimate: Estimate, truth: f64, tolerance: f64| {
            let [value, low, high] = [estimate.value, estimate.low, estimate.high].map(Option::unwrap);
            (value - truth).abs() < tolerance && low <= value && value <= high && high - low < 4.0 * tolerance
        };
        assert!(is_near(ceiling.noise, NOISE, 0.1), "{ceiling:?}");
        assert!(is_near(ceiling.within_one, near, 0.015), "{ceiling:?}, simulated {near}");
        assert!(is_near(ceiling.mae, error, 0.05), "{ceiling:?}, simulated {error}");
        assert!(Some(ceiling.person_within_one) < ceiling.within_one.value);
        assert!((ceiling.raters_per_label - 3.0).abs() < 1e-12 && !ceiling.is_too_few);
    }

    #[test]
    fn few_slides_or_few_decks_are_said_and_have_no_interval() {
        let of = |slides: u32, decks: u32| {
            let mut matrix =
                RatingMatrix::new(vec!["clarity".to_owned()], vec!["a".to_owned(), "b".to_owned()]);
            for slide in 0..slides {
                let (a, b) = ([1 + (slide % 5) as u8], [1 + (slide * 3 % 5) as u8]);
                matrix.push(&slide.to_string(), slide % decks, [(0, &a[..]), (1, &b[..])].into_iter());
            }
            human_ceiling(&matrix).remove(0)
        };
        for few in [of(30, 30), of(200, 2)] {
            assert!(few.is_too_few && few.noise.low.is_none() && few.exact.high.is_none(), "{few:?}");
        }
        let enough = of(200, 40);
        assert!(!enough.is_too_few && enough.slides == 200 && enough.exact.low.is_some(), "{enough:?}");
    }
}
