//! Which decks are related: by what their pages show, and by what they say.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::sets::{Sets, is_blank, same_looks, same_words, similar_texts};
use crate::{DuplicateThresholds, SlideRecord, TextPrint};

/// Runs of characters from which on a page says enough to be told from others; "Thank you" has one.
const WORDY: u32 = 20;
/// Decks whose whole texts have this in common, of this many runs, are versions of each other.
const SAME_DECK: f64 = 0.6;
const DECK_RUNS: u32 = 200;
/// Pages that related decks share at least where these agree in words alone, and which share of the smaller deck.
const PAGES: usize = 2;
const SHARE: f64 = 0.2;
/// A page of more decks is common, whatever they are.
const MANY: usize = 256;

/// What the decks of a store have in common.
pub(super) struct Evidence {
    /// For each slide the first one that says the same; none for a slide that says too little.
    said: Vec<Option<usize>>,
    decks: Vec<Deck>,
    /// Pairs of decks that are one group, in order.
    pub(super) related: Vec<Related>,
}

/// Two decks that are one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Related {
    /// The positions of the decks in the order of their names.
    pub(super) decks: (usize, usize),
    /// How many pages they share, at least 1.
    pub(super) pages: usize,
}

struct Deck {
    name: String,
    /// Its slides but for the blank ones.
    slides: Vec<usize>,
    /// Its pages, each named by the first slide that shows or says it.
    pages: BTreeSet<usize>,
    /// The fingerprint of its whole text.
    text: Option<TextPrint>,
}

impl Evidence {
    /// Looks at all slides of a store; `links` are pairs of near-duplicates that the records do not name yet.
    ///
    /// Two decks are related if one is a version of the other, if they show a page that says enough and is not common, or if they share
    /// several pages that are not common. A page is common where decks have it that are not versions of each other, as many as
    /// `thresholds.common`.
    pub(super) fn of(
        slides: &[SlideRecord],
        texts: &[Option<TextPrint>],
        links: &[(usize, usize)],
        thresholds: &DuplicateThresholds,
    ) -> Self {
        let (looks, said) = (same_looks(slides, links), same_words(texts, WORDY));
        let mut both = Sets::new(slides.len());
        for at in 0..slides.len() {
            both.join(at, looks[at]);
            both.join(at, said[at].unwrap_or(at));
        }
        let pages = both.into_firsts();
        let decks = decks(slides, texts, &pages);
        let shared = shared(&decks, |deck| deck.pages.iter().copied().collect());
        let versions = versions(&decks, &shared, thresholds.alike);
        let common = common(&decks, &versions, thresholds.common);
        let is_terse = |at: &usize| texts[*at].as_ref().is_some_and(|text| text.runs() < WORDY);
        let terse: BTreeSet<usize> = (0..slides.len()).filter(is_terse).map(|at| looks[at]).collect();
        let telling = |&at: &usize| !terse.contains(&looks[at]) && !common.contains(&pages[at]);
        let shown = self::shared(&decks, |deck| {
            deck.slides.iter().filter(|at| telling(at)).map(|&at| looks[at]).collect()
        });
        let related = related(&decks, &shared, &shown, &versions, &common);
        Self { said, decks, related }
    }

    /// The name of a deck.
    pub(super) fn name(&self, deck: usize) -> &str {
        &self.decks[deck].name
    }

    /// Whether two decks say the same as a whole.
    pub(super) fn says_the_same(&self, deck: usize, other: usize) -> bool {
        let text = |deck: usize| self.decks[deck].text.as_ref().filter(|text| text.runs() >= DECK_RUNS);
        matches!((text(deck), text(other)), (Some(a), Some(b)) if a.similarity(b) >= SAME_DECK)
    }

    /// The slides of a deck but for the blank ones.
    pub(super) fn slides(&self, deck: usize) -> &[usize] {
        &self.decks[deck].slides
    }

    /// Each slide of `deck` with those of `other` that say the same.
    pub(super) fn said_in_both(&self, deck: usize, other: usize) -> Vec<(usize, usize)> {
        let mut places: HashMap<usize, Vec<usize>> = HashMap::new();
        for &at in &self.decks[other].slides {
            if let Some(said) = self.said[at] {
                places.entry(said).or_default().push(at);
            }
        }
        let of = |at: usize| Some((at, places.get(&self.said[at]?)?));
        let both = self.decks[deck].slides.iter().filter_map(|&at| of(at));
        both.flat_map(|(at, others)| others.iter().map(move |&other| (at, other))).collect()
    }
}

/// The decks in the order of their names.
fn decks(slides: &[SlideRecord], texts: &[Option<TextPrint>], pages: &[usize]) -> Vec<Deck> {
    let mut decks: BTreeMap<&str, Deck> = BTreeMap::new();
    for (at, slide) in slides.iter().enumerate() {
        let new =
            || Deck { name: slide.deck_id.clone(), slides: Vec::new(), pages: BTreeSet::new(), text: None };
        let deck = decks.entry(&slide.deck_id).or_insert_with(new);
        if is_blank(slide) {
            continue;
        }
        deck.slides.push(at);
        deck.pages.insert(pages[at]);
        match (&mut deck.text, &texts[at]) {
            (Some(all), Some(text)) => all.add(text),
            (all @ None, text) => all.clone_from(text),
            (Some(_), None) => {}
        }
    }
    decks.into_values().collect()
}

type Pairs = BTreeMap<(usize, usize), BTreeSet<usize>>;

/// What each pair of decks has in common of what `own` says a deck has.
fn shared(decks: &[Deck], own: impl Fn(&Deck) -> BTreeSet<usize>) -> Pairs {
    let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (deck, found) in decks.iter().enumerate() {
        for page in own(found) {
            places.entry(page).or_default().push(deck);
        }
    }
    let mut shared = Pairs::new();
    for (page, decks) in places.iter().filter(|(_, decks)| decks.len() <= MANY) {
        for pair in pairs(decks) {
            shared.entry(pair).or_default().insert(*page);
        }
    }
    shared
}

fn pairs(decks: &[usize]) -> impl Iterator<Item = (usize, usize)> + '_ {
    decks.iter().enumerate().flat_map(|(at, &a)| decks[at + 1..].iter().map(move |&b| (a, b)))
}

/// For each deck the first one that is a version of it: both share much of the larger one's pages, or of their words.
fn versions(decks: &[Deck], shared: &Pairs, share: f64) -> Vec<usize> {
    let mut sets = Sets::new(decks.len());
    for (&(a, b), pages) in shared {
        let larger = decks[a].pages.len().max(decks[b].pages.len());
        if pages.len() as f64 >= share * larger as f64 {
            sets.join(a, b);
        }
    }
    let texts: Vec<Option<TextPrint>> = decks.iter().map(|deck| deck.text.clone()).collect();
    for (a, b) in similar_texts(&texts, DECK_RUNS, SAME_DECK) {
        sets.join(a, b);
    }
    sets.into_firsts()
}

/// The pages of at least `least` decks that are not versions of each other.
fn common(decks: &[Deck], versions: &[usize], least: usize) -> BTreeSet<usize> {
    let mut places: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (deck, version) in decks.iter().zip(versions) {
        for &page in &deck.pages {
            places.entry(page).or_default().insert(*version);
        }
    }
    places.into_iter().filter(|(_, versions)| versions.len() >= least).map(|(page, _)| page).collect()
}

fn related(
    decks: &[Deck],
    shared: &Pairs,
    shown: &Pairs,
    versions: &[usize],
    common: &BTreeSet<usize>,
) -> Vec<Related> {
    let several = shared.iter().filter(|((a, b), pages)| {
        let own = pages.difference(common).count();
        let smaller = decks[*a].pages.len().min(decks[*b].pages.len());
        own >= PAGES && own as f64 >= SHARE * smaller as f64
    });
    let mut of_deck: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (deck, &first) in versions.iter().enumerate() {
        of_deck.entry(first).or_default().push(deck);
    }
    let versions = of_deck.values().flat_map(|decks| pairs(decks));
    let all: BTreeSet<(usize, usize)> =
        several.map(|(pair, _)| *pair).chain(shown.keys().copied()).chain(versions).collect();
    let pages = |pair: (usize, usize)| shared.get(&pair).map_or(1, BTreeSet::len);
    all.into_iter().map(|decks| Related { decks, pages: pages(decks) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A deck of slides without text.
    fn deck(name: &str, count: usize) -> Vec<SlideRecord> {
        (1..=count).map(|number| SlideRecord::sample(name, number)).collect()
    }

    /// Decks whose slides repeat the page of the number given, of the first deck that has it; and whether text is known.
    fn found(decks: &[(&str, &[usize])], texts: &[Option<&str>]) -> Vec<(String, String, usize)> {
        let mut slides = Vec::new();
        let mut first: BTreeMap<usize, usize> = BTreeMap::new();
        let mut links = Vec::new();
        for (name, pages) in decks {
            for (slide, page) in deck(name, pages.len()).into_iter().zip(*pages) {
                let original = *first.entry(*page).or_insert(slides.len());
                if original < slides.len() {
                    links.push((slides.len(), original));
                }
                slides.push(slide);
            }
        }
        let mut texts: Vec<_> = texts.iter().map(|text| text.and_then(TextPrint::of)).collect();
        texts.resize(slides.len(), None);
        let evidence = Evidence::of(&slides, &texts, &links, &DuplicateThresholds::default());
        let name = |at: usize| evidence.name(at).to_owned();
        evidence.related.iter().map(|r| (name(r.decks.0), name(r.decks.1), r.pages)).collect()
    }

    fn row(a: &str, b: &str, pages: usize) -> (String, String, usize) {
        (a.to_owned(), b.to_owned(), pages)
    }

    #[test]
    fn a_page_of_two_decks_relates_them_and_one_of_three_unlike_decks_none() {
        assert_eq!(found(&[("a", &[1, 2, 3, 9]), ("b", &[4, 5, 6, 9])], &[]), [row("a", "b", 1)]);
        let three: [(&str, &[usize]); 3] =
            [("a", &[1, 2, 3, 9]), ("b", &[4, 5, 6, 9]), ("c", &[7, 8, 10, 9])];
        assert_eq!(found(&three, &[]), []);
    }

    #[test]
    fn versions_are_related_however_many_there_are() {
        let decks: [(&str, &[usize]); 4] = [
            ("v1", &[1, 2, 3, 4, 5]),
            ("v2", &[1, 2, 3, 6, 7]),
            ("v3", &[1, 2, 8, 6, 7]),
            ("w", &[20, 21, 22, 5]),
        ];
        let pairs = found(&decks, &[]);
        for pair in [row("v1", "v2", 3), row("v1", "v3", 2), row("v2", "v3", 4), row("v1", "w", 1)] {
            assert!(pairs.contains(&pair), "{pair:?} of {pairs:?}");
        }
        assert_eq!(pairs.len(), 4);
    }

    #[test]
    fn an_excerpt_of_common_pages_bridges_nothing() {
        let decks: [(&str, &[usize]); 5] = [
            ("a", &[1, 2, 3, 4, 8, 9]),
            ("b", &[11, 12, 13, 14, 8, 9]),
            ("c", &[21, 22, 23, 24, 8, 9]),
            ("d", &[31, 32, 33, 34, 8, 9]),
            ("excerpt", &[8, 9]),
        ];
        assert_eq!(found(&decks, &[]), []);
    }

    #[test]
    fn a_page_of_few_words_relates_nothing() {
        let mut texts = [None; 10];
        (texts[4], texts[9]) = (Some("Thank you!"), Some("Thank you!"));
        let decks: [(&str, &[usize]); 2] = [("a", &[1, 2, 3, 4, 9]), ("b", &[5, 6, 7, 8, 9])];
        assert_eq!(found(&decks, &texts), []);
        let wordy = "Our sales doubled in each of the last nine quarters while costs stayed where they were";
        (texts[4], texts[9]) = (Some(wordy), Some(wordy));
        assert_eq!(found(&decks, &texts), [row("a", "b", 1)]);
    }

    /// Sentences that no other page has.
    fn page(deck: usize, number: usize) -> String {
        (0..12)
            .map(|at| format!("{:x} ", repeatable_random::mix((deck * 1_000 + number * 20 + at) as u64)))
            .collect::<Vec<_>>()
            .concat()
    }

    #[test]
    fn decks_that_look_different_and_say_the_same_are_related() {
        let text =
            |deck: usize, numbers: &[usize]| numbers.iter().map(|&n| page(deck, n)).collect::<Vec<_>>();
        let all = [text(1, &[1, 2, 3, 4]), text(1, &[2, 1, 4, 5]), text(2, &[1, 2, 3, 4])].concat();
        let texts: Vec<_> = all.iter().map(|text| Some(text.as_str())).collect();
        let decks: [(&str, &[usize]); 3] =
            [("a", &[1, 2, 3, 4]), ("b", &[5, 6, 7, 8]), ("c", &[9, 10, 11, 12])];
        assert_eq!(found(&decks, &texts), [row("a", "b", 3)]);
    }

    #[test]
    fn many_pages_of_few_words_are_a_deck_as_a_whole() {
        let short = |deck: usize| (0..30).map(|n| page(deck, n)[..17].to_owned()).collect::<Vec<_>>();
        let all = [short(1), short(1), short(2)].concat();
        let texts: Vec<_> = all.iter().map(|text| Some(text.as_str())).collect();
        let numbers: Vec<usize> = (0..90).collect();
        let decks = [("a", &numbers[..30]), ("b", &numbers[30..60]), ("c", &numbers[60..])];
        assert_eq!(found(&decks, &texts), [row("a", "b", 1)]);
    }
}
