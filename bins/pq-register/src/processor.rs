//! The base on this machine, of which a release copies files and names the commit, held against what the run's record says.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use project_files::{Contract as _, RunFiles, RunRecord};
use slide_scorer::{BASE_MODEL, BASE_PROCESSOR};
use vlm_lora::{Checkpoint, Fingerprint, Processor};

use crate::context::Context;

pub(crate) const REMEDY: &str = "bring the base back as it was when the run was trained, or say where it lies with `--set model.name=DIR`; \
     `--set registry.processor_files=false` releases without a copy of its files";

/// Why the base is not the one that the run was trained on, in words: its processor files by their hashes and by their
/// fingerprint, and its weights where the release names a commit of the Hub. Nothing where the release takes nothing of it.
///
/// # Errors
/// When the record or a file cannot be read.
pub(crate) fn changed(context: &Context<'_>, run: &RunFiles) -> Result<Vec<String>> {
    let record = RunRecord::read(&run.record())?;
    let base = context.registry.base(&record)?;
    if !base.changed.is_empty() {
        return Ok(base.changed);
    }
    let mut reasons = Vec::new();
    if !base.processor.is_empty() {
        let what = "tokenizer, chat template or image settings";
        match fingerprint(&base.processor) {
            Ok(found) => reasons.extend(difference(&record, BASE_PROCESSOR, what, found)),
            Err(error) => reasons.push(format!("the base's {what} cannot be used: {error:#}")),
        }
    }
    if let (Some(dir), Some(_)) = (&base.dir, &base.revision)
        && let Ok(checkpoint) = Checkpoint::open(dir)
    {
        reasons.extend(difference(&record, BASE_MODEL, "weights", checkpoint.fingerprint()));
    }
    Ok(reasons)
}

/// What training names a processor by, of the very bytes that are released.
fn fingerprint(files: &BTreeMap<String, Vec<u8>>) -> Result<Fingerprint> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content)?;
    }
    Ok(Processor::fingerprint(folder.path())?)
}

/// How a part of the base differs from what the run's record names, in words. A record of an earlier program may name it in a way
/// that cannot be compared: then it is not known to be the same.
fn difference(record: &RunRecord, input: &str, what: &str, found: Fingerprint) -> Option<String> {
    let recorded = record.inputs.get(input).map(String::as_str).unwrap_or_default();
    match recorded.parse::<Fingerprint>() {
        Ok(recorded) if recorded == found => None,
        Ok(recorded) => Some(format!(
            "the base's {what} changed since the run was trained: the fingerprint was {}…, and is {}…",
            recorded.short(),
            found.short()
        )),
        Err(error) => Some(format!("whether the base's {what} is that of the run cannot be told: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_base_is_the_same_only_where_that_is_known() {
        let found = Fingerprint::of_bytes(b"a");
        let of = |recorded: Option<String>| {
            let inputs = recorded.map(|text| ("base_model".to_owned(), text)).into_iter().collect();
            let json = serde_json::json!({
                "schema_version": 3, "run_id": "r", "started_at": "2026-01-02T03:04:05Z", "base_model": "a/b"
            });
            let record: RunRecord = serde_json::from_value(json).expect("a record");
            difference(&RunRecord { inputs, ..record }, "base_model", "weights", found)
        };
        assert_eq!(of(Some(found.written())), None);
        let other = of(Some(Fingerprint::of_bytes(b"b").written())).expect("another one");
        assert!(other.contains("changed") && other.contains(&found.short()), "{other}");
        for unknown in [None, Some("file-heads-v0:1".to_owned()), Some("sha256:12".to_owned())] {
            assert!(of(unknown.clone()).expect("it is not known").contains("cannot be told"), "{unknown:?}");
        }
    }
}
