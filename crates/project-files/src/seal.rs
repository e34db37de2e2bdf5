//! A text that states its own hash: JSON whose first field is the SHA-256 of the same text with that field empty.

use durable_files::sha256_hex;

/// Fills in the hash of a JSON text that begins with `prefix` (up to the quotes of its empty first field).
pub(crate) fn sealed(empty: &str, prefix: &str) -> Option<(String, String)> {
    let rest = empty.strip_prefix(prefix)?;
    let hash = sha256_hex(empty.as_bytes());
    let text = format!("{prefix}{hash}{rest}");
    Some((hash, text))
}

/// The hash that a text states, if it is the text's.
pub(crate) fn stated_hash(text: &[u8], prefix: &str) -> Option<String> {
    let (hash, rest) = text.strip_prefix(prefix.as_bytes())?.split_at_checked(64)?;
    let empty = [prefix.as_bytes(), rest].concat();
    let expected = sha256_hex(&empty);
    (expected.as_bytes() == hash).then_some(expected)
}
