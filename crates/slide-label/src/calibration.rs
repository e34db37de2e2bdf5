use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use slide_data::{Contract, Manifest, sha256_hex};

use crate::{LabelConfig, Result, Store};

/// `data/labeled/calibration.json`: the slides that everybody rates first, in the order in which they were chosen.
///
/// It is kept, so that slides that are collected later do not take their place: what some have rated already would else be rated by
/// everybody in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    schema_version: u32,
    /// Their ids.
    slides: Vec<String>,
    /// Those of them that are in use: in the manifest, and no more than are wanted.
    #[serde(skip)]
    in_use: BTreeSet<String>,
}

impl Contract for Calibration {
    const NAME: &'static str = "choice of calibration slides";
    const VERSION: u32 = 1;
}

impl Default for Calibration {
    fn default() -> Self {
        Self { schema_version: Self::VERSION, slides: Vec::new(), in_use: BTreeSet::new() }
    }
}

impl Calibration {
    /// What is kept, as it serves for a manifest: chosen slides that it has, then, where these are too few, others by a shuffled
    /// order. Of a project that was begun before the choice was kept, slides that more people have rated than any other slide may
    /// have come first. Nothing is written: see [`Self::keep`].
    ///
    /// # Errors
    /// When the file cannot be read or is not what it should be.
    pub fn of(path: &Path, manifest: &Manifest, store: &Store, config: &LabelConfig) -> Result<Self> {
        let mut kept = Self::read_if_present(path)?.unwrap_or_default();
        let usable: BTreeSet<&str> = manifest.usable().map(|slide| slide.slide_id.as_str()).collect();
        let wanted = config.calibration_slides;
        let serving = kept.slides.iter().filter(|slide| usable.contains(slide.as_str()));
        kept.in_use = serving.take(wanted).cloned().collect();
        if kept.in_use.len() < wanted {
            let raters = |slide: &str| match store.ratings(slide).count() {
                raters if raters > config.max_raters_per_slide => raters,
                _ => 0,
            };
            let mut others: Vec<&str> =
                usable.into_iter().filter(|slide| !kept.in_use.contains(*slide)).collect();
            others.sort_by_cached_key(|slide| (Reverse(raters(slide)), order_of(slide)));
            others.truncate(wanted - kept.in_use.len());
            kept.slides.extend(others.iter().map(|slide| (*slide).to_owned()));
            kept.in_use.extend(others.into_iter().map(str::to_owned));
        }
        Ok(kept)
    }

    /// Writes the choice where it is another than the file has.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn keep(&self, path: &Path) -> Result<()> {
        let known = Self::read_if_present(path)?;
        if self.slides.is_empty() || known.is_some_and(|known| known.slides == self.slides) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(crate::error::io_error("create", folder))?;
        }
        Ok(durable_files::write_json(path, self)?)
    }

    /// Whether everybody rates this slide.
    pub fn contains(&self, slide_id: &str) -> bool {
        self.in_use.contains(slide_id)
    }
}

/// A digest gives the same order on every machine and at every start.
pub(crate) fn order_of(slide_id: &str) -> u64 {
    u64::from_str_radix(&sha256_hex(slide_id.as_bytes())[..16], 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Kind};
    use slide_data::{Rubric, Score, SlideRecord};

    fn manifest(slides: std::ops::Range<usize>) -> Manifest {
        Manifest {
            slides: slides.map(|index| SlideRecord::sample(&format!("d{}", index / 8), index)).collect(),
        }
    }

    fn chosen(calibration: &Calibration) -> Vec<&str> {
        calibration.in_use.iter().map(String::as_str).collect()
    }

    #[test]
    fn slides_that_are_collected_later_do_not_move_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labeled/calibration.json");
        let (config, store) = (LabelConfig::default(), Store::new(Rubric::default()));
        let of = |slides: std::ops::Range<usize>, config: &LabelConfig| {
            let calibration = Calibration::of(&path, &manifest(slides), &store, config).unwrap();
            calibration.keep(&path).unwrap();
            calibration
        };
        let first = of(0..60, &config);
        assert_eq!(chosen(&first).len(), 10);
        for more in [120, 400, 2000] {
            assert_eq!(chosen(&of(0..more, &config)), chosen(&first), "{more} slides");
        }
        // What left the manifest is replaced while it is away, and only that.
        let shorter = of(10..400, &config);
        let kept = chosen(&first).iter().filter(|slide| shorter.contains(slide)).count();
        let left = chosen(&first)
            .iter()
            .filter(|slide| {
                (10..400).any(|i| SlideRecord::sample(&format!("d{}", i / 8), i).slide_id == **slide)
            })
            .count();
        assert_eq!((chosen(&shorter).len(), kept), (10, left));
        assert_eq!(chosen(&of(0..400, &config)), chosen(&first), "it comes back");
        // A smaller or larger wish takes a part of the same, or adds to it.
        let fewer = of(0..400, &LabelConfig { calibration_slides: 4, ..config.clone() });
        assert!(chosen(&fewer).len() == 4 && chosen(&fewer).iter().all(|slide| first.contains(slide)));
        let more = of(0..400, &LabelConfig { calibration_slides: 14, ..config });
        assert!(chosen(&more).len() == 14 && chosen(&first).iter().all(|slide| more.contains(slide)));
    }

    #[test]
    fn what_everybody_has_rated_already_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let slides = manifest(0..60);
        let common = &slides.slides[33].slide_id;
        let events = (0..7).map(|person| {
            let mut event = Event::new(
                format!("e{person}"),
                Kind::Rated,
                common,
                &format!("p{person}"),
                jiff::Timestamp::UNIX_EPOCH,
            );
            event.scores.insert("clarity".to_owned(), Score::new(3));
            event
        });
        let (store, _) = Store::from_events(Rubric::default(), events.collect());
        let config = LabelConfig { calibration_slides: 3, ..LabelConfig::default() };
        let found = Calibration::of(&dir.path().join("c.json"), &slides, &store, &config).unwrap();
        assert!(found.contains(common), "{:?}", chosen(&found));
    }
}
