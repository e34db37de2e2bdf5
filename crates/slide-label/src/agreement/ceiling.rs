use std::collections::BTreeMap;

use serde::Serialize;
use slide_data::Score;
use slide_data::ceiling::reachable;

use super::RatingMatrix;
use crate::consensus::median;

/// What the raters' noise leaves to reach on one criterion.
///
/// Each score is taken as a hidden quality plus normal noise, rounded and cut to 1 to 5. The noise and the spread of qualities are
/// those under which the ratings are most likely; the ceiling is what a model that knows every hidden quality would score against
/// the median of `raters_per_label` people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceiling {
    /// The criterion's key.
    pub criterion: String,
    /// The raters' noise in points (standard deviation; differences in severity are part of it).
    pub noise: f64,
    /// How many people stand behind a label, as assumed (the mean over the slides, rounded).
    pub raters_per_label: usize,
    /// The best reachable share within one point of the label.
    pub within_one: f64,
    /// The best reachable share of equal scores.
    pub exact: f64,
    /// The smallest reachable mean absolute error, the prediction being any number.
    pub mae: f64,
    /// How often a person is within one point of the median of the others: what people themselves reach.
    pub person_within_one: f64,
    /// The mean distance of a person from the median of the others.
    pub person_mae: f64,
}

type Counts = [u32; Score::LEVELS];

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

fn of_criterion(matrix: &RatingMatrix, criterion: usize) -> Option<Ceiling> {
    let mut patterns: BTreeMap<Counts, f64> = BTreeMap::new();
    for slide in 0..matrix.slides().len() {
        *patterns.entry(matrix.counts(slide, criterion)).or_default() += 1.0;
    }
    patterns.remove(&Counts::default());
    let slides = 0..matrix.slides().len();
    let found = reachable(slides.map(|slide| matrix.counts(slide, criterion)))?;
    let (person_within_one, person_mae) = person_against_others(&patterns);
    Some(Ceiling {
        criterion: matrix.criteria()[criterion].clone(),
        noise: found.noise,
        raters_per_label: found.raters_per_label,
        within_one: found.within_one,
        exact: found.exact,
        mae: found.mae,
        person_within_one,
        person_mae,
    })
}

/// How each person stands to the median of the others: the share within one point, and the mean distance.
fn person_against_others(patterns: &BTreeMap<Counts, f64>) -> (f64, f64) {
    let (mut total, mut near, mut distance) = (0.0, 0.0, 0.0);
    for (counts, times) in patterns {
        let codes: Vec<u8> = (1..=5u8)
            .zip(counts)
            .flat_map(|(code, &count)| std::iter::repeat_n(code, count as usize))
            .collect();
        if codes.len() < 2 {
            continue;
        }
        for index in 0..codes.len() {
            let mut others = codes.clone();
            let own = others.remove(index);
            let Some(Some(score)) = median(&others) else { continue };
            let apart = f64::from(own.abs_diff(score.get()));
            total += times;
            distance += times * apart;
            near += if apart <= 1.0 { *times } else { 0.0 };
        }
    }
    (near / total, distance / total)
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
        assert!((ceiling.noise - NOISE).abs() <= 0.1, "{ceiling:?}");
        assert!((ceiling.within_one - near).abs() < 0.015, "{ceiling:?}, simulated {near}");
        assert!((ceiling.mae - error).abs() < 0.05, "{ceiling:?}, simulated {error}");
        assert!(ceiling.person_within_one < ceiling.within_one && ceiling.raters_per_label == 3);
    }
}
