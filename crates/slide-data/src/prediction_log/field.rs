//! The columns of a segment: what of a scored slide each holds.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{Prediction, Score, VisionSketch};

/// Which columns are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Ids, pixels, time and version.
    Keys,
    /// These, the distributions and the chosen scores.
    Scores,
    /// All.
    All,
}

/// What a column, or a few columns together, hold of a scored slide.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Id,
    SlideId,
    DeckId,
    Sha256,
    ScoredAt,
    ModelVersion,
    Latency,
    Shares(String),
    Expected(String),
    Applies(String),
    Chosen(String),
    Entropy(String),
    Interval(String),
    Feature(String),
    VisionBase,
    VisionScale,
    VisionValues,
    /// The line itself, where it says more than this program understands.
    Line,
}

/// What a physical column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bytes,
    Time,
    Double,
    Float,
    Integer,
}

/// How one slide has a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Bytes(&'a [u8]),
    /// Nanoseconds since 1970.
    Time(i64),
    Doubles([f64; Score::LEVELS]),
    Double(f64),
    Float(f32),
    Integer(i32),
    Integers([i32; 2]),
}

/// The nanoseconds of a time; `None` where a segment cannot hold it (before 1678, after 2261).
pub(super) fn nanoseconds(time: Timestamp) -> Option<i64> {
    i64::try_from(time.as_nanosecond()).ok()
}

impl Field {
    /// Those that every segment has, and those of the keys that slides have.
    pub(super) fn all(keys: &Keys) -> Vec<Self> {
        use Field::{
            Applies, Chosen, DeckId, Entropy, Expected, Feature, Id, Interval, Latency, Line, ModelVersion,
            ScoredAt, Sha256, Shares, SlideId, VisionBase, VisionScale, VisionValues,
        };
        let mut fields = vec![Id, SlideId, DeckId, Sha256, ScoredAt, ModelVersion, Latency];
        for key in &keys.criteria {
            let of: [fn(String) -> Self; 6] = [Shares, Expected, Applies, Chosen, Entropy, Interval];
            fields.extend(of.map(|of| of(key.clone())));
        }
        fields.extend(keys.features.iter().cloned().map(Feature));
        fields.extend([VisionBase, VisionScale, VisionValues, Line]);
        fields
    }

    /// The names of its physical columns, in their order.
    pub(super) fn names(&self) -> Vec<String> {
        let one = |name: &str| vec![name.to_owned()];
        match self {
            Self::Id => one("id"),
            Self::SlideId => one("slide_id"),
            Self::DeckId => one("deck_id"),
            Self::Sha256 => one("sha256"),
            Self::ScoredAt => one("scored_at"),
            Self::ModelVersion => one("model_version"),
            Self::Latency => one("latency_ms"),
            Self::Shares(key) => {
                (1..=Score::LEVELS).map(|level| format!("distributions.{key}.{level}")).collect()
            }
            Self::Expected(key) => vec![format!("expected.{key}")],
            Self::Applies(key) => vec![format!("applies.{key}")],
            Self::Chosen(key) => vec![format!("chosen.{key}")],
            Self::Entropy(key) => vec![format!("entropy.{key}")],
            Self::Interval(key) => ["low", "high"].map(|end| format!("interval.{key}.{end}")).to_vec(),
            Self::Feature(key) => vec![format!("features.{key}")],
            Self::VisionBase => one("vision.base"),
            Self::VisionScale => one("vision.scale"),
            Self::VisionValues => one("vision.values"),
            Self::Line => one("line"),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        use Field::{
            Applies, Chosen, DeckId, Entropy, Expected, Feature, Id, Interval, Latency, Line, ModelVersion,
            ScoredAt, Sha256, Shares, SlideId, VisionBase, VisionScale, VisionValues,
        };
        match self {
            Id | SlideId | DeckId | Sha256 | ModelVersion | VisionBase | Line => Kind::Text,
            VisionValues => Kind::Bytes,
            ScoredAt => Kind::Time,
            Latency | Shares(_) | Expected(_) | Applies(_) | Entropy(_) | Feature(_) => Kind::Double,
            VisionScale => Kind::Float,
            Chosen(_) | Interval(_) => Kind::Integer,
        }
    }

    /// Whether every slide has it.
    pub(super) fn is_required(&self) -> bool {
        use Field::{DeckId, Latency, ModelVersion, ScoredAt, Sha256, SlideId};
        matches!(self, SlideId | DeckId | Sha256 | ScoredAt | ModelVersion | Latency)
    }

    /// Whether few values come again and again.
    pub(super) fn repeats(&self) -> bool {
        use Field::{Chosen, DeckId, Interval, ModelVersion, VisionBase};
        matches!(self, DeckId | ModelVersion | VisionBase | Chosen(_) | Interval(_))
    }

    /// Whether it is read with these columns.
    pub(super) fn is_in(&self, columns: Columns) -> bool {
        use Field::{DeckId, Id, ModelVersion, ScoredAt, Sha256, SlideId};
        match self {
            Id | SlideId | DeckId | Sha256 | ScoredAt | ModelVersion => true,
            Self::Shares(_) | Self::Chosen(_) => columns != Columns::Keys,
            _ => columns == Columns::All,
        }
    }
}

/// The keys of the maps of some slides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) criteria: BTreeSet<String>,
    pub(super) features: BTreeSet<String>,
}

impl Keys {
    /// More than any rubric or set of image properties has; a segment of garbage does not grow without bound.
    const MOST: usize = 128;

    /// Adds those of a slide; whether a segment can hold it.
    pub(super) fn take(&mut self, slide: &Prediction) -> bool {
        let criteria = || {
            let maps = [slide.expected.keys(), slide.applies.keys(), slide.entropy.keys()];
            let more = slide.chosen.keys().chain(slide.interval.keys()).chain(slide.distributions.keys());
            maps.into_iter().flatten().chain(more)
        };
        let new: BTreeSet<&String> = criteria().filter(|key| !self.criteria.contains(*key)).collect();
        let new_features: Vec<&String> =
            slide.features.keys().filter(|key| !self.features.contains(*key)).collect();
        if self.criteria.len() + new.len() > Self::MOST
            || self.features.len() + new_features.len() > Self::MOST
        {
            return false;
        }
        self.criteria.extend(new.into_iter().cloned().collect::<Vec<_>>());
        self.features.extend(new_features.into_iter().cloned().collect::<Vec<_>>());
        true
    }
}

/// The bytes of a sketch's numbers.
pub(super) fn sketch_bytes(values: &[i16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// How a slide has a field; `bytes` and `line` are what of it lies elsewhere.
pub(super) fn get<'a>(
    field: &Field,
    slide: &'a Prediction,
    bytes: &'a [u8],
    line: Option<&'a str>,
) -> Option<Value<'a>> {
    let text = |text: &'a str| Value::Bytes(text.as_bytes());
    let integer = |score: &Score| i32::from(score.get());
    match field {
        Field::Id => slide.id.as_deref().map(text),
        Field::SlideId => Some(text(&slide.slide_id)),
        Field::DeckId => Some(text(&slide.deck_id)),
        Field::Sha256 => Some(text(&slide.sha256)),
        Field::ScoredAt => nanoseconds(slide.scored_at).map(Value::Time),
        Field::ModelVersion => Some(text(&slide.model_version)),
        Field::Latency => Some(Value::Double(slide.latency_ms)),
        Field::Shares(key) => slide.distributions.get(key).map(|shares| Value::Doubles(*shares)),
        Field::Expected(key) => slide.expected.get(key).map(|value| Value::Double(*value)),
        Field::Applies(key) => slide.applies.get(key).map(|value| Value::Double(*value)),
        Field::Chosen(key) => slide.chosen.get(key).map(|score| Value::Integer(integer(score))),
        Field::Entropy(key) => slide.entropy.get(key).map(|value| Value::Double(*value)),
        Field::Interval(key) => {
            slide.interval.get(key).map(|ends| Value::Integers(ends.each_ref().map(integer)))
        }
        Field::Feature(key) => slide.features.get(key).map(|value| Value::Double(*value)),
        Field::VisionBase => slide.vision.as_ref().map(|sketch| text(&sketch.base)),
        Field::VisionScale => slide.vision.as_ref().map(|sketch| Value::Float(sketch.scale)),
        Field::VisionValues => slide.vision.as_ref().map(|_| Value::Bytes(bytes)),
        Field::Line => line.map(text),
    }
}

/// Gives a slide what a row says, and takes away what it had before. `false` where the row says what no slide can have.
pub(super) fn set(field: &Field, slide: &mut Prediction, value: Option<Value<'_>>) -> bool {
    match (field, value) {
        (Field::Id, Some(Value::Bytes(bytes))) => put_text(slide.id.get_or_insert_default(), bytes),
        (Field::SlideId, Some(Value::Bytes(bytes))) => put_text(&mut slide.slide_id, bytes),
        (Field::DeckId, Some(Value::Bytes(bytes))) => put_text(&mut slide.deck_id, bytes),
        (Field::Sha256, Some(Value::Bytes(bytes))) => put_text(&mut slide.sha256, bytes),
        (Field::ModelVersion, Some(Value::Bytes(bytes))) => put_text(&mut slide.model_version, bytes),
        (Field::ScoredAt, Some(Value::Time(time))) => {
            Timestamp::from_nanosecond(i128::from(time)).map(|time| slide.scored_at = time).is_ok()
        }
        (Field::Latency, Some(Value::Double(value))) => {
            slide.latency_ms = value;
            true
        }
        (Field::Shares(key), Some(Value::Doubles(shares))) => {
            put(&mut slide.distributions, key, Some(shares))
        }
        (Field::Expected(key), Some(Value::Double(value))) => put(&mut slide.expected, key, Some(value)),
        (Field::Applies(key), Some(Value::Double(value))) => put(&mut slide.applies, key, Some(value)),
        (Field::Entropy(key), Some(Value::Double(value))) => put(&mut slide.entropy, key, Some(value)),
        (Field::Feature(key), Some(Value::Double(value))) => put(&mut slide.features, key, Some(value)),
        (Field::Chosen(key), Some(Value::Integer(value))) => put(&mut slide.chosen, key, score(value)),
        (Field::Interval(key), Some(Value::Integers(ends))) => {
            let ends = score(ends[0]).zip(score(ends[1]));
            put(&mut slide.interval, key, ends.map(|(low, high)| [low, high]))
        }
        (field, Some(value)) => set_vision(field, slide, &value),
        (_, None) => clear(field, slide),
    }
}

fn set_vision(field: &Field, slide: &mut Prediction, value: &Value<'_>) -> bool {
    let empty = || VisionSketch { base: String::new(), scale: 1.0, values: Vec::new() };
    let sketch = slide.vision.get_or_insert_with(empty);
    match (field, value) {
        (Field::VisionBase, Value::Bytes(bytes)) => put_text(&mut sketch.base, bytes),
        (Field::VisionScale, Value::Float(scale)) => {
            sketch.scale = *scale;
            true
        }
        (Field::VisionValues, Value::Bytes(bytes)) => {
            sketch.values.clear();
            sketch.values.extend(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
            bytes.len().is_multiple_of(2)
        }
        _ => false,
    }
}

fn clear(field: &Field, slide: &mut Prediction) -> bool {
    match field {
        Field::Id => slide.id = None,
        Field::Shares(key) => drop(slide.distributions.remove(key)),
        Field::Expected(key) => drop(slide.expected.remove(key)),
        Field::Applies(key) => drop(slide.applies.remove(key)),
        Field::Chosen(key) => drop(slide.chosen.remove(key)),
        Field::Entropy(key) => drop(slide.entropy.remove(key)),
        Field::Interval(key) => drop(slide.interval.remove(key)),
        Field::Feature(key) => drop(slide.features.remove(key)),
        Field::VisionBase | Field::VisionScale | Field::VisionValues => slide.vision = None,
        Field::Line => {}
        _ => return false,
    }
    true
}

fn put_text(text: &mut String, bytes: &[u8]) -> bool {
    text.clear();
    std::str::from_utf8(bytes).map(|own| text.push_str(own)).is_ok()
}

/// Overwrites where the key is there: most slides have the keys of the one before.
fn put<T>(map: &mut std::collections::BTreeMap<String, T>, key: &str, value: Option<T>) -> bool {
    let Some(value) = value else { return false };
    if let Some(own) = map.get_mut(key) {
        *own = value;
    } else {
        map.insert(key.to_owned(), value);
    }
    true
}

fn score(value: i32) -> Option<Score> {
    u8::try_from(value).ok().and_then(Score::new)
}
