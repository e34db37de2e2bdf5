use unicode_normalization::UnicodeNormalization as _;

use crate::sha256_hex;

/// The deck that images of one folder (or of one numbered series) belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct DeckName(pub String);

impl DeckName {
    /// The deck's id: from its name in one Unicode normal form (NFC), so that file systems that decompose names agree.
    pub fn id(&self) -> String {
        let name: String = self.0.nfc().collect();
        format!("f{}", &sha256_hex(name.as_bytes())[..12])
    }
}
