use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::copies::is_better;
use super::sketches;
use crate::imaging::{Placed, Signature, Sketch, SlideHash, decode};
use crate::{DuplicateThresholds, Limits, Manifest, SlideRecord};

/// Signatures that a comparer keeps in memory (20 kB each).
const KEPT: usize = 1_024;

/// What of a slide is compared with all others before images are: 0.8 kB.
pub(super) struct Outline {
    hash: SlideHash,
    inverse_length: f32,
    sketch: Option<Sketch>,
}

impl Outline {
    /// The outlines of slides, in order; none for a slide without a hash.
    pub(super) fn of_all(raw: &Path, slides: &[SlideRecord]) -> Vec<Option<Self>> {
        let outline = |(slide, sketch): (&SlideRecord, Option<Sketch>)| {
            let hash = SlideHash::from_hex(&slide.phash)?;
            Some(Self { inverse_length: hash.inverse_length(), hash, sketch })
        };
        slides.iter().zip(sketches::of_all(raw, slides)).map(outline).collect()
    }

    /// What the slide is looked up by.
    pub(super) fn sketch(&self) -> Option<&Sketch> {
        self.sketch.as_ref()
    }

    /// How similar the hashes of two slides are, if the slides can be variants of one.
    pub(super) fn resemblance(&self, other: &Self, thresholds: &DuplicateThresholds) -> Option<f32> {
        let similarity = self.hash.scaled_similarity(self.inverse_length, &other.hash, other.inverse_length);
        let may_match = || match (&self.sketch, &other.sketch) {
            (Some(own), Some(other)) => own.may_match(other),
            _ => true,
        };
        (similarity >= thresholds.similarity && may_match()).then_some(similarity)
    }
}

/// Compares stored images closely. Their signatures are made when they are needed; the oldest are forgotten.
pub(super) struct Comparer<'a> {
    raw: &'a Path,
    kept: HashMap<String, Arc<Signature>>,
    order: VecDeque<String>,
}

impl<'a> Comparer<'a> {
    pub(super) fn new(raw: &'a Path) -> Self {
        Self { raw, kept: HashMap::new(), order: VecDeque::new() }
    }

    /// How much two slides differ; none where an image cannot be read, which is `verify`'s to report.
    pub(super) fn difference(&mut self, a: &str, b: &str) -> Option<f32> {
        let (a, b) = (self.signature(a)?, self.signature(b)?);
        Some(a.difference(&b))
    }

    /// A slide as another one, the frame, would have it; none where an image cannot be read.
    pub(super) fn placed(&mut self, own: &str, frame: &str) -> Option<Placed> {
        let (own, frame) = (self.signature(own)?, self.signature(frame)?);
        Some(Placed::of(&own, &frame))
    }

    /// Whether the first of two copies of a slide is clearly the better one; not where an image cannot be read.
    pub(super) fn is_better(&self, newer: &str, older: &str) -> bool {
        let image = |slide_id: &str| {
            let bytes = std::fs::read(Manifest::image_path(self.raw, slide_id)).ok()?;
            decode(&bytes, &Limits::default()).ok()
        };
        matches!((image(newer), image(older)), (Some(newer), Some(older)) if is_better(&newer, &older))
    }

    fn signature(&mut self, slide_id: &str) -> Option<Arc<Signature>> {
        if let Some(signature) = self.kept.get(slide_id) {
            return Some(Arc::clone(signature));
        }
        let bytes = std::fs::read(Manifest::image_path(self.raw, slide_id)).ok()?;
        let signature = Arc::new(Signature::of(&decode(&bytes, &Limits::default()).ok()?));
        if self.order.len() == KEPT {
            self.order.pop_front().map(|oldest| self.kept.remove(&oldest));
        }
        self.order.push_back(slide_id.to_owned());
        self.kept.insert(slide_id.to_owned(), Arc::clone(&signature));
        Some(signature)
    }
}
