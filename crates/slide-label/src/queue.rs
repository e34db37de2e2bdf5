use std::collections::HashMap;
use std::time::{Duration, Instant};

use slide_data::{Manifest, Score, sha256_hex};

use crate::{Kind, LabelConfig, Store};

/// Who rates which slide next.
///
/// Each person has an order of their own. First come the calibration slides that all share, then slides on which people disagree,
/// slides that others have begun, and untouched ones; a slide that was handed out is kept for that person for a while, so that no
/// two get the last place of a slide, and slides of one deck are kept apart.
#[derive(Debug)]
pub struct Queue {
    config: LabelConfig,
    slides: Vec<Slide>,
    by_id: HashMap<String, u32>,
    people: HashMap<String, Person>,
}

#[derive(Debug)]
struct Slide {
    id: String,
    deck: u32,
    order: u64,
    is_calibration: bool,
    raters: usize,
    spread: u8,
    /// How unsure the model is, from its distributions; 0 where it has not seen the slide.
    uncertainty: f64,
    leases: Vec<(String, Instant)>,
}

#[derive(Debug, Default)]
struct Person {
    /// What counts of the slides they rated or passed over.
    done: HashMap<u32, Kind>,
    recent_decks: Vec<u32>,
}

/// How far a person is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Slides they rated.
    pub rated: usize,
    /// Slides they passed over.
    pub skipped: usize,
    /// Slides that wait for them as things stand.
    pub open: usize,
}

impl Queue {
    /// The queue over the usable slides of a manifest, as the store stands.
    pub fn new(manifest: &Manifest, store: &Store, config: &LabelConfig) -> Self {
        let mut decks: HashMap<&str, u32> = HashMap::new();
        let mut slides = Vec::new();
        for record in manifest.usable() {
            let next = decks.len() as u32;
            let deck = *decks.entry(&record.deck_id).or_insert(next);
            // A digest gives the same order on every machine and at every start.
            let order = u64::from_str_radix(&sha256_hex(record.slide_id.as_bytes())[..16], 16).unwrap_or(0);
            slides.push(Slide {
                id: record.slide_id.clone(),
                deck,
                order,
                is_calibration: false,
                raters: 0,
                spread: 0,
                uncertainty: 0.0,
                leases: Vec::new(),
            });
        }
        let mut shuffled: Vec<usize> = (0..slides.len()).collect();
        shuffled.sort_by_key(|&index| slides[index].order);
        for &index in shuffled.iter().take(config.calibration_slides) {
            slides[index].is_calibration = true;
        }
        let by_id =
            slides.iter().enumerate().map(|(index, slide)| (slide.id.clone(), index as u32)).collect();
        let mut queue = Self { config: config.clone(), slides, by_id, people: HashMap::new() };
        let names: Vec<String> = store.annotators().map(str::to_owned).collect();
        for name in names {
            for event in store.of_annotator(&name) {
                queue.update(store, &event.slide_id, &name);
            }
        }
        queue
    }

    /// How many slides there are.
    pub fn len(&self) -> usize {
        self.slides.len()
    }

    /// Whether there is no slide.
    pub fn is_empty(&self) -> bool {
        self.slides.is_empty()
    }

    /// Whether the slide is one of the manifest's.
    pub fn knows(&self, slide_id: &str) -> bool {
        self.by_id.contains_key(slide_id)
    }

    /// How many slides have as many ratings as wanted.
    pub fn complete(&self) -> usize {
        self.slides.iter().filter(|slide| slide.raters >= self.config.raters_per_slide).count()
    }

    /// Says how unsure the model is of a slide, in bits.
    pub fn set_uncertainty(&mut self, slide_id: &str, uncertainty: f64) {
        if let Some(&index) = self.by_id.get(slide_id) {
            self.slides[index as usize].uncertainty = uncertainty;
        }
    }

    /// Takes over what has become of a slide after an event of this person.
    pub fn update(&mut self, store: &Store, slide_id: &str, annotator: &str) {
        let Some(&index) = self.by_id.get(slide_id) else { return };
        let slide = &mut self.slides[index as usize];
        slide.leases.retain(|(holder, _)| holder != annotator);
        let ratings: Vec<&[u8]> = store.ratings(slide_id).map(|rating| rating.codes).collect();
        slide.raters = ratings.len();
        slide.spread = spread(&ratings);
        let deck = slide.deck;
        let person = self.people.entry(annotator.to_owned()).or_default();
        let kind = store.current(slide_id, annotator).map(|event| event.kind);
        let before = match kind {
            Some(kind) => person.done.insert(index, kind),
            None => person.done.remove(&index),
        };
        if before.is_none() && kind.is_some() {
            person.recent_decks.push(deck);
        }
    }

    /// The next `count` slides for a person, kept for them from `now` on. `held` are slides their page already shows or has loaded:
    /// they stay theirs, in their order (also after the server was started anew).
    pub fn next(&mut self, annotator: &str, held: &[String], count: usize, now: Instant) -> Vec<String> {
        let until = now + Duration::from_secs(u64::from(self.config.lease_minutes) * 60);
        let person = self.people.entry(annotator.to_owned()).or_default();
        let gap = self.config.deck_gap;
        let mut decks: Vec<u32> = person.recent_decks.iter().rev().take(gap).rev().copied().collect();
        let mut chosen: Vec<u32> = Vec::new();
        for id in held {
            match self.by_id.get(id) {
                Some(index) if !person.done.contains_key(index) && !chosen.contains(index) => {
                    chosen.push(*index);
                    decks.push(self.slides[*index as usize].deck);
                }
                _ => {}
            }
        }
        chosen.truncate(count);
        let salt = order_of(annotator);
        while chosen.len() < count {
            let recent = &decks[decks.len().saturating_sub(gap)..];
            let turn = (person.done.len() + chosen.len()) as u64;
            let by_uncertainty = fraction(salt ^ turn) < self.config.uncertain_share;
            let rank = |(index, slide): (u32, &Slide)| {
                if person.done.contains_key(&index) || chosen.contains(&index) {
                    return None;
                }
                let class = slide.class(annotator, &self.config, now)?;
                let is_recent = class > 0 && recent.contains(&slide.deck);
                let certainty = if by_uncertainty { -slide.uncertainty } else { 0.0 };
                let order = if class == 1 { slide.order } else { mix(slide.order ^ salt) };
                // Calibration comes before everything; among the other slides the deck matters more than the class.
                Some((index, (class.min(2), is_recent, certainty, class, order)))
            };
            let best = (0u32..).zip(&self.slides).filter_map(rank).min_by(|(_, a), (_, b)| {
                (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)).then((a.3, a.4).cmp(&(b.3, b.4)))
            });
            let Some((index, _)) = best else { break };
            chosen.push(index);
            decks.push(self.slides[index as usize].deck);
        }
        for &index in &chosen {
            let leases = &mut self.slides[index as usize].leases;
            leases.retain(|(holder, until)| holder != annotator && *until > now);
            leases.push((annotator.to_owned(), until));
        }
        chosen.iter().map(|&index| self.slides[index as usize].id.clone()).collect()
    }

    /// How far a person is.
    pub fn progress(&self, annotator: &str, now: Instant) -> Progress {
        let nobody = Person::default();
        let person = self.people.get(annotator).unwrap_or(&nobody);
        let is_open = |(index, slide): &(u32, &Slide)| {
            !person.done.contains_key(index) && slide.class(annotator, &self.config, now).is_some()
        };
        let open = (0u32..).zip(&self.slides).filter(is_open).count();
        let skipped = person.done.values().filter(|kind| **kind == Kind::Skipped).count();
        Progress { rated: person.done.len() - skipped, skipped, open }
    }
}

impl Slide {
    /// How urgent the slide is for this person (0 first), or `None` where it has raters enough.
    fn class(&self, annotator: &str, config: &LabelConfig, now: Instant) -> Option<u8> {
        let mut others = 0;
        for (holder, until) in &self.leases {
            if *until > now {
                if holder == annotator {
                    return Some(0);
                }
                others += 1;
            }
        }
        let claimed = self.raters + others;
        if self.is_calibration {
            Some(1)
        } else if self.raters >= 2
            && self.spread >= config.disagreement_spread
            && claimed < config.max_raters_per_slide
        {
            Some(2)
        } else if claimed >= config.raters_per_slide {
            None
        } else {
            Some(if self.raters > 0 { 3 } else { 4 })
        }
    }
}

/// The largest distance between two ratings of one criterion; that one holds it not to apply and another scores it counts as much as 2.
pub(crate) fn spread(ratings: &[&[u8]]) -> u8 {
    const APPLICABILITY: u8 = 2;
    let criteria = ratings.first().map_or(0, |codes| codes.len());
    (0..criteria)
        .map(|criterion| {
            let codes = ratings.iter().map(|codes| codes[criterion]);
            let scores = codes.clone().filter(|&code| Score::new(code).is_some());
            let (low, high) =
                scores.fold((u8::MAX, 0), |(low, high), score| (low.min(score), high.max(score)));
            let mixed = high > 0 && codes.clone().any(|code| code == crate::code::NOT_APPLICABLE);
            high.saturating_sub(low).max(if mixed { APPLICABILITY } else { 0 })
        })
        .max()
        .unwrap_or(0)
}

/// Spreads neighbouring numbers over all of `u64` (the finaliser of splitmix64).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn fraction(value: u64) -> f64 {
    mix(value.wrapping_add(0x9e37_79b9_7f4a_7c15)) as f64 / u64::MAX as f64
}

fn order_of(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
