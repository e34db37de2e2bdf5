//! Times as people, spreadsheets and tools write them.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A time that could be read, and what had to be supposed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct When {
    pub(super) at: Timestamp,
    pub(super) supposed: Option<&'static str>,
}

const NO_ZONE: &str = "a time without a zone is taken as UTC";
const NO_CLOCK: &str = "a date without a time is taken as midnight, UTC";
const SERIAL: &str = "a spreadsheet's serial number of a day is taken as a time in UTC";

/// Reads a time; `Ok(None)` where nothing is said.
///
/// What may be read in two ways (`3/2/2026`) is no time: a wrong one would let an older rating win.
pub(super) fn parse(text: &str) -> Result<Option<When>, String> {
    let text = text.trim().trim_start_matches('\'');
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Some(When { at, supposed: None }));
    }
    if let Some(when) = number(text) {
        return Ok(Some(when));
    }
    let (date, clock) = text.split_once([' ', 'T', '\u{a0}']).unwrap_or((text, ""));
    let date = day(date.trim_end_matches(','))?;
    let unreadable = || format!("`{text}` is not a time such as 2026-01-31T09:30:00Z");
    let date = date.ok_or_else(unreadable)?;
    let (time, supposed) = match clock.trim() {
        "" => (Time::midnight(), NO_CLOCK),
        clock => (time_of_day(clock).ok_or_else(unreadable)?, NO_ZONE),
    };
    let at = TimeZone::UTC.to_timestamp(DateTime::from_parts(date, time)).map_err(|_| unreadable())?;
    Ok(Some(When { at, supposed: Some(supposed) }))
}

/// Days since 1899-12-30 as spreadsheets count them, or seconds or milliseconds since 1970; by their size, from 2000 to 2100.
fn number(text: &str) -> Option<When> {
    let value: f64 = text.replace(',', ".").parse().ok()?;
    if (36_526.0..73_051.0).contains(&value) {
        let start = Date::constant(1899, 12, 30).to_datetime(Time::midnight());
        let seconds = SignedDuration::try_from_secs_f64((value * 86_400.0).round()).ok()?;
        let at = TimeZone::UTC.to_timestamp(start.checked_add(seconds).ok()?).ok()?;
        return Some(When { at, supposed: Some(SERIAL) });
    }
    let milliseconds = match value {
        9.46e8..4.11e9 => value * 1000.0,
        9.46e11..4.11e12 => value,
        _ => return None,
    };
    Timestamp::from_millisecond(milliseconds as i64).ok().map(|at| When { at, supposed: None })
}

/// `2026-01-31`, `2026/1/31`, `31.1.2026`, `31/1/2026` or `1/31/2026`.
fn day(text: &str) -> Result<Option<Date>, String> {
    let Some(separator) = text.chars().find(|c| !c.is_ascii_digit()).filter(|c| ['.', '/', '-'].contains(c))
    else {
        return Ok(None);
    };
    let parts: Vec<&str> = text.split(separator).collect();
    let numbers: Option<Vec<i16>> = parts.iter().map(|part| part.parse().ok()).collect();
    let (Some(numbers), [first, _, last]) = (numbers, parts.as_slice()) else { return Ok(None) };
    let (a, b, c) = (numbers[0], numbers[1], numbers[2]);
    let (year, month, day) = match (first.len(), last.len(), separator) {
        (4, ..) => (a, b, c),
        (_, 4, '.') => (c, b, a),
        (_, 4, _) if b > 12 => (c, a, b),
        (_, 4, _) if a > 12 || a == b => (c, b, a),
        (_, 4, _) => return Err(format!("`{text}` may be the {a}.{b}. or the {b}.{a}.: no time is taken")),
        _ => return Ok(None),
    };
    let small = |number: i16| i8::try_from(number).ok();
    Ok(small(month).zip(small(day)).and_then(|(month, day)| Date::new(year, month, day).ok()))
}

/// `9:30`, `09:30:15.5`, `9:30 PM`.
fn time_of_day(text: &str) -> Option<Time> {
    let lower = text.to_ascii_lowercase();
    let (clock, half) = match lower.strip_suffix('m').and_then(|rest| rest.strip_suffix(['a', 'p'])) {
        Some(rest) => (rest.trim(), if lower.ends_with("pm") { Some(12) } else { Some(0) }),
        None => (lower.as_str(), None),
    };
    let mut parts = clock.split(':');
    let hour: i8 = parts.next()?.parse().ok()?;
    let minute: i8 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next().map_or(Ok(0.0), |text| text.replace(',', ".").parse()).ok()?;
    let is_whole = parts.next().is_none() && (0.0..60.0).contains(&seconds);
    let hour = match half {
        Some(half) if (1..=12).contains(&hour) => hour % 12 + half,
        Some(_) => return None,
        None => hour,
    };
    let nanoseconds = ((seconds.fract() * 1e9).round() as i32).min(999_999_999);
    Time::new(hour, minute, seconds as i8, nanoseconds).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_spreadsheets_write_them() {
        for (text, expected, supposed) in [
            ("2026-03-02T10:11:00Z", "2026-03-02T10:11:00Z", None),
            ("2026-03-02 10:11:00+01:00", "2026-03-02T09:11:00Z", None),
            ("2026-03-02T10:11:00.25", "2026-03-02T10:11:00.25Z", Some(NO_ZONE)),
            ("02.03.2026 10:11", "2026-03-02T10:11:00Z", Some(NO_ZONE)),
            ("2.3.2026, 10:11:12", "2026-03-02T10:11:12Z", Some(NO_ZONE)),
            ("3/25/2026 1:05 PM", "2026-03-25T13:05:00Z", Some(NO_ZONE)),
            ("25/03/2026 12:05 am", "2026-03-25T00:05:00Z", Some(NO_ZONE)),
            ("2026-03-02", "2026-03-02T00:00:00Z", Some(NO_CLOCK)),
            ("2026/3/2", "2026-03-02T00:00:00Z", Some(NO_CLOCK)),
            ("3/3/2026", "2026-03-03T00:00:00Z", Some(NO_CLOCK)),
            ("46083.424305556", "2026-03-02T10:11:00Z", Some(SERIAL)),
            ("46083,5", "2026-03-02T12:00:00Z", Some(SERIAL)),
            ("1772446260", "2026-03-02T10:11:00Z", None),
            ("1772446260000", "2026-03-02T10:11:00Z", None),
        ] {
            let when = parse(text).unwrap().unwrap();
            assert_eq!((when.at.to_string().as_str(), when.supposed), (expected, supposed), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_may_be_two_is_said() {
        assert_eq!(parse("  "), Ok(None));
        assert!(parse("3/2/2026").unwrap_err().contains("may be"), "{:?}", parse("3/2/2026"));
        assert!(parse("03-02-2026 10:11").is_err());
        for text in [
            "yesterday",
            "7",
            "02.03.26",
            "2026-13-01",
            "31.02.2026",
            "2026-01-01 25:00",
            "1/2",
            "..",
            "2026-01-01 13:00 PM",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
