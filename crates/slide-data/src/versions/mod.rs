//! Two versions of a deck: which slides stayed, and how the scores of the changed ones differ.

#[cfg(feature = "render")]
mod gaps;
#[cfg(feature = "render")]
mod page;
#[cfg(feature = "render")]
mod pages;

use serde::Serialize;

#[cfg(feature = "render")]
pub use page::Page;
#[cfg(feature = "render")]
pub use pages::match_pages;

/// A page of two versions of a deck, by its places in them, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageMatch {
    /// The same in both, in its order among those that stayed.
    Kept(usize, usize),
    /// The same in both, in another order.
    Moved(usize, usize),
    /// The same page, reworked, or another one in its place.
    Changed(usize, usize),
    /// Only in the newer version.
    Added(usize),
    /// Only in the older version.
    Removed(usize),
}

/// What can be said of a difference of two scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tendency {
    /// The newer one is better.
    Better,
    /// The newer one is worse.
    Worse,
    /// The model errs too much to tell, or nobody measured how much it errs.
    #[default]
    Unclear,
}

/// How a criterion's score differs between two versions of a slide, or on average over several.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreDifference {
    /// The criterion.
    pub criterion: String,
    /// The mean in the older version.
    pub before: f64,
    /// The mean in the newer version.
    pub after: f64,
    /// Where the difference lies, 95 times in 100, looked at alone; absent where nobody measured how far the model errs.
    pub interval: Option<[f64; 2]>,
    /// What can be said of it, for all that is compared together.
    pub tendency: Tendency,
    /// Of so many slides.
    pub slides: usize,
}

/// A slide that stands in both versions and is not the same any more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlideVersions {
    /// Its place in the older version, from 1.
    pub before: usize,
    /// Its place in the newer version, from 1.
    pub after: usize,
    /// For each criterion that has a score in both.
    pub differences: Vec<ScoreDifference>,
}

/// Two versions of a deck, with the places of slides from 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct DeckVersions {
    /// Slides that are the same, by their places before and after.
    pub kept: Vec<[usize; 2]>,
    /// The same slides in another order.
    pub moved: Vec<[usize; 2]>,
    /// Slides that were worked on, in the order of the newer version.
    pub changed: Vec<SlideVersions>,
    /// Slides that only the newer version has.
    pub added: Vec<usize>,
    /// Slides that only the older version has.
    pub removed: Vec<usize>,
    /// The changed slides together, for each criterion that has a score in both versions of one.
    pub criteria: Vec<ScoreDifference>,
}
