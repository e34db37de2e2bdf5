use std::collections::{BTreeMap, BTreeSet};

use project_files::Sizes;
use slide_data::{Label, Prediction, Rubric, Score, Target, expected_score};

use crate::measures::ranked_probability_score;
use crate::pool::{Measured, Pool, Rating};
use crate::{Error, Item, Measures, Result};

/// A distribution over the scores 1 to 5.
pub(crate) type Distribution = [f64; Score::LEVELS];

/// What a rater says of a criterion of a slide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Said {
    pub(crate) distribution: Distribution,
    pub(crate) score: Score,
}

/// The rated slides in the order of their ids, and their groups.
pub(crate) struct Frame<'a> {
    pub(crate) keys: Vec<&'a str>,
    pub(crate) items: Vec<&'a Item>,
    groups: BTreeMap<&'a str, usize>,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(rubric: &'a Rubric, items: &'a [Item]) -> Result<Self> {
        let keys: Vec<&str> = rubric.keys().collect();
        let mut sorted = each_once(items)?;
        sorted.retain(|item| keys.iter().any(|key| item.label.score(key).is_some()));
        if sorted.is_empty() {
            return Err(Error::Empty { slides: items.len() });
        }
        let names: BTreeSet<&str> = sorted.iter().map(|item| item.group.as_str()).collect();
        Ok(Self { keys, items: sorted, groups: names.into_iter().zip(0..).collect() })
    }

    /// The ratings of one rater, who gives a distribution and a score to each criterion of each slide.
    pub(crate) fn rated(&self, rater: &dyn Fn(&Item, &str) -> Result<Said>) -> Result<Table<'a>> {
        self.rated_where(&|_| true, rater)
    }

    /// The same on a part of the slides.
    pub(crate) fn rated_where(
        &self,
        is_in: &dyn Fn(&Item) -> bool,
        rater: &dyn Fn(&Item, &str) -> Result<Said>,
    ) -> Result<Table<'a>> {
        let mut criteria = vec![Vec::new(); self.keys.len()];
        for (slide, item) in self.items.iter().enumerate().filter(|(_, item)| is_in(item)) {
            let group = self.groups[item.group.as_str()];
            for (key, ratings) in self.keys.iter().zip(&mut criteria) {
                if let Target::Scored(target) = item.label.target(key) {
                    let said = rater(item, key)?;
                    ratings.push(rating((slide, group), &target, &said));
                }
            }
        }
        let pooled = Pool::new(criteria.iter().flatten().copied().collect());
        let pools = std::iter::once(("overall", pooled))
            .chain(self.keys.iter().copied().zip(criteria.into_iter().map(Pool::new)));
        Ok(Table { pools: pools.collect() })
    }

    pub(crate) fn group_names(&self) -> impl Iterator<Item = &'a str> {
        self.groups.keys().copied()
    }

    pub(crate) fn sizes(&self, table: &Table<'_>) -> Sizes {
        let of = |count: &dyn Fn(&str) -> usize| {
            self.keys.iter().map(|key| ((*key).to_owned(), count(key))).collect::<BTreeMap<_, _>>()
        };
        let slides = |is_it: &dyn Fn(&Target) -> bool, key: &str| {
            self.items.iter().filter(|item| is_it(&item.label.target(key))).count()
        };
        Sizes {
            slides: self.items.len(),
            groups: self.groups.len(),
            ratings: table.overall().ratings.len(),
            criteria: of(&|key| table.pool(key).map_or(0, |pool| pool.ratings.len())),
            criterion_groups: of(&|key| table.pool(key).map_or(0, |pool| pool.groups)),
            not_applicable: of(&|key| slides(&|target| matches!(target, Target::NotApplicable { .. }), key)),
            missing: of(&|key| slides(&|target| matches!(target, Target::Missing), key)),
        }
    }
}

/// One rater's ratings of all slides: `overall`, which pools them, and per criterion in the rubric's order.
pub(crate) struct Table<'a> {
    pub(crate) pools: Vec<(&'a str, Pool)>,
}

impl Table<'_> {
    pub(crate) fn overall(&self) -> &Pool {
        &self.pools[0].1
    }

    fn pool(&self, key: &str) -> Option<&Pool> {
        self.pools.iter().find(|(name, _)| *name == key).map(|(_, pool)| pool)
    }

    /// What each pool measures with and without each group.
    pub(crate) fn measured(&self) -> Vec<Measured> {
        self.pools.iter().map(|(_, pool)| pool.measured()).collect()
    }

    /// The metrics that are defined, by name.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        let named = self.pools.iter().flat_map(|(key, pool)| {
            let names = Measures::NAMES.map(|name| format!("{key}_{name}"));
            names.into_iter().zip(pool.measures().values())
        });
        named.filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The distribution that a prediction has for a criterion, checked, and the score that it stands for.
pub(crate) fn forecast(prediction: &Prediction, item: &Item, key: &str) -> Result<Said> {
    if prediction.slide_id != item.slide_id {
        let (expected, actual) = (item.slide_id.clone(), prediction.slide_id.clone());
        return Err(Error::Mismatch { expected, actual });
    }
    let distribution = prediction
        .distributions
        .get(key)
        .ok_or_else(|| Error::Missing { slide_id: item.slide_id.clone(), criterion: key.to_owned() })?;
    if is_distribution(distribution) {
        let score = prediction.score(key).unwrap_or(Score::MIN);
        return Ok(Said { distribution: *distribution, score });
    }
    let (slide_id, criterion) = (item.slide_id.clone(), key.to_owned());
    Err(Error::Distribution { slide_id, criterion, actual: *distribution })
}

/// All mass on one score.
pub(crate) fn sure(score: Score) -> Said {
    Said { distribution: std::array::from_fn(|at| f64::from(u8::from(at == score.index()))), score }
}

fn rating(place: (usize, usize), target: &slide_data::ScoreTarget, said: &Said) -> Rating {
    let Said { distribution: forecast, score } = said;
    let (mode, confidence) = mode(forecast);
    Rating {
        slide: place.0,
        group: place.1,
        actual: target.score(),
        predicted: *score,
        expected: expected_score(forecast),
        rps: ranked_probability_score(forecast, target.distribution()),
        confidence,
        is_correct: mode == target.score().index(),
    }
}

/// Probabilities written in f32 sum to 1 within a few millionths; a hundredth is a different file.
pub(crate) fn is_distribution(distribution: &Distribution) -> bool {
    distribution.iter().all(|p| p.is_finite() && *p >= 0.0)
        && (distribution.iter().sum::<f64>() - 1.0).abs() < 1e-2
}

/// The index and probability of the most probable score; of equals the lowest.
fn mode(distribution: &Distribution) -> (usize, f64) {
    distribution
        .iter()
        .copied()
        .enumerate()
        .fold((0, 0.0), |best, (i, p)| if p > best.1 { (i, p) } else { best })
}

/// The items in the order of their slides.
fn each_once(items: &[Item]) -> Result<Vec<&Item>> {
    let mut sorted: Vec<&Item> = items.iter().collect();
    sorted.sort_by_key(|item| &item.slide_id);
    match sorted.windows(2).find(|pair| pair[0].slide_id == pair[1].slide_id) {
        Some(pair) => Err(Error::Repeated { slide_id: pair[0].slide_id.clone() }),
        None => Ok(sorted),
    }
}

/// The label of each item.
pub(crate) fn labels<'a>(items: &'a [&Item]) -> impl Iterator<Item = &'a Label> {
    items.iter().map(|item| &item.label)
}
