//! Numbers, words and tables in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use project_files::Interval;

/// What stands where nothing was measured.
pub(super) const NOTHING: &str = "–";

/// A text of somebody's without what Markdown or HTML would read as its own.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => out.extend(['\\', letter]),
            _ => out.push(letter),
        }
    }
    out
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(parts: &[String]) -> String {
    match parts {
        [] => "the criteria of its rubric".to_owned(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// `1 slide`, `2 slides`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A whole number with thin groups, as in `1,795,584`.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How a measure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Points or a coefficient, with two decimals.
    Number,
    /// A share, as per cent.
    Share,
    /// A whole number.
    Count,
}

impl Style {
    pub(super) fn of(measure: &str) -> Self {
        if measure.ends_with("within_1") || measure.ends_with("exact") { Self::Share } else { Self::Number }
    }

    /// Nothing is minus nought.
    fn write(self, value: f64) -> String {
        let text = match self {
            Self::Number => format!("{value:.2}"),
            Self::Share => format!("{:.1}", value * 100.0),
            Self::Count => format!("{value:.0}"),
        };
        let is_nought = text.chars().all(|letter| "-0.".contains(letter));
        if is_nought { text.trim_start_matches('-').to_owned() } else { text }
    }

    /// The value with its interval, as in `0.47 [0.46, 0.49]`; a dash where it is not known. No line ends within a number and its
    /// unit or within an interval.
    pub(super) fn estimate(self, value: Option<f64>, interval: Option<Interval>) -> String {
        let Some(value) = value.filter(|value| value.is_finite()) else { return NOTHING.to_owned() };
        let unit = if self == Self::Share { "\u{a0}%" } else { "" };
        let mut text = format!("{}{unit}", self.write(value));
        if let Some(Interval { low, high }) = interval.filter(|i| i.low.is_finite() && i.high.is_finite()) {
            let _ = write!(text, " [{},\u{a0}{}]", self.write(low), self.write(high));
        }
        text
    }
}

/// A measure among others, with its interval.
pub(super) fn measured(
    name: &str,
    metrics: &BTreeMap<String, f64>,
    intervals: &BTreeMap<String, Interval>,
) -> String {
    Style::of(name).estimate(metrics.get(name).copied(), intervals.get(name).copied())
}

/// A table; columns in which no row has anything are left out, but for the first.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let is_told =
        |at: usize| at == 0 || rows.iter().any(|row| row.get(at).is_some_and(|cell| cell != NOTHING));
    let columns: Vec<usize> = (0..header.len()).filter(|at| is_told(*at)).collect();
    if rows.is_empty() || columns.is_empty() {
        return String::new();
    }
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut out = line(columns.iter().map(|at| header[*at]).collect());
    out.push_str(&line(columns.iter().map(|at| if *at == 0 { "---" } else { "---:" }).collect()));
    for row in rows {
        out.push_str(&line(columns.iter().map(|at| row.get(*at).map_or(NOTHING, String::as_str)).collect()));
    }
    out
}

/// A table of names and values under these two words; rows without a value are left out.
pub(super) fn pairs(header: [&str; 2], rows: Vec<(&str, Option<String>)>) -> String {
    let rows = rows.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let mut out = format!("| {} | {} |\n| --- | --- |\n", header[0], header[1]);
    let mut is_empty = true;
    for (name, value) in rows {
        is_empty = false;
        let _ = writeln!(out, "| {name} | {value} |");
    }
    if is_empty { String::new() } else { out }
}

/// Sentences as a list.
pub(super) fn bullets(sentences: impl IntoIterator<Item = String>) -> String {
    sentences.into_iter().fold(String::new(), |mut out, sentence| {
        let _ = writeln!(out, "- {sentence}");
        out
    })
}

/// A duration as people say it.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_read_as_people_write_them() {
        assert_eq!([0, 999, 1000, 1_795_584].map(grouped), ["0", "999", "1,000", "1,795,584"]);
        assert_eq!((count(1, "deck"), count(2, "deck")), ("1 deck".to_owned(), "2 decks".to_owned()));
        let interval = Some(Interval { low: 0.456, high: 0.487 });
        assert_eq!(Style::Number.estimate(Some(0.473), interval), "0.47 [0.46,\u{a0}0.49]");
        assert_eq!(Style::Share.estimate(Some(0.98), None), "98.0\u{a0}%");
        assert_eq!(Style::Number.estimate(Some(-0.004), None), "0.00");
        assert_eq!(Style::Number.estimate(Some(-0.006), None), "-0.01");
        assert_eq!(Style::Number.estimate(Some(f64::NAN), interval), NOTHING);
        assert_eq!([59.0, 3600.0, 9000.0].map(duration), ["59 s", "60 min", "2.5 h"]);
        assert_eq!(list(&["a".to_owned(), "b".to_owned(), "c".to_owned()]), "a, b and c");
    }

    #[test]
    fn what_somebody_wrote_stays_text() {
        assert_eq!(plain("a|b\n<script> *x*"), "a\\|b &lt;script&gt; \\*x\\*");
    }

    #[test]
    fn columns_of_which_nothing_is_known_are_left_out() {
        let rows = [vec!["a".to_owned(), NOTHING.to_owned(), "1".to_owned()]];
        assert_eq!(table(&["", "x", "y"], &rows), "|  | y |\n| --- | ---: |\n| a | 1 |\n");
        assert_eq!(table(&["", "x"], &[]), "");
    }
}
