//! Scores as people, spreadsheets and tools write them.

use serde_json::Value;
use slide_data::Score;

/// A range of whole or other numbers whose ends are the lowest and the highest score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
}

impl std::str::FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text
            .split_once('-')
            .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
        let is_range = |(low, high): &(f64, f64)| low.is_finite() && high.is_finite() && low < high;
        let (low, high) = ends.filter(is_range).ok_or("not a scale as in `1-10` or `0-100`")?;
        Ok(Self { low, high })
    }
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

impl Scale {
    /// The nearest score where the ends of the scale are 1 and 5.
    fn score(self, value: f64) -> Option<Score> {
        let is_within = (self.low..=self.high).contains(&value);
        let place = (value - self.low) / (self.high - self.low);
        Score::new((1.0 + place * 4.0).round() as u8).filter(|_| is_within)
    }
}

/// What a cell says of a criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    Unset,
    /// A score, or that the criterion does not apply.
    Said(Option<Score>),
}

const NOT_APPLICABLE: [&str; 13] = [
    "na",
    "n/a",
    "#n/a",
    "n.a.",
    "n.a",
    "n. a.",
    "none",
    "null",
    "-",
    "\u{2013}",
    "\u{2014}",
    "not applicable",
    "does not apply",
];

/// Whether a text says that something does not apply.
pub(super) fn is_not_applicable(text: &str) -> bool {
    NOT_APPLICABLE.contains(&text.trim().trim_start_matches('\'').to_lowercase().as_str())
}

/// The number that a text writes, with a decimal point or comma.
pub(super) fn number(text: &str) -> Option<f64> {
    let text = text.trim().trim_start_matches('\'');
    let is_plain = text.chars().all(|c| c.is_ascii_digit() || ['.', ',', '-', '+'].contains(&c));
    text.replace(',', ".").parse::<f64>().ok().filter(|_| is_plain)
}

/// A score: empty is unset, `na` and its like not applicable, numbers whole (`4`, `4.0`, `4,00`) or on the scale.
pub(super) fn answer(text: &str, scale: Option<Scale>) -> Result<Answer, String> {
    if text.trim().is_empty() {
        return Ok(Answer::Unset);
    }
    if is_not_applicable(text) {
        return Ok(Answer::Said(None));
    }
    let value = number(text);
    let score = match scale {
        Some(scale) => value.and_then(|value| scale.score(value)),
        None => value
            .filter(|value| value.fract() == 0.0 && (0.0..=255.0).contains(value))
            .and_then(|v| Score::new(v as u8)),
    };
    let expected = scale.map_or("1 to 5".to_owned(), |scale| scale.to_string());
    let shown: String = text.trim().chars().take(40).collect();
    score
        .map(|score| Answer::Said(Some(score)))
        .ok_or_else(|| format!("`{shown}` is not {expected}, `na` or empty"))
}

/// The text of an answer in JSON: a number or text, or Label Studio's `{"rating": 4}`, `{"number": 4}`, `{"choices": ["4"]}`,
/// `{"text": …}`, alone or as the one element of a list; null is "not applicable".
pub(super) fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Ok("na".to_owned()),
        Value::Bool(_) => Err(format!("`{value}` is no score")),
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => match parts.as_slice() {
            [] => Ok(String::new()),
            [one] => text_of(one),
            several => Err(format!("{} values where one is expected", several.len())),
        },
        Value::Object(fields) => {
            let inner =
                ["rating", "number", "choices", "text", "value"].iter().find_map(|key| fields.get(*key));
            let names = || fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            inner.map_or_else(|| Err(format!("an object with {} is no score", names())), text_of)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scores_are_read_as_people_write_them() {
        for text in ["4", " 4 ", "4.0", "4,0", "4.00", "'4", "\u{a0}4\u{a0}", "+4", "04"] {
            assert_eq!(answer(text, None), Ok(Answer::Said(Score::new(4))), "{text}");
        }
        for text in ["na", "NA", "n/a", "N.A.", "None", "-", "\u{2013}", "#N/A", "null", "Not applicable"] {
            assert_eq!(answer(text, None), Ok(Answer::Said(None)), "{text}");
        }
        assert_eq!(answer(" ", None), Ok(Answer::Unset));
        for text in ["7", "0", "4.5", "four", "NaN", "4/5", "1e0", "-1", "260", "#REF!"] {
            assert!(answer(text, None).unwrap_err().contains("1 to 5"), "{text}");
        }
    }

    #[test]
    fn another_scale_is_spread_evenly() {
        let scale: Scale = "1-10".parse().unwrap();
        let scores: Vec<u8> = (1..=10)
            .map(|value| match answer(&value.to_string(), Some(scale)) {
                Ok(Answer::Said(Some(score))) => score.get(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(scores, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        assert!(answer("11", Some(scale)).unwrap_err().contains("1-10"));
        for text in ["10", "5-1", "a-b", "1-inf", ""] {
            assert!(text.parse::<Scale>().is_err(), "{text}");
        }
    }

    #[test]
    fn answers_of_tools_have_one_text() {
        for value in [
            json!(4),
            json!("4"),
            json!([{"rating": 4}]),
            json!({"number": 4}),
            json!({"choices": ["4"]}),
            json!({"text": ["4"]}),
        ] {
            assert_eq!(text_of(&value), Ok("4".to_owned()), "{value}");
        }
        assert_eq!(text_of(&json!(null)), Ok("na".to_owned()));
        assert!(text_of(&json!({"choices": ["4", "5"]})).is_err() && text_of(&json!({"x": 1})).is_err());
    }
}
