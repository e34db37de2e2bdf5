use slide_data::Score;
use statistics::{Jackknife, delete_one};

use crate::measures::{BinSums, CALIBRATION_BINS, calibration_bin, calibration_error};
use crate::ranks::{Ranked, weighted_kendall, weighted_spearman};
use crate::{Confusion, Measures};

/// One score of one criterion of one slide beside the people's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rating {
    /// The slide's place among the evaluated ones.
    pub(crate) slide: usize,
    /// The group's place among all groups.
    pub(crate) group: usize,
    pub(crate) actual: Score,
    pub(crate) predicted: Score,
    pub(crate) expected: f64,
    /// Ranked probability score against the raters.
    pub(crate) rps: f64,
    /// Probability of the most probable score.
    pub(crate) confidence: f64,
    /// Whether the most probable score is the people's.
    pub(crate) is_correct: bool,
}

/// Ratings prepared for measuring with and without each of their groups.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) ratings: Vec<Rating>,
    /// The group of each rating, numbered among those that have one.
    local_groups: Vec<usize>,
    pub(crate) groups: usize,
    pub(crate) slides: usize,
    expected: Ranked,
    actual: Ranked,
    scores: Vec<Score>,
}

/// What a pool measures, on all of it and without each group, in the order of [`Measures::NAMES`].
pub(crate) type Measured = Vec<Option<Jackknife>>;

impl Pool {
    pub(crate) fn new(ratings: Vec<Rating>) -> Self {
        let expected: Vec<f64> = ratings.iter().map(|rating| rating.expected).collect();
        let actual: Vec<f64> = ratings.iter().map(|rating| f64::from(rating.actual.get())).collect();
        let (local_groups, groups) = numbered(ratings.iter().map(|rating| rating.group));
        let (_, slides) = numbered(ratings.iter().map(|rating| rating.slide));
        Self {
            local_groups,
            groups,
            slides,
            expected: Ranked::new(&expected),
            actual: Ranked::new(&actual),
            scores: ratings.iter().map(|rating| rating.actual).collect(),
            ratings,
        }
    }

    /// The measures on all ratings.
    pub(crate) fn measures(&self) -> Measures {
        self.measure(&vec![1.0; self.groups])
    }

    pub(crate) fn measured(&self) -> Measured {
        delete_one(self.groups, |weights| self.measure(weights).values().to_vec())
    }

    /// The measures where local group `g` is there `group_weights[g]` times.
    fn measure(&self, group_weights: &[f64]) -> Measures {
        let weights: Vec<f64> = self.local_groups.iter().map(|&group| group_weights[group]).collect();
        let mut bins = [BinSums::default(); CALIBRATION_BINS];
        let mut confusion = Confusion::default();
        let (mut rps, mut total) = (0.0, 0.0);
        for (rating, &weight) in self.ratings.iter().zip(&weights) {
            confusion.add(rating.actual, rating.predicted, weight);
            bins[calibration_bin(rating.confidence)].add(rating.confidence, rating.is_correct, weight);
            rps += weight * rating.rps;
            total += weight;
        }
        Measures {
            rps: (total > 0.0).then(|| rps / total),
            spearman: weighted_spearman(&self.expected, &self.actual, &weights),
            kendall: weighted_kendall(&self.expected, &self.scores, &weights),
            ece: calibration_error(&bins),
            ..Measures::of_confusion(&confusion)
        }
    }
}

/// Numbers values by the order of their size, without gaps; and how many different ones there are.
fn numbered(values: impl Iterator<Item = usize> + Clone) -> (Vec<usize>, usize) {
    let mut distinct: Vec<usize> = values.clone().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let place = |value: usize| distinct.binary_search(&value).unwrap_or_default();
    (values.map(place).collect(), distinct.len())
}
