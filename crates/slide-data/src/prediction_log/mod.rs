//! The log of scored slides: the lines of `monitoring/predictions.jsonl`, and its past days in `monitoring/predictions`.
//!
//! Writers append lines. [`compact`] moves the days that are over into Parquet files, a day in one or more of them; lines that cannot be
//! read stay as they were, in files of their own. [`PredictionLog`] reads all of it as one log, a day at a time and only the columns that
//! are asked for, so that memory does not grow with it. Which files count stands in [`SegmentIndex`]: one that is missing, cut short or
//! changed is named ([`PredictionLog::unreadable`]), and what it held counts neither as there nor as never scored.

mod carried;
mod compact;
mod field;
mod find;
mod gather;
mod index;
mod lines;
mod log;
pub mod parts;
mod read;
mod remove;
mod ship;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use parquet::errors::ParquetError;

use crate::Error;

pub use carried::TakenIn;
pub use compact::{Compacted, compact, write_day};
pub use field::Columns;
pub use gather::{gather, replica_failures, replica_logs};
pub use index::{Moving, SegmentIndex, SegmentPart};
pub use log::{PredictionLog, Unreadable};
pub use remove::{Removed, remove};
pub use ship::{SegmentStore, ship, take_in};

/// The day (UTC) of a time, counted from 1970.
pub fn day_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(86_400)
}

fn date_of(day: i64) -> Option<Date> {
    let time = Timestamp::from_second(day.checked_mul(86_400)?).ok()?;
    Some(TimeZone::UTC.to_datetime(time).date())
}

fn day_number(date: Date) -> Option<i64> {
    TimeZone::UTC.to_timestamp(date.to_datetime(Time::midnight())).ok().map(day_of)
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(ParquetError) -> Error {
    move |error| Error::Segment { path: path.to_owned(), reason: format!("{what}: {error}") }
}
