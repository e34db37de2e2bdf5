//! Chooses from a log of any size the slides that a comparison looks at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use slide_data::{Prediction, digest_of};

use crate::DriftConfig;
use crate::days::{day, days_before};

/// What was counted of a log whose slides were not all handed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// All slides of the log.
    pub slides: usize,
    /// Those of the window that other versions or runs scored.
    pub other_versions: usize,
    /// Those of the window that the version was trained or chosen on.
    pub seen_in_training: usize,
    /// Those that are dated ahead.
    pub dated_ahead: usize,
    /// Parts of it that cannot be read, with the reason. Where there is one nothing is concluded from the others.
    pub unreadable: Vec<String>,
}

/// Finds the slides of the decks that a version scored last, each slide once, as [`compare`](crate::compare) does; keeps of each slide
/// only a digest of its pixels.
///
/// Takes one day after another, the newest first, and of each the slides in the order in which they were scored.
#[derive(Debug)]
pub struct Selection<'a> {
    version: Option<&'a str>,
    seen_in_training: &'a BTreeSet<String>,
    from: Timestamp,
    now: Timestamp,
    most_decks: usize,
    /// Pixels that were met on this day or a later one.
    met: HashSet<u128>,
    decks: HashSet<String>,
    today: Day,
    chosen: BTreeMap<i64, BTreeSet<usize>>,
    counted: Counted,
}

/// The slides of the day that is being taken.
#[derive(Debug, Default)]
struct Day {
    slides: Vec<Slide>,
    deck_of: HashMap<String, usize>,
    decks: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Slide {
    scored_at: Timestamp,
    place: usize,
    pixels: u128,
    deck: usize,
}

impl<'a> Selection<'a> {
    /// A selection from the slides of a version. Those that it was trained or chosen on are no production, as where the store's manifest is
    /// scored.
    pub fn new(
        version: Option<&'a str>,
        seen_in_training: &'a BTreeSet<String>,
        config: &DriftConfig,
        now: Timestamp,
    ) -> Self {
        Self {
            version,
            seen_in_training,
            from: days_before(now, config.window_days),
            now,
            most_decks: config.max_decks,
            met: HashSet::new(),
            decks: HashSet::new(),
            today: Day::default(),
            chosen: BTreeMap::new(),
            counted: Counted::default(),
        }
    }

    /// The first day (counted from 1970) that is looked at.
    pub fn first_day(&self) -> i64 {
        day(self.from)
    }

    /// Takes a slide, with its place on its day. Needed are ids, pixels, time and version.
    pub fn take(&mut self, place: usize, slide: &Prediction) {
        if slide.scored_at > self.now {
            self.counted.dated_ahead += 1;
        } else if slide.scored_at < self.from {
        } else if Some(slide.model_version.as_str()) != self.version {
            self.counted.other_versions += 1;
        } else if self.seen_in_training.contains(&slide.slide_id) {
            self.counted.seen_in_training += 1;
        } else {
            self.today.take(place, slide);
        }
    }

    /// Ends a day.
    pub fn end_day(&mut self, day: i64) {
        let Day { mut slides, decks, .. } = std::mem::take(&mut self.today);
        slides.sort_unstable_by_key(|slide| std::cmp::Reverse((slide.scored_at, slide.place)));
        for slide in slides {
            if !self.met.insert(slide.pixels) {
                continue;
            }
            let deck = &decks[slide.deck];
            let is_chosen = self.decks.contains(deck)
                || self.decks.len() < self.most_decks && self.decks.insert(deck.clone());
            if is_chosen {
                self.chosen.entry(day).or_default().insert(slide.place);
            }
        }
    }

    /// The places of the chosen slides by day, and what was counted on the way.
    pub fn finish(self) -> (BTreeMap<i64, BTreeSet<usize>>, Counted) {
        (self.chosen, self.counted)
    }
}

impl Day {
    fn take(&mut self, place: usize, slide: &Prediction) {
        let deck = self.deck_of.get(&slide.deck_id).copied().unwrap_or_else(|| {
            self.deck_of.insert(slide.deck_id.clone(), self.decks.len());
            self.decks.push(slide.deck_id.clone());
            self.decks.len() - 1
        });
        let pixels = digest_of(slide.pixels());
        self.slides.push(Slide { scored_at: slide.scored_at, place, pixels, deck });
    }
}
