//! How rare a statistic is, from no more re-labellings than that takes.
//!
//! Re-labellings are drawn one after the other, and of each is noted whether its statistic is at least the observed one. It ends at
//! the first of three points, whichever comes first:
//!
//! * it was reached often enough to be known well, and then it is not rare (Besag and Clifford 1991);
//! * it was not reached once in a third of the most that are drawn, and then it is rarer than anybody asks;
//! * the most were drawn.
//!
//! Where nothing changed the observed statistic is as likely to have any place among the others, so each end has a known chance (Fay, Kim
//! and Hachey 2007, who order the ends as here), and the p-value that is given is at least the chance of all ends that
//! are as extreme. So looking early is paid for, and a few re-labellings that reach what was seen do not hide a change that is there.

use crate::config::{DriftConfig, EARLY};

/// A statistic that was reached so often is known well enough.
const ENOUGH_REACHED: usize = 10;

/// Of the re-labellings so far, how many reached the observed statistic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    fewest: usize,
    early: usize,
    most: usize,
    drawn: usize,
    count: usize,
}

impl Reached {
    pub(crate) fn new(config: &DriftConfig) -> Self {
        let (fewest, most) = (config.permutations, config.max_permutations.max(config.permutations));
        let early = ((most + 1) / EARLY).saturating_sub(1).max(fewest);
        Self { fewest, early, most, drawn: 0, count: 0 }
    }

    /// Whether no more re-labellings are needed.
    pub(crate) fn is_known(&self) -> bool {
        let is_common = self.drawn >= self.fewest && self.count >= ENOUGH_REACHED;
        is_common || self.is_rarest() || self.drawn >= self.most
    }

    /// Whether it has the least p-value that there is.
    pub(crate) fn is_rarest(&self) -> bool {
        self.drawn >= self.early && self.count == 0
    }

    /// Whether more were drawn than are for every comparison.
    pub(crate) fn went_on(&self) -> bool {
        self.drawn > self.fewest
    }

    /// How many were drawn.
    pub(crate) fn drawn(&self) -> usize {
        self.drawn
    }

    /// Counts one more; what comes after the end does not count.
    pub(crate) fn add(&mut self, is_reached: bool) {
        if !self.is_known() {
            self.drawn += 1;
            self.count += usize::from(is_reached);
        }
    }

    /// The chance of an end as extreme where nothing changed, at most.
    pub(crate) fn p_value(&self) -> f64 {
        (1 + self.count) as f64 / (1 + self.drawn) as f64 + self.of_early_ends()
    }

    /// The chance that it would have ended early, never reached, and have been reached more often than now by now.
    fn of_early_ends(&self) -> f64 {
        if self.drawn <= self.early {
            return 0.0;
        }
        // Each re-labelling is reached with the chance (1 + reached so far) / (2 + drawn so far): an urn of Pólya's.
        let (after, all) = (self.drawn - self.early, self.drawn);
        let more = (0..=self.count).map(|i| after.saturating_sub(i) as f64 / (1 + all - i) as f64);
        more.product::<f64>() / (1 + self.early) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(permutations: usize, max_permutations: usize) -> Reached {
        Reached::new(&DriftConfig { permutations, max_permutations, ..DriftConfig::default() })
    }

    /// Each end with its p-value and its chance where nothing changed, by following every path.
    fn ends(plan: Reached) -> Vec<(f64, f64)> {
        let (mut ends, mut open) = (Vec::new(), vec![(plan, 1.0)]);
        while !open.is_empty() {
            let mut next: Vec<(Reached, f64)> = Vec::new();
            for (at, chance) in open {
                if at.is_known() {
                    ends.push((at.p_value(), chance));
                    continue;
                }
                let up = (1 + at.count) as f64 / (2 + at.drawn) as f64;
                for (is_reached, share) in [(false, 1.0 - up), (true, up)] {
                    let mut to = at;
                    to.add(is_reached);
                    match next.iter_mut().find(|(other, _)| other.count == to.count) {
                        Some((_, sum)) => *sum += chance * share,
                        None => next.push((to, chance * share)),
                    }
                }
            }
            open = next;
        }
        ends
    }

    #[test]
    fn where_nothing_changed_no_p_value_is_met_more_often_than_it_says() {
        for (fewest, most) in [(9, 9), (9, 299), (19, 60), (99, 599), (30, 1999)] {
            let ends = ends(plan(fewest, most));
            pq_testing::assert_close(&[ends.iter().map(|(_, chance)| chance).sum::<f64>()], &[1.0], 1e-9);
            for (p, _) in &ends {
                let level: f64 = ends.iter().filter(|(other, _)| other <= p).map(|(_, chance)| chance).sum();
                assert!(level <= p * (1.0 + 1e-9), "{fewest} to {most}: {level} at a p-value of {p}");
                // What is told is not much more than what is true.
                assert!(*p <= 1.35 * level + 1.0 / fewest as f64, "{fewest} to {most}: {level} at {p}");
            }
        }
    }

    #[test]
    fn it_ends_where_enough_is_known() {
        let run = |plan: Reached, is_reached: fn(usize) -> bool| {
            let mut at = plan;
            (0..2000).for_each(|draw| at.add(is_reached(draw)));
            (at.drawn, at.count, at.p_value())
        };
        assert_eq!(run(plan(99, 1199), |_| false), (399, 0, 1.0 / 400.0));
        assert_eq!(run(plan(99, 1199), |draw| draw % 2 == 1), (99, 49, 0.5));
        assert_eq!(run(plan(99, 1199), |draw| draw % 40 == 0), (361, 10, 11.0 / 362.0));
        // Never often enough, and not never: the most are drawn, and the early look is paid for.
        let (drawn, reached, p) = run(plan(99, 1199), |draw| draw == 200);
        assert_eq!((drawn, reached), (1199, 1));
        pq_testing::assert_close(&[p], &[2.0 / 1200.0 + 800.0 / 1200.0 * (799.0 / 1199.0) / 400.0], 1e-12);
        // As many as for every comparison: no look is early.
        assert_eq!(run(plan(199, 199), |_| false), (199, 0, 1.0 / 200.0));
    }

    #[test]
    fn a_few_that_reach_it_do_not_hide_what_is_rare() {
        let config = crate::MonitoringConfig::default();
        let level = config.triggers.yearly_alpha * crate::Share::DRIFT / crate::LOOKS_A_YEAR;
        let with = |reached: usize| {
            let mut at = Reached::new(&config.drift);
            (0..=config.drift.max_permutations).for_each(|draw| at.add(draw < reached));
            at.p_value()
        };
        // Features and vision features share what may be spent, and of the latter two tests.
        assert!(2.0 * with(9) <= level && 4.0 * with(4) <= level && 4.0 * with(0) <= level);
        assert!(2.0 * with(10) > level);
    }
}
