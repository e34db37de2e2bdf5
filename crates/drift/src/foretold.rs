//! What the model foretold of its own accuracy, gathered from the log day by day.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use jiff::Timestamp;
use repeatable_random::{fnv1a, mix};
use slide_data::{Prediction, Score, digest_of, expected_score};

use crate::PerformanceConfig;
use crate::days::{day, days_before};
use crate::estimate::{OfAll, Sums, foretold};
use crate::features::is_distribution;

/// The score that people read, so that both accuracies mean the same: the one that was chosen, else the mean, halves up.
pub(crate) fn read_score(chosen: Option<&Score>, distribution: &[f64; Score::LEVELS]) -> f64 {
    let rounded = || (expected_score(distribution) + 0.5).floor().clamp(1.0, 5.0);
    chosen.map_or_else(rounded, |score| f64::from(score.get()))
}

/// The days (counted from 1970) that the estimate is about and that slides are drawn of: those of the window that are over.
pub fn days_looked_at(config: &PerformanceConfig, now: Timestamp) -> Range<i64> {
    day(days_before(now, config.window_days))..day(now)
}

/// Which scored slides count.
#[derive(Debug, Clone, Copy)]
pub struct Counting<'a> {
    /// The version in use.
    pub model_version: &'a str,
    /// Slides that the model was trained or chosen on; they say nothing about production.
    pub seen_in_training: &'a BTreeSet<String>,
    /// How many are drawn, and of which days.
    pub config: &'a PerformanceConfig,
}

/// The slides of a version that were scored on one day, each once, as scored last.
#[derive(Debug)]
pub struct ScoredDay<'a> {
    counting: Counting<'a>,
    day: i64,
    slots: Vec<Slot>,
    slot_of: HashMap<u128, usize>,
    deck_of: HashMap<String, usize>,
    /// The names of the decks.
    decks: Vec<String>,
    criteria: Vec<String>,
    /// What was foretold of each criterion of each slot, as many as there are criteria; NaN where a slide has none.
    foretold: Vec<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    scored_at: Timestamp,
    place: usize,
    deck: usize,
    /// The slide's own number, 0 to 1.
    random: f64,
}

/// The slide's own number of that day, 0 to 1.
fn random(day: i64, slide: &Prediction, seed: u64) -> f64 {
    let own = fnv1a(format!("{day}/{}/{}", slide.slide_id, slide.model_version).as_bytes());
    (mix(own ^ mix(seed)) >> 11) as f64 / (1u64 << 53) as f64
}

/// A slide that is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// The place that it was taken with.
    pub place: usize,
    /// The chance that it had.
    pub probability: f64,
    /// Slides of its deck on that day.
    pub deck_slides: usize,
}

impl<'a> ScoredDay<'a> {
    /// A day without slides.
    pub fn new(day: i64, counting: Counting<'a>) -> Self {
        Self {
            counting,
            day,
            slots: Vec::new(),
            slot_of: HashMap::new(),
            deck_of: HashMap::new(),
            decks: Vec::new(),
            criteria: Vec::new(),
            foretold: Vec::new(),
        }
    }

    /// Takes a slide of the day, with a place by which it is found again; those that do not count are passed over. Needed are ids, pixels,
    /// time, version and, for [`Foretold`], distributions and chosen scores.
    pub fn take(&mut self, place: usize, slide: &Prediction) {
        let Counting { model_version, seen_in_training, config } = self.counting;
        if slide.model_version != model_version || seen_in_training.contains(&slide.slide_id) {
            return;
        }
        let deck = self.deck(&slide.deck_id);
        let random = random(self.day, slide, config.seed);
        let new = Slot { scored_at: slide.scored_at, place, deck, random };
        let next = self.slots.len();
        let own = *self.slot_of.entry(digest_of(slide.pixels())).or_insert(next);
        if own == next {
            self.slots.push(new);
            self.foretold.resize(self.slots.len() * self.criteria.len(), f64::NAN);
        } else if slide.scored_at >= self.slots[own].scored_at {
            self.slots[own] = new;
        } else {
            return;
        }
        self.foretell(own, slide);
    }

    fn deck(&mut self, name: &str) -> usize {
        if let Some(deck) = self.deck_of.get(name) {
            return *deck;
        }
        self.deck_of.insert(name.to_owned(), self.decks.len());
        self.decks.push(name.to_owned());
        self.decks.len() - 1
    }

    fn foretell(&mut self, slot: usize, slide: &Prediction) {
        let width = self.criteria.len();
        self.foretold[slot * width..(slot + 1) * width].fill(f64::NAN);
        for (key, shares) in slide.distributions.iter().filter(|(_, shares)| is_distribution(shares)) {
            let known = self.criteria.iter().position(|known| known == key);
            let place = known.unwrap_or_else(|| self.widen(key));
            let value = foretold(shares, read_score(slide.chosen.get(key), shares));
            self.foretold[slot * self.criteria.len() + place] = value;
        }
    }

    /// Makes room for one more criterion.
    fn widen(&mut self, key: &str) -> usize {
        let width = self.criteria.len();
        let rows = (0..self.slots.len()).flat_map(|slot| {
            let own = &self.foretold[slot * width..(slot + 1) * width];
            own.iter().copied().chain([f64::NAN])
        });
        self.foretold = rows.collect();
        self.criteria.push(key.to_owned());
        width
    }

    /// How many slides each deck has.
    fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.decks.len()];
        for slot in &self.slots {
            sizes[slot.deck] += 1;
        }
        sizes
    }

    /// Draws from the day, for people to rate; see [`draw_audits`](crate::draw_audits).
    pub fn draw(&self) -> Vec<Draw> {
        let sizes = self.sizes();
        let decks = sizes.iter().filter(|size| **size > 0).count();
        let of_each_deck = self.counting.config.audits_per_week / 7.0 / decks as f64;
        let draw = |slot: &Slot| {
            let deck_slides = sizes[slot.deck];
            let probability = (of_each_deck / deck_slides as f64).min(1.0);
            (slot.random < probability).then_some(Draw { place: slot.place, probability, deck_slides })
        };
        let mut drawn: Vec<Draw> = self.slots.iter().filter_map(draw).collect();
        drawn.sort_by_key(|draw| draw.place);
        drawn
    }
}

/// What the model foretold of scored slides: the chance, by its own distributions, that its scores are within a point of people's.
#[derive(Debug, Default)]
pub struct Foretold {
    slides: usize,
    deck_of: HashMap<String, usize>,
    decks: Vec<String>,
    /// Of the mean over a slide's criteria.
    all: OfDecks,
    criteria: BTreeMap<String, OfDecks>,
}

/// Sums by the number of a deck.
#[derive(Debug, Default)]
struct OfDecks {
    slides: usize,
    decks: Vec<Sums>,
}

impl OfDecks {
    fn add(&mut self, deck: usize, weight: f64, foretold: f64) {
        if self.decks.len() <= deck {
            self.decks.resize(deck + 1, Sums::default());
        }
        self.decks[deck].add(weight, foretold);
        self.slides += 1;
    }
}

impl Foretold {
    /// Of slides that are at hand.
    pub fn of_slides(scored: &[Prediction], counting: Counting<'_>, now: Timestamp) -> Self {
        let mut foretold = Self::default();
        for day in by_day(scored, counting, now).values() {
            foretold.add(day);
        }
        foretold
    }

    /// Adds the slides of a day.
    pub fn add(&mut self, day: &ScoredDay<'_>) {
        let sizes = day.sizes();
        let numbers: Vec<usize> = day.decks.iter().map(|name| self.deck(name)).collect();
        let width = day.criteria.len();
        for (at, slot) in day.slots.iter().enumerate() {
            let (deck, weight) = (numbers[slot.deck], 1.0 / sizes[slot.deck] as f64);
            let own = day.criteria.iter().zip(&day.foretold[at * width..(at + 1) * width]);
            let (mut sum, mut count) = (0.0, 0.0);
            for (key, value) in own.filter(|(_, value)| !value.is_nan()) {
                if !self.criteria.contains_key(key) {
                    self.criteria.insert(key.clone(), OfDecks::default());
                }
                if let Some(own) = self.criteria.get_mut(key) {
                    own.add(deck, weight, *value);
                }
                (sum, count) = (sum + value, count + 1.0);
            }
            if count > 0.0 {
                self.all.add(deck, weight, sum / count);
            }
        }
        self.slides += day.slots.len();
    }

    fn deck(&mut self, name: &str) -> usize {
        if let Some(deck) = self.deck_of.get(name) {
            return *deck;
        }
        self.deck_of.insert(name.to_owned(), self.decks.len());
        self.decks.push(name.to_owned());
        self.decks.len() - 1
    }

    /// How many slides there are.
    pub(crate) fn slides(&self) -> usize {
        self.slides
    }

    /// Of all criteria, or of one.
    pub(crate) fn of(&self, criterion: Option<&str>) -> OfAll<'_> {
        let found = match criterion {
            None => Some(&self.all),
            Some(key) => self.criteria.get(key),
        };
        let Some(found) = found else { return OfAll::default() };
        let decks = self.decks.iter().zip(&found.decks).filter(|(_, sums)| sums.weight > 0.0);
        OfAll { slides: found.slides, decks: decks.map(|(deck, sums)| (deck.as_str(), *sums)).collect() }
    }
}

/// Slides that are at hand, by day, each with its place among them.
pub(crate) fn by_day<'a>(
    scored: &[Prediction],
    counting: Counting<'a>,
    now: Timestamp,
) -> BTreeMap<i64, ScoredDay<'a>> {
    let within = days_looked_at(counting.config, now);
    let mut days = BTreeMap::new();
    for (place, slide) in scored.iter().enumerate() {
        let day = day(slide.scored_at);
        if within.contains(&day) {
            days.entry(day).or_insert_with(|| ScoredDay::new(day, counting)).take(place, slide);
        }
    }
    days
}
