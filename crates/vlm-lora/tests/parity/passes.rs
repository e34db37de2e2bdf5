//! Image features, logits, losses, gradients, digit probabilities and merged weights.

use std::sync::Arc;

use safetensors::Dtype;
use vlm_lora::backend::Backend;
use vlm_lora::{Checkpoint, Item, Model, Sample, StepMode, merge, unmerge};

use pq_testing::{largest, max_difference, relative_difference};

use super::case::{Case, Report, cases, numbers, on_device};

fn item(sample: &Sample) -> Item<'_> {
    Item { sample, features: None }
}

/// Logits of the row before the answer and of all rows behind it.
fn answer_logits<B: Backend>(model: &Model<B>, sample: &Sample) -> Vec<f32> {
    let rows: Vec<usize> = (sample.targets[0].position - 1..sample.input_ids.len()).collect();
    model.logits(item(sample), &rows).unwrap()
}

/// Softmax over the digits alone.
fn digit_probabilities(logits: &[f32], digits: &[usize]) -> Vec<f64> {
    let weights: Vec<f64> = digits.iter().map(|digit| f64::from(logits[*digit]).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

fn check_features<B: Backend>(case: &Case, model: &Model<B>, report: &mut Report) {
    for (index, sample) in case.samples.iter().enumerate() {
        let Some(theirs) = case.tensor(&format!("{index}.image_features")) else { continue };
        let ours = model.image_features(&[&sample.tiles]).unwrap();
        report.note("image features", max_difference(&ours[0].values[..], theirs), 1e-4, &index);
    }
}

fn check_logits<B: Backend>(case: &Case, model: &Model<B>, of: &str, report: &mut Report) {
    for (index, sample) in case.samples.iter().enumerate() {
        let Some(theirs) = case.tensor(&format!("{index}.logits_{of}")) else { continue };
        let quantity = match of {
            "base" => "logits of the base",
            "adapter" => "logits with the adapter",
            _ => "logits of merged weights",
        };
        let ours = answer_logits(model, sample);
        report.note(quantity, max_difference(&ours, theirs), 1e-4, &index);
        if of == "adapter" {
            check_digits(case, index, &ours, report);
        }
    }
}

fn check_digits(case: &Case, index: usize, logits: &[f32], report: &mut Report) {
    let (slide, vocab) = (&case.slides()[index], case.checkpoint.config().text.vocab_size);
    let digits = numbers(&case.expected["digit_token_ids"]);
    let first = case.samples[index].targets[0].position;
    let theirs = slide["digit_probs"].as_array().unwrap();
    for (position, theirs) in numbers(&slide["rating_positions"]).into_iter().zip(theirs) {
        let row = &logits[(position - first) * vocab..][..vocab];
        let ours = digit_probabilities(row, &digits);
        for (ours, theirs) in ours.iter().zip(theirs.as_array().unwrap()) {
            let deviation = (ours - theirs.as_f64().unwrap()).abs();
            report.note("digit probabilities", deviation, 1e-5, &format!("{index} at {position}"));
        }
    }
}

fn check_losses<B: Backend>(case: &Case, model: &mut Model<B>, report: &mut Report) {
    for (index, sample) in case.samples.iter().enumerate() {
        let (theirs, count) = (case.slides()[index]["loss"].as_f64().unwrap(), sample.targets.len() as f64);
        let loss = model.loss(&[item(sample)], count).unwrap();
        report.note("loss", (loss.loss - theirs).abs(), 1e-5, &index);
        let prefix = format!("{index}.grad.");
        if case.tensors(&prefix).next().is_none() {
            continue;
        }
        for gradient_checkpointing in [false, true] {
            model.clear_gradients().unwrap();
            let mode = StepMode { dropout: None, gradient_checkpointing };
            let trained = model.loss_and_gradients(&[item(sample)], count, mode).unwrap();
            report.note("loss in training", (trained.loss - theirs).abs(), 1e-5, &index);
            check_gradients(case, model, &prefix, report);
        }
    }
}

/// A bias of keys moves all scores of a query alike, which the softmax does not see: its gradient is zero but for rounding.
fn is_without_effect(name: &str) -> bool {
    name.contains(".k_proj.") && name.ends_with("bias")
}

/// Every gradient relative to its largest element.
fn check_gradients<B: Backend>(case: &Case, model: &Model<B>, prefix: &str, report: &mut Report) {
    let mut theirs = case.tensors(prefix).collect::<std::collections::BTreeMap<_, _>>();
    let largest_of_all = largest(theirs.values().map(|values| largest(*values)));
    for param in model.params() {
        // In memory peft puts a `.weight` behind the magnitudes, which it leaves out in files.
        let in_memory = format!("{}.weight", param.name);
        let found = theirs.remove(param.name.as_str()).or_else(|| theirs.remove(in_memory.as_str()));
        let theirs = found.expect("the reference trains it too");
        let ours = model.backend().download(&param.grad).unwrap();
        if is_without_effect(&param.name) {
            let rounding = largest(&ours).max(largest(theirs)) / largest_of_all;
            report.note("gradients that are zero", rounding, 1e-5, &param.name);
            continue;
        }
        assert!(ours.iter().any(|g| *g != 0.0), "{} gets no gradient", param.name);
        report.note("gradients, relative", relative_difference(&ours, theirs), 1e-4, &param.name);
    }
    assert!(theirs.is_empty(), "{}: not trained here: {:?}", case.name, theirs.keys());
}

fn check_merged<B: Backend>(case: &Case, backend: &Arc<B>, report: &mut Report) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("merged");
    let adapter = case.adapter("adapter");
    let on_head = adapter.modules.iter().any(|module| module.spec.module == "lm_head");
    let is_tied_head = on_head && case.checkpoint.config().tie_word_embeddings;
    merge(&case.checkpoint, &adapter, &out).unwrap();
    let checkpoint = Checkpoint::open(&out).unwrap();
    assert_eq!(
        checkpoint.config().tie_word_embeddings,
        case.checkpoint.config().tie_word_embeddings && !on_head
    );
    if case.checkpoint.head().unwrap().dtype != Dtype::F32 {
        return; // 16-bit weights round what was merged; the round trip below is not exact either
    }
    let merged = Model::load(Arc::clone(backend), &checkpoint).unwrap();
    if is_tied_head {
        // peft changes the tied embedding along with the head, so its merged weights are another model.
        check_logits(case, &merged, "adapter", report);
    } else {
        check_logits(case, &merged, "merged", report);
    }
    let back = dir.path().join("back");
    unmerge(&checkpoint, &adapter, &back).unwrap();
    let unmerged = Checkpoint::open(&back).unwrap();
    for (name, shape) in case.checkpoint.config().tensors() {
        let (ours, theirs) =
            (unmerged.values(&name, &shape).unwrap(), case.checkpoint.values(&name, &shape).unwrap());
        report.note("unmerged weights", max_difference(&ours, &theirs), 1e-5, &name);
    }
}

#[test]
fn passes_agree_with_transformers_and_peft() {
    on_device!(check_passes);
}

fn check_passes<B: Backend>(backend: &Arc<B>) {
    let mut failures = Vec::new();
    for dir in cases() {
        let case = Case::open(&dir);
        let mut report = Report::new(&case);
        check_logits(&case, &case.disabled(backend), "base", &mut report);
        let mut model = case.model(backend);
        model.attach_adapter(&case.adapter("adapter")).unwrap();
        check_features(&case, &model, &mut report);
        check_logits(&case, &model, "adapter", &mut report);
        check_losses(&case, &mut model, &mut report);
        check_merged(&case, backend, &mut report);
        failures.extend(report.finish());
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Several slides in one pass equal one by one, with and without given features.
#[test]
fn packed_slides_equal_one_by_one() {
    on_device!(check_packed);
}

fn check_packed<B: Backend>(backend: &Arc<B>) {
    for dir in cases() {
        let case = Case::open(&dir);
        let mut model = case.model(backend);
        model.attach_adapter(&case.adapter("adapter")).unwrap();
        let some = &case.samples[..4];
        let tiles: Vec<_> = some.iter().map(|sample| &*sample.tiles).collect();
        let features = model.image_features(&tiles).unwrap();
        let with = |(sample, features)| Item { sample, features: Some(features) };
        let items: Vec<_> = some.iter().zip(&features).map(with).collect();
        let together = model.loss(&items, 1.0).unwrap();
        let alone: f64 = some.iter().map(|sample| model.loss(&[item(sample)], 1.0).unwrap().loss).sum();
        let deviation = (together.loss - alone).abs() / together.weight;
        println!("{}: mean loss packed and one by one differ by {deviation:.1e}", case.name);
        assert!(deviation < 1e-6, "{}", case.name);
    }
}
