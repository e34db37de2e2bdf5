//! Days and times before now.

use jiff::{SignedDuration, Timestamp};

/// The day (UTC) of a time, counted from 1970.
pub(crate) fn day(time: Timestamp) -> i64 {
    time.as_second().div_euclid(86_400)
}

pub(crate) fn days_before(now: Timestamp, days: f64) -> Timestamp {
    let seconds = SignedDuration::from_secs_f64((days * 86_400.0).min(1e11));
    now.checked_sub(seconds).unwrap_or(Timestamp::MIN)
}
