//! Ids of lines of the log.

use slide_data::sha256_hex;
use uuid::Uuid;

/// An id that no other line has: a UUID of version 7 (RFC 9562), which sorts by time.
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The id of the `number`th slide of a request that a client may send again: a UUID of version 8, made of its key and the slide's
/// pixels, so that the same request has the same ids also after a restart and in another service on the same log.
pub(crate) fn id_for_key(key: &str, number: usize, pixels: &str) -> String {
    let digest = sha256_hex(format!("{key}\0{number}\0{pixels}").as_bytes());
    let bytes = u128::from_str_radix(&digest[..32], 16).unwrap_or_default().to_be_bytes();
    Uuid::new_v8(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_differ_and_sort_by_time_and_those_of_a_key_are_the_same_again() {
        let ids: Vec<String> = (0..1000).map(|_| new_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        assert_eq!(id_for_key("key", 1, "ab"), id_for_key("key", 1, "ab"));
        let others = [id_for_key("key", 2, "ab"), id_for_key("kez", 1, "ab"), id_for_key("key", 1, "ac")];
        assert!(!others.contains(&id_for_key("key", 1, "ab")));
        assert_eq!(id_for_key("key", 1, "ab").as_bytes()[14], b'8', "of version 8");
    }
}
