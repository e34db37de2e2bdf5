use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use slide_data::{Manifest, SlideRecord};

/// What the page needs of a slide.
#[derive(Debug, Clone)]
pub(crate) struct SlideCard {
    pub(crate) deck_id: Arc<str>,
    /// The deck as people know it: its file or folder.
    pub(crate) deck: Arc<str>,
    pub(crate) number: usize,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Of the pixels; names the image for the browser's cache.
    pub(crate) sha256: Arc<str>,
}

/// The usable slides of a manifest by their ids. A name that leads out of the image folder is no slide.
pub(super) fn by_id(manifest: &Manifest) -> HashMap<Box<str>, SlideCard> {
    let is_plain = |id: &str| !id.is_empty() && !id.contains(['/', '\\', '\0']) && id != "..";
    let decks: HashMap<&str, (Arc<str>, Arc<str>)> = deck_names(manifest)
        .into_iter()
        .map(|(deck_id, name)| (deck_id, (Arc::from(deck_id), Arc::from(name))))
        .collect();
    let mut by_id = HashMap::new();
    for slide in manifest.usable().filter(|slide| is_plain(&slide.slide_id)) {
        let (deck_id, deck) = decks[slide.deck_id.as_str()].clone();
        let card = SlideCard {
            deck_id,
            deck,
            number: slide.number,
            width: slide.width,
            height: slide.height,
            sha256: slide.sha256.as_str().into(),
        };
        by_id.insert(slide.slide_id.as_str().into(), card);
    }
    by_id
}

/// The decks' names: of a deck that is one file the file's, of images the folder's. Names that several decks share have the deck's id
/// beside them; a deck whose origin says nothing has its id alone.
fn deck_names(manifest: &Manifest) -> BTreeMap<&str, String> {
    let mut slides: BTreeMap<&str, Vec<&SlideRecord>> = BTreeMap::new();
    for slide in &manifest.slides {
        slides.entry(&slide.deck_id).or_default().push(slide);
    }
    let names: BTreeMap<&str, &str> =
        slides.iter().map(|(deck_id, slides)| (*deck_id, name_of(slides))).collect();
    let (mut seen, mut shared) = (BTreeSet::new(), BTreeSet::new());
    for name in names.values() {
        if !seen.insert(*name) {
            shared.insert(*name);
        }
    }
    let unique = |(deck_id, name): (&'_ str, &str)| match name {
        "" => deck_id.to_owned(),
        name if shared.contains(name) => format!("{name} ({deck_id})"),
        name => name.to_owned(),
    };
    names.iter().map(|(deck_id, name)| (*deck_id, unique((deck_id, name)))).collect()
}

/// The last part of what all slides of a deck came from; empty where they have nothing in common.
fn name_of<'a>(slides: &[&'a SlideRecord]) -> &'a str {
    let parts = |origin: &'a str| origin.trim_end_matches('/').split(['/', '\\']).collect::<Vec<_>>();
    let mut shared: Option<Vec<&str>> = None;
    for slide in slides {
        let parts = parts(&slide.source.origin);
        let shared = shared.get_or_insert_with(|| parts.clone());
        let length = shared.iter().zip(&parts).take_while(|(a, b)| a == b).count();
        shared.truncate(length);
    }
    shared.unwrap_or_default().last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decks_have_the_names_of_their_files() {
        let record = |deck: &str, number: usize, origin: &str| {
            let mut record = SlideRecord::sample(deck, number);
            origin.clone_into(&mut record.source.origin);
            record
        };
        let slides = vec![
            record("d1", 1, "series-a/trilio.pdf"),
            record("d1", 2, "series-a/trilio.pdf"),
            record("f2", 1, "photos/acme/one.png"),
            record("f2", 2, "photos/acme/two.png"),
            record("d3", 1, "2025/deck.pdf"),
            record("d4", 1, "2026/deck.pdf"),
            record("d5", 1, ""),
            record("f6", 1, "one.png"),
            record("f6", 2, "two.png"),
            record("d7", 1, "https://example.org/decks/seed.pdf"),
        ];
        let manifest = Manifest { slides };
        let names: Vec<String> = deck_names(&manifest).into_values().collect();
        let expected = ["trilio.pdf", "deck.pdf (d3)", "deck.pdf (d4)", "d5", "seed.pdf", "acme", "f6"];
        assert_eq!(names, expected);
    }
}
