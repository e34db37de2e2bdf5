//! What of a log of any size the reports look at: read a day at a time, so that memory does not grow with it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use slide_data::prediction_log::{Columns, PredictionLog};
use slide_data::{Audit, Prediction};

use crate::audit::days_drawn_of;
use crate::foretold::{Counting, Foretold, ScoredDay, days_looked_at};
use crate::selection::{Counted, Selection};
use crate::{MonitoringConfig, Result};

/// How a log is looked through.
#[derive(Debug, Clone, Copy)]
pub struct LookThrough<'a> {
    /// The version in use.
    pub model_version: Option<&'a str>,
    /// Slides that the model was trained or chosen on.
    pub seen_in_training: &'a BTreeSet<String>,
    /// What was drawn before; `None` where nothing is to be drawn.
    pub drawn: Option<&'a [Audit]>,
    /// Windows and sizes.
    pub config: &'a MonitoringConfig,
    /// The time of the look.
    pub now: Timestamp,
}

/// What was found in a log.
#[derive(Debug)]
pub struct Found {
    /// The slides to compare, for [`compare`](crate::compare).
    pub scored: Vec<Prediction>,
    /// What else there is.
    pub counted: Counted,
    /// For [`measure`](crate::measure).
    pub foretold: Foretold,
    /// The first day that was looked at.
    pub first_day: i64,
    /// What was drawn now.
    pub audits: Vec<Audit>,
}

/// Looks through a log: the slides of the decks that were scored last, what was foretold of all, and a draw of the days that are over.
///
/// Parts of the days that are looked at are compared with what was written first; where one cannot be read, [`Counted::unreadable`] says
/// so, and nothing is drawn of its day.
///
/// # Errors
/// When a file cannot be read.
pub fn look_through(log: &mut PredictionLog, look: &LookThrough<'_>) -> Result<Found> {
    let mut selection =
        Selection::new(look.model_version, look.seen_in_training, &look.config.drift, look.now);
    let days = days_looked_at(&look.config.performance, look.now);
    let first = selection.first_day().min(days.start);
    log.verify(first)?;
    for day in log.days(selection.first_day()..).into_iter().rev() {
        log.for_each_of(day, Columns::Keys, |place, slide| {
            selection.take(place, slide);
            Ok(())
        })?;
        selection.end_day(day);
    }
    let (chosen, mut counted) = selection.finish();
    counted.slides = log.len();
    let is_looked_at = |day: Option<i64>| day.is_none_or(|day| day >= first);
    let unreadable = log.unreadable().iter().filter(|part| is_looked_at(part.day));
    counted.unreadable = unreadable.map(|part| part.reason.clone()).collect();
    let mut scored = Vec::new();
    for (day, places) in &chosen {
        scored.extend(log.slides_at(*day, places)?);
    }
    let (mut foretold, mut audits) = (Foretold::default(), Vec::new());
    if let Some(model_version) = look.model_version {
        let counting = Counting {
            model_version,
            seen_in_training: look.seen_in_training,
            config: &look.config.performance,
        };
        let done = look.drawn.map(|drawn| days_drawn_of(drawn, model_version));
        for day in log.days(days) {
            let mut of_day = ScoredDay::new(day, counting);
            log.for_each_of(day, Columns::Scores, |place, slide| {
                of_day.take(place, slide);
                Ok(())
            })?;
            foretold.add(&of_day);
            let is_open = done.as_ref().is_some_and(|done| !done.contains(&day)) && is_whole(log, day);
            if is_open {
                audits.extend(draw(log, day, &of_day, look.now)?);
            }
        }
    }
    Ok(Found { scored, counted, foretold, first_day: first, audits })
}

/// Whether all that was scored on a day can be read.
fn is_whole(log: &PredictionLog, day: i64) -> bool {
    log.unreadable().iter().all(|part| part.day.is_some_and(|other| other != day))
}

fn draw(log: &PredictionLog, day: i64, of_day: &ScoredDay<'_>, now: Timestamp) -> Result<Vec<Audit>> {
    let draws = of_day.draw();
    let places: BTreeSet<usize> = draws.iter().map(|draw| draw.place).collect();
    let slides = log.slides_at(day, &places)?;
    Ok(draws.iter().zip(&slides).map(|(draw, slide)| draw.audit(slide, now)).collect())
}
