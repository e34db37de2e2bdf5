//! Decks leave the store.

use std::collections::BTreeSet;
use std::path::PathBuf;

use project_files::SlideFiles;
use serde::{Deserialize, Serialize};

use super::staying::Staying;
use super::store::{InputRecord, Store};
use super::{sketches, texts};
use crate::{Forgetting, Result, SlideRecord};

/// The files that forgotten decks came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ForgottenFiles {
    /// SHA-256 of each that no other deck came from.
    pub sha256: BTreeSet<String>,
    /// Their names in records.
    pub origins: BTreeSet<String>,
    /// Where they lie within the store, from its folder.
    pub own: BTreeSet<PathBuf>,
    /// Where they lie elsewhere, as far as it is known.
    pub elsewhere: BTreeSet<PathBuf>,
    /// Archives that other decks came from too.
    pub shared: BTreeSet<String>,
    /// The lines of `inputs.jsonl`, each by its origin and SHA-256.
    pub inputs: BTreeSet<(String, String)>,
}

impl Store {
    /// Where the receipts of what was forgotten lie.
    pub fn forgotten(&self) -> PathBuf {
        SlideFiles::new(self.raw()).forgotten()
    }

    /// The files that the slides of these decks came from.
    pub fn files_of(&self, gone: &Forgetting) -> ForgottenFiles {
        let is_gone = |slide: &&SlideRecord| gone.is_deck(&slide.deck_id);
        let others: Vec<&SlideRecord> = self.slides().iter().filter(|slide| !is_gone(slide)).collect();
        let other_hashes: BTreeSet<&str> = others.iter().map(|slide| slide.source.sha256.as_str()).collect();
        let other_files: BTreeSet<&str> = others.iter().map(|slide| file_of(slide)).collect();
        let mut files = ForgottenFiles::default();
        for slide in self.slides().iter().filter(is_gone) {
            if !other_hashes.contains(slide.source.sha256.as_str()) {
                files.sha256.insert(slide.source.sha256.clone());
            }
            files.origins.insert(slide.source.origin.clone());
            let file = file_of(slide);
            if file == slide.source.origin || !other_files.contains(file) {
                files.origins.insert(file.to_owned());
            } else {
                files.shared.insert(file.to_owned());
            }
        }
        for input in self.inputs() {
            let is_named = files.origins.contains(&input.origin) && !files.shared.contains(&input.origin);
            let is_meant = is_named && !other_hashes.contains(input.sha256.as_str());
            if !is_meant && !files.sha256.contains(&input.sha256) {
                continue;
            }
            files.inputs.insert((input.origin.clone(), input.sha256.clone()));
            let hashes = std::iter::once(&input.sha256).chain(&input.earlier);
            let own = hashes.filter(|hash| !hash.is_empty() && !other_hashes.contains(hash.as_str()));
            files.sha256.extend(own.cloned());
            let Some(place) = input.place.as_deref().filter(|place| !place.starts_with('"')) else {
                continue;
            };
            let place = PathBuf::from(place);
            if place.is_absolute() { &mut files.elsewhere } else { &mut files.own }.insert(place);
        }
        files
    }

    /// Takes decks out of the records: the manifest, then what is known of their files. Returns how many records were taken out or
    /// changed; a second time there are none. Their images are not touched.
    ///
    /// # Errors
    /// When a record cannot be written; those before it are.
    pub fn forget_records(
        &mut self,
        gone: &Forgetting,
        files: &ForgottenFiles,
        staying: &Staying,
    ) -> Result<usize> {
        let stays = |slide: &str| staying.holds(slide);
        let mut changed = gone.clear_manifest(self.slides_mut(), &stays);
        if changed > 0 {
            self.rewrite_manifest()?;
        }
        let inputs = self.forget_inputs(|input| {
            if files.holds(input) {
                return false;
            }
            input.earlier.retain(|hash| !files.sha256.contains(hash));
            true
        })?;
        changed += inputs;
        Ok(changed)
    }

    /// Takes the fingerprints of pictures and texts out that no slide of the store has. Returns how many there were.
    ///
    /// # Errors
    /// When a file of fingerprints cannot be written.
    pub fn forget_prints(&self) -> Result<usize> {
        Ok(sketches::retain(self.raw(), self.slides())? + texts::retain(self.raw(), self.slides())?)
    }

    /// Takes in again what was forgotten, for the person named; what comes of it is noted in the log of receipts.
    pub fn take_forgotten(&mut self, by: &str) {
        self.tombstones_mut().lift(by);
    }
}

impl ForgottenFiles {
    /// Whether an input is one of them.
    fn holds(&self, input: &InputRecord) -> bool {
        let named = (input.origin.clone(), input.sha256.clone());
        self.inputs.contains(&named) || self.sha256.contains(&input.sha256)
    }
}

/// The file that a slide came from: an archive, where it came from a part of one.
pub(super) fn file_of(slide: &SlideRecord) -> &str {
    let origin = &slide.source.origin;
    if origin.contains("://") { origin } else { origin.split('!').next().unwrap_or(origin) }
}

/// Why slides of an archive's parts are not taken in.
pub(super) fn refuse_parts(store: &mut Store, slides: &mut Vec<super::worker::Staged>) -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    if store.tombstones_mut().is_empty() {
        return reasons;
    }
    slides.retain(|staged| match store.tombstones_mut().refusal(&staged.record.source.sha256) {
        Some(reason) => {
            reasons.insert(reason);
            let _ = std::fs::remove_file(&staged.image); // the staging folder is cleared anyway
            false
        }
        None => true,
    });
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_slide_is_its_archive_and_an_address_is_whole() {
        let of = |origin: &str| {
            let mut slide = SlideRecord::sample("d", 1);
            slide.source.origin = origin.to_owned();
            file_of(&slide).to_owned()
        };
        assert_eq!(of("decks.zip!a/b.pdf"), "decks.zip");
        assert_eq!(of("a!b.pdf"), "a");
        assert_eq!(of("https://example.org/a!b.pdf"), "https://example.org/a!b.pdf");
    }
}
