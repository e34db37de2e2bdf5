//! What a spool holds, record by record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Names with values as JSON texts, so that numbers stay as they were written, `NaN` and `Infinity` among them.
pub(super) type Items = BTreeMap<String, String>;

/// One record of a spool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// A process begins to write: the first one, or one that resumed the run.
    Attempt(Box<Attempt>),
    /// The id that the service knows the run by, where it is not the one of the first attempt.
    Renamed { id: String },
    /// Values of a step; several of one step are one line at the service.
    History { step: u64, runtime: f64, timestamp: f64, values: Items },
    /// Values that describe the whole run.
    Summary { values: Items },
    /// A sample of the machine.
    Event { runtime: f64, timestamp: f64, values: Items },
    /// A line of the console, with its time.
    Console { line: String },
    /// A file that lies beside the spool.
    File { name: String, sha256: String },
    /// The machine is about to end the attempt, which will be carried on elsewhere or later.
    Preempting,
    /// The attempt ended in an orderly way.
    End { exit_code: i32, was_stopped: bool },
}

/// What an attempt begins with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attempt {
    /// Version of this format.
    pub(super) version: u32,
    /// Told to the service with the configuration, so that a run is known again as this one.
    pub(super) spool: String,
    /// Steps of the checkpoint that the attempt carries on from: lines of later steps that earlier attempts wrote are void.
    pub(super) completed_steps: u64,
    /// Seconds of earlier attempts up to that checkpoint.
    pub(super) runtime: f64,
    /// Seconds since 1970.
    pub(super) started: f64,
    pub(super) base_url: String,
    pub(super) id: String,
    pub(super) project: String,
    pub(super) entity: String,
    pub(super) name: String,
    pub(super) group: String,
    pub(super) notes: String,
    pub(super) tags: Vec<String>,
    pub(super) config: BTreeMap<String, Value>,
    pub(super) host: String,
    pub(super) program: String,
    pub(super) commit: String,
    /// Names of confusion matrices that will be logged.
    pub(super) charts: Vec<String>,
}

/// The version of the format that is written.
pub(super) const VERSION: u32 = 1;

/// A number as the service takes it: `NaN` and `Infinity` are written bare.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else if value.fract() == 0.0 && value.abs() < 9e15 {
        format!("{value:.0}")
    } else {
        format!("{value:?}")
    }
}

/// The values as JSON texts.
pub(super) fn items(values: &BTreeMap<String, f64>) -> Items {
    values.iter().map(|(name, value)| (name.clone(), number(*value))).collect()
}

/// An object whose values are JSON texts already.
pub(super) fn object<'a>(items: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let parts: Vec<String> =
        items.into_iter().map(|(key, value)| format!("{}:{value}", Value::String(key.clone()))).collect();
    format!("{{{}}}", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_service_takes_them() {
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(number(f64::NEG_INFINITY), "-Infinity");
        assert_eq!(number(1_048_576.0), "1048576");
        for value in [1e-7, 1e300, -0.1, 123.456] {
            assert_eq!(number(value).parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
        }
    }

    #[test]
    fn keys_are_escaped() {
        let items = Items::from([("train/\"loss\"".to_owned(), "1".to_owned())]);
        assert_eq!(object(&items), r#"{"train/\"loss\"":1}"#);
    }
}
