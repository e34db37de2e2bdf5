//! What the files of a run become when they are released: what is public names no folder of a machine, and the adapter names
//! the base that it belongs to.

use std::collections::BTreeMap;
use std::path::Path;

use durable_files::{FileHash, hash_bytes, io_error as io};
use project_files::{RELEASED_FILES, RunFiles};
use serde_json::{Value, json};

use crate::base::{Base, last_part};
use crate::names::name;
use crate::{Error, Result};

/// The files of a release that are made of a run and its base.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The run's own files, by their hashes.
    pub(crate) of_run: BTreeMap<String, FileHash>,
    /// SHA-256 of the run's file where the released one is another.
    pub(crate) made_from: BTreeMap<String, String>,
}

impl Contents {
    pub(crate) fn of(run: &RunFiles, base: &Base) -> Result<Self> {
        let mut contents = Self::default();
        for file in RELEASED_FILES {
            let path = run.dir().join(file.name);
            if !path.exists() {
                if file.is_required {
                    return Err(Error::Missing { path, needed_for: "a release consists of it" });
                }
                continue;
            }
            let own = std::fs::read(&path).map_err(io("read", &path))?;
            let hash = hash_bytes(&own);
            let released = released(run, &path, &own, base)?;
            if released.as_ref().is_some_and(|released| *released != own) {
                contents.made_from.insert(file.name.to_owned(), hash.sha256.clone());
            }
            contents.of_run.insert(file.name.to_owned(), hash);
            contents.files.insert(file.name.to_owned(), released.unwrap_or(own));
        }
        contents.files.extend(base.processor.clone());
        Ok(contents)
    }

    /// The hashes of what is released.
    pub(crate) fn hashes(&self) -> BTreeMap<String, FileHash> {
        self.files.iter().map(|(name, content)| (name.clone(), hash_bytes(content))).collect()
    }

    /// Whether a release has the files of this run, as they are released now or as earlier programs did, unchanged.
    pub(crate) fn are_those_of(&self, listed: &BTreeMap<String, FileHash>) -> bool {
        let is_of_run = |name: &str| RELEASED_FILES.iter().any(|file| file.name == name);
        let listed: BTreeMap<_, _> = listed.iter().filter(|(name, _)| is_of_run(name)).collect();
        let hashes = self.hashes();
        let released = hashes.iter().filter(|(name, _)| is_of_run(name));
        listed.iter().map(|(name, hash)| (*name, *hash)).eq(released)
            || listed.into_iter().eq(self.of_run.iter())
    }
}

/// What a file becomes; `None` where it stays as it is.
fn released(run: &RunFiles, path: &Path, own: &[u8], base: &Base) -> Result<Option<Vec<u8>>> {
    let unusable = |problem: String| Error::Unusable { path: path.to_owned(), problem };
    if path == run.adapter_config() {
        let mut config = object(own).map_err(unusable)?;
        let before = config.clone();
        name_base(&mut config, base);
        return pretty(&config, &before, path);
    }
    if path == run.record() && !base.is_hub_id {
        let mut record = object(own).map_err(unusable)?;
        let before = record.clone();
        record["base_model"] = json!(base.name);
        return pretty(&record, &before, path);
    }
    if path == run.config() {
        return settings(own, base).map_err(unusable);
    }
    Ok(None)
}

fn object(bytes: &[u8]) -> std::result::Result<Value, String> {
    match serde_json::from_slice(bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("it is no JSON object".to_owned()),
        Err(error) => Err(format!("it is no JSON: {error}")),
    }
}

fn pretty(value: &Value, before: &Value, path: &Path) -> Result<Option<Vec<u8>>> {
    if value == before {
        return Ok(None);
    }
    let encode = |source| durable_files::Error::Encode { path: name(path).into(), source };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(encode)?;
    bytes.push(b'\n');
    Ok(Some(bytes))
}

/// Says in PEFT's words which base the adapter belongs to. With the class of the base and no task type, `AutoPeftModel` and
/// transformers' own auto classes open the repository; PEFT has no task type for models of images and text.
fn name_base(config: &mut Value, base: &Base) {
    config["base_model_name_or_path"] = json!(base.is_hub_id.then_some(&base.name));
    config["revision"] = json!(base.revision.as_ref().filter(|_| base.is_hub_id));
    if let (true, Some((kind, class))) = (base.is_hub_id, &base.class) {
        config["task_type"] = Value::Null;
        config["auto_mapping"] = json!({
            "base_model_class": class,
            "parent_library": format!("transformers.models.{kind}.modeling_{kind}"),
        });
    }
}

/// A run's settings without the folders of a machine.
fn settings(own: &[u8], base: &Base) -> std::result::Result<Option<Vec<u8>>, String> {
    let text = std::str::from_utf8(own).map_err(|error| format!("it is no text: {error}"))?;
    let mut config: toml::Table = text.parse().map_err(|error| format!("it is no TOML: {error}"))?;
    let mut has_changed = false;
    for (table, key, is_path) in [("model", "name", !base.is_hub_id), ("training", "output_dir", true)] {
        let value = config.get_mut(table).and_then(|table| table.get_mut(key));
        if let Some(toml::Value::String(value)) = value
            && is_path
            && value.contains(['/', '\\'])
        {
            *value = last_part(value);
            has_changed = true;
        }
    }
    if !has_changed {
        return Ok(None);
    }
    toml::to_string(&config).map(|text| Some(text.into_bytes())).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[model]\nname = \"/home/ann/models/tiny\"\n[training]\noutput_dir = \"/home/ann/outputs/r1\"\nlr = 1e-4\n[rubric]\nprompt = \"a/b\"\n";

    fn run() -> (tempfile::TempDir, RunFiles) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFiles::new(dir.path());
        let adapter =
            r#"{"r": 8, "base_model_name_or_path": "/home/ann/models/tiny", "task_type": "CAUSAL_LM"}"#;
        for (path, content) in [
            (run.adapter_config(), adapter),
            (run.adapter_weights(), "weights"),
            (run.validation(), "{}"),
            (run.config(), CONFIG),
            (run.record(), r#"{"base_model": "/home/ann/models/tiny", "run_id": "r1"}"#),
        ] {
            std::fs::write(path, content).unwrap();
        }
        (dir, run)
    }

    #[test]
    fn no_folder_of_a_machine_is_in_what_is_released() {
        let (_dir, run) = run();
        let base = Base { name: "tiny".to_owned(), ..Base::default() };
        let contents = Contents::of(&run, &base).unwrap();
        for (name, content) in &contents.files {
            let text = String::from_utf8_lossy(content);
            assert!(!text.contains("home") && !text.contains("ann"), "{name}: {text}");
        }
        let changed: Vec<&String> = contents.made_from.keys().collect();
        assert_eq!(changed, ["adapter_config.json", "config.toml", "run.json"]);
        assert_eq!(contents.made_from["config.toml"], hash_bytes(CONFIG.as_bytes()).sha256);
        let config: toml::Table =
            std::str::from_utf8(&contents.files["config.toml"]).unwrap().parse().unwrap();
        assert_eq!(config["model"]["name"].as_str(), Some("tiny"));
        assert_eq!(config["training"]["output_dir"].as_str(), Some("r1"));
        assert_eq!(config["rubric"]["prompt"].as_str(), Some("a/b"), "the rest is as it was");
        assert_eq!(config["training"]["lr"].as_float(), Some(1e-4));
        let adapter: Value = serde_json::from_slice(&contents.files["adapter_config.json"]).unwrap();
        assert_eq!((&adapter["base_model_name_or_path"], &adapter["r"]), (&Value::Null, &json!(8)));
        assert_eq!(adapter["task_type"], "CAUSAL_LM");
    }

    #[test]
    fn an_adapter_of_a_hub_base_names_it_with_its_commit_and_class() {
        let (_dir, run) = run();
        let base = Base {
            name: "team/tiny".to_owned(),
            is_hub_id: true,
            revision: Some("01".repeat(20)),
            class: Some(("idefics3".to_owned(), "Idefics3ForConditionalGeneration".to_owned())),
            ..Base::default()
        };
        let contents = Contents::of(&run, &base).unwrap();
        let adapter: Value = serde_json::from_slice(&contents.files["adapter_config.json"]).unwrap();
        assert_eq!(adapter["base_model_name_or_path"], "team/tiny");
        assert_eq!(adapter["revision"], "01".repeat(20));
        assert_eq!((&adapter["task_type"], &adapter["r"]), (&Value::Null, &json!(8)));
        assert_eq!(
            adapter["auto_mapping"]["parent_library"],
            "transformers.models.idefics3.modeling_idefics3"
        );
        assert!(!contents.made_from.contains_key("run.json"), "it names no folder");
    }

    #[test]
    fn a_run_is_known_again_as_it_is_released_and_as_earlier_programs_released_it() {
        let (_dir, run) = run();
        let contents = Contents::of(&run, &Base { name: "tiny".to_owned(), ..Base::default() }).unwrap();
        let mut listed = contents.hashes();
        listed.insert("README.md".to_owned(), hash_bytes(b"card"));
        assert!(contents.are_those_of(&listed));
        assert!(contents.are_those_of(&contents.of_run));
        listed.insert("config.toml".to_owned(), hash_bytes(b"other"));
        assert!(!contents.are_those_of(&listed));
        listed.remove("config.toml");
        assert!(!contents.are_those_of(&listed));
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let (_dir, run) = run();
        for (path, content) in [
            (run.adapter_config(), "[]"),
            (run.config(), "[model"),
            (run.record(), "{"),
            (run.config(), "\u{0}="),
        ] {
            let before = std::fs::read(&path).unwrap();
            std::fs::write(&path, content).unwrap();
            let error = Contents::of(&run, &Base::default()).unwrap_err();
            assert!(matches!(&error, Error::Unusable { path: found, .. } if *found == path), "{error}");
            std::fs::write(&path, before).unwrap();
        }
        std::fs::remove_file(run.adapter_weights()).unwrap();
        assert!(matches!(Contents::of(&run, &Base::default()), Err(Error::Missing { .. })));
    }
}
