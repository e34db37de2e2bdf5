use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use project_files::Layout;
use serde::Serialize;
use slide_data::{Contract as _, Correction, Prediction};

use crate::{Error, Kind, Result, Store};

/// The newest prediction of each slide of the log of scored slides. Where past days of it are segments, only those of the slides that are
/// wanted. A missing log holds none.
///
/// # Errors
/// When a file cannot be read or a whole line of the log is not a prediction; without the feature `segments` also where there are any.
pub fn read_predictions(
    layout: &Layout,
    is_wanted: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Prediction>> {
    if layout.segment_index().exists() {
        return of_segments(layout, is_wanted);
    }
    let mut newest: BTreeMap<String, Prediction> = BTreeMap::new();
    for prediction in Prediction::read_shared_log_if_present(&layout.predictions())?.entries {
        match newest.get(&prediction.slide_id) {
            Some(found) if found.scored_at > prediction.scored_at => {}
            _ => drop(newest.insert(prediction.slide_id.clone(), prediction)),
        }
    }
    Ok(newest)
}

#[cfg(feature = "segments")]
fn of_segments(layout: &Layout, is_wanted: &dyn Fn(&str) -> bool) -> Result<BTreeMap<String, Prediction>> {
    Ok(slide_data::prediction_log::PredictionLog::open(layout)?.newest_of(is_wanted)?)
}

#[cfg(not(feature = "segments"))]
fn of_segments(layout: &Layout, _is_wanted: &dyn Fn(&str) -> bool) -> Result<BTreeMap<String, Prediction>> {
    let folder = layout.segments().display().to_string();
    Err(Error::Invalid(format!(
        "past days of scored slides lie in `{folder}`, and this program cannot read them"
    )))
}

/// How unsure the model is of a slide: the mean entropy of its distributions, in bits.
pub fn uncertainty(prediction: &Prediction) -> f64 {
    let entropy = |distribution: &[f64; 5]| {
        let positive = distribution.iter().filter(|p| **p > 0.0);
        positive.map(|p| -p * p.log2()).sum::<f64>()
    };
    let count = prediction.distributions.len().max(1) as f64;
    prediction.distributions.values().map(entropy).sum::<f64>() / count
}

/// How often people changed their rating after they had seen the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct HelpEffect {
    /// Ratings after which the model's scores were shown.
    pub shown: usize,
    /// Those of them that were changed with the model's scores on screen.
    pub changed: usize,
}

/// Counts the effect over all events.
pub fn help_effect(store: &Store) -> HelpEffect {
    let (mut shown, mut changed) = (BTreeSet::new(), BTreeSet::new());
    for event in store.events() {
        let key = (event.annotator(), event.slide_id());
        match event.kind() {
            Kind::ModelSeen => drop(shown.insert(key)),
            Kind::Changed if event.model_version().is_some() => drop(changed.insert(key)),
            _ => {}
        }
    }
    HelpEffect { shown: shown.len(), changed: changed.intersection(&shown).count() }
}

/// `data/user_feedback/corrections.jsonl`, open for appending.
#[derive(Debug)]
pub struct Corrections {
    path: PathBuf,
    known: BTreeMap<String, Correction>,
}

impl Corrections {
    /// Reads which corrections are there.
    ///
    /// # Errors
    /// When the file cannot be read or a whole line is not a correction.
    pub fn open(path: &Path) -> Result<Self> {
        let known = Correction::read_shared_log_if_present(path)?.entries;
        let known = known.into_iter().map(|correction| (correction.id.clone(), correction)).collect();
        Ok(Self { path: path.to_owned(), known })
    }

    /// The one of an id.
    pub fn get(&self, id: &str) -> Option<&Correction> {
        self.known.get(id)
    }

    /// Appends corrections together and syncs them.
    pub(crate) fn append(&mut self, corrections: &[Correction]) -> Result<()> {
        Correction::append(&self.path, corrections)?;
        self.known.extend(corrections.iter().map(|correction| (correction.id.clone(), correction.clone())));
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Appends a correction and syncs it. Where one of its id is there already, nothing is written, and that one is returned.
    ///
    /// # Errors
    /// When it corrects nothing or the file cannot be written.
    pub fn add(&mut self, correction: &Correction) -> Result<Option<Correction>> {
        if correction.scores.is_empty() {
            return Err(Error::Invalid("a correction holds no score".to_owned()));
        }
        if let Some(known) = self.get(&correction.id) {
            return Ok(Some(known.clone()));
        }
        self.append(std::slice::from_ref(correction))?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use jiff::Timestamp;
    use slide_data::{Rubric, Score, Scores};

    fn correction(id: &str, clarity: u8) -> Correction {
        Correction {
            schema_version: 1,
            id: id.to_owned(),
            slide_id: "s".to_owned(),
            model_version: "v1".to_owned(),
            annotator: "Ana".to_owned(),
            corrected_at: Timestamp::UNIX_EPOCH,
            predicted: BTreeMap::from([("clarity".to_owned(), 3.2)]),
            scores: Scores::from([("clarity".to_owned(), Score::new(clarity))]),
            notes: String::new(),
        }
    }

    #[test]
    fn a_correction_sent_twice_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("user_feedback/corrections.jsonl");
        let correction = correction("c1", 5);
        let mut corrections = Corrections::open(&path).unwrap();
        assert_eq!(corrections.add(&correction).unwrap(), None);
        assert_eq!(corrections.add(&correction).unwrap().as_ref(), Some(&correction));
        let other = super::tests::correction("c1", 2);
        let known = Corrections::open(&path).unwrap().add(&other).unwrap();
        assert_eq!(known.as_ref(), Some(&correction), "what was noted first stays");
        assert_eq!(Correction::read_log(&path).unwrap().entries, vec![correction.clone()]);
        let empty = Correction { id: "c2".to_owned(), scores: Scores::new(), ..correction };
        assert!(corrections.add(&empty).is_err());
    }

    #[test]
    fn lines_of_a_newer_version_stop_neither_corrections_nor_predictions() {
        let dir = tempfile::tempdir().unwrap();
        let storage = project_files::Storage {
            data_dir: dir.path().join("data"),
            monitoring_dir: dir.path().join("monitoring"),
            ..project_files::Storage::default()
        };
        let layout = Layout::new(&storage, dir.path());
        let newer = "{\"schema_version\":9,\"id\":\"n\"}\n";
        for path in [layout.corrections(), layout.predictions()] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, newer).unwrap();
        }
        Prediction::append(&layout.predictions(), &[Prediction::sample("s")]).unwrap();
        assert_eq!(read_predictions(&layout, &|_| true).unwrap().len(), 1);
        let mut corrections = Corrections::open(&layout.corrections()).unwrap();
        assert!(corrections.is_empty() && corrections.add(&correction("c1", 5)).unwrap().is_none());
        let text = std::fs::read_to_string(layout.corrections()).unwrap();
        assert!(text.starts_with(newer) && text.lines().count() == 2, "{text}");
    }

    #[cfg(feature = "segments")]
    #[test]
    fn predictions_of_past_days_are_read_where_they_are_wanted() {
        use project_files::Storage;
        use slide_data::prediction_log::{compact, day_of};
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage { monitoring_dir: dir.path().to_owned(), ..Storage::default() };
        let layout = Layout::new(&storage, dir.path());
        let scored = |slide: &str, seconds: i64, version: &str| Prediction {
            scored_at: Timestamp::from_second(seconds).unwrap(),
            model_version: version.to_owned(),
            ..Prediction::sample(slide)
        };
        let log =
            [scored("a", 10, "v1"), scored("b", 20, "v1"), scored("a", 90_000, "v2"), scored("a", 5, "v0")];
        Prediction::append(&layout.predictions(), &log).unwrap();
        let plain = read_predictions(&layout, &|_| false).unwrap();
        assert_eq!((plain.len(), plain["a"].model_version.as_str()), (2, "v2"));
        for kept in [day_of(log[2].scored_at), i64::MAX] {
            compact(&layout, kept).unwrap();
            assert_eq!(read_predictions(&layout, &|_| true).unwrap(), plain);
            assert_eq!(read_predictions(&layout, &|slide| slide == "a").unwrap().len(), 1);
        }
    }

    #[test]
    fn only_changes_with_the_model_on_screen_count_as_its_effect() {
        let event = |id: &str, kind, slide: &str| {
            let mut event = Event::new(id, kind, slide, "Ana", Timestamp::UNIX_EPOCH);
            event.scores.insert("clarity".to_owned(), None);
            event
        };
        let mut influenced = event("d", Kind::Changed, "s1");
        influenced.model_version = Some("v1".to_owned());
        let events = vec![
            event("a", Kind::Rated, "s1"),
            event("b", Kind::ModelSeen, "s1"),
            event("c", Kind::ModelSeen, "s2"),
            influenced,
            event("e", Kind::Changed, "s2"),
        ];
        let (store, _) = Store::from_events(Rubric::default(), events);
        assert_eq!(help_effect(&store), HelpEffect { shown: 2, changed: 1 });
    }
}
