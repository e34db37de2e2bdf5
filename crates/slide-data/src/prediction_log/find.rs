//! Looks for some slides in all of the log, from the newest day on.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::day_of;
use super::field::Columns;
use super::log::PredictionLog;
use crate::{Prediction, Result};

impl PredictionLog {
    /// The slide whose scoring has this id, the first of its day where a line was written again.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn with_id(&self, id: &str) -> Result<Option<Prediction>> {
        for day in self.days(..).into_iter().rev() {
            let mut found = None;
            self.for_each_of(day, Columns::Keys, |place, slide| {
                if found.is_none() && slide.id.as_deref() == Some(id) {
                    found = Some(place);
                }
                Ok(())
            })?;
            if let Some(place) = found {
                return Ok(self.slides_at(day, &[place].into())?.pop());
            }
        }
        Ok(None)
    }

    /// The newest prediction of each slide that is wanted.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn newest_of(&self, is_wanted: &dyn Fn(&str) -> bool) -> Result<BTreeMap<String, Prediction>> {
        let mut newest = BTreeMap::new();
        for day in self.days(..).into_iter().rev() {
            let mut of_day: BTreeMap<String, (Timestamp, usize)> = BTreeMap::new();
            self.for_each_of(day, Columns::Keys, |place, slide| {
                let id = &slide.slide_id;
                let is_later = of_day.get(id).is_none_or(|(time, _)| slide.scored_at >= *time);
                if is_later && !newest.contains_key(id) && is_wanted(id) {
                    of_day.insert(id.clone(), (slide.scored_at, place));
                }
                Ok(())
            })?;
            let places = of_day.into_values().map(|(_, place)| place).collect();
            let slides = self.slides_at(day, &places)?;
            newest.extend(slides.into_iter().map(|slide| (slide.slide_id.clone(), slide)));
        }
        Ok(newest)
    }

    /// The version of the slide that was scored last, up to a time.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn latest_version(&self, until: Timestamp) -> Result<Option<String>> {
        for day in self.days(..=day_of(until)).into_iter().rev() {
            let mut latest: Option<(Timestamp, String)> = None;
            self.for_each_of(day, Columns::Keys, |_, slide| {
                if slide.scored_at <= until
                    && latest.as_ref().is_none_or(|(time, _)| slide.scored_at >= *time)
                {
                    latest = Some((slide.scored_at, slide.model_version.clone()));
                }
                Ok(())
            })?;
            if let Some((_, version)) = latest {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }
}
