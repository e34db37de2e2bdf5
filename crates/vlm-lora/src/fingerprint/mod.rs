//! Names for weights: which base model this is, whatever its files and folder are called.

mod canonical;
mod remembered;
mod stamp;
mod weight_format;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

pub(crate) use canonical::canonical_json;
pub use remembered::FingerprintCache;
pub(crate) use stamp::{Stamp, Stamped};
pub use weight_format::{ElementType, WeightDevice, WeightFormat};

use durable_files::hex;

/// What was hashed, and how. The name is a part of the written form, so that fingerprints of another scheme are never taken
/// for equal or for different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FingerprintScheme {
    /// `sha256-tensors-v1`: tensors and the numbers of `config.json`, by [`Checkpoint::fingerprint`](crate::Checkpoint::fingerprint).
    Tensors,
    /// `sha256-processor-v1`: tokenizer, chat template and image processing, by
    /// [`Processor::fingerprint`](crate::Processor::fingerprint).
    Processor,
    /// `sha256-base-v1`: both, with how the weights are stored in memory, by [`BaseIdentity::fingerprint`].
    Base,
    /// `sha256`: some bytes, by [`Fingerprint::of_bytes`].
    Bytes,
}

impl FingerprintScheme {
    const ALL: [Self; 4] = [Self::Tensors, Self::Processor, Self::Base, Self::Bytes];

    /// The prefix of the written form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensors => "sha256-tensors-v1",
            Self::Processor => "sha256-processor-v1",
            Self::Base => "sha256-base-v1",
            Self::Bytes => "sha256",
        }
    }
}

/// A SHA-256 with the scheme that it was made by.
///
/// `Display` gives its 64 hexadecimal digits; [`written`](Self::written), serde and `FromStr` put the scheme before them, as
/// in `sha256-tensors-v1:5e88…`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    scheme: FingerprintScheme,
    hash: [u8; 32],
}

impl Fingerprint {
    pub(crate) fn new(scheme: FingerprintScheme, hash: [u8; 32]) -> Self {
        Self { scheme, hash }
    }

    /// The fingerprint of some bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::new(FingerprintScheme::Bytes, Sha256::digest(bytes).into())
    }

    /// How it was made.
    pub fn scheme(&self) -> FingerprintScheme {
        self.scheme
    }

    /// `scheme:` and 64 digits.
    pub fn written(&self) -> String {
        format!("{}:{self}", self.scheme.name())
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        hex(&self.hash[..6])
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.hash))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written())
    }
}

/// Why a text is no fingerprint that this version can compare.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// It has no scheme, or one that this version does not know: an older or a newer version wrote it.
    #[error("`{0}` is a fingerprint of a scheme that this version does not know")]
    UnknownScheme(String),
    /// The scheme is known, but 64 lower-case hexadecimal digits do not follow.
    #[error("`{0}` is not a whole fingerprint")]
    Invalid(String),
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let shown = || text.chars().take(100).collect::<String>();
        let known = |name: &str| FingerprintScheme::ALL.into_iter().find(|scheme| scheme.name() == name);
        let (scheme, digits) = text
            .split_once(':')
            .and_then(|(name, digits)| Some((known(name)?, digits)))
            .ok_or_else(|| FingerprintError::UnknownScheme(shown()))?;
        let hash = from_hex(digits).ok_or_else(|| FingerprintError::Invalid(shown()))?;
        Ok(Self { scheme, hash })
    }
}

fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let mut hash = [0; 32];
    if pairs.len() != hash.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = (value(*high)? << 4) | value(*low)?;
    }
    Some(hash)
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written())
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The two names of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CheckpointFingerprint {
    /// What is computed with: [`Checkpoint::fingerprint`](crate::Checkpoint::fingerprint).
    pub weights: Fingerprint,
    /// How text and images become its inputs: [`Processor::fingerprint`](crate::Processor::fingerprint).
    pub processor: Fingerprint,
}

/// A base model as it computes: all that its image features and losses depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BaseIdentity {
    /// The checkpoint.
    #[serde(flatten)]
    pub checkpoint: CheckpointFingerprint,
    /// How its weights are stored in memory.
    pub format: WeightFormat,
}

impl BaseIdentity {
    /// One name for all of it: what a [`FeatureCache`](crate::FeatureCache) is kept under.
    pub fn fingerprint(&self) -> Fingerprint {
        let Self { checkpoint: CheckpointFingerprint { weights, processor }, format } = self;
        let text = canonical_json(serde_json::json!({
            "weights": weights, "processor": processor, "format": format,
        }));
        Fingerprint::new(FingerprintScheme::Base, Sha256::digest(text).into())
    }

    /// What differs from the base that a run began with, in words; `None` where it is the same.
    pub(crate) fn difference(&self, now: &Self) -> Option<String> {
        let (a, b) = (&self.checkpoint, &now.checkpoint);
        if a.weights != b.weights {
            let (then, now) = (a.weights.short(), b.weights.short());
            return Some(format!("the run began on the base model {then}…, and this one is {now}…"));
        }
        if a.processor != b.processor {
            let (then, now) = (a.processor.short(), b.processor.short());
            return Some(format!(
                "the tokenizer, chat template or image settings of the base model changed since the run began \
                 ({then}… then, {now}… now)"
            ));
        }
        let (then, now) = (self.format, now.format);
        (then != now).then(|| format!("the base model was held as {then} and is now held as {now}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_other_schemes_are_told_apart() {
        let fingerprint = Fingerprint::new(FingerprintScheme::Tensors, Sha256::digest("abc").into());
        let text = "sha256-tensors-v1:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint.written(), text);
        assert_eq!(fingerprint.to_string(), text[18..]);
        assert_eq!(fingerprint.short(), "ba7816bf8f01");
        assert_eq!(text.parse::<Fingerprint>().unwrap(), fingerprint);
        assert_eq!(serde_json::to_value(fingerprint).unwrap(), text);
        assert_eq!(serde_json::from_str::<Fingerprint>(&format!("\"{text}\"")).unwrap(), fingerprint);
        assert_ne!(Fingerprint::of_bytes(b"abc"), fingerprint, "another scheme, whatever the digits");

        let parse = |text: &str| text.parse::<Fingerprint>().unwrap_err();
        let old = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for unknown in ["", "x", old, &format!("sha256-tensors-v2:{old}"), &format!("SHA256:{old}")] {
            assert!(matches!(parse(unknown), FingerprintError::UnknownScheme(_)), "{unknown}");
        }
        for invalid in ["", "ba78", &old.to_uppercase(), &format!("{old}00"), &old.replace('b', "é")] {
            let text = format!("sha256-tensors-v1:{invalid}");
            assert!(matches!(parse(&text), FingerprintError::Invalid(_)), "{text}");
        }
    }

    #[test]
    fn a_base_is_named_by_each_of_its_parts() {
        let of = |weights: &[u8], processor: &[u8], load_in_8bit| BaseIdentity {
            checkpoint: CheckpointFingerprint {
                weights: Fingerprint::of_bytes(weights),
                processor: Fingerprint::of_bytes(processor),
            },
            format: WeightFormat { load_in_8bit, ..WeightFormat::default() },
        };
        let base = of(b"w", b"p", false);
        assert_eq!(base.difference(&base), None);
        for (other, words) in [
            (
                of(b"W", b"p", false),
                "the run began on the base model 50e721e49c01…, and this one is fcb5f40df9be…",
            ),
            (of(b"w", b"P", false), "chat template"),
            (of(b"w", b"p", true), "held as cpu, float32 and is now held as cpu, float32, 8 bits"),
        ] {
            assert_ne!(base.fingerprint(), other.fingerprint());
            let text = base.difference(&other).unwrap();
            assert!(text.contains(words), "{text}");
        }
    }
}
