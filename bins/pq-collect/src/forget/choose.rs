//! Which decks a name means.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use pq_cli::{Hint, Layout};
use slide_data::collect::Store;
use slide_data::{Contract as _, KeptSlide, Source};

use super::production;

/// A deck of the store, or one that was scored and kept.
#[derive(Debug, Default)]
struct Deck {
    slides: BTreeSet<String>,
    origins: BTreeSet<String>,
    owners: BTreeSet<String>,
}

impl Deck {
    fn add(&mut self, slide_id: &str, source: &Source) {
        self.slides.insert(slide_id.to_owned());
        self.origins.insert(source.origin.clone());
        self.owners.extend(source.license.clone());
    }

    fn line(&self, id: &str) -> String {
        let origin = self.origins.first().map_or("", String::as_str);
        let more = if self.origins.len() > 1 { " ..." } else { "" };
        let owners: Vec<&str> = self.owners.iter().map(String::as_str).collect();
        let owners = if owners.is_empty() { "licence not stated".to_owned() } else { owners.join("; ") };
        format!("  {id}  {origin}{more}, {} slides, {owners}", self.slides.len())
    }
}

/// The longest list of candidates.
const NAMED: usize = 20;

/// The decks that are meant: one by its id, all of one file by the file's name, all of one owner by the licence or consent that stands
/// in the records.
///
/// # Errors
/// When nothing has the name, or decks of several files have it; with what is there of that or a similar name.
pub(crate) fn choose(store: &Store, layout: &Layout, name: &str) -> Result<BTreeSet<String>> {
    let decks = known(store, layout)?;
    if decks.contains_key(name) || production::has_deck(layout, name)? {
        return Ok([name.to_owned()].into());
    }
    let ids = |is: &dyn Fn(&Deck) -> bool| -> BTreeSet<String> {
        decks.iter().filter(|(_, deck)| is(deck)).map(|(id, _)| id.clone()).collect()
    };
    let by_file = ids(&|deck| deck.origins.iter().any(|origin| is_file(origin, name)));
    let by_owner = ids(&|deck| deck.owners.iter().any(|owner| is_same(owner, name)));
    let list = |ids: &BTreeSet<String>| {
        let lines: Vec<String> = ids.iter().take(NAMED).map(|id| decks[id].line(id)).collect();
        let more = ids.len().saturating_sub(NAMED);
        lines.join("\n") + &if more > 0 { format!("\n  and {more} more") } else { String::new() }
    };
    let is_one_file = by_file.len() < 2 || {
        let files = by_file.iter().flat_map(|id| &decks[id].origins);
        let archives: BTreeSet<&str> =
            files.map(|origin| origin.split('!').next().unwrap_or(origin)).collect();
        archives.len() == 1
    };
    match (by_file.is_empty(), by_owner.is_empty()) {
        (false, true) if is_one_file => Ok(by_file),
        (true, false) => Ok(by_owner),
        (true, true) => {
            let lower = name.to_lowercase();
            let near = ids(&|deck| {
                deck.origins.iter().chain(&deck.owners).any(|text| text.to_lowercase().contains(&lower))
            });
            let found = if near.is_empty() {
                String::new()
            } else {
                format!("; of a similar name are:\n{}", list(&near))
            };
            bail!(Hint::new(
                format!("no deck, file or owner is called `{name}`{found}"),
                "give a deck's id, the name of its file, or the licence that `pq-collect show` states; nothing was changed"
            ));
        }
        _ => {
            let both: BTreeSet<String> = by_file.union(&by_owner).cloned().collect();
            bail!(Hint::new(
                format!("`{name}` may mean several decks:\n{}", list(&both)),
                "name one by its id, or a file by its whole path; nothing was changed"
            ));
        }
    }
}

fn known(store: &Store, layout: &Layout) -> Result<BTreeMap<String, Deck>> {
    let mut decks: BTreeMap<String, Deck> = BTreeMap::new();
    for slide in store.slides() {
        decks.entry(slide.deck_id.clone()).or_default().add(&slide.slide_id, &slide.source);
    }
    for slide in KeptSlide::read_log_if_present(&layout.kept().index())?.entries {
        let deck = decks.entry(slide.deck_id.clone()).or_default();
        deck.add(&slide.slide_id, &slide.source);
        deck.origins.insert(slide.deck);
    }
    Ok(decks)
}

/// Whether an origin is a file or folder of this name, or lies in it: the whole path, or its last parts.
fn is_file(origin: &str, name: &str) -> bool {
    let ends = |path: &str| {
        path.strip_suffix(name).is_some_and(|above| above.is_empty() || above.ends_with(['/', '!']))
    };
    let folder = origin.rsplit_once(['/', '!']).map(|(folder, _)| folder);
    let archive = origin.split_once('!').map(|(archive, _)| archive);
    !name.is_empty() && (ends(origin) || folder.is_some_and(ends) || archive.is_some_and(ends))
}

fn is_same(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_path_its_name_and_its_folder() {
        for (origin, name, is) in [
            ("round/acme.pdf", "round/acme.pdf", true),
            ("round/acme.pdf", "acme.pdf", true),
            ("round/acme.pdf", "round", true),
            ("round/acme.pdf", "me.pdf", false),
            ("round/acme.pdf", "acme", false),
            ("round/acme.pdf", "", false),
            ("all.zip!a/acme.pdf", "all.zip", true),
            ("all.zip!a/acme.pdf", "acme.pdf", true),
            ("in/all.zip!acme.pdf", "all.zip", true),
            ("small.zip!acme.pdf", "all.zip", false),
        ] {
            assert_eq!(is_file(origin, name), is, "{origin} {name}");
        }
    }
}
