//! The sketches of a store's slides in one file, so that a run that adds a few slides need not open the images of all others.
//!
//! The file is derived: what it lacks is made from the images.

use std::path::Path;

use super::records::Records;
use crate::imaging::{Signature, Sketch, decode};
use crate::{Limits, Manifest, Result, SlideRecord};

fn file(raw: &Path) -> Records {
    Records { path: raw.join(".sketches"), kind: *b"sketch01", length: Sketch::LENGTH }
}

/// Adds sketches, each with the SHA-256 of its slide's pixels.
pub(super) fn append(raw: &Path, sketches: &[(String, Sketch)]) -> Result<()> {
    let records: Vec<_> =
        sketches.iter().map(|(sha256, sketch)| (sha256.as_str(), sketch.as_bytes())).collect();
    file(raw).append(&records)
}

/// Takes the sketches out that none of the slides has; returns how many.
pub(super) fn retain(raw: &Path, slides: &[SlideRecord]) -> Result<usize> {
    file(raw).retain(slides)
}

/// The sketch of each slide, in order; none for a slide whose image cannot be read. Those that the file lacked are added to it.
pub(super) fn of_all(raw: &Path, slides: &[SlideRecord]) -> Vec<Option<Sketch>> {
    let mut sketches = file(raw).of_all(slides, Sketch::from_bytes);
    let mut made = Vec::new();
    for (slide, sketch) in slides.iter().zip(&mut sketches).filter(|(_, sketch)| sketch.is_none()) {
        *sketch = from_image(raw, &slide.slide_id);
        made.extend(sketch.clone().map(|sketch| (slide.sha256.clone(), sketch)));
    }
    // They only save time.
    let _ = append(raw, &made);
    sketches
}

fn from_image(raw: &Path, slide_id: &str) -> Option<Sketch> {
    let bytes = std::fs::read(Manifest::image_path(raw, slide_id)).ok()?;
    Some(Sketch::of(&Signature::of(&decode(&bytes, &Limits::default()).ok()?)))
}
