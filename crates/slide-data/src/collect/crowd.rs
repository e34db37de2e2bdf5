//! Slides that many others resemble at first sight, such as one form that was filled in thousands of times.
//!
//! To align each with each takes the square of their number, in milliseconds. So where a slide meets a crowd, it and all of the crowd are
//! aligned with one slide alone, the frame, each once; as they then lie they are compared in microseconds, and the slide is aligned with
//! the few that come nearest. What is found depends on the slides and their order, not on threads or on how they were read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::comparer::Comparer;
use crate::SlideRecord;
use crate::imaging::Placed;

/// A match: how similar the hashes are, and the position of the other slide.
pub(super) type Match = (f32, usize);

/// Slides that resemble one from which on they are a crowd.
pub(super) const CROWD: usize = 32;
/// Slides of a crowd that one is aligned with at most.
pub(super) const CLOSELY: usize = 16;
/// How much copies may differ as they lie and still be aligned.
const APART: f32 = 1.2;

/// A copy as it lies on a frame; nothing where they cannot be aligned.
type Placing = Option<Arc<Placed>>;

/// The copies that were aligned with a frame, by slide and frame.
#[derive(Default)]
pub(super) struct Crowds(Mutex<HashMap<(usize, usize), Placing>>);

impl Crowds {
    /// Those of the slides that resemble one, the most similar first, which it is to be aligned with: all where they are few; of a
    /// crowd those that come nearest as they lie, or the most similar where none comes near.
    pub(super) fn nearest(
        &self,
        slides: &[SlideRecord],
        (at, frame): (usize, usize),
        crowd: Vec<Match>,
        comparer: &mut Comparer<'_>,
    ) -> Vec<Match> {
        if crowd.len() <= CROWD {
            return crowd;
        }
        let Some(own) = self.placed(slides, at, frame, comparer) else {
            return crowd.into_iter().take(CLOSELY).collect();
        };
        let mut near: Vec<(f32, Match)> = Vec::new();
        for &one in &crowd {
            let other = self.placed(slides, one.1, frame, comparer);
            let difference = other.and_then(|other| other.difference(&own, APART));
            near.extend(difference.map(|difference| (difference, one)));
        }
        if near.len() > CLOSELY {
            near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.1.cmp(&b.1.1)));
            near.truncate(CLOSELY);
            near.sort_by(|a, b| b.1.0.total_cmp(&a.1.0).then(a.1.1.cmp(&b.1.1)));
        }
        if near.is_empty() {
            crowd.into_iter().take(1).collect()
        } else {
            near.into_iter().map(|(_, one)| one).collect()
        }
    }

    /// A slide as the frame would have it; none where an image cannot be read.
    fn placed(
        &self,
        slides: &[SlideRecord],
        at: usize,
        frame: usize,
        comparer: &mut Comparer<'_>,
    ) -> Option<Arc<Placed>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(at, frame)).cloned();
        known.unwrap_or_else(|| {
            let placed = comparer.placed(&slides[at].slide_id, &slides[frame].slide_id).map(Arc::new);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((at, frame), placed.clone());
            placed
        })
    }
}

/// What the slides of a crowd are aligned with: the first of the first that each of them resembled.
#[derive(Debug, Default)]
pub(super) struct Frames(HashMap<usize, usize>);

impl Frames {
    /// The frame of a slide that resembles others; none where it resembles none.
    pub(super) fn of(&self, others: &[Match]) -> Option<usize> {
        let first = others.iter().map(|&(_, other)| other).min()?;
        Some(self.0.get(&first).copied().unwrap_or(first))
    }

    pub(super) fn set(&mut self, at: usize, frame: usize) {
        self.0.insert(at, frame);
    }
}
