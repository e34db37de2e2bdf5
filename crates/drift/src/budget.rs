//! The yearly error budget.
//!
//! Drift and accuracy are judged again and again, so their chances of a false alarm add up. Alpha spending (Lan and `DeMets` 1983)
//! bounds the sum: in each calendar week the first look spends an equal part of a trigger's share of `yearly_alpha`, and the trigger
//! fires only at a p-value of at most that part; further looks of the week repeat what was found and spend nothing. A year touches at
//! most 53 weeks, so by Boole's inequality the chance of a false alarm within it is at most `yearly_alpha`, however often one looks
//! and however the looks depend on each other.

use jiff::Timestamp;

use crate::days::day;
use crate::decision::{Decision, TriggerName};

/// Calendar weeks that a year can touch.
pub const LOOKS_A_YEAR: f64 = 53.0;

/// The parts of the budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share;

impl Share {
    /// Of drift, whose changes of interest are many standard errors large.
    pub const DRIFT: f64 = 0.2;
    /// Of accuracy, which a few dozen rated slides a week have to show.
    pub const PERFORMANCE: f64 = 0.8;
}

/// The past decisions that a budget is kept by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ledger<'a> {
    pub(crate) past: &'a [Decision],
    /// Lines of their log that cannot be read: each is counted as a look.
    pub(crate) broken: usize,
    pub(crate) yearly_alpha: f64,
    pub(crate) now: Timestamp,
}

/// The calendar week of a time, from Monday, counted from 1970.
fn week(time: Timestamp) -> i64 {
    (day(time) + 3).div_euclid(7)
}

impl<'a> Ledger<'a> {
    /// The look of this week that judged a trigger.
    pub(crate) fn judged(&self, name: TriggerName) -> Option<&'a Decision> {
        let is_it = |look: &&Decision| look.spent(name).is_some() && week(look.decided_at) == week(self.now);
        self.past.iter().find(is_it)
    }

    /// What a look at one trigger may spend, or why there is none.
    pub(crate) fn level(&self, name: TriggerName, share: f64) -> Result<f64, String> {
        let level = self.yearly_alpha * share / LOOKS_A_YEAR;
        let looks = || self.past.iter().filter(|past| past.spent(name).is_some());
        if let Some(look) = self.judged(name) {
            let found = look.triggers.iter().find(|trigger| trigger.name == name);
            let found = found.map_or("", |trigger| trigger.reason.as_str());
            return Err(format!("was judged this week, on {}: {found}", look.decided_at.strftime("%F")));
        }
        let year = day(self.now) - 365;
        let spent: f64 =
            looks().filter(|look| day(look.decided_at) > year).filter_map(|look| look.spent(name)).sum();
        let left = self.yearly_alpha * share - spent - self.broken as f64 * level;
        if left < level * (1.0 - 1e-9) {
            let broken = if self.broken > 0 {
                format!(", as {} lines of the decisions cannot be read", self.broken)
            } else {
                String::new()
            };
            return Err(format!("is not judged: the error budget of the year is spent{broken}"));
        }
        Ok(level)
    }
}
