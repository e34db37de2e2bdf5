//! What is written: merged checkpoints equal `base + scale·B·A` in every layout and type, and the same files are left in
//! `$VLM_EXPORT_DIR`, where `fixtures/parity/check_exports.py` lets transformers and peft read them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::bf16;
use pq_testing::{max_difference, relative_difference};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use vlm_lora::{AdapterWeights, Checkpoint, Error, LoraConfig, PeftAdapter, merge, unmerge};

use crate::support::{cases, copy_files, own_cases};

/// A directory that is kept where `$VLM_EXPORT_DIR` says so.
struct Export {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Export {
    fn new(name: &str) -> Self {
        let Some(root) = std::env::var_os("VLM_EXPORT_DIR") else {
            let temporary = tempfile::tempdir().unwrap();
            return Self { path: temporary.path().to_owned(), _temporary: Some(temporary) };
        };
        let path = Path::new(&root).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self { path, _temporary: None }
    }
}

/// `m/n·(W + scale·(B·A − B₀·A₀))` by its definition, in f64.
fn expected(base: &[f32], adapter: &AdapterWeights) -> Vec<f64> {
    let (rows, width, r) = (adapter.spec.out_features, adapter.spec.in_features, adapter.spec.r);
    let mut weight = vec![0.0; rows * width];
    for i in 0..rows {
        for j in 0..width {
            let entry = |a: &[f32], b: &[f32]| -> f64 {
                (0..r).map(|k| f64::from(b[i * r + k]) * f64::from(a[k * width + j])).sum()
            };
            let taken = adapter.principal.as_ref().map_or(0.0, |principal| entry(&principal.a, &principal.b));
            let update = entry(&adapter.a, &adapter.b) - taken;
            weight[i * width + j] = f64::from(base[i * width + j]) + adapter.spec.scale * update;
        }
        if let Some(magnitude) = &adapter.magnitude {
            let row = &mut weight[i * width..(i + 1) * width];
            let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            for value in row {
                *value *= f64::from(magnitude[i]) / norm;
            }
        }
    }
    weight
}

/// Compares a merged checkpoint with its base; `tolerance` is relative to the largest expected value of a tensor.
fn assert_merged(base: &Checkpoint, adapter: &PeftAdapter, merged: &Path, tolerance: f64) {
    let merged = Checkpoint::open(merged).unwrap();
    let shapes: BTreeMap<String, Vec<usize>> = base.config().tensors().into_iter().collect();
    for (name, shape) in &shapes {
        let (before, after) = (base.stored(name, shape).unwrap(), merged.stored(name, shape).unwrap());
        assert_eq!(before.dtype, after.dtype, "{name}");
        let Some(module) =
            adapter.modules.iter().find(|module| format!("{}.weight", module.spec.module) == *name)
        else {
            match adapter.biases.get(name) {
                Some(values) => assert_eq!(merged.values(name, shape).unwrap(), *values, "{name}"),
                None => assert_eq!(before.bytes, after.bytes, "{name}"),
            }
            continue;
        };
        let expected = expected(&base.values(name, shape).unwrap(), module);
        let actual = merged.values(name, shape).unwrap();
        let off = relative_difference(&actual, &expected);
        assert!(off <= tolerance, "{name}: {off}");
    }
}

#[test]
fn merged_weights_are_base_plus_update() {
    for dir in cases() {
        let export = Export::new(&format!("case-{}", dir.file_name().unwrap().display()));
        std::fs::write(export.path.join("case.txt"), dir.canonicalize().unwrap().display().to_string())
            .unwrap();
        let base = Checkpoint::open(dir.join("model")).unwrap();
        let adapter = PeftAdapter::open(dir.join("adapter"), base.config()).unwrap();
        let adapter = adapter.on_base(&base).unwrap();
        adapter.save(export.path.join("adapter")).unwrap();
        let merged = export.path.join("merged");
        merge(&base, &adapter, &merged).unwrap();
        let exact = base.head().unwrap().dtype == safetensors::Dtype::F32;
        assert_merged(&base, &adapter, &merged, if exact { 1e-6 } else { 1.0 / 256.0 });
        for entry in std::fs::read_dir(dir.join("model")).unwrap() {
            assert!(merged.join(entry.unwrap().file_name()).is_file());
        }
        assert!(
            matches!(merge(&base, &adapter, &merged), Err(Error::InvalidConfig { .. })),
            "not overwritten"
        );
    }
}

/// Kinds of adapters by name.
fn kinds() -> [(&'static str, Value); 10] {
    [
        ("all-linear", json!({"target_modules": "all-linear", "r": 3})),
        ("all-linear-dora", json!({"target_modules": "all-linear", "use_dora": true, "r": 2})),
        ("head-and-suffixes", json!({"target_modules": ["lm_head", "fc1", "o_proj"], "use_rslora": true})),
        (
            "patterns",
            json!({"target_modules": ["q_proj", "down_proj", "proj"], "exclude_modules": ["layers.0.mlp.down_proj"],
                "rank_pattern": {"down_proj": 2, "vision_model.*q_proj": 5}, "alpha_pattern": {"proj": 3.5}}),
        ),
        (
            "layers",
            json!({"target_modules": ["q_proj", "fc2"], "layers_to_transform": [1], "layers_pattern": "layers"}),
        ),
        ("biases-of-adapted", json!({"target_modules": ["v_proj", "fc1"], "bias": "lora_only"})),
        (
            "biases-all-dora",
            json!({"target_modules": ["out_proj", "up_proj"], "bias": "all", "use_dora": true}),
        ),
        ("pissa", json!({"target_modules": "all-linear", "init_lora_weights": "pissa", "r": 4})),
        (
            "pissa-dora",
            json!({"target_modules": ["q_proj", "down_proj"], "init_lora_weights": "pissa", "use_dora": true,
                "use_rslora": true, "r": 4}),
        ),
        ("pissa-plain", json!({"target_modules": ["q_proj", "proj"], "init_lora_weights": "pissa", "r": 4})),
    ]
}

/// An adapter that changes the model.
fn adapter_of_kind(name: &str, mut value: Value, base: &Checkpoint) -> PeftAdapter {
    if value.get("init_lora_weights").is_none() {
        value["init_lora_weights"] = json!(false);
    }
    value["lora_alpha"] = json!(2);
    let config: LoraConfig = serde_json::from_value(value).unwrap();
    let mut adapter = PeftAdapter::init(&config, base, 11).unwrap();
    if config.init_lora_weights.is_pissa() {
        for (at, value) in adapter.modules.iter_mut().flat_map(|module| &mut module.b).enumerate() {
            *value += (at % 7) as f32 * 0.1;
        }
    }
    adapter.biases.values_mut().flatten().for_each(|value| *value += 0.25);
    if name.ends_with("-plain") { adapter.into_plain_lora().unwrap() } else { adapter }
}

/// Adapters of every kind, freshly made with a `B` that is not zero.
#[test]
fn fresh_adapters_of_every_kind_are_exported() {
    let model = own_cases().join("text-all/model");
    let base = Checkpoint::open(&model).unwrap();
    for (name, value) in kinds() {
        let adapter = adapter_of_kind(name, value, &base);
        let export = Export::new(&format!("fresh-{name}"));
        std::fs::write(export.path.join("base.txt"), model.canonicalize().unwrap().display().to_string())
            .unwrap();
        adapter.save(export.path.join("adapter")).unwrap();
        let again = PeftAdapter::open(export.path.join("adapter"), base.config()).unwrap();
        let again = again.on_base(&base).unwrap();
        assert!(again.modules == adapter.modules && again.biases == adapter.biases, "{name}");
        let merged = export.path.join("merged");
        merge(&base, &adapter, &merged).unwrap();
        assert_merged(&base, &adapter, &merged, 1e-6);
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_follows_its_seed() {
    let base = Checkpoint::open(own_cases().join("text-all/model")).unwrap();
    for value in [json!({}), json!({"use_dora": true}), json!({"init_lora_weights": "gaussian"})] {
        let config: LoraConfig = serde_json::from_value(value.clone()).unwrap();
        let adapter = PeftAdapter::init(&config, &base, 1).unwrap();
        assert_eq!(adapter, PeftAdapter::init(&config, &base, 1).unwrap());
        assert_ne!(adapter, PeftAdapter::init(&config, &base, 2).unwrap());
        for module in &adapter.modules {
            let shape = [module.spec.out_features, module.spec.in_features];
            let weight = base.values(&format!("{}.weight", module.spec.module), &shape).unwrap();
            let merged = module.merged(weight.clone());
            let close = merged.len() == weight.len()
                && merged.iter().zip(&weight).all(|(a, b)| (a - b).abs() <= 2e-7 * b.abs());
            assert!(close && module.a.iter().any(|a| *a != 0.0), "{value}");
        }
    }
}

#[test]
fn unmerging_restores_the_base() {
    let base = Checkpoint::open(own_cases().join("text-all/model")).unwrap();
    for (name, value) in kinds() {
        let adapter = adapter_of_kind(name, value, &base);
        let out = tempfile::tempdir().unwrap();
        merge(&base, &adapter, out.path().join("merged")).unwrap();
        let merged = Checkpoint::open(out.path().join("merged")).unwrap();
        unmerge(&merged, &adapter, out.path().join("base")).unwrap();
        let restored = Checkpoint::open(out.path().join("base")).unwrap();
        for (tensor, shape) in base.config().tensors() {
            let (before, after) =
                (base.values(&tensor, &shape).unwrap(), restored.values(&tensor, &shape).unwrap());
            let largest = max_difference(&after, &before);
            assert!(largest < 2e-6, "{name} {tensor}: {largest}");
        }
        assert!(!out.path().join("base/unmerge.safetensors").exists());
        if adapter.config.use_dora || !adapter.biases.is_empty() {
            std::fs::remove_file(out.path().join("merged/unmerge.safetensors")).unwrap();
            let error = unmerge(&merged, &adapter, out.path().join("other")).unwrap_err().to_string();
            assert!(error.contains("DoRA") && error.contains("unmerge.safetensors"), "{error}");
        }
        if adapter.config.init_lora_weights.is_pissa() {
            let mut unknown = adapter.clone();
            unknown.modules[0].principal = None;
            let error = unmerge(&merged, &unknown, out.path().join("other")).unwrap_err().to_string();
            assert!(error.contains("PiSSA"), "{error}");
        }
    }
}

/// The head gets a tensor of its own; the embedding stays as it is.
#[test]
fn a_tied_head_with_an_adapter_is_untied() {
    let model = own_cases().join("suffix-qv/model");
    let sharded = tempfile::tempdir().unwrap();
    sharded_bf16(&model, sharded.path());
    for (layout, model) in [("single", model), ("sharded-bf16", sharded.path().to_owned())] {
        let base = Checkpoint::open(&model).unwrap();
        let value = json!({"target_modules": ["lm_head", "o_proj"], "use_dora": true});
        let adapter = adapter_of_kind("head", value, &base);
        let export = Export::new(&format!("tied-{layout}"));
        copy_files(&model, &export.path.join("model"));
        adapter.save(export.path.join("adapter")).unwrap();
        merge(&base, &adapter, export.path.join("merged")).unwrap();
        let merged = Checkpoint::open(export.path.join("merged")).unwrap();
        assert!(!merged.config().tie_word_embeddings);
        let embedding = "model.text_model.embed_tokens.weight";
        let shape = [merged.config().text.vocab_size, merged.config().text.hidden_size];
        let before = base.values(embedding, &shape).unwrap();
        assert_eq!(merged.values(embedding, &shape).unwrap(), before);
        let module = adapter.modules.iter().find(|module| module.spec.module == "lm_head").unwrap();
        let (expected, actual) =
            (expected(&before, module), merged.values("lm_head.weight", &shape).unwrap());
        let rounding = if layout == "single" { 1e-6 } else { 1.0 / 256.0 };
        assert!(
            actual.iter().zip(&expected).all(|(a, e)| (f64::from(*a) - e).abs() < rounding * (1.0 + e.abs()))
        );
    }
}

/// The checkpoint in bfloat16, cut into two shards with an index, without its generation settings.
fn sharded_bf16(from: &Path, to: &Path) {
    copy_files(from, to);
    std::fs::remove_file(to.join("model.safetensors")).unwrap();
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let converted: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, view)| {
            let values =
                view.data().as_chunks().0.iter().map(|bytes| bf16::from_f32(f32::from_le_bytes(*bytes)));
            (name.to_owned(), view.shape().to_vec(), values.flat_map(bf16::to_le_bytes).collect())
        })
        .collect();
    let mut map = serde_json::Map::new();
    for (shard, part) in converted.chunks(converted.len().div_ceil(2)).enumerate() {
        let file = format!("model-{:05}-of-00002.safetensors", shard + 1);
        let views = part.iter().map(|(name, shape, bytes)| {
            map.insert(name.clone(), json!(file));
            (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap())
        });
        let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(views, Some(metadata), &to.join(&file)).unwrap();
    }
    let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
    std::fs::write(to.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn shards_and_bfloat16_keep_layout_and_type() {
    let dir = own_cases().join("dora");
    let export = Export::new("sharded-bf16");
    let model = export.path.join("model");
    sharded_bf16(&dir.join("model"), &model);
    let base = Checkpoint::open(&model).unwrap();
    let adapter = PeftAdapter::open(dir.join("adapter"), base.config()).unwrap();
    adapter.save(export.path.join("adapter")).unwrap();
    let merged = export.path.join("merged");
    merge(&base, &adapter, &merged).unwrap();
    assert_merged(&base, &adapter, &merged, 1.0 / 256.0); // bfloat16 keeps 8 bits
    assert!(
        merged.join("model-00002-of-00002.safetensors").is_file()
            && !merged.join("model.safetensors").exists()
    );

    let lacking = tempfile::tempdir().unwrap();
    copy_files(&model, lacking.path());
    std::fs::remove_file(lacking.path().join("model-00002-of-00002.safetensors")).unwrap();
    let error = Checkpoint::open(lacking.path()).unwrap_err().to_string();
    assert!(error.contains("model-00002-of-00002.safetensors"), "{error}");
}

/// Writes the single-file checkpoint again with a change to its tensors.
fn rewritten(
    case: &str,
    change: impl FnOnce(&mut BTreeMap<String, (Vec<usize>, Vec<u8>)>),
) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let model = own_cases().join(case).join("model");
    copy_files(&model, dir.path());
    let bytes = std::fs::read(model.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut owned: BTreeMap<_, _> = tensors
        .iter()
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec())))
        .collect();
    change(&mut owned);
    let views = owned.iter().map(|(name, (shape, bytes))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
    dir
}

#[test]
fn missing_extra_and_misshapen_tensors_are_named() {
    let name = "model.text_model.layers.1.mlp.up_proj.weight";
    let error = |dir: tempfile::TempDir| Checkpoint::open(dir.path()).unwrap_err().to_string();
    let missing = error(rewritten("text-all", |tensors| drop(tensors.remove(name))));
    assert!(missing.contains(name) && missing.contains("missing"), "{missing}");
    let misshapen = error(rewritten("text-all", |tensors| tensors.get_mut(name).unwrap().0.reverse()));
    assert!(misshapen.contains(name) && misshapen.contains("shape"), "{misshapen}");
    let extra = error(rewritten("text-all", |tensors| {
        tensors.insert("model.surprise".to_owned(), (vec![1], vec![0; 4]));
    }));
    assert!(extra.contains("model.surprise") && extra.contains("not part"), "{extra}");
    let untied = error(rewritten("text-all", |tensors| drop(tensors.remove("lm_head.weight"))));
    assert!(untied.contains("lm_head.weight") && untied.contains("missing"), "{untied}");
}

#[test]
fn a_tied_head_may_be_stored_as_a_copy_but_not_as_another_matrix() {
    let embedding = "model.text_model.embed_tokens.weight";
    let copy = rewritten("suffix-qv", |tensors| {
        tensors.insert("lm_head.weight".to_owned(), tensors[embedding].clone());
    });
    let checkpoint = Checkpoint::open(copy.path()).unwrap();
    let shape = [checkpoint.config().text.vocab_size, checkpoint.config().text.hidden_size];
    assert_eq!(checkpoint.head().unwrap().bytes, checkpoint.stored(embedding, &shape).unwrap().bytes);
    let other = rewritten("suffix-qv", |tensors| {
        let mut head = tensors[embedding].clone();
        head.1[2] ^= 1;
        tensors.insert("lm_head.weight".to_owned(), head);
    });
    let error = Checkpoint::open(other.path()).unwrap_err().to_string();
    assert!(error.contains("lm_head.weight") && error.contains("tie_word_embeddings"), "{error}");
}

#[test]
fn an_adapter_with_foreign_or_lacking_tensors_is_refused() {
    let dir = own_cases().join("suffix-qv");
    let base = Checkpoint::open(dir.join("model")).unwrap();
    let adapter = tempfile::tempdir().unwrap();
    copy_files(&dir.join("adapter"), adapter.path());
    let path = adapter.path().join("adapter_config.json");
    let mut config = crate::support::json(&path);
    for (targets, named) in
        [(json!(["q_proj"]), "v_proj.lora_A"), (json!(["q_proj", "v_proj", "k_proj"]), "k_proj.lora_A")]
    {
        config["target_modules"] = targets;
        std::fs::write(&path, config.to_string()).unwrap();
        let error = PeftAdapter::open(adapter.path(), base.config()).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    for (key, value) in [
        ("use_qalora", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("trainable_token_indices", json!([1, 2])),
        ("fan_in_fan_out", json!(true)),
        ("layer_replication", json!([[0, 1]])),
        ("from_the_future", json!({"on": 1})),
        ("peft_type", json!("IA3")),
    ] {
        let mut config = crate::support::json(&dir.join("adapter/adapter_config.json"));
        config[key] = value;
        std::fs::write(&path, config.to_string()).unwrap();
        let error = PeftAdapter::open(adapter.path(), base.config()).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
}
