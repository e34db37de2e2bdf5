//! Slides of earlier runs that are drawn anew: fonts were installed that they ask for, pages are drawn in another size, or their text was
//! never read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::staying::Staying;
use super::worker::Staged;
use crate::error::io_error;
use crate::{Result, SlideRecord};

/// Flags that drawing a slide again does not decide.
const KEPT: [&str; 2] = ["replaced", "decided"];

/// What became of slides that were in the store.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Redrawn {
    /// Whose picture is another one now.
    pub(super) drawn: usize,
    /// Whose picture would be another one, and stays: people rated what they saw.
    pub(super) stay: usize,
    /// Of which it is only known now whether fonts were missing.
    pub(super) marked: usize,
}

/// Takes in slides that are in the store already. Their pictures are replaced where they changed, nobody rated them, and no more fonts
/// are missing than before; else they stay. Returns what is taken in.
pub(super) fn take(
    slides: &mut [SlideRecord],
    image_of: &dyn Fn(&str) -> PathBuf,
    again: Vec<Staged>,
    staying: &Staying,
) -> Result<(Redrawn, Vec<Staged>)> {
    let places: HashMap<String, usize> =
        slides.iter().enumerate().map(|(at, slide)| (slide.slide_id.clone(), at)).collect();
    let (mut redrawn, mut taken) = (Redrawn::default(), Vec::new());
    for staged in again {
        let Some(old) = places.get(&staged.record.slide_id).map(|&at| &mut slides[at]) else {
            discard(&staged.image);
            continue;
        };
        if old.sha256 == staged.record.sha256 {
            discard(&staged.image);
            redrawn.marked += usize::from(mark(old, &staged.record));
            taken.push(staged);
        } else if staying.holds(&old.slide_id) {
            discard(&staged.image);
            redrawn.stay += 1;
        } else if staged.record.missing_fonts.len() > old.missing_fonts.len() {
            discard(&staged.image); // another machine, with fewer fonts
        } else {
            let target = image_of(&old.slide_id);
            std::fs::rename(&staged.image, &target).map_err(io_error("write", &target))?;
            *old = renewed(old, &staged.record);
            redrawn.drawn += 1;
            taken.push(staged);
        }
    }
    Ok((redrawn, taken))
}

fn discard(image: &Path) {
    let _ = std::fs::remove_file(image); // the staging folder is cleared anyway
}

/// Notes what a picture that did not change lacks; says whether that is news.
fn mark(old: &mut SlideRecord, new: &SlideRecord) -> bool {
    const LACKS: [&str; 6] = [
        "fonts_missing",
        "fonts_substituted",
        "fonts_unknown",
        "images_missing",
        "text_moved",
        "text_overflows",
    ];
    let before = (old.missing_fonts.clone(), old.quality.clone());
    old.missing_fonts.clone_from(&new.missing_fonts);
    old.quality.retain(|flag, _| !LACKS.contains(&flag.as_str()));
    let lacks = new.quality.iter().filter(|(flag, _)| LACKS.contains(&flag.as_str()));
    old.quality.extend(lacks.map(|(flag, value)| (flag.clone(), *value)));
    before != (old.missing_fonts.clone(), old.quality.clone())
}

/// The record of a slide that was drawn anew: its place, its group and what it repeats stay.
fn renewed(old: &SlideRecord, new: &SlideRecord) -> SlideRecord {
    let kept = old.quality.iter().filter(|(flag, _)| KEPT.contains(&flag.as_str()));
    let quality = new.quality.iter().chain(kept).map(|(flag, value)| (flag.clone(), *value)).collect();
    let excluded = new.excluded || old.quality.keys().any(|flag| KEPT.contains(&flag.as_str()));
    SlideRecord {
        quality,
        excluded,
        number: old.number,
        source: old.source.clone(),
        group: old.group.clone(),
        duplicate_of: old.duplicate_of.clone(),
        scored_at: old.scored_at,
        ..new.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::{Signature, Sketch};

    fn slide(number: usize, sha256: &str, fonts: &[&str]) -> SlideRecord {
        let missing_fonts: Vec<String> = fonts.iter().map(|font| (*font).to_owned()).collect();
        let flags = missing_fonts.iter().map(|_| ("fonts_missing".to_owned(), 1.0)).collect();
        SlideRecord {
            sha256: sha256.to_owned(),
            missing_fonts,
            quality: flags,
            ..SlideRecord::sample("d", number)
        }
    }

    #[test]
    fn a_picture_is_replaced_unless_it_was_rated_and_an_equal_one_keeps_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let image_of = |id: &str| dir.path().join(format!("{id}.png"));
        let mut slides = vec![
            slide(1, "a", &["Aptos"]),
            slide(2, "b", &["Aptos"]),
            slide(3, "c", &["Aptos"]),
            slide(4, "d", &[]),
        ];
        slides[0].quality.insert("decided".to_owned(), 1.0);
        slides[0].duplicate_of = Some("x-1".to_owned());
        let sketch = Sketch::of(&Signature::of(&image::RgbImage::new(64, 36)));
        let staged = |record: SlideRecord| {
            let image = dir.path().join(format!("staged {}", record.slide_id));
            std::fs::write(&image, &record.sha256).unwrap();
            std::fs::write(image_of(&record.slide_id), "old").unwrap();
            Staged { record, image, sketch: sketch.clone(), text: None }
        };
        let again = vec![
            staged(slide(1, "A", &[])),
            staged(slide(2, "B", &[])),
            staged(slide(3, "c", &[])),
            staged(slide(9, "z", &[])),
            staged(slide(4, "D", &["Aptos"])),
        ];
        let staying = Staying { rated: ["d-2".to_owned()].into(), ..Staying::default() };
        let (redrawn, taken) = take(&mut slides, &image_of, again, &staying).unwrap();
        assert_eq!(redrawn, Redrawn { drawn: 1, stay: 1, marked: 1 });
        assert_eq!(taken.len(), 2);
        assert_eq!(
            slides.iter().map(|slide| slide.sha256.as_str()).collect::<Vec<_>>(),
            ["A", "b", "c", "d"]
        );
        let picture = |number: usize| std::fs::read_to_string(image_of(&format!("d-{number}"))).unwrap();
        assert_eq!([1, 2, 3].map(picture), ["A", "old", "old"]);
        assert_eq!(slides[0].quality.keys().collect::<Vec<_>>(), ["decided"]);
        assert!(
            slides[0].excluded && slides[0].duplicate_of.as_deref() == Some("x-1") && slides[0].group == "d"
        );
        assert!(slides[1].missing_fonts == ["Aptos"] && slides[2].missing_fonts.is_empty());
        assert!(slides[2].quality.is_empty());
    }
}
