//! Tests that take whole decks for what they are: the things that were drawn.
//!
//! Slides of a deck resemble each other, so a deck is one observation, however many slides it has. Of each feature a deck gives
//! three numbers: the mean rank of its slides among all, and its shares of slides below the first and above the ninth decile. Each
//! is compared between the sides by a t statistic with a deviation of each side's own (studentized, so that sides whose decks differ
//! in size are not taken for different: Janssen 1997, Chung and Romano 2013), shrunk towards the common one where a side has few decks
//! (as Smyth 2004 does). Whole decks are re-labelled at random, all features at once; the largest statistic over all features of
//! each re-labelling corrects for looking at many (Westfall and Young 1993, single step).

use crate::DriftConfig;
use crate::deck_means::{DeckMeans, FUNCTIONS};
use crate::features::{Column, Table};
use crate::reached::Reached;

/// How many decks' worth of evidence the common deviation is in that of a side.
const PRIOR_DECKS: f64 = 5.0;

/// How surprising each column's statistic is where nothing has changed.
#[derive(Debug)]
pub(crate) struct Significance {
    /// For each column the share of re-labellings with at least its statistic.
    pub(crate) p_values: Vec<f64>,
    /// For each column the share of re-labellings in which any column had at least its statistic, times the tests that are looked at
    /// beside these (Bonferroni).
    pub(crate) adjusted: Vec<f64>,
    /// The t statistic from which on an adjusted p-value is at most alpha.
    pub(crate) critical: f64,
    /// How many re-labellings there were.
    pub(crate) permutations: usize,
}

/// Which decks have a feature; many features share one.
#[derive(Debug)]
struct Pattern {
    has: Vec<bool>,
    /// How many have it, and how many of these are recent.
    decks: usize,
    recent: usize,
    /// The features.
    columns: Vec<usize>,
    /// Of each deck the means of all of them and then their squares, so that a side is a sum of rows.
    rows: Vec<f64>,
    totals: Vec<f64>,
}

/// What a re-labelling needs room for.
#[derive(Debug, Default)]
struct Room {
    drawn: Vec<usize>,
    sums: Vec<f64>,
}

/// All columns of a table by decks.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the reference has decks too")]
pub(crate) struct Decks {
    pub(crate) columns: Vec<DeckMeans>,
    patterns: Vec<Pattern>,
    reference_decks: usize,
}

impl Decks {
    pub(crate) fn new(table: &Table) -> Self {
        let mut decks =
            Self { columns: Vec::new(), patterns: Vec::new(), reference_decks: table.reference_decks };
        for (index, column) in table.columns.iter().enumerate() {
            let pattern = decks.pattern(column);
            decks.patterns[pattern].columns.push(index);
            decks.columns.push(DeckMeans::new(column));
        }
        for pattern in &mut decks.patterns {
            pattern.fill(&decks.columns);
        }
        decks
    }

    fn pattern(&mut self, column: &Column) -> usize {
        let known = self.patterns.iter().position(|pattern| pattern.has == column.has);
        known.unwrap_or_else(|| {
            let [reference, recent] = column.decks(self.reference_decks);
            self.patterns.push(Pattern {
                has: column.has.clone(),
                decks: reference + recent,
                recent,
                columns: Vec::new(),
                rows: Vec::new(),
                totals: Vec::new(),
            });
            self.patterns.len() - 1
        })
    }

    /// The squared statistic of each column, for the labelling that calls the first decks of `order` recent: as many as are, among
    /// those that have the feature.
    fn statistics(&self, order: &[usize], room: &mut Room, into: &mut [f64]) {
        for pattern in &self.patterns {
            pattern.statistics(order, room, into);
        }
    }

    /// Re-labels the decks at random, at least `permutations` times. Where columns changed by so much that the yearly budget asks how rare
    /// that is (`is_asked`), it goes on until each of these is [known](Reached::is_known), at most `max_permutations` times. All columns
    /// together are one of `families` tests that share alpha.
    pub(crate) fn significance(
        &self,
        config: &DriftConfig,
        families: f64,
        is_asked: &[bool],
    ) -> Significance {
        let decks = self.patterns.first().map_or(0, |pattern| pattern.has.len());
        let recent_first = (self.reference_decks..decks).chain(0..self.reference_decks);
        let mut order: Vec<usize> = recent_first.collect();
        let mut room = Room::default();
        let mut observed = vec![0.0; self.columns.len()];
        self.statistics(&order, &mut room, &mut observed);
        let least: Vec<f64> = observed.iter().map(|value| value * (1.0 - 1e-9)).collect();
        let mut asked: Vec<Option<Reached>> =
            is_asked.iter().map(|is_asked| is_asked.then(|| Reached::new(config))).collect();
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let (mut reached, mut largest) = (vec![0usize; least.len()], Vec::new());
        let mut current = vec![0.0; least.len()];
        while largest.len() < config.permutations || asked.iter().flatten().any(|asked| !asked.is_known()) {
            rng.shuffle(&mut order);
            self.statistics(&order, &mut room, &mut current);
            let most = current.iter().copied().fold(0.0, f64::max);
            let columns = current.iter().zip(&least).zip(&mut reached).zip(&mut asked);
            for (((value, least), reached), asked) in columns {
                *reached += usize::from(value >= least);
                if let Some(asked) = asked {
                    asked.add(most >= *least);
                }
            }
            largest.push(most);
        }
        let asked: Vec<Option<f64>> = asked.iter().map(|asked| asked.map(|asked| asked.p_value())).collect();
        conclude(&Drawn { least, reached, asked, largest }, config.alpha, families)
    }
}

/// What the re-labellings gave: of each column what counts as reached, how often its own statistic did, and, where it was asked, the
/// p-value of the largest; and of each re-labelling the largest statistic.
struct Drawn {
    least: Vec<f64>,
    reached: Vec<usize>,
    asked: Vec<Option<f64>>,
    largest: Vec<f64>,
}

fn conclude(drawn: &Drawn, alpha: f64, families: f64) -> Significance {
    let largest = statistics::sorted(&drawn.largest);
    let permutations = largest.len();
    let p = |count: usize| (1 + count) as f64 / (1 + permutations) as f64;
    let at_least = |value: f64| permutations - largest.partition_point(|most| *most < value);
    // The (1 - alpha) quantile of the largest statistics, counting the observation itself as one of them.
    let rank = ((1.0 - alpha / families) * (1 + permutations) as f64).ceil() as usize;
    let critical = largest.get(rank.min(permutations).saturating_sub(1));
    let of_any = drawn.least.iter().zip(&drawn.asked);
    let of_any = of_any.map(|(value, asked)| asked.unwrap_or_else(|| p(at_least(*value))));
    Significance {
        p_values: drawn.reached.iter().map(|count| p(*count)).collect(),
        adjusted: of_any.map(|p| (families * p).min(1.0)).collect(),
        critical: critical.map_or(f64::INFINITY, |square| square.sqrt()),
        permutations,
    }
}

impl Pattern {
    /// Numbers of a deck's row: every function of every feature, and their squares.
    fn width(&self) -> usize {
        2 * FUNCTIONS * self.columns.len()
    }

    fn fill(&mut self, columns: &[DeckMeans]) {
        let numbers = self.width() / 2;
        self.totals = vec![0.0; 2 * numbers];
        for deck in 0..self.has.len() {
            let means = self.columns.iter().flat_map(|column| columns[*column].means[deck]);
            let means: Vec<f64> = means.collect();
            self.rows.extend(means.iter().copied().chain(means.iter().map(|mean| mean * mean)));
            if self.has[deck] {
                add(&mut self.totals, &self.rows[deck * 2 * numbers..]);
            }
        }
    }

    /// As [`Decks::statistics`]: of each feature the largest over its functions.
    fn statistics(&self, order: &[usize], room: &mut Room, into: &mut [f64]) {
        // A statistic is the same from both sides: the smaller one is summed.
        let is_recent_small = 2 * self.recent <= self.decks;
        let having = order.iter().copied().filter(|deck| self.has[*deck]);
        room.drawn.clear();
        if is_recent_small {
            room.drawn.extend(having.take(self.recent));
        } else {
            room.drawn.extend(having.skip(self.recent));
        }
        room.sums.clear();
        room.sums.resize(self.width(), 0.0);
        for deck in &room.drawn {
            add(&mut room.sums, &self.rows[deck * self.width()..]);
        }
        let small = room.drawn.len();
        let sides = Sides::new(small as f64, (self.decks - small) as f64);
        let (sums, squares) = room.sums.split_at(self.width() / 2);
        let (all_sums, all_squares) = self.totals.split_at(self.width() / 2);
        for (place, column) in self.columns.iter().enumerate() {
            let of = |function: usize| {
                let at = place * FUNCTIONS + function;
                let (sum, square) = (sums[at], squares[at]);
                sides.squared_t([sum, all_sums[at] - sum], [square, all_squares[at] - square])
            };
            into[*column] = (0..FUNCTIONS).map(of).fold(0.0, f64::max);
        }
    }
}

/// Adds the beginning of a row.
fn add(sums: &mut [f64], row: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += value;
    }
}

/// One side of a comparison: how many numbers, their sum and the sum of their squares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    pub(crate) size: f64,
    pub(crate) sum: f64,
    pub(crate) squares: f64,
}

impl Side {
    /// The sum of squares about the mean.
    fn spread(&self) -> f64 {
        (self.squares - self.sum * self.sum / self.size).max(0.0)
    }
}

/// The variance of the mean of each side, its deviation shrunk towards the common one.
pub(crate) fn variances_of_means(a: &Side, b: &Side) -> [f64; 2] {
    Sides::new(a.size, b.size).variances([a.spread(), b.spread()])
}

/// How many decks two sides have, as what is divided by.
struct Sides {
    is_enough: bool,
    /// One over the size of each.
    of_size: [f64; 2],
    /// One over the degrees of freedom of both.
    of_common: f64,
    /// One over what the deviation of each is divided by, prior and size of the mean included.
    of_variance: [f64; 2],
}

impl Sides {
    fn new(a: f64, b: f64) -> Self {
        Self {
            is_enough: a >= 2.0 && b >= 2.0,
            of_size: [a, b].map(f64::recip),
            of_common: (a + b - 2.0).max(1.0).recip(),
            of_variance: [a, b].map(|size| ((size - 1.0 + PRIOR_DECKS) * size).recip()),
        }
    }

    /// The variance of the mean of each side from the squares about it.
    fn variances(&self, [a, b]: [f64; 2]) -> [f64; 2] {
        let prior = PRIOR_DECKS * (a + b) * self.of_common;
        [(a + prior) * self.of_variance[0], (b + prior) * self.of_variance[1]]
    }

    /// The square of the t statistic from the sums of both sides and of their squares.
    fn squared_t(&self, sums: [f64; 2], squares: [f64; 2]) -> f64 {
        /// What rounding may leave of a variance that is none.
        const NOTHING: f64 = 1e-20;
        if !self.is_enough {
            return 0.0;
        }
        let means = [sums[0] * self.of_size[0], sums[1] * self.of_size[1]];
        let difference = (means[0] - means[1]) * (means[0] - means[1]);
        let spread = |side: usize| (squares[side] - sums[side] * means[side]).max(0.0);
        let [a, b] = self.variances([spread(0), spread(1)]);
        if a + b > NOTHING {
            difference / (a + b)
        } else if difference > NOTHING {
            f64::MAX
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Cell, FeatureGroup};

    fn side(values: &[f64]) -> Side {
        let (sum, squares) = values.iter().fold((0.0, 0.0), |(sum, squares), v| (sum + v, squares + v * v));
        Side { size: values.len() as f64, sum, squares }
    }

    fn squared_t(a: &Side, b: &Side) -> f64 {
        Sides::new(a.size, b.size).squared_t([a.sum, b.sum], [a.squares, b.squares])
    }

    #[derive(serde::Deserialize)]
    struct Reference {
        t: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        a: Vec<f64>,
        b: Vec<f64>,
        squared: f64,
    }

    /// `scipy.stats.ttest_ind`: both sides have the same deviation, so that there is nothing to shrink.
    #[test]
    fn where_both_sides_spread_alike_it_is_students_statistic() {
        let text = include_str!("../tests/reference/statistics.json");
        let cases = serde_json::from_str::<Reference>(text).unwrap().t;
        assert!(cases.len() > 2);
        for Case { a, b, squared } in cases {
            pq_testing::assert_close(&[squared_t(&side(&a), &side(&b))], &[squared], 1e-9);
        }
    }

    /// A column of one slide a deck.
    fn column(values: &[f64]) -> Column {
        let cell = |(deck, value): (usize, &f64)| Cell { value: *value, deck, weight: 1.0, slide: deck };
        let mut cells: Vec<Cell> = values.iter().enumerate().map(cell).collect();
        cells.sort_by(|a, b| a.value.total_cmp(&b.value));
        let has = vec![true; values.len()];
        Column { name: "score.all".to_owned(), group: FeatureGroup::Model, cells, has }
    }

    /// 22 of the 2,118,760 labellings are at least as extreme: those that call five of the seven highest decks recent, and the five lowest.
    /// With a sixth as many re-labellings the one that is to be expected would be one too many.
    #[test]
    fn what_a_few_labellings_reach_is_told_to_be_as_rare_as_it_is() {
        let low = (0..43).map(|deck| f64::from(deck) / 100.0);
        let values: Vec<f64> = low.chain([1.0; 7]).collect();
        let table = Table {
            columns: vec![column(&values)],
            decks: (0..50).map(|deck| deck.to_string()).collect(),
            reference_decks: 45,
            left_out: Vec::new(),
        };
        let config = crate::MonitoringConfig::default();
        let level = config.triggers.yearly_alpha * crate::Share::DRIFT / crate::LOOKS_A_YEAR;
        let found = Decks::new(&table).significance(&config.drift, 2.0, &[true]);
        let exact = 2.0 * 22.0 / 2_118_760.0;
        assert!(found.permutations > 300_000, "some reach it: {}", found.permutations);
        assert!(
            exact / 2.0 < found.adjusted[0] && found.adjusted[0] <= level,
            "{exact}: {:?}",
            found.adjusted
        );
    }

    #[test]
    fn a_change_without_any_spread_is_certain_and_none_is_none() {
        let (a, b) = (side(&[1.0; 9]), side(&[0.0; 5]));
        assert_eq!(squared_t(&a, &b).to_bits(), f64::MAX.to_bits());
        assert_eq!(squared_t(&a, &side(&[1.0; 5])).to_bits(), 0.0f64.to_bits());
    }
}
