//! Files of earlier runs whose slides would be drawn otherwise today, or whose text was never read.

use std::collections::{BTreeSet, HashMap};

use super::forget::file_of;
use super::store::{Drawn, InputRecord, Outcome, Store};
use super::texts;
use super::worker::Staged;
use crate::render::fonts_of_machine;

/// What is known of the slides of a file.
#[derive(Default, Clone, Copy)]
struct Known {
    /// Whether they are pages of a document, which has text and is drawn in any size.
    is_document: bool,
    has_text: bool,
    lacks_fonts: bool,
}

/// The files whose slides would be drawn otherwise today, and those that would be if they were at hand.
#[derive(Debug, Default)]
pub(super) struct Outdated {
    inputs: BTreeSet<(String, String)>,
    /// Documents whose text was never read.
    untold: BTreeSet<(String, String)>,
}

impl Outdated {
    /// Looks through the records of a store; `longest_edge` is that of pages that are drawn now.
    pub(super) fn of(store: &Store, longest_edge: u32) -> Self {
        let is_old = |input: &InputRecord| input.drawn.is_none();
        let prints = if store.inputs().any(is_old) {
            texts::of_all(store.raw(), store.slides())
        } else {
            vec![None; store.slides().len()]
        };
        let mut known: HashMap<&str, Known> = HashMap::new();
        for (slide, print) in store.slides().iter().zip(&prints) {
            let file = known.entry(file_of(slide)).or_default();
            file.is_document |= slide.source.page.is_some();
            file.has_text |= print.is_some();
            file.lacks_fonts |= !slide.missing_fonts.is_empty();
        }
        let mut all = Self::default();
        for input in store.inputs().filter(|input| matches!(input.outcome, Outcome::Collected { .. })) {
            let Some(known) = known.get(input.origin.as_str()) else { continue };
            let name = (input.origin.clone(), input.sha256.clone());
            let is_outdated = match &input.drawn {
                None => known.is_document && (!known.has_text || known.lacks_fonts),
                Some(drawn) => {
                    known.is_document && drawn.longest_edge != longest_edge
                        || known.lacks_fonts && drawn.fonts != fonts_of_machine()
                }
            };
            if is_outdated && input.drawn.is_none() && !known.has_text {
                all.untold.insert(name.clone());
            }
            if is_outdated {
                all.inputs.insert(name);
            }
        }
        all
    }

    /// Whether a file is read again.
    pub(super) fn holds(&self, input: &InputRecord) -> bool {
        !self.inputs.is_empty() && self.inputs.contains(&(input.origin.clone(), input.sha256.clone()))
    }

    /// How many documents' text was never read.
    pub(super) fn untold(&self) -> usize {
        self.untold.len()
    }
}

impl Drawn {
    /// How slides are drawn now: what of the machine they depend on is noted where they lack something of it.
    pub(super) fn now(longest_edge: u32, slides: &[Staged]) -> Self {
        let lacks_fonts = slides.iter().any(|staged| !staged.record.missing_fonts.is_empty());
        Self { longest_edge, fonts: if lacks_fonts { fonts_of_machine().to_owned() } else { String::new() } }
    }
}
