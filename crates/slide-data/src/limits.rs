use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What one input may cost before it is set aside. Sizes are judged by what a file declares, before anything is unpacked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest edge of a rendered page, in pixels.
    pub longest_edge: u32,
    /// Images with a longer edge are reduced to this many pixels.
    pub max_edge: u32,
    /// Most pixels that an image may declare.
    pub max_pixels: u64,
    /// Largest file, in mebibytes.
    pub max_file_mib: u64,
    /// Most pages or images of one deck.
    pub max_pages: usize,
    /// Most entries of an archive.
    pub max_entries: usize,
    /// Most bytes that an archive may unpack to, in mebibytes.
    pub max_unpacked_mib: u64,
    /// Time that a file may take until its next slide, in seconds.
    pub time_limit_s: u64,
    /// Time that a file may take in all, in seconds.
    pub file_time_limit_s: u64,
    /// Threads that render the pages of one document; 0 takes one a core.
    pub threads: usize,
    /// Address space of a worker process, in mebibytes; 0 sets no limit.
    pub max_memory_mib: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            longest_edge: 1280,
            max_edge: 2560,
            max_pixels: 100_000_000,
            max_file_mib: 512,
            max_pages: 1_000,
            max_entries: 5_000,
            max_unpacked_mib: 2_048,
            time_limit_s: 60,
            file_time_limit_s: 900,
            threads: 0,
            max_memory_mib: 4_096,
        }
    }
}

impl Limits {
    /// How long a file may take until its next slide.
    pub fn time_limit(&self) -> Duration {
        Duration::from_secs(self.time_limit_s)
    }

    /// How long a file may take in all.
    pub fn file_time_limit(&self) -> Duration {
        Duration::from_secs(self.file_time_limit_s)
    }

    /// Largest file in bytes.
    pub fn max_file_bytes(&self) -> u64 {
        self.max_file_mib.saturating_mul(1 << 20)
    }

    /// Checks that every limit lets something through.
    ///
    /// # Errors
    /// Names the first key that does not.
    pub fn validate(&self) -> Result<()> {
        let domain = |key: &str, expected: &str, actual: u64| {
            Err(Error::Domain {
                key: format!("limits.{key}"),
                expected: expected.to_owned(),
                actual: actual.to_string(),
            })
        };
        if !(64..=8192).contains(&self.longest_edge) {
            return domain("longest_edge", "64 to 8192", self.longest_edge.into());
        }
        if !(64..=16384).contains(&self.max_edge) {
            return domain("max_edge", "64 to 16384", self.max_edge.into());
        }
        let positive = [
            ("max_pixels", self.max_pixels),
            ("max_file_mib", self.max_file_mib),
            ("max_pages", self.max_pages as u64),
            ("max_entries", self.max_entries as u64),
            ("max_unpacked_mib", self.max_unpacked_mib),
            ("time_limit_s", self.time_limit_s),
            ("file_time_limit_s", self.file_time_limit_s),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            Some((key, value)) => domain(key, "at least 1", value),
            None => Ok(()),
        }
    }
}
