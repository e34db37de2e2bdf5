//! Two tests of decks under the same re-labellings: the discrepancy of their vectors, and how well a classifier tells them apart.

use crate::DriftConfig;
use crate::classifier::Design;
use crate::mmd::Prepared;
use crate::reached::Reached;

/// Re-labellings that are drawn before they are computed, by two threads.
const ROUND: usize = 256;
/// Equal but for rounding.
const ROUNDING: f64 = 1e-12;

/// Both tests of decks, the first so many of an order recent.
pub(crate) struct Pair<'a> {
    pub(crate) kernel: &'a Prepared,
    pub(crate) design: &'a Design,
    pub(crate) recent: usize,
    pub(crate) observed: [f64; 2],
    pub(crate) order: Vec<usize>,
    pub(crate) rng: fastrand::Rng,
}

impl Pair<'_> {
    /// So many random labellings.
    fn labellings(&mut self, count: usize) -> Vec<Vec<usize>> {
        let mut next = || {
            self.rng.shuffle(&mut self.order);
            self.order.clone()
        };
        (0..count).map(|_| next()).collect()
    }

    /// The statistics of a test for these labellings.
    fn of(&self, test: usize, orders: &[Vec<usize>]) -> Vec<f64> {
        if test == 0 {
            let sides: Vec<Vec<usize>> = orders.iter().map(|order| order[..self.recent].to_vec()).collect();
            self.kernel.discrepancies(&sides)
        } else {
            areas(self.design, orders, self.recent)
        }
    }

    /// Re-labels the decks at random, so many times.
    pub(crate) fn both(&mut self, count: usize) -> Drawn {
        let orders = self.labellings(count);
        Drawn { found: [self.of(0, &orders), self.of(1, &orders)] }
    }

    /// Goes on where one of the two is too rare to be known from these, as [`crate::decks::Decks::significance`] does; else there is
    /// nothing to be found.
    pub(crate) fn go_on(&mut self, drawn: &Drawn, config: &DriftConfig) -> Option<[Reached; 2]> {
        let mut known = [Reached::new(config); 2];
        for (test, known) in known.iter_mut().enumerate() {
            drawn.found[test].iter().for_each(|found| known.add(*found >= self.observed[test] - ROUNDING));
        }
        for test in 0..2 {
            // Nothing is rarer than the rarest.
            while !known.iter().any(Reached::is_rarest) && !known[test].is_known() {
                let orders = self.labellings(ROUND);
                let found = self.of(test, &orders);
                for found in found {
                    known[test].add(found >= self.observed[test] - ROUNDING);
                }
            }
        }
        known.iter().any(Reached::went_on).then_some(known)
    }
}

/// The areas of these labellings, by two threads.
fn areas(design: &Design, orders: &[Vec<usize>], recent: usize) -> Vec<f64> {
    let all = |orders: &[Vec<usize>]| orders.iter().map(|order| design.auc(order, recent)).collect();
    let (first, second) = orders.split_at(orders.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| -> Vec<f64> { all(second) });
        let mut found: Vec<f64> = all(first);
        // A thread that panicked left nothing; it is computed here.
        found.extend(other.join().unwrap_or_else(|_| all(second)));
        found
    })
}

/// The statistics of the labellings that were drawn.
pub(crate) struct Drawn {
    found: [Vec<f64>; 2],
}

impl Drawn {
    /// How often each was at least as large as observed.
    fn reached(&self, observed: [f64; 2]) -> [usize; 2] {
        [0, 1]
            .map(|at: usize| self.found[at].iter().filter(|found| **found >= observed[at] - ROUNDING).count())
    }

    pub(crate) fn p_values(&self, observed: [f64; 2]) -> [f64; 2] {
        self.reached(observed).map(|reached| (1 + reached) as f64 / (1 + self.found[0].len()) as f64)
    }

    /// The chance that the less likely of the two is as unlikely as observed: of every labelling both p-values are known from the others.
    pub(crate) fn either(&self, observed: [f64; 2]) -> f64 {
        let total = (1 + self.found[0].len()) as f64;
        let least = self.p_values(observed).into_iter().fold(1.0, f64::min);
        let ranks = [0, 1].map(|at: usize| {
            let all: Vec<f64> = self.found[at].iter().copied().chain([observed[at]]).collect();
            let sorted = statistics::sorted(&all);
            let at_least =
                |value: &f64| all.len() - sorted.partition_point(|other| *other < value - ROUNDING);
            self.found[at].iter().map(|value| at_least(value) as f64 / total).collect::<Vec<f64>>()
        });
        let as_unlikely = ranks[0].iter().zip(&ranks[1]).filter(|(a, b)| a.min(**b) <= least + ROUNDING);
        (1 + as_unlikely.count()) as f64 / total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_likely_of_two_tests_pays_for_both() {
        // Of the labellings one in ten is as unlikely by the first and another one in ten by the second.
        let first = (1..10).map(f64::from).collect();
        let second = [9, 8, 1, 2, 3, 4, 5, 6, 7].map(f64::from).to_vec();
        let drawn = Drawn { found: [first, second] };
        let observed = [8.5, 0.0];
        assert_eq!(drawn.reached(observed), [1, 9]);
        pq_testing::assert_close(&drawn.p_values(observed), &[0.2, 1.0], 1e-12);
        // 9 and the observation itself are at least as large as 8.5 in the first; 9 and 8 rank so in the second.
        pq_testing::assert_close(&[drawn.either(observed)], &[0.4], 1e-12);
    }
}
