//! Merged checkpoints: what lies in their folder, and what transformers answers from them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model_export::write_merged;
use pq_testing::max_difference;
use pq_testing::trials::Tool;
use vlm_lora::backend::Cpu;
use vlm_lora::{Checkpoint, ChoiceAnswer, Item, Model, PeftAdapter, Processor, Scorer};

const PROMPT: &str = "Rate this slide.";
const LEVELS: [&str; 5] = ["1", "2", "3", "4", "5"];

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity").join(name)
}

fn merged(model: &Path, adapter: &Path, out: &Path) -> PeftAdapter {
    let checkpoint = Checkpoint::open(model).unwrap();
    let adapter = PeftAdapter::open(adapter, checkpoint.config()).unwrap().on_base(&checkpoint).unwrap();
    write_merged(&checkpoint, &adapter, out).unwrap();
    adapter
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Weights of the base in another format would answer as the base does, under the merged model's name.
fn only_what_is_of_the_model_lies_beside_it() {
    let out = tempfile::tempdir().unwrap();
    let base = out.path().join("base");
    std::fs::create_dir(&base).unwrap();
    let dir = case("dora");
    for entry in std::fs::read_dir(dir.join("model")).unwrap().flatten() {
        std::fs::copy(entry.path(), base.join(entry.file_name())).unwrap();
    }
    let own = names(&base);
    for other in
        ["pytorch_model.bin", "README.md", "consolidated.safetensors", "model.onnx", ".gitattributes"]
    {
        std::fs::write(base.join(other), "of the base").unwrap();
    }
    let merged_dir = out.path().join("merged");
    merged(&base, &dir.join("adapter_trained"), &merged_dir);
    assert_eq!(names(&merged_dir), own);
    for name in own.iter().filter(|name| *name != "model.safetensors") {
        assert_eq!(
            std::fs::read(merged_dir.join(name)).unwrap(),
            std::fs::read(base.join(name)).unwrap(),
            "{name}"
        );
    }
    Checkpoint::open(&merged_dir).unwrap();
}

/// The first line's probabilities by our own passes, with the adapter beside the base.
fn ours(model: &Path, adapter: &PeftAdapter, image: &Path) -> Vec<f64> {
    let checkpoint = Checkpoint::open(model).unwrap();
    let mut network = Model::load(Arc::new(Cpu::<f32>::new()), &checkpoint).unwrap();
    network.attach_adapter(adapter).unwrap();
    let processor = Processor::open(model, None).unwrap();
    let answer = ChoiceAnswer::lines(&["Clarity"], &LEVELS).unwrap();
    let tokens = answer.tokens(&[true], |text| processor.answer_ids(text)).unwrap();
    let tiles = Arc::new(processor.tiles(&image::open(image).unwrap()).unwrap());
    let question = processor.sample(&tiles, PROMPT, None).unwrap();
    Scorer::new(&network, &tokens).score(&[Item { sample: &question, features: None }]).unwrap()[0].concat()
}

fn transformers_gives_the_same_probabilities() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_merged.py");
    for name in ["text-all", "suffix-qv", "dora"] {
        let dir = case(name);
        let out = tempfile::tempdir().unwrap();
        let folder = out.path().join("merged");
        let adapter = merged(&dir.join("model"), &dir.join("adapter_trained"), &folder);
        let image = case("text-all").join("images/slide_03.png");
        let output = Tool::python()
            .env("HF_HUB_OFFLINE", "1")
            .arg(&script)
            .args([&folder, &image])
            .args([PROMPT, "Clarity: "])
            .args(LEVELS)
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let theirs: Vec<f64> = serde_json::from_slice(&output.stdout).unwrap();
        let off = max_difference(&theirs, ours(&dir.join("model"), &adapter, &image));
        assert!(theirs.len() == 5 && off < 1e-4, "{name}: {off}");
    }
}

pq_testing::tests! {
    only_what_is_of_the_model_lies_beside_it;
    transformers_gives_the_same_probabilities: needs Transformers;
}
