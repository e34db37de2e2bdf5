//! How far a model errs from slide to slide of one deck.

use std::collections::BTreeMap;

use project_files::ErrorSpread;
use slide_data::{Target, expected_score};
use statistics::student_quantile;

use crate::table::Frame;

/// With fewer degrees of freedom nothing is said.
const LEAST_DEGREES: f64 = 20.0;

/// A slide's ratings on one criterion: what people and the model mean, within its deck.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    people: f64,
    model: f64,
    people_squares: f64,
    model_squares: f64,
    products: f64,
}

impl Sums {
    fn add(&mut self, people: f64, model: f64) {
        self.count += 1.0;
        self.people += people;
        self.model += model;
        self.people_squares += people * people;
        self.model_squares += model * model;
        self.products += people * model;
    }

    /// The sums of squares and products around the deck's means.
    fn centred(&self) -> [f64; 3] {
        let around = |product: f64, a: f64, b: f64| product - a * b / self.count;
        [
            around(self.people_squares, self.people, self.people),
            around(self.model_squares, self.model, self.model),
            around(self.products, self.people, self.model),
        ]
    }
}

/// The spread of each criterion of which enough was rated.
///
/// The model's means are regressed on the people's within decks, so that neither a deck's own error, which two versions of it share, nor the
/// pull of every mean to the middle counts. What people's ratings scatter counts as the model's: differences are called unclear rather than too early.
pub(crate) fn error_spreads(frame: &Frame<'_>) -> BTreeMap<String, ErrorSpread> {
    let of = |key: &&str| Some(((*key).to_owned(), error_spread(frame, key)?));
    frame.keys.iter().filter_map(of).collect()
}

fn error_spread(frame: &Frame<'_>, key: &str) -> Option<ErrorSpread> {
    let mut decks: BTreeMap<&str, Sums> = BTreeMap::new();
    for item in &frame.items {
        let (Target::Scored(target), Some(said)) =
            (item.label.target(key), item.prediction.distributions.get(key))
        else {
            continue;
        };
        let (people, model) = (expected_score(target.distribution()), expected_score(said));
        decks.entry(&item.group).or_default().add(people, model);
    }
    let count: f64 = decks.values().map(|deck| deck.count).sum();
    let degrees = count - decks.len() as f64 - 1.0;
    let [people, model, products] = decks.values().fold([0.0; 3], |sums, deck| {
        let own = deck.centred();
        std::array::from_fn(|at| sums[at] + own[at])
    });
    if degrees < LEAST_DEGREES {
        return None;
    }
    let slope = if people > 1e-9 { products / people } else { 0.0 };
    let rest = (model - slope * products).max(0.0);
    let deviation = (rest / degrees).sqrt();
    deviation.is_finite().then_some(ErrorSpread { deviation, slope, degrees })
}

/// The least change of a slide's quality, in points of people, that the model shows by itself in 95 of 100 cases; `None` where it
/// does not follow people.
pub fn least_telling(spread: &ErrorSpread) -> Option<f64> {
    let limit = student_quantile(0.975, spread.degrees)? * spread.deviation * 2.0_f64.sqrt();
    (spread.slope > 0.1).then_some(limit / spread.slope)
}
