use std::collections::HashSet;

use repeatable_random::{fnv1a, mix};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

/// Characters of a shingle.
const SHINGLE: usize = 8;

/// What a page says, as numbers: how many runs of eight letters or digits it has, and the least of their hashes under 64 hash
/// functions (`MinHash`; A. Broder, 1997). Two pages agree in as many of the 64 as is the share of runs that they have in common.
///
/// Spaces, punctuation, case and the forms of characters do not count, so neither does how lines are broken. The text itself is not
/// kept and cannot be read from it; that a page says a given sentence can be tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TextPrint {
    runs: u32,
    least: Box<[u32; Self::HASHES]>,
}

impl TextPrint {
    /// Number of hash functions.
    pub const HASHES: usize = 64;
    /// Number of bytes.
    pub const LENGTH: usize = 4 * (Self::HASHES + 1);

    /// The fingerprint of a text; none where it has neither letters nor digits. A text of fewer than eight is one run.
    pub fn of(text: &str) -> Option<Self> {
        let characters: Vec<char> = text
            .nfkc()
            .flat_map(char::to_lowercase)
            .filter(|character| character.is_alphanumeric())
            .collect();
        if characters.is_empty() {
            return None;
        }
        let runs = characters.windows(SHINGLE.min(characters.len()));
        let hashes: HashSet<u64> = runs.map(|run| fnv1a(String::from_iter(run).as_bytes())).collect();
        let mut least = Box::new([u32::MAX; Self::HASHES]);
        for hash in &hashes {
            for (function, least) in (1u64..).zip(least.iter_mut()) {
                *least = (*least).min((mix(hash ^ mix(function)) >> 32) as u32);
            }
        }
        Some(Self { runs: u32::try_from(hashes.len()).unwrap_or(u32::MAX), least })
    }

    /// How many different runs of characters the text has.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// The least hashes.
    pub fn hashes(&self) -> &[u32; Self::HASHES] {
        &self.least
    }

    /// The share of runs that two texts have in common (Jaccard index), 0 to 1, with a standard error of at most 0.063.
    pub fn similarity(&self, other: &Self) -> f64 {
        let equal = self.least.iter().zip(other.least.iter()).filter(|(a, b)| a == b).count();
        equal as f64 / Self::HASHES as f64
    }

    /// Takes another text in; runs that stand in both count twice.
    pub fn add(&mut self, other: &Self) {
        self.runs = self.runs.saturating_add(other.runs);
        self.least.iter_mut().zip(other.least.iter()).for_each(|(own, other)| *own = (*own).min(*other));
    }

    /// The numbers in little-endian order, the count first.
    pub fn to_bytes(&self) -> Vec<u8> {
        std::iter::once(&self.runs).chain(self.least.iter()).flat_map(|value| value.to_le_bytes()).collect()
    }

    /// A fingerprint from its bytes, if there are [`TextPrint::LENGTH`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LENGTH {
            return None;
        }
        let mut values =
            bytes.chunks_exact(4).map(|four| four.iter().rev().fold(0, |v, &b| v << 8 | u32::from(b)));
        let runs = values.next()?;
        let mut least = Box::new([0; Self::HASHES]);
        least.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        Some(Self { runs, least })
    }
}

impl From<TextPrint> for String {
    fn from(print: TextPrint) -> Self {
        durable_files::hex(&print.to_bytes())
    }
}

impl TryFrom<String> for TextPrint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        durable_files::from_hex(&text)
            .and_then(|bytes| Self::from_bytes(&bytes))
            .ok_or("is not the fingerprint of a text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "Our market: 4.2 billion people ride buses. Fifty \u{fb01}rms sell tickets; none sells all of them.";

    /// The Jaccard index itself.
    fn jaccard(a: &str, b: &str) -> f64 {
        let runs = |text: &str| -> HashSet<String> {
            let characters: Vec<char> =
                text.nfkc().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()).collect();
            characters.windows(SHINGLE).map(String::from_iter).collect()
        };
        let (a, b) = (runs(a), runs(b));
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    #[test]
    fn line_breaks_case_ligatures_and_bullets_do_not_count() {
        let other = "\u{2022} OUR MARKET\n4.2 billion people\nride buses\n\u{2022} Fifty firms sell tickets\nNone sells all\nof them";
        assert_eq!(TextPrint::of(TEXT), TextPrint::of(other));
        assert_eq!(TextPrint::of(" \u{2022} - !"), None);
        assert_eq!(TextPrint::of("Thanks!").unwrap().runs(), 1);
    }

    #[test]
    fn the_share_of_common_runs_is_estimated() {
        let words: Vec<String> = (0..400).map(|at| format!("{:08x}", mix(at))).collect();
        for kept in [0, 100, 200, 300, 360, 400] {
            let text = words[..400].join(" ");
            let other = [
                &words[..kept],
                &(kept..400).map(|at| format!("{:08x}", mix(9_000 + at as u64))).collect::<Vec<_>>()[..],
            ]
            .concat()
            .join(" ");
            let (truth, estimate) = (
                jaccard(&text, &other),
                TextPrint::of(&text).unwrap().similarity(&TextPrint::of(&other).unwrap()),
            );
            assert!((truth - estimate).abs() < 0.19, "{kept}: {truth} but {estimate}");
        }
    }

    #[test]
    fn a_deck_is_its_pages_together() {
        let (a, b) = (TextPrint::of("abcdefgh12345").unwrap(), TextPrint::of("zyxwvuts98765").unwrap());
        let mut both = a.clone();
        both.add(&b);
        assert_eq!(both.runs(), a.runs() + b.runs());
        assert!(both.hashes().iter().zip(a.hashes()).zip(b.hashes()).all(|((all, a), b)| all == a.min(b)));
    }

    #[test]
    fn fingerprints_survive_their_bytes_and_their_text_form() {
        let own = TextPrint::of(TEXT).unwrap();
        assert_eq!(TextPrint::from_bytes(&own.to_bytes()), Some(own.clone()));
        let text = String::from(own.clone());
        assert_eq!(TextPrint::try_from(text.clone()), Ok(own));
        assert!(TextPrint::try_from(text[1..].to_owned()).is_err());
        assert!(TextPrint::try_from("g".repeat(2 * TextPrint::LENGTH)).is_err());
    }
}
