use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::rc::Rc;

use crate::picture::{Signature, SlideHash, decode};
use crate::{DuplicateThresholds, Limits, Manifest, SlideRecord};

/// Signatures kept in memory (20 kB each).
const KEPT: usize = 2_048;

/// A slide's hash, ready to be compared with many.
pub(super) struct Hashed {
    hash: SlideHash,
    inverse_length: f32,
}

impl Hashed {
    pub(super) fn of(slide: &SlideRecord) -> Option<Self> {
        let hash = SlideHash::from_hex(&slide.phash)?;
        Some(Self { inverse_length: hash.inverse_length(), hash })
    }

    pub(super) fn similarity(&self, other: &Self) -> f32 {
        self.hash.scaled_similarity(self.inverse_length, &other.hash, other.inverse_length)
    }
}

/// Compares stored pictures closely. Their signatures are made when they are needed; the oldest are forgotten.
pub(super) struct Comparer<'a> {
    pub(super) thresholds: &'a DuplicateThresholds,
    raw: &'a Path,
    kept: HashMap<String, Rc<Signature>>,
    order: VecDeque<String>,
}

impl<'a> Comparer<'a> {
    pub(super) fn new(raw: &'a Path, thresholds: &'a DuplicateThresholds) -> Self {
        Self { thresholds, raw, kept: HashMap::new(), order: VecDeque::new() }
    }

    /// How much two slides differ; none where a picture cannot be read, which is `verify`'s to report.
    pub(super) fn difference(&mut self, a: &str, b: &str) -> Option<f32> {
        let (a, b) = (self.signature(a)?, self.signature(b)?);
        Some(a.difference(&b))
    }

    fn signature(&mut self, slide_id: &str) -> Option<Rc<Signature>> {
        if let Some(signature) = self.kept.get(slide_id) {
            return Some(Rc::clone(signature));
        }
        let bytes = std::fs::read(Manifest::image_path(self.raw, slide_id)).ok()?;
        let signature = Rc::new(Signature::of(&decode(&bytes, &Limits::default()).ok()?));
        if self.order.len() == KEPT {
            self.order.pop_front().map(|oldest| self.kept.remove(&oldest));
        }
        self.order.push_back(slide_id.to_owned());
        self.kept.insert(slide_id.to_owned(), Rc::clone(&signature));
        Some(signature)
    }
}
