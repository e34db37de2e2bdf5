//! A run beside the one that it repeats.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use project_files::{Contract as _, RunFiles, RunRecord, ScoreHead};
use serde::Serialize;
use toml::{Table, Value};
use vlm_lora::safetensors::SafeTensors;
use vlm_lora::safetensors::tensor::TensorView;

/// In what both runs differ.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// Whether the files of weights are the same, byte for byte, and the score heads.
    pub(super) identical: bool,
    /// The tensor that differs most.
    weights: Option<Weights>,
    /// What else differs, in words: what may be the cause.
    differences: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Weights {
    /// The largest difference of a value.
    largest_difference: f64,
    /// The largest value of that tensor.
    largest_value: f64,
    tensor: String,
    /// Tensors with a difference.
    changed: usize,
    tensors: usize,
}

/// Compares a stored version with the run that repeats it.
pub(super) fn compare(stored: &RunFiles, record: &RunRecord, new: &RunFiles) -> Result<Comparison> {
    let read = |run: &RunFiles| {
        let path = run.adapter_weights();
        std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let (before, after) = (read(stored)?, read(new)?);
    let is_same_head =
        ScoreHead::read_if_present(&stored.score_head())? == ScoreHead::read_if_present(&new.score_head())?;
    let identical = before == after && is_same_head;
    let mut differences = facts(record, &RunRecord::read(&new.record())?);
    differences.extend((!is_same_head).then(|| "the score head".to_owned()));
    differences.extend(settings(stored, new)?);
    let mut weights = None;
    if before != after {
        match tensors(&before, &after) {
            Ok(found) => weights = Some(found),
            Err(reason) => differences.push(format!("weights: {reason}")),
        }
    }
    Ok(Comparison { identical, weights, differences })
}

impl Comparison {
    /// The same in sentences.
    pub(super) fn text(&self, version: &str, new: &RunFiles) -> String {
        let place = new.dir().display();
        let mut lines = Vec::new();
        if self.identical {
            lines.push(format!("{version} was trained again, bit for bit: {place}"));
        } else {
            lines.push(format!("{version} was trained again, with other weights: {place}"));
        }
        if let Some(weights) = &self.weights {
            let Weights { largest_difference, largest_value, tensor, changed, tensors } = weights;
            lines.push(format!(
                "  {changed} of {tensors} tensors differ, by {largest_difference:.2e} at most: `{tensor}`, whose largest value is {largest_value:.2e}"
            ));
        }
        lines.extend(self.differences.iter().map(|difference| format!("  {difference}")));
        if !self.identical && self.differences.is_empty() {
            lines.push("  nothing else that is recorded differs".to_owned());
        }
        lines.join("\n")
    }
}

/// What the records say differently of data, base, code and machine.
fn facts(before: &RunRecord, after: &RunRecord) -> Vec<String> {
    let [before, after] = [before, after].map(rows);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |rows: &BTreeMap<String, String>, name: &str| {
        rows.get(name).filter(|value| !value.is_empty()).cloned().unwrap_or_else(|| "not recorded".to_owned())
    };
    let both = names.into_iter().map(|name| (name, value(&before, name), value(&after, name)));
    let other = both.filter(|(_, before, after)| before != after);
    other.map(|(name, before, after)| format!("{name}: was {before}, is {after}")).collect()
}

fn rows(record: &RunRecord) -> BTreeMap<String, String> {
    let hardware = &record.hardware;
    let number = |number: usize| if number == 0 { String::new() } else { number.to_string() };
    let mut rows = BTreeMap::from([
        ("machine: cores", number(hardware.cores)),
        ("machine: threads", number(hardware.threads)),
        ("machine: operating system", hardware.os.clone()),
        ("machine: architecture", hardware.architecture.clone()),
        ("machine: vector instructions", hardware.instructions.clone()),
        ("machine: device", hardware.device.clone()),
        ("settings: seed", record.seed.map(|seed| seed.to_string()).unwrap_or_default()),
    ]);
    if let Some(code) = &record.code {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        rows.insert("code: program", code.program_sha256.clone());
        rows.insert("code: commit of the folder", text(&code.commit));
        rows.insert("code: changes beside the commit", text(&code.diff_sha256));
    }
    let mut rows: BTreeMap<String, String> =
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    rows.extend(record.inputs.iter().map(|(name, hash)| (format!("data: {name}"), hash.clone())));
    rows.extend(record.versions.iter().map(|(name, version)| (format!("code: {name}"), version.clone())));
    rows
}

/// Settings that differ, but for where things lie.
fn settings(before: &RunFiles, after: &RunFiles) -> Result<Vec<String>> {
    let read = |run: &RunFiles| {
        let path = run.config();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let mut values = BTreeMap::new();
        flatten("", &Value::Table(text.parse::<Table>()?), &mut values);
        Ok::<_, anyhow::Error>(values)
    };
    let (before, after) = (read(before)?, read(after)?);
    let places = ["model.name", "training.output_dir"];
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let names = names.into_iter().filter(|name| !places.contains(&name.as_str()));
    let value = |values: &BTreeMap<String, String>, name: &str| {
        values.get(name).cloned().unwrap_or_else(|| "left out".to_owned())
    };
    let both = names.map(|name| (name, value(&before, name), value(&after, name)));
    let other = both.filter(|(_, before, after)| before != after);
    Ok(other.map(|(name, before, after)| format!("settings: {name} was {before}, is {after}")).collect())
}

fn flatten(prefix: &str, value: &Value, values: &mut BTreeMap<String, String>) {
    match value.as_table() {
        Some(table) => table.iter().for_each(|(key, value)| {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            flatten(&name, value, values);
        }),
        None => drop(values.insert(prefix.to_owned(), value.to_string())),
    }
}

/// The tensor that differs most; why they cannot be compared, where they cannot.
fn tensors(before: &[u8], after: &[u8]) -> std::result::Result<Weights, String> {
    let open = |bytes| SafeTensors::deserialize(bytes).map_err(|error| error.to_string());
    let (before, after) = (open(before)?, open(after)?);
    let names: BTreeSet<&str> = before.names().into_iter().chain(after.names()).collect();
    let mut most: Option<Weights> = None;
    let mut changed = 0;
    for name in &names {
        let pair = (tensor(&before, name)?, tensor(&after, name)?);
        let (difference, largest) = difference(&pair.0, &pair.1).map_err(|why| format!("`{name}` {why}"))?;
        if difference == 0.0 {
            continue;
        }
        changed += 1;
        // What is no number differs more than any number.
        if most.as_ref().is_none_or(|most| difference.is_nan() || difference > most.largest_difference) {
            let tensor = (*name).to_owned();
            let (largest_difference, largest_value) = (difference, largest);
            most = Some(Weights { largest_difference, largest_value, tensor, changed, tensors: names.len() });
        }
    }
    most.map(|most| Weights { changed, ..most })
        .ok_or_else(|| "the files differ, their values do not".to_owned())
}

fn tensor<'a>(tensors: &SafeTensors<'a>, name: &str) -> std::result::Result<TensorView<'a>, String> {
    tensors.tensor(name).map_err(|_| format!("`{name}` is in one alone"))
}

fn difference(before: &TensorView<'_>, after: &TensorView<'_>) -> std::result::Result<(f64, f64), String> {
    if before.shape() != after.shape() || before.dtype() != after.dtype() {
        return Err("has another shape or type".to_owned());
    }
    if before.dtype() != vlm_lora::safetensors::Dtype::F32 {
        return Err(format!("is of {:?}", before.dtype()));
    }
    let floats = |bytes: &[u8]| -> Vec<f64> {
        bytes.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
    };
    let (before, after) = (floats(before.data()), floats(after.data()));
    let greater = |most: f64, value: f64| if most.is_nan() || value <= most { most } else { value };
    let differences = before.iter().zip(&after).map(|(before, after)| (before - after).abs());
    Ok((differences.fold(0.0, greater), before.iter().map(|value| value.abs()).fold(0.0, greater)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vlm_lora::safetensors::{Dtype, serialize};

    fn file(values: &[(&str, &[f32])]) -> Vec<u8> {
        let bytes: Vec<(String, Vec<u8>)> = values
            .iter()
            .map(|(name, values)| ((*name).to_owned(), values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = bytes.iter().map(|(name, bytes)| {
            (name.clone(), TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes).expect("a tensor"))
        });
        serialize(views, None).expect("a file")
    }

    #[test]
    fn the_tensor_that_differs_most_is_named() {
        let before = file(&[("a", &[1.0, 2.0]), ("b", &[0.5, -4.0]), ("c", &[1.0])]);
        let after = file(&[("a", &[1.0, 2.25]), ("b", &[0.5, -3.0]), ("c", &[1.0])]);
        let weights = tensors(&before, &after).expect("comparable");
        assert_eq!((weights.tensor.as_str(), weights.changed, weights.tensors), ("b", 2, 3));
        assert_eq!((weights.largest_difference, weights.largest_value), (1.0, 4.0));
        let broken = file(&[("a", &[1.0, f32::NAN]), ("b", &[0.5, 4.0]), ("c", &[1.0])]);
        assert!(tensors(&before, &broken).expect("comparable").largest_difference.is_nan());
        assert!(tensors(&before, &file(&[("a", &[1.0, 2.0])])).expect_err("others").contains("in one alone"));
        let other = file(&[("a", &[1.0]), ("b", &[0.5, 4.0]), ("c", &[1.0])]);
        assert!(tensors(&before, &other).expect_err("others").contains("shape"));
    }

    #[test]
    fn what_is_recorded_differently_is_said_and_what_is_not_recorded_too() {
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/project-files/samples/v3/run.json");
        let record = RunRecord::read(std::path::Path::new(sample)).expect("a record");
        assert_eq!(facts(&record, &record), [""; 0]);
        let mut other = record.clone();
        other.hardware.threads = 8;
        other.code = None;
        other.inputs.insert("labels.json".to_owned(), "11".to_owned());
        let said = facts(&record, &other).join("\n");
        for words in [
            "threads: was 2, is 8",
            "code: program: was 5e88",
            "is not recorded",
            "data: labels.json: was 00, is 11",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
