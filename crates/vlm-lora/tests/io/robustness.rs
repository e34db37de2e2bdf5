//! Garbage in every file that is read: an error or a result, never a panic, never memory that a header merely claims.

use std::path::Path;

use serde_json::{Value, json};
use vlm_lora::{Checkpoint, LoraConfig, ModelConfig, PeftAdapter, Processor};

use crate::memory::assert_no_absurd_allocation;
use crate::support::{copy_files, own_cases};

/// `SplitMix64` (Steele, Lea & Flood 2014): the same garbage in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// A few random edits: bytes changed, cut out, doubled, or the end cut off.
fn garble(bytes: &[u8], random: &mut Random, within: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(within.min(bytes.len()));
        let length = random.below(12).min(bytes.len() - at);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let copy = bytes[at..at + length].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => {
                let digits = random.next().to_string();
                bytes.splice(at..at, digits.into_bytes());
            }
            _ if bytes.is_empty() => {}
            _ => bytes[at] = random.next() as u8,
        }
    }
    bytes
}

/// The document with one or two values replaced by something that does not belong there.
fn disturb(document: &Value, random: &mut Random) -> Value {
    let mut document = document.clone();
    for _ in 0..=random.below(2) {
        let strange = [
            Value::Null,
            json!(true),
            json!(-1),
            json!(0),
            json!(1),
            json!(3),
            json!(1_048_577),
            json!(u64::MAX),
            json!(1e308),
            json!(0.5),
            json!(""),
            json!("all-linear"),
            json!("(a+)+$"),
            json!("../../etc/passwd"),
            json!([]),
            json!([0, "x", null]),
            json!({}),
            json!({"longest_edge": u64::MAX}),
        ];
        let value = strange[random.below(strange.len())].clone();
        replace(&mut document, value, random);
    }
    document
}

fn replace(node: &mut Value, value: Value, random: &mut Random) {
    let child = match node {
        Value::Object(map) if !map.is_empty() => {
            let at = random.below(map.len());
            map.values_mut().nth(at)
        }
        Value::Array(items) if !items.is_empty() => {
            let at = random.below(items.len());
            items.get_mut(at)
        }
        _ => None,
    };
    match child {
        Some(child) if random.below(4) > 0 || child.is_object() => replace(child, value, random),
        Some(child) => *child = value,
        None => *node = value,
    }
}

/// Calls `open` on a copy of `dir` again and again with `file` garbled.
fn each_garbled(dir: &Path, file: &str, rounds: usize, within: usize, open: impl Fn(&Path)) {
    let copy = tempfile::tempdir().unwrap();
    copy_files(dir, copy.path());
    let original = std::fs::read(dir.join(file)).unwrap();
    let document: Option<Value> = serde_json::from_slice(&original).ok();
    let mut random = Random(file.len() as u64);
    // `VLM_GARBLE_FACTOR` asks for more of it than an ordinary run has time for.
    let factor = std::env::var("VLM_GARBLE_FACTOR").ok().and_then(|factor| factor.parse().ok());
    for round in 0..rounds * factor.unwrap_or(1) {
        let bytes = match &document {
            Some(document) if round % 2 == 0 => disturb(document, &mut random).to_string().into_bytes(),
            _ => garble(&original, &mut random, within),
        };
        std::fs::write(copy.path().join(file), bytes).unwrap();
        open(copy.path());
    }
    assert_no_absurd_allocation();
}

fn model() -> std::path::PathBuf {
    own_cases().join("dora/model")
}

#[test]
fn garbled_configurations() {
    each_garbled(&model(), "config.json", 2000, usize::MAX, |dir| {
        if let Ok(config) = ModelConfig::open(dir) {
            assert!(config.tensors().len() < 20_000);
        }
    });
    let old = own_cases().join("rslora-pattern/model");
    for (dir, file) in [
        (&old, "preprocessor_config.json"),
        (&old, "processor_config.json"),
        (&old, "chat_template.json"),
        (&old, "tokenizer_config.json"),
        (&model(), "processor_config.json"),
        (&model(), "chat_template.jinja"),
    ] {
        each_garbled(dir, file, 40, usize::MAX, |dir| {
            if let Ok(processor) = Processor::open(dir, None) {
                let _ = processor.render("a prompt", Some("an answer"));
                let _ = processor.answer_ids("an answer");
            }
        });
    }
}

#[test]
fn garbled_adapter_configurations() {
    let model = ModelConfig::open(&model()).unwrap();
    for case in ["dora", "rslora-pattern"] {
        each_garbled(
            &own_cases().join(case).join("adapter"),
            "adapter_config.json",
            3000,
            usize::MAX,
            |dir| {
                let _ = PeftAdapter::open(dir, &model);
            },
        );
    }
    let mut random = Random(5);
    let whole = serde_json::to_value(LoraConfig::default()).unwrap();
    for _ in 0..2000 {
        if let Ok(config) = serde_json::from_value::<LoraConfig>(disturb(&whole, &mut random)) {
            let _ = config.adapters(&model);
        }
    }
    assert_no_absurd_allocation();
}

#[test]
fn garbled_safetensors() {
    let config = ModelConfig::open(&model()).unwrap();
    each_garbled(&own_cases().join("dora/adapter"), "adapter_model.safetensors", 3000, 5000, |dir| {
        let _ = PeftAdapter::open(dir, &config);
    });
}

#[test]
fn headers_that_lie() {
    let config = ModelConfig::open(&model()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy_files(&own_cases().join("dora/adapter"), dir.path());
    let name = "base_model.model.model.text_model.layers.0.self_attn.q_proj.lora_A.weight";
    let entry = |dtype: &str, shape: Value, offsets: Value| {
        json!({name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).to_string()
    };
    let huge = 1_u64 << 62;
    let headers = [
        entry("F32", json!([huge, 4]), json!([0, 16])),
        entry("F32", json!([u64::MAX, u64::MAX]), json!([0, 16])),
        entry("F32", json!([2, 2]), json!([0, huge])),
        entry("F32", json!([2, 2]), json!([16, 0])),
        entry("F32", json!([2, 2]), json!([huge, huge + 16])),
        entry("F32", json!([0, huge]), json!([0, 0])),
        entry("Q9", json!([2, 2]), json!([0, 16])),
        entry("I64", json!([2]), json!([0, 16])),
        entry("F32", json!([-1]), json!([0, 16])),
        "{}".to_owned(),
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        String::new(),
    ];
    for header in &headers {
        for claimed in [header.len() as u64, 0, 1, u64::MAX, 1 << 40, header.len() as u64 + 1] {
            let mut bytes = claimed.to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend([0; 16]);
            std::fs::write(dir.path().join("adapter_model.safetensors"), bytes).unwrap();
            PeftAdapter::open(dir.path(), &config).unwrap_err();
        }
    }
    for length in 0..9 {
        std::fs::write(dir.path().join("adapter_model.safetensors"), vec![0; length]).unwrap();
        PeftAdapter::open(dir.path(), &config).unwrap_err();
    }
    assert_no_absurd_allocation();
}

#[test]
fn garbled_tokenizers() {
    each_garbled(&model(), "tokenizer.json", 400, usize::MAX, |dir| {
        if let Ok(processor) = Processor::open(dir, None) {
            let _ = processor.answer_ids("Clarity: 4\nnaïve 🙂");
            let _ = processor.decode(&[0, 5, 90, 399, u32::MAX], false);
        }
    });
}

#[test]
fn indexes_that_point_elsewhere_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    copy_files(&model(), dir.path());
    std::fs::rename(dir.path().join("model.safetensors"), dir.path().join("a.safetensors")).unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    for (map, named) in [
        (json!({}), "no shard"),
        (json!(null), "weight_map"),
        (json!({"x": "../a.safetensors"}), "../a.safetensors"),
        (json!({"x": "/etc/passwd"}), "/etc/passwd"),
        (json!({"x": 3}), "3"),
    ] {
        std::fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
        let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    std::fs::write(&index, json!({"weight_map": {"x": "a.safetensors"}}).to_string()).unwrap();
    assert!(Checkpoint::open(dir.path()).is_ok());
}
