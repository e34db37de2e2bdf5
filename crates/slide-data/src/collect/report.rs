//! What a run did, and how it is followed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::SlideRecord;

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Files that were met: collected, set aside, passed over, or left unread by a run that was stopped.
    pub seen: usize,
    /// Files that hold slides, or promise to.
    pub inputs: usize,
    /// Of these, files whose slides are in the store.
    pub collected: usize,
    /// Of these, files of which nothing is. What is set aside of the others (pages, entries) is not counted.
    pub refused: usize,
    /// Of these, files that had not changed since an earlier run.
    pub unchanged: usize,
    /// Slides that this run added.
    pub slides_new: usize,
    /// Slides of earlier runs that were drawn anew and look otherwise: fonts were installed, or pages are drawn in another size.
    pub redrawn: usize,
    /// Slides that would look otherwise and keep their picture, because people rated it or the frozen test set holds it.
    pub kept_pictures: usize,
    /// Documents that were collected before text was read, and that this run did not meet: they are compared by pictures alone.
    pub untold: usize,
    /// Slides in the store.
    pub slides: usize,
    /// Decks in the store.
    pub decks: usize,
    /// Groups in the store: decks that are related by what they show or say.
    pub groups: usize,
    /// Pages that at least three groups have, as thanks or legal notices: they join no decks, and one slide of each is used.
    pub common_pages: usize,
    /// Slides of earlier runs, rated by nobody, that now repeat a better copy.
    pub replaced: usize,
    /// Slides in the store that repeat another.
    pub duplicates: usize,
    /// Slides in the store with a quality flag.
    pub flagged: usize,
    /// Slides in the store that the rules leave out.
    pub excluded: usize,
    /// Slides of earlier runs that this one left out, because the rules of `data.toml` changed or people decided so.
    pub newly_excluded: usize,
    /// Slides of earlier runs that this one took in again, because the rules or their files changed or people decided so.
    pub newly_included: usize,
    /// Slides that this run left out because a new version of their file does not have them.
    pub outdated: usize,
    /// Slides that the rules or a new version leave out and that stay, because the frozen test set holds them.
    pub held: usize,
    /// Pairs of slides that this run made one, or two, because people decided so.
    pub decided_pairs: usize,
    /// Slides of earlier runs whose licence changed.
    pub licences: usize,
    /// Files that gave slides and are no longer where they were; their slides stay.
    pub missing: Vec<String>,
    /// Slides that can be labelled and trained on.
    pub usable: usize,
    /// Fonts that slides of the store ask for and that were not there when they were drawn: how many slides each.
    pub missing_fonts: BTreeMap<String, usize>,
    /// Slides of presentations from which it cannot be read which fonts they ask for.
    pub unknown_fonts: usize,
    /// Files, pages and entries of this run's inputs that could not become slides.
    pub set_aside: Vec<Quarantined>,
    /// Files in which no slides were looked for, and why.
    pub passed_over: Vec<Quarantined>,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
}

impl Report {
    /// Takes in what a source passed over, and what it could not bring.
    pub fn add_from_source(&mut self, set_aside: Vec<Quarantined>, passed_over: Vec<Quarantined>) {
        self.seen += set_aside.len() + passed_over.len();
        self.refused += set_aside.len();
        self.set_aside.splice(0..0, set_aside);
        self.passed_over.extend(passed_over);
    }
}

/// A file, page or entry that could not become a slide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// The file, and the page or entry where only that failed.
    pub origin: String,
    /// Why.
    pub reason: String,
}

/// Follows a run.
pub trait Progress: Sync {
    /// So many files will be read.
    fn inputs(&self, _total: usize) {}
    /// A file has so many slides.
    fn slides_found(&self, _count: usize) {}
    /// A slide was read.
    fn slide(&self, _slide: &SlideRecord) {}
    /// A file is done.
    fn input_done(&self, _origin: &str) {}
    /// Something was set aside.
    fn set_aside(&self, _item: &Quarantined) {}
    /// So many slides are measured again, because the rules changed.
    fn measuring(&self, _total: usize) {}
    /// Duplicates are being looked for.
    fn comparing(&self) {}
    /// Whether to stop: files that are being read are given up and read again by the next run.
    fn is_interrupted(&self) -> bool {
        false
    }
}

impl Progress for () {}
