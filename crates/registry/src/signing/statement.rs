use std::collections::{BTreeMap, BTreeSet};

use durable_files::sha256_hex;
use serde_json::{Value, json};

use crate::{Error, Result};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// What is signed: a name, the files by their SHA-256, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) model: String,
    pub(super) files: BTreeMap<String, String>,
    pub(super) ignored: BTreeSet<String>,
}

impl Statement {
    /// The in-toto statement. Its subject's digest is SHA-256 over the digests of all files, in the order of their names.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let resource = |(name, digest): (&String, &String)| json!({"name": name, "algorithm": "sha256", "digest": digest});
        let digest = root(self.files.values().map(String::as_str)).unwrap_or_default();
        let statement = json!({
            "_type": STATEMENT,
            "subject": [{"name": self.model, "digest": {"sha256": digest}}],
            "predicateType": PREDICATE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": false,
                    "ignore_paths": self.ignored,
                },
                "resources": self.files.iter().map(resource).collect::<Vec<_>>(),
            },
        });
        let encode = |source| durable_files::Error::Encode { path: "model.sig".into(), source };
        serde_json::to_vec(&statement).map_err(encode).map_err(Error::File)
    }

    /// Reads a statement; says in words what cannot be relied on.
    pub(super) fn parse(payload: &[u8]) -> std::result::Result<Self, String> {
        let value: Value = serde_json::from_slice(payload)
            .map_err(|error| format!("the signed statement is no JSON: {error}"))?;
        check_kind(&value)?;
        let listed = files(list(&value, "/predicate/resources"))?;
        if listed.files.is_empty() {
            return Err("the signed statement names no file".to_owned());
        }
        let root = root(listed.digests.iter().map(String::as_str));
        if root.as_deref() != Some(text(&value, "/subject/0/digest/sha256")) {
            return Err(
                "the signed statement contradicts itself: its digest is not that of its files".to_owned()
            );
        }
        let ignored = list(&value, "/predicate/serialization/ignore_paths");
        let ignored = ignored.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Self { model: text(&value, "/subject/0/name").to_owned(), files: listed.files, ignored })
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
}

/// Refuses a statement of another kind, or one about more than a model.
fn check_kind(value: &Value) -> std::result::Result<(), String> {
    for (pointer, expected) in [
        ("/_type", STATEMENT),
        ("/predicateType", PREDICATE),
        ("/predicate/serialization/method", "files"),
        ("/predicate/serialization/hash_type", "sha256"),
    ] {
        let found = text(value, pointer);
        if found != expected {
            return Err(format!("the signed statement says `{found}` where `{expected}` is expected"));
        }
    }
    if list(value, "/subject").len() != 1 {
        return Err("the signed statement is not about one model".to_owned());
    }
    Ok(())
}

/// The files that a statement lists: by their names, and their digests in the order of the list.
#[derive(Default)]
struct Listed {
    files: BTreeMap<String, String>,
    digests: Vec<String>,
}

fn files(resources: &[Value]) -> std::result::Result<Listed, String> {
    let mut listed = Listed::default();
    for resource in resources {
        let part = |key: &str| resource[key].as_str().unwrap_or_default().to_owned();
        let (name, digest) = (part("name"), part("digest"));
        if part("algorithm") != "sha256" || name.is_empty() || leaves(&name) {
            return Err(format!("the signed statement names `{name}` in a way that is not known"));
        }
        listed.digests.push(digest.clone());
        if listed.files.insert(name.clone(), digest).is_some() {
            return Err(format!("the signed statement names `{name}` twice"));
        }
    }
    Ok(listed)
}

/// Whether a name leads out of the folder.
fn leaves(name: &str) -> bool {
    name.starts_with('/')
        || name.contains('\\')
        || name.split('/').any(|part| part.is_empty() || part == "..")
}

/// SHA-256 over the bytes of the digests; `None` where one is not hexadecimal.
fn root<'a>(digests: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut bytes = Vec::new();
    for digest in digests {
        if digest.len() != 64 || !digest.is_ascii() {
            return None;
        }
        for at in (0..digest.len()).step_by(2) {
            bytes.push(u8::from_str_radix(&digest[at..at + 2], 16).ok()?);
        }
    }
    Some(sha256_hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        let files = ["a", "b/c"].map(|name| (name.to_owned(), sha256_hex(name.as_bytes())));
        Statement { model: "v1.0.0".to_owned(), files: files.into(), ignored: [".git".to_owned()].into() }
    }

    #[test]
    fn a_statement_is_read_as_it_was_written() {
        assert_eq!(Statement::parse(&statement().to_json().unwrap()).unwrap(), statement());
    }

    #[test]
    fn what_a_statement_must_not_say_is_refused() {
        let whole: Value = serde_json::from_slice(&statement().to_json().unwrap()).unwrap();
        for (pointer, value) in [
            ("/_type", json!("x")),
            ("/predicateType", json!("https://model_signing/Digests/v0.1")),
            ("/predicate/serialization/method", json!("shards")),
            ("/predicate/serialization/hash_type", json!("blake2b")),
            ("/subject", json!([])),
            ("/subject/0/digest/sha256", json!("00")),
            ("/predicate/resources", json!([])),
            ("/predicate/resources/0/name", json!("../a")),
            ("/predicate/resources/0/name", json!("/etc/a")),
            ("/predicate/resources/0/name", json!("b/c")),
            ("/predicate/resources/0/algorithm", json!("md5")),
            ("/predicate/resources/0/digest", json!("zz")),
            ("/predicate/resources/0/digest", json!("é".repeat(32))),
        ] {
            let mut changed = whole.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert!(Statement::parse(changed.to_string().as_bytes()).is_err(), "{pointer}");
        }
        assert!(Statement::parse(b"{").is_err());
    }
}
