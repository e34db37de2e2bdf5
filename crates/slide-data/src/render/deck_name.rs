use std::path::Path;

use unicode_normalization::UnicodeNormalization as _;

use crate::sha256_hex;

/// The deck that images of one folder (or of one numbered series) belong to: a path, relative to the upload folder or to the archive
/// that it lies in, else from the root, so that two folders of one name are two decks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct DeckName(pub String);

impl DeckName {
    /// The deck's id: from its name in one Unicode normal form (NFC), so that file systems that decompose names agree.
    pub fn id(&self) -> String {
        let name: String = self.0.nfc().collect();
        format!("f{}", &sha256_hex(name.as_bytes())[..12])
    }

    /// The name for people: of a path from the root only the folder, for the rest of it tells of the machine.
    pub fn title(&self) -> &str {
        let folder = Path::new(&self.0).file_name().and_then(|name| name.to_str());
        folder.filter(|_| Path::new(&self.0).is_absolute()).unwrap_or(&self.0)
    }
}
