use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A whole score from 1 (poor) to 5 (excellent).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Score(u8);

impl Score {
    /// The lowest score.
    pub const MIN: Self = Self(1);
    /// The highest score.
    pub const MAX: Self = Self(5);
    /// How many different scores there are.
    pub const LEVELS: usize = 5;

    /// A score, if `value` is one of 1 to 5.
    pub const fn new(value: u8) -> Option<Self> {
        if value >= Self::MIN.0 && value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// The number, 1 to 5.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The position in a distribution over the five scores, 0 to 4.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let value = u64::deserialize(deserializer)?;
        u8::try_from(value)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| D::Error::custom(format!("a score must be 1 to 5, got {value}")))
    }
}
