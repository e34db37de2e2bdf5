//! GGUF pairs of small checkpoints: read back as the model that they were made of, by us and by the gguf package.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model_export::{Error, GgufExport, GgufPair, Quantization};
use pq_testing::max_difference;
use pq_testing::trials::Tool;
use vlm_lora::backend::Cpu;
use vlm_lora::{Checkpoint, ChoiceAnswer, Item, Model, PeftAdapter, Processor, Scorer, merge};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// Checkpoints with adapters: on the text model; on query and value of both towers, with a tied head; with magnitudes.
fn cases() -> [PathBuf; 3] {
    ["text-all", "suffix-qv", "dora"].map(|name| fixtures().join("parity").join(name))
}

struct Case {
    checkpoint: Checkpoint,
    adapter: PeftAdapter,
}

impl Case {
    fn open(dir: &Path) -> Self {
        let checkpoint = Checkpoint::open(dir.join("model")).unwrap();
        let adapter = PeftAdapter::open(dir.join("adapter_trained"), checkpoint.config()).unwrap();
        Self { checkpoint, adapter }
    }

    fn export(&self, quantization: Quantization, out: &Path) -> GgufPair {
        let Self { checkpoint, adapter } = self;
        let export = GgufExport {
            checkpoint,
            adapter: Some(adapter),
            name: "v1.0.0",
            quantization,
            longest_edge: None,
        };
        export.write(out).unwrap()
    }
}

fn values(checkpoint: &Checkpoint) -> BTreeMap<String, Vec<f32>> {
    let tensors = checkpoint.config().tensors().into_iter();
    tensors.map(|(name, shape)| (name.clone(), checkpoint.values(&name, &shape).unwrap())).collect()
}

/// The first line's probabilities: a second line is asked after the choice of the first, which rounding can change.
fn scores(dir: &Path, adapter: Option<&PeftAdapter>) -> Vec<f64> {
    let checkpoint = Checkpoint::open(dir).unwrap();
    let mut model = Model::load(Arc::new(Cpu::<f32>::new()), &checkpoint).unwrap();
    if let Some(adapter) = adapter {
        model.attach_adapter(adapter).unwrap();
    }
    let processor = Processor::open(dir, None).unwrap();
    let answer = ChoiceAnswer::lines(&["Clarity"], &["1", "2", "3", "4", "5"]).unwrap();
    let tokens = answer.tokens(&[true], |text| processor.answer_ids(text)).unwrap();
    let image = image::open(fixtures().join("parity/text-all/images/slide_03.png")).unwrap();
    let tiles = Arc::new(processor.tiles(&image).unwrap());
    let question = processor.sample(&tiles, "Rate this slide.", None).unwrap();
    let scored = Scorer::new(&model, &tokens).score(&[Item { sample: &question, features: None }]).unwrap();
    scored[0].concat()
}

/// Values, configuration and answers of what the two files hold, without any other file.
fn a_pair_is_the_model_again() {
    for dir in cases() {
        let case = Case::open(&dir);
        let out = tempfile::tempdir().unwrap();
        merge(&case.checkpoint, &case.adapter, out.path().join("merged")).unwrap();
        let merged = Checkpoint::open(out.path().join("merged")).unwrap();
        let expected = values(&merged);
        let answers = scores(&dir.join("model"), Some(&case.adapter));
        for (quantization, step, most) in
            [(Quantization::F16, 2.0_f64.powi(-11), 2e-3), (Quantization::Q8_0, 1.0 / 127.0, 5e-2)]
        {
            let unpacked = out.path().join(quantization.name());
            let pair = case.export(quantization, out.path());
            pair.unpack(&unpacked).unwrap();
            let read = Checkpoint::open(&unpacked).unwrap();
            assert_eq!(read.config(), merged.config(), "{}", dir.display());
            for (name, actual) in values(&read) {
                let expected = &expected[&name];
                let largest = expected.iter().fold(0.0_f64, |most, value| most.max(f64::from(value.abs())));
                let off = max_difference(&actual, expected);
                let kept = expected.len() <= 128 || name.contains(".embeddings.");
                assert!(off <= if kept { 0.0 } else { step * largest + 1e-6 }, "{name}: {off} of {largest}");
            }
            let text = |dir: &Path| {
                Processor::open(dir, None).unwrap().answer_ids("Clarity: 4\nDesign: 12 naïve 🙂").unwrap()
            };
            assert_eq!(text(&unpacked), text(&dir.join("model")));
            let off = max_difference(scores(&unpacked, None), &answers);
            assert!(off <= most, "{} {}: {off}", dir.display(), quantization.name());
        }
    }
}

fn the_gguf_package_reads_the_pair() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_pair.py");
    for dir in cases() {
        let case = Case::open(&dir);
        let out = tempfile::tempdir().unwrap();
        let merged = out.path().join("merged");
        merge(&case.checkpoint, &case.adapter, &merged).unwrap();
        for quantization in [Quantization::F16, Quantization::Q8_0] {
            let pair = case.export(quantization, out.path());
            let output = Tool::python()
                .arg(&script)
                .args([&pair.text, &pair.projector, &merged])
                .arg(quantization.name())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} {}: {said}", dir.display(), quantization.name());
            assert!(String::from_utf8_lossy(&output.stdout).contains("largest_difference"));
        }
    }
}

/// The checkpoint of a case with one of its JSON files changed.
fn changed(file: &str, change: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join("parity/text-all/model")).unwrap().flatten() {
        std::fs::copy(entry.path(), out.path().join(entry.file_name())).unwrap();
    }
    let path = out.path().join(file);
    let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&path, value.to_string()).unwrap();
    out
}

/// What llama.cpp would compute otherwise is refused by name, not written.
fn what_llama_cpp_does_not_do_is_refused() {
    type Change<'a> = &'a dyn Fn(&mut serde_json::Value);
    let cases: [(&str, Change<'_>, &str); 7] = [
        ("tokenizer.json", &|t| t["normalizer"] = serde_json::json!({"type": "NFC"}), "normalizer"),
        (
            "tokenizer.json",
            &|t| t["pre_tokenizer"] = serde_json::json!({"type": "Whitespace"}),
            "pre-tokenizer",
        ),
        ("tokenizer.json", &|t| t["model"]["byte_fallback"] = true.into(), "byte_fallback"),
        ("tokenizer.json", &|t| t["added_tokens"][3]["lstrip"] = true.into(), "blanks"),
        (
            "tokenizer.json",
            &|t| {
                t["post_processor"]["single"] =
                    serde_json::json!([{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}]);
            },
            "adds tokens",
        ),
        ("tokenizer.json", &|t| t["model"]["vocab"]["beyond"] = 448.into(), "beyond"),
        (
            "processor_config.json",
            &|p| p["image_processor"]["max_image_size"]["longest_edge"] = 64.into(),
            "tile",
        ),
    ];
    for (file, change, word) in cases {
        let dir = changed(file, change);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let out = tempfile::tempdir().unwrap();
        let quantization = Quantization::F16;
        let export = GgufExport {
            checkpoint: &checkpoint,
            adapter: None,
            name: "m",
            quantization,
            longest_edge: None,
        };
        let error = export.write(out.path()).unwrap_err().to_string();
        assert!(error.contains(word), "{file}, {word}: {error}");
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "{word}: nothing is left");
    }
}

/// A reader survives anything: it says which file, and never panics.
fn a_broken_pair_is_refused() {
    let case = Case::open(&cases()[0]);
    let out = tempfile::tempdir().unwrap();
    let pair = case.export(Quantization::Q8_0, out.path());
    let unpack = |pair: &GgufPair| {
        let folder = tempfile::tempdir().unwrap();
        pair.unpack(&folder.path().join("model"))
    };
    unpack(&pair).unwrap();
    let swapped = GgufPair { text: pair.projector.clone(), projector: pair.text.clone() };
    assert!(unpack(&swapped).is_err());
    let missing = GgufPair { text: out.path().join("none.gguf"), ..pair.clone() };
    assert!(matches!(unpack(&missing), Err(Error::File(_))));
    let bytes = std::fs::read(&pair.text).unwrap();
    let broken = GgufPair { text: out.path().join("broken.gguf"), ..pair.clone() };
    for cut in [0, 3, 16, 100, bytes.len() / 2, bytes.len() - 64] {
        std::fs::write(&broken.text, &bytes[..cut]).unwrap();
        let error = unpack(&broken).unwrap_err().to_string();
        assert!(error.contains("broken.gguf"), "{cut}: {error}");
    }
    let mut random = 1_u64;
    for at in (0..4096).step_by(7) {
        let mut changed = bytes.clone();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        changed[at] ^= (random >> 56) as u8 | 1;
        std::fs::write(&broken.text, &changed).unwrap();
        let _ = unpack(&broken); // a changed name or number may still be a model; a panic fails the test
    }
}

pq_testing::tests! {
    a_pair_is_the_model_again;
    the_gguf_package_reads_the_pair: needs Gguf;
    what_llama_cpp_does_not_do_is_refused;
    a_broken_pair_is_refused;
}
