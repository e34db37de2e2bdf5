//! Which base a run was trained on, as its `run.json` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use pq_cli::{Hint, WithHint as _};
use project_files::{Contract as _, PROCESSOR_FILES, RunFiles, RunRecord, hash_file};
use vlm_lora::{CheckpointFingerprint, Fingerprint};

/// The input of a run that names the base's weights.
pub const BASE_MODEL: &str = "base_model";
/// The input of a run that names the base's tokenizer, chat template and image settings.
pub const BASE_PROCESSOR: &str = "base_processor";

/// A base among the inputs of `run.json` and of the validation results.
pub fn base_inputs(base: &CheckpointFingerprint) -> BTreeMap<String, String> {
    let CheckpointFingerprint { weights, processor } = base;
    let inputs = [(BASE_MODEL, weights.written()), (BASE_PROCESSOR, processor.written())];
    inputs.into_iter().map(|(name, written)| (name.to_owned(), written)).collect()
}

/// SHA-256 of each of a base's processor files that is there, by name: what `run.json` says of them, and what a release's copies
/// are held against.
///
/// # Errors
/// When a file cannot be read.
pub fn processor_files(dir: &Path) -> Result<BTreeMap<String, String>> {
    let files = PROCESSOR_FILES.into_iter().map(|name| (name, dir.join(name)));
    let hash = |(name, path): (&str, PathBuf)| Ok((name.to_owned(), hash_file(&path)?.sha256));
    files.filter(|(_, path)| path.is_file()).map(hash).collect()
}

/// What a run says of one of its inputs, beside what was found.
enum Finding {
    Same,
    Other(Fingerprint),
    NotKnown(String),
}

fn compare(record: Option<&RunRecord>, input: &str, actual: Fingerprint) -> Finding {
    let Some(text) = record.and_then(|record| record.inputs.get(input)) else {
        return Finding::NotKnown("its run record does not say".to_owned());
    };
    match text.parse::<Fingerprint>() {
        Ok(recorded) if recorded == actual => Finding::Same,
        Ok(recorded) if recorded.scheme() == actual.scheme() => Finding::Other(recorded),
        Ok(_) => Finding::NotKnown(format!("`{text}` was not made as fingerprints of a base are")),
        Err(error) => Finding::NotKnown(error.to_string()),
    }
}

/// Refuses a base that is not the one an adapter's run was trained on. Where the run does not say, or by a fingerprint that
/// this version cannot compare, a warning says so.
///
/// # Errors
/// When it is another base, or when `run.json` is there and cannot be read.
pub fn check_base(run: &RunFiles, name: &str, base: &CheckpointFingerprint) -> Result<()> {
    let record = RunRecord::read_if_present(&run.record()).hint(
        format!("what `{}` was made from cannot be told", run.dir().display()),
        "its run record is damaged: bring it back from a copy; without it the run is used, and its base is not checked",
    )?;
    for (input, what, actual) in [
        (BASE_MODEL, "weights", base.weights),
        (BASE_PROCESSOR, "tokenizer, chat template or image processor", base.processor),
    ] {
        match compare(record.as_ref(), input, actual) {
            Finding::Same => {}
            Finding::Other(recorded) => {
                let (run, recorded, actual) = (run.dir().display(), recorded.short(), actual.short());
                bail!(Hint::new(
                    format!(
                        "`{run}` was trained on another base model: the fingerprint of its {what} is {recorded}…, that of `{name}` is {actual}…",
                    ),
                    "give the folder or the Hub id of the base that it was trained on: `--set model.name=DIR`",
                ))
            }
            Finding::NotKnown(reason) => {
                tracing::warn!(
                    "whether `{name}` is the base that `{}` was trained on cannot be told: {reason}",
                    run.dir().display()
                );
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(weights: &[u8], processor: &[u8]) -> CheckpointFingerprint {
        CheckpointFingerprint {
            weights: Fingerprint::of_bytes(weights),
            processor: Fingerprint::of_bytes(processor),
        }
    }

    fn check(dir: &Path, run_json: &str) -> Result<()> {
        let run = RunFiles::new(dir);
        std::fs::write(run.record(), run_json).unwrap();
        check_base(&run, "base", &base(b"w", b"p"))
    }

    fn record(inputs: &serde_json::Value) -> String {
        let started_at = jiff::Timestamp::UNIX_EPOCH;
        serde_json::json!({
            "schema_version": 2, "run_id": "r", "started_at": started_at, "base_model": "base", "inputs": inputs,
        })
        .to_string()
    }

    #[test]
    fn another_base_is_refused_with_both_names_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let with = |weights: &[u8], processor: &[u8]| {
            record(&serde_json::json!(base_inputs(&base(weights, processor))))
        };
        check(dir.path(), &with(b"w", b"p")).unwrap();
        let error = check(dir.path(), &with(b"W", b"p")).unwrap_err();
        assert!(error.downcast_ref::<Hint>().unwrap().remedy().contains("--set model.name=DIR"));
        let text = error.to_string();
        assert!(text.contains("fcb5f40df9be…") && text.contains("50e721e49c01…"), "{text}");
        let text = check(dir.path(), &with(b"w", b"P")).unwrap_err().to_string();
        assert!(text.contains("tokenizer"), "{text}");
        for broken in ["", "{", "3", "{}", &record(&serde_json::json!(3))] {
            let text = format!("{:#}", check(dir.path(), broken).unwrap_err());
            assert!(text.contains("run.json"), "{broken}: {text}");
        }
    }

    /// What is not known is no reason to refuse: no record, one of an earlier version, one of a later scheme.
    #[test]
    fn a_run_that_does_not_say_is_used() {
        let dir = tempfile::tempdir().unwrap();
        check_base(&RunFiles::new(dir.path()), "base", &base(b"w", b"p")).unwrap();
        let digits = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
        check(dir.path(), &record(&serde_json::json!({}))).unwrap();
        for text in
            [digits.to_owned(), format!("sha256-tensors-v9:{digits}"), format!("sha256-base-v1:{digits}")]
        {
            check(dir.path(), &record(&serde_json::json!({"base_model": text}))).unwrap();
        }
    }
}
