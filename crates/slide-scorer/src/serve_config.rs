use serde::{Deserialize, Serialize};
use slide_data::Error;

/// `[serve]` of `serve.toml`: what `pq-score serve` takes on, and what it keeps in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Slides that may wait for the model; who sends one more is asked to come again (429).
    pub queue_slides: usize,
    /// Decks that may wait.
    pub queue_decks: usize,
    /// Decks that are read and rated at once.
    pub decks_at_once: usize,
    /// Requests whose bodies are held in memory at once.
    pub uploads_at_once: usize,
    /// Image tokens that go through the model at once; a slide that has more goes alone.
    pub batch_tokens: usize,
    /// How long the first slide of a batch waits for others, in milliseconds.
    pub batch_wait_ms: u64,
    /// Rated slides that are remembered by their pixels, so that one that did not change is not rated again; 0 remembers none.
    pub cache_slides: usize,
    /// Largest image that is taken, in mebibytes.
    pub max_slide_mib: usize,
    /// Largest deck that is taken, in mebibytes.
    pub max_deck_mib: usize,
    /// Most pages of a deck.
    pub max_pages: usize,
    /// Time for the body of a request, in seconds.
    pub body_timeout_s: u64,
    /// Time that a slide's rating may take, waiting included, in seconds.
    pub slide_timeout_s: u64,
    /// How long the result of a deck can be fetched, in minutes.
    pub keep_decks_minutes: u64,
    /// Most results of decks that are kept; the oldest make room.
    pub keep_decks: usize,
    /// How long a request is known by its idempotency key, in minutes.
    pub keep_keys_minutes: u64,
    /// After Ctrl-C or SIGTERM, how long what was begun may take to end, in seconds.
    pub drain_s: u64,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            queue_slides: 64,
            queue_decks: 16,
            decks_at_once: 2,
            uploads_at_once: 8,
            batch_tokens: 4096,
            batch_wait_ms: 10,
            cache_slides: 10_000,
            max_slide_mib: 32,
            max_deck_mib: 64,
            max_pages: 200,
            body_timeout_s: 60,
            slide_timeout_s: 300,
            keep_decks_minutes: 60,
            keep_decks: 50,
            keep_keys_minutes: 1440,
            drain_s: 60,
        }
    }
}

impl ServeConfig {
    /// Checks that every limit lets something through.
    ///
    /// # Errors
    /// Names the first key that does not.
    pub fn validate(&self) -> Result<(), Error> {
        let refused = |key: &str, expected: &str, actual: u64| Error::Domain {
            key: format!("serve.{key}"),
            expected: expected.to_owned(),
            actual: actual.to_string(),
        };
        let counts = [
            ("queue_slides", self.queue_slides as u64),
            ("queue_decks", self.queue_decks as u64),
            ("decks_at_once", self.decks_at_once as u64),
            ("uploads_at_once", self.uploads_at_once as u64),
            ("batch_tokens", self.batch_tokens as u64),
            ("max_slide_mib", self.max_slide_mib as u64),
            ("max_deck_mib", self.max_deck_mib as u64),
            ("max_pages", self.max_pages as u64),
            ("body_timeout_s", self.body_timeout_s),
            ("slide_timeout_s", self.slide_timeout_s),
            ("keep_decks", self.keep_decks as u64),
        ];
        if let Some((key, value)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(refused(key, "at least 1", value));
        }
        match self.batch_wait_ms {
            0..=10_000 => Ok(()),
            long => Err(refused("batch_wait_ms", "at most 10000", long)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_equal_the_file() {
        let file: toml::Table = include_str!("../../../config/serve.toml").parse().unwrap();
        let serve: ServeConfig = file["serve"].clone().try_into().unwrap();
        assert_eq!((serve, file.len()), (ServeConfig::default(), 1));
    }

    #[test]
    fn a_limit_that_lets_nothing_through_is_refused_by_name() {
        ServeConfig::default().validate().unwrap();
        let none = ServeConfig { queue_decks: 0, ..ServeConfig::default() };
        assert!(none.validate().unwrap_err().to_string().contains("serve.queue_decks"));
        let long = ServeConfig { batch_wait_ms: 60_000, ..ServeConfig::default() };
        assert!(long.validate().unwrap_err().to_string().contains("serve.batch_wait_ms"));
        ServeConfig { cache_slides: 0, batch_wait_ms: 0, ..ServeConfig::default() }.validate().unwrap();
    }
}
