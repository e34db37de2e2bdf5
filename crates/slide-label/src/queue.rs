use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use repeatable_random::{finalize, fnv1a, mix};
use slide_data::{Manifest, Score};

use crate::calibration::order_of;
use crate::{Calibration, Kind, LabelConfig, Store};

/// Who rates which slide next.
///
/// Each person has an order of their own. First come slides that were drawn to tell how good the model is, then the calibration slides that all share, then slides on which people disagree,
/// slides that others have begun, and untouched ones; a slide that was handed out is assigned to that person for a while, so that no
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
    /// Whether people's ratings of it tell how good the model is in production.
    is_audited: bool,
    raters: usize,
    spread: u8,
    /// How unsure the model is, from its distributions; 0 where it has not seen the slide.
    uncertainty: f64,
    leases: Vec<(String, Instant)>,
}

/// Where a slide stands among those that a person may rate next; the smallest is next.
struct Rank {
    class: u8,
    is_recent: bool,
    certainty: f64,
    within: u8,
    order: u64,
}

impl Rank {
    fn of(slide: &Slide, class: u8, is_recent: bool, choice: Choice, salt: u64) -> Self {
        let (within, order) = match choice {
            _ if class == 1 => (class, slide.order),
            // An order of its own: what the other turns have taken must not shift it.
            Choice::Random => (0, finalize(slide.order ^ !salt)),
            _ => (class, finalize(slide.order ^ salt)),
        };
        let certainty = if choice == Choice::Uncertain { -slide.uncertainty } else { 0.0 };
        // Calibration comes before everything; among the other slides the deck matters more than the class.
        Self { class: class.min(2), is_recent, certainty, within, order }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        (self.class, self.is_recent)
            .cmp(&(other.class, other.is_recent))
            .then(self.certainty.total_cmp(&other.certainty))
            .then((self.within, self.order).cmp(&(other.within, other.order)))
    }
}

#[derive(Debug, Default)]
struct Person {
    /// What counts of each slide: rated, passed over, or nothing yet. Beside the queue's slides.
    done: Vec<Option<Kind>>,
    rated: usize,
    skipped: usize,
    recent_decks: Vec<u32>,
}

impl Person {
    fn new(slides: usize) -> Self {
        Self { done: vec![None; slides], ..Self::default() }
    }

    /// Notes what counts of a slide now; returns what counted before.
    fn set(&mut self, index: u32, kind: Option<Kind>) -> Option<Kind> {
        let before = std::mem::replace(&mut self.done[index as usize], kind);
        for (kind, step) in [(before, -1), (kind, 1)] {
            match kind {
                None => {}
                Some(Kind::Skipped) => self.skipped = self.skipped.wrapping_add_signed(step),
                Some(_) => self.rated = self.rated.wrapping_add_signed(step),
            }
        }
        before
    }

    fn has_done(&self, index: u32) -> bool {
        self.done[index as usize].is_some()
    }
}

/// How a turn picks among the open slides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// Disputed ones first, then begun ones, then untouched ones.
    Usual,
    /// The one of which the model is least sure.
    Uncertain,
    /// Any, so that some slides are chosen by nothing at all and stand for the whole.
    Random,
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
    /// The queue over the usable slides of a manifest, as the store stands. Everybody rates the slides of `calibration` first.
    pub fn new(manifest: &Manifest, store: &Store, config: &LabelConfig, calibration: &Calibration) -> Self {
        let mut decks: HashMap<&str, u32> = HashMap::new();
        let mut slides = Vec::new();
        for record in manifest.usable() {
            let next = decks.len() as u32;
            let deck = *decks.entry(&record.deck_id).or_insert(next);
            slides.push(Slide::unrated(&record.slide_id, deck, calibration));
        }
        let by_id =
            slides.iter().enumerate().map(|(index, slide)| (slide.id.clone(), index as u32)).collect();
        let mut queue = Self { config: config.clone(), slides, by_id, people: HashMap::new() };
        let names: Vec<String> = store.annotators().map(str::to_owned).collect();
        for name in names {
            for event in store.of_annotator(&name) {
                queue.update(store, event.slide_id(), &name);
            }
        }
        queue
    }

    /// Takes over what was handed out by a queue over an earlier state of the slides.
    pub fn inherit(&mut self, earlier: &Self) {
        for slide in &mut self.slides {
            if let Some(&index) = earlier.by_id.get(&slide.id) {
                slide.leases.clone_from(&earlier.slides[index as usize].leases);
            }
        }
    }

    /// How many slides there are.
    pub fn len(&self) -> usize {
        self.slides.len()
    }

    /// Whether there is no slide.
    pub fn is_empty(&self) -> bool {
        self.slides.is_empty()
    }

    /// Whether everybody rates the slide.
    pub fn is_calibration(&self, slide_id: &str) -> bool {
        self.by_id.get(slide_id).is_some_and(|&index| self.slides[index as usize].is_calibration)
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

    /// Says which slides come before all others.
    pub fn put_first<'a>(&mut self, slides: impl IntoIterator<Item = &'a String>) {
        for slide in slides {
            if let Some(&index) = self.by_id.get(slide) {
                self.slides[index as usize].is_audited = true;
            }
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
        let slides = self.slides.len();
        let person = self.people.entry(annotator.to_owned()).or_insert_with(|| Person::new(slides));
        let current = store.current(slide_id, annotator);
        let kind = current.filter(|event| event.kind() == Kind::Skipped || event.has_scores());
        let kind = kind.map(|event| event.kind());
        if person.set(index, kind).is_none() && kind.is_some() {
            person.recent_decks.push(deck);
        }
    }

    /// Keeps slides for a person for a while.
    fn assign(&mut self, chosen: &[u32], annotator: &str, now: Instant) {
        let until = now + Duration::from_secs(u64::from(self.config.lease_minutes) * 60);
        for &index in chosen {
            let leases = &mut self.slides[index as usize].leases;
            leases.retain(|(holder, until)| holder != annotator && *until > now);
            leases.push((annotator.to_owned(), until));
        }
    }

    /// The next `count` slides for a person, assigned to them from `now` on. `assigned` are slides their page already has:
    /// they stay theirs, in their order (also after the server was started anew), unless others have rated them meanwhile. `except`
    /// are slides that the page has done with, though that may not have arrived yet, or that another page of the person has.
    pub fn next(
        &mut self,
        annotator: &str,
        assigned: &[String],
        except: &[String],
        count: usize,
        now: Instant,
    ) -> Vec<String> {
        let slides = self.slides.len();
        self.people.entry(annotator.to_owned()).or_insert_with(|| Person::new(slides));
        let (mut chosen, mut decks) = self.still_open(annotator, assigned, now);
        let except: HashSet<u32> = except.iter().filter_map(|id| self.by_id.get(id)).copied().collect();
        chosen.retain(|index| !except.contains(index));
        chosen.truncate(count);
        while chosen.len() < count {
            let is_taken = |index: u32| except.contains(&index) || chosen.contains(&index);
            let Some(index) = self.best(annotator, chosen.len(), is_taken, &decks, now) else { break };
            chosen.push(index);
            decks.push(self.slides[index as usize].deck);
        }
        self.assign(&chosen, annotator, now);
        chosen.iter().map(|&index| self.slides[index as usize].id.clone()).collect()
    }

    /// The slides of a page that are still to do, and the decks of what is behind and before the person.
    fn still_open(&self, annotator: &str, assigned: &[String], now: Instant) -> (Vec<u32>, Vec<u32>) {
        let person = &self.people[annotator];
        let recent = person.recent_decks.len().saturating_sub(self.config.deck_gap);
        let mut decks = person.recent_decks[recent..].to_vec();
        let mut chosen: Vec<u32> = Vec::new();
        for &index in assigned.iter().filter_map(|id| self.by_id.get(id)) {
            let is_wanted = self.slides[index as usize].class(annotator, &self.config, now).is_some();
            if is_wanted && !person.has_done(index) && !chosen.contains(&index) {
                chosen.push(index);
                decks.push(self.slides[index as usize].deck);
            }
        }
        (chosen, decks)
    }

    /// The slide that suits a person best after those of `decks`, besides those that are taken; `turn` slides were chosen before it.
    fn best(
        &self,
        annotator: &str,
        turn: usize,
        is_taken: impl Fn(u32) -> bool,
        decks: &[u32],
        now: Instant,
    ) -> Option<u32> {
        let person = &self.people[annotator];
        let recent = &decks[decks.len().saturating_sub(self.config.deck_gap)..];
        let salt = fnv1a(annotator.as_bytes());
        let choice = self.choice(salt, person.rated + person.skipped + turn);
        let rank = |(index, slide): (u32, &Slide)| {
            if person.has_done(index) || is_taken(index) {
                return None;
            }
            let class = slide.class(annotator, &self.config, now)?;
            let is_recent = class > 0 && recent.contains(&slide.deck);
            Some((index, Rank::of(slide, class, is_recent, choice, salt)))
        };
        let ranked = (0u32..).zip(&self.slides).filter_map(rank);
        ranked.min_by(|(_, a), (_, b)| a.cmp(b)).map(|(index, _)| index)
    }

    fn choice(&self, salt: u64, turn: usize) -> Choice {
        let share = fraction(salt ^ turn as u64);
        if share < self.config.uncertain_share {
            Choice::Uncertain
        } else if share < self.config.uncertain_share + self.config.random_share {
            Choice::Random
        } else {
            Choice::Usual
        }
    }

    /// How far a person is.
    pub fn progress(&self, annotator: &str, now: Instant) -> Progress {
        let person = self.people.get(annotator);
        let is_open = |(index, slide): &(u32, &Slide)| {
            !person.is_some_and(|person| person.has_done(*index))
                && slide.class(annotator, &self.config, now).is_some()
        };
        let open = (0u32..).zip(&self.slides).filter(is_open).count();
        let (rated, skipped) = person.map_or((0, 0), |person| (person.rated, person.skipped));
        Progress { rated, skipped, open }
    }
}

impl Slide {
    fn unrated(id: &str, deck: u32, calibration: &Calibration) -> Self {
        Self {
            id: id.to_owned(),
            deck,
            order: order_of(id),
            is_calibration: calibration.contains(id),
            is_audited: false,
            raters: 0,
            spread: 0,
            uncertainty: 0.0,
            leases: Vec::new(),
        }
    }

    /// How urgent the slide is for this person (0 first), or `None` where it has raters enough.
    fn class(&self, annotator: &str, config: &LabelConfig, now: Instant) -> Option<u8> {
        let running = || self.leases.iter().filter(|(_, until)| *until > now);
        if running().any(|(holder, _)| holder == annotator) {
            return Some(0);
        }
        let others = running().count();
        let claimed = self.raters + others;
        if self.is_audited && claimed < config.raters_per_slide {
            Some(0)
        } else if self.is_calibration {
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

/// A share, 0 to 1, that follows from a number alone.
fn fraction(value: u64) -> f64 {
    mix(value) as f64 / u64::MAX as f64
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
