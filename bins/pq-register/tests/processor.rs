//! The processor that a release holds is the one that the run was trained with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use project_files::{Contract as _, PROCESSOR_FILES, RunFiles, ValidationResults, hash_file};
use serde_json::{Value, json};

mod validated;

use validated::{project, register};

/// A project whose base lies in the folder `base`, with every file of a processor; the run's record names each by its hash where
/// `names_files`, and all by their fingerprint.
fn with_base(names_files: bool) -> tempfile::TempDir {
    let dir = project(0.4);
    let base = dir.path().join("base");
    std::fs::create_dir(&base).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/text-all/model");
    for name in PROCESSOR_FILES {
        let content = std::fs::read(model.join(name)).unwrap_or_else(|_| b"{\"unused\": true}\n".to_vec());
        std::fs::write(base.join(name), content).unwrap();
    }
    let run = RunFiles::new(dir.path().join("outputs/latest"));
    let fingerprint = vlm_lora::Processor::fingerprint(&base).unwrap().written();
    let mut record: Value = serde_json::from_slice(&std::fs::read(run.record()).unwrap()).unwrap();
    record["base_model"] = json!("base");
    record["inputs"]["base_processor"] = json!(fingerprint);
    if names_files {
        record["processor_files"] = json!(slide_scorer::processor_files(&base).unwrap());
        assert_eq!(record["processor_files"].as_object().unwrap().len(), PROCESSOR_FILES.len());
    }
    std::fs::write(run.record(), record.to_string()).unwrap();
    let mut results = ValidationResults::read(&run.validation()).unwrap();
    results.inputs.insert("base_processor".to_owned(), fingerprint);
    results.inputs.insert("run.json".to_owned(), hash_file(&run.record()).unwrap().sha256);
    results.write(&run.validation()).unwrap();
    dir
}

fn refused(dir: &Path, words: &[&str]) {
    for args in [&["--dry-run"][..], &[]] {
        let (code, text) = register(dir, args);
        assert!(code == 1 && text.contains("not released") && text.contains("hint: "), "{words:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
    assert!(!dir.join("model_registry/version.json").exists());
}

#[test]
fn a_byte_that_changed_in_any_file_of_the_base_s_processor_is_refused_by_name() {
    let dir = with_base(true);
    for name in PROCESSOR_FILES {
        let path = dir.path().join("base").join(name);
        let before = std::fs::read(&path).unwrap();
        for at in [0, before.len() / 2, before.len() - 1] {
            let mut bytes = before.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            refused(dir.path(), &[&format!("`{name}` of the base changed since the run was trained")]);
        }
        std::fs::remove_file(&path).unwrap();
        refused(dir.path(), &[&format!("`{name}` of the base is missing")]);
        std::fs::write(&path, before).unwrap();
    }
    let (code, text) = register(dir.path(), &[]);
    assert!(code == 0 && text.contains("v1.0.0 released"), "{text}");
    let version = dir.path().join("model_registry/versions/v1.0.0");
    for name in PROCESSOR_FILES {
        let read = |dir: &PathBuf| std::fs::read(dir.join(name)).unwrap();
        assert_eq!(read(&version), read(&dir.path().join("base")), "{name}");
    }
    let journal = std::fs::read_to_string(dir.path().join("model_registry/journal.jsonl")).unwrap();
    assert!(journal.contains("\"refused\"") && journal.contains("tokenizer.json"), "{journal}");
}

#[test]
fn whoever_takes_no_copy_is_not_asked_for_the_same_files() {
    let dir = with_base(true);
    std::fs::write(dir.path().join("base/tokenizer.json"), "{}").unwrap();
    let (code, text) = register(dir.path(), &["--set", "registry.processor_files=false"]);
    assert!(code == 0 && text.contains("v1.0.0 released"), "{text}");
    assert!(!dir.path().join("model_registry/versions/v1.0.0/tokenizer.json").exists());
}

/// Records of earlier programs have the fingerprint alone: what it covers is refused, what it does not cover is taken.
#[test]
fn a_run_of_an_earlier_program_is_held_against_its_fingerprint() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 3] = [
        ("tokenizer.json", |value| value["model"]["merges"][3] = json!(["a", "b"])),
        ("processor_config.json", |value| value["image_seq_len"] = json!(5)),
        ("tokenizer_config.json", |value| value["eos_token"] = json!("<image>")),
    ];
    let dir = with_base(false);
    for (name, change) in changes {
        let path = dir.path().join("base").join(name);
        let before = std::fs::read(&path).unwrap();
        let mut value: Value = serde_json::from_slice(&before).unwrap();
        std::fs::write(&path, format!("{value:#}")).unwrap();
        assert_eq!(register(dir.path(), &["--dry-run"]).0, 0, "{name}: other spaces, the same processor");
        change(&mut value);
        std::fs::write(&path, value.to_string()).unwrap();
        refused(dir.path(), &["tokenizer, chat template or image settings", "the fingerprint was"]);
        std::fs::write(&path, "{").unwrap();
        refused(dir.path(), &["cannot be used", name]);
        std::fs::write(&path, before).unwrap();
    }
    assert_eq!(register(dir.path(), &[]).0, 0);
}
