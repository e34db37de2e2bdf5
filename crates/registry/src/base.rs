use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use durable_files::{io_error as io, sha256_hex};
use project_files::{PROCESSOR_FILES, RunRecord};
use serde_json::Value;

use crate::Result;

/// More than this is not copied into a release.
const MAX_PROCESSOR_BYTES: u64 = 64 << 20;

/// Where the base of a run may lie on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePlaces {
    /// A folder that is tried where the run names one that is not here.
    pub folder: Option<PathBuf>,
    /// The folder in which the Hub's clients keep what they downloaded.
    pub hub_cache: Option<PathBuf>,
    /// Whether a release holds a copy of the base's processor files.
    pub copies_processor: bool,
}

/// What a release says of its base, and takes from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// Its id on the Hub; of a folder the last part, which is no path.
    pub name: String,
    /// Whether that is an id of the Hub.
    pub is_hub_id: bool,
    /// Its folder, where it is on this machine.
    pub dir: Option<PathBuf>,
    /// The commit on the Hub, where the base lies in the cache.
    pub revision: Option<String>,
    /// `model_type` and class, as its `config.json` has them.
    pub class: Option<(String, String)>,
    /// The processor files to be copied; empty where they are not here, are not whole, or shall not be copied.
    pub processor: BTreeMap<String, Vec<u8>>,
    /// Which of those files are not the ones that the run was trained with, in words; empty too where the run's record does not
    /// name them.
    pub changed: Vec<String>,
}

impl Base {
    /// The base of a run.
    ///
    /// # Errors
    /// When a file of it cannot be read.
    pub fn of(record: &RunRecord, places: &BasePlaces) -> Result<Self> {
        let name = &record.base_model;
        let (dir, revision) = place(record, places);
        let mut base = Self {
            name: if record.base_is_hub_id { name.clone() } else { last_part(name) },
            is_hub_id: record.base_is_hub_id,
            revision,
            ..Self::default()
        };
        if let Some(dir) = &dir {
            base.class = class(dir);
            if places.copies_processor
                && let Some(files) = processor_files(dir)?
            {
                base.changed = changed(&files, &record.processor_files);
                base.processor = copies(files);
            }
        }
        base.dir = dir;
        Ok(base)
    }
}

/// Which files are not those that a run's record names, in words.
fn changed(files: &BTreeMap<String, Vec<u8>>, recorded: &BTreeMap<String, String>) -> Vec<String> {
    if recorded.is_empty() {
        return Vec::new(); // an earlier program did not say
    }
    let found = files.iter().filter_map(|(name, content)| match recorded.get(name) {
        Some(hash) if *hash == sha256_hex(content) => None,
        Some(_) => Some(format!("`{name}` of the base changed since the run was trained")),
        None => Some(format!("`{name}` was added to the base since the run was trained")),
    });
    let lost = recorded.keys().filter(|name| !files.contains_key(*name));
    found.chain(lost.map(|name| format!("`{name}` of the base is missing"))).collect()
}

/// The last part of a path in any system's spelling; what has none is called `base`.
pub(crate) fn last_part(path: &str) -> String {
    let part = path.rsplit(['/', '\\']).find(|part| !part.is_empty() && *part != "." && *part != "..");
    part.unwrap_or("base").to_owned()
}

/// Where the base of a run lies, if it is here, and its commit on the Hub.
fn place(record: &RunRecord, places: &BasePlaces) -> (Option<PathBuf>, Option<String>) {
    let name = &record.base_model;
    if record.base_is_hub_id {
        return places.hub_cache.as_deref().map_or((None, None), |cache| cached(cache, name));
    }
    let named = [Some(PathBuf::from(name)), places.folder.clone()];
    (named.into_iter().flatten().find(|dir| dir.is_dir()), None)
}

/// The snapshot of an id's `main` in the Hub's cache, and its commit.
fn cached(cache: &Path, id: &str) -> (Option<PathBuf>, Option<String>) {
    let root = cache.join(format!("models--{}", id.replace('/', "--")));
    let Ok(commit) = std::fs::read_to_string(root.join("refs/main")) else { return (None, None) };
    let commit = commit.trim().to_owned();
    let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    let dir = root.join("snapshots").join(&commit);
    if is_commit && dir.is_dir() { (Some(dir), Some(commit)) } else { (None, None) }
}

fn class(dir: &Path) -> Option<(String, String)> {
    let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json")).ok()?).ok()?;
    let is_name = |text: &&str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let kind = config["model_type"].as_str().filter(is_name)?;
    let class = config["architectures"][0].as_str().filter(is_name)?;
    Some((kind.to_owned(), class.to_owned()))
}

/// The processor files as they lie in a base's folder; nothing where they are too large to be copied.
fn processor_files(dir: &Path) -> Result<Option<BTreeMap<String, Vec<u8>>>> {
    let mut files = BTreeMap::new();
    let mut size = 0;
    for name in PROCESSOR_FILES {
        let path = dir.join(name);
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        size += metadata.len();
        if size > MAX_PROCESSOR_BYTES {
            tracing::warn!("the processor files in `{}` are too large to be copied", dir.display());
            return Ok(None);
        }
        let content = std::fs::read(&path).map_err(io("read", &path))?;
        files.insert(name.to_owned(), content);
    }
    Ok(Some(files))
}

/// What a release takes of them: all, or nothing where no program could make inputs with them.
fn copies(files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let has = |name: &str| files.contains_key(name);
    let is_whole = has("tokenizer.json") && (has("processor_config.json") || has("preprocessor_config.json"));
    if !is_whole {
        return BTreeMap::new();
    }
    files.into_iter().map(|(name, content)| (name, without_origin(content))).collect()
}

/// A file of settings without the place that it was once loaded from, which may be a folder of a machine.
fn without_origin(content: Vec<u8>) -> Vec<u8> {
    let Ok(Value::Object(mut settings)) = serde_json::from_slice::<Value>(&content) else { return content };
    let had = ["_name_or_path", "name_or_path"].map(|key| settings.remove(key).is_some());
    if had.contains(&true) { format!("{:#}\n", Value::Object(settings)).into_bytes() } else { content }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_by_its_last_part_alone() {
        for (path, name) in [
            ("/home/ann/models/tiny", "tiny"),
            ("../tiny/", "tiny"),
            ("C:\\models\\tiny", "tiny"),
            ("tiny", "tiny"),
            ("..", "base"),
            ("", "base"),
        ] {
            assert_eq!(last_part(path), name);
        }
    }

    #[test]
    fn every_file_that_a_run_was_trained_with_is_held_against_its_record() {
        let dir = tempfile::tempdir().unwrap();
        for name in PROCESSOR_FILES {
            std::fs::write(dir.path().join(name), format!("{{\"of\": \"{name}\"}}")).unwrap();
        }
        let files = || processor_files(dir.path()).unwrap().unwrap();
        let recorded: BTreeMap<String, String> =
            files().into_iter().map(|(name, content)| (name, sha256_hex(&content))).collect();
        assert_eq!(changed(&files(), &recorded), [""; 0]);
        for name in PROCESSOR_FILES {
            let path = dir.path().join(name);
            let before = std::fs::read(&path).unwrap();
            for at in 0..before.len() {
                let mut bytes = before.clone();
                bytes[at] ^= 1;
                std::fs::write(&path, bytes).unwrap();
                let found = changed(&files(), &recorded);
                assert!(
                    found.len() == 1 && found[0].contains(name) && found[0].contains("changed"),
                    "{found:?}"
                );
            }
            std::fs::remove_file(&path).unwrap();
            let found = changed(&files(), &recorded);
            assert!(found.len() == 1 && found[0].contains(name) && found[0].contains("missing"), "{found:?}");
            std::fs::write(&path, before).unwrap();
            let mut fewer = recorded.clone();
            fewer.remove(name);
            let found = changed(&files(), &fewer);
            assert!(found.len() == 1 && found[0].contains(name) && found[0].contains("added"), "{found:?}");
        }
        assert_eq!(changed(&files(), &BTreeMap::new()), [""; 0], "an earlier program did not say");
    }

    #[test]
    fn only_a_whole_processor_of_the_cached_commit_is_taken() {
        let cache = tempfile::tempdir().unwrap();
        let root = cache.path().join("models--a--b");
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let dir = root.join("snapshots").join(commit);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::create_dir_all(root.join("refs")).unwrap();
        std::fs::write(root.join("refs/main"), commit).unwrap();
        std::fs::write(dir.join("tokenizer.json"), "{}").unwrap();
        let config = r#"{"_name_or_path": "/home/ann/tiny", "model_type": "idefics3", "architectures": ["Idefics3ForConditionalGeneration"]}"#;
        std::fs::write(dir.join("config.json"), config).unwrap();
        let json = serde_json::json!({
            "schema_version": 2, "run_id": "r", "started_at": "2026-01-02T03:04:05Z", "base_model": "a/b",
            "base_is_hub_id": true
        });
        let record: RunRecord = serde_json::from_value(json).unwrap();
        let places = |copies_processor| BasePlaces {
            folder: None,
            hub_cache: Some(cache.path().to_owned()),
            copies_processor,
        };
        let base = Base::of(&record, &places(true)).unwrap();
        assert_eq!((base.name.as_str(), base.revision.as_deref()), ("a/b", Some(commit)));
        assert_eq!(base.class.unwrap().1, "Idefics3ForConditionalGeneration");
        assert!(base.processor.is_empty(), "nothing says how images are made ready");
        std::fs::write(dir.join("processor_config.json"), "{}").unwrap();
        let files = Base::of(&record, &places(true)).unwrap().processor;
        assert_eq!(
            files.keys().collect::<Vec<_>>(),
            ["config.json", "processor_config.json", "tokenizer.json"]
        );
        let config = String::from_utf8_lossy(&files["config.json"]);
        assert!(!config.contains("home") && config.contains("Idefics3ForConditionalGeneration"), "{config}");
        assert!(Base::of(&record, &places(false)).unwrap().processor.is_empty());
        std::fs::write(root.join("refs/main"), "../../elsewhere").unwrap();
        let base = Base::of(&record, &places(true)).unwrap();
        assert_eq!((base.revision, base.processor.len()), (None, 0));
    }
}
