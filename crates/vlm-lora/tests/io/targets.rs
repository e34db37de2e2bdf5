//! Target matching, ranks and scales against what peft 0.21.2 does with the same configuration (`make_io_golden.py`).

use std::collections::BTreeMap;

use serde_json::Value;
use vlm_lora::{Error, LoraConfig, ModelConfig};

use crate::support::{golden, own_cases};

/// A configuration and what peft made of it: rank and scale of each module, or nothing where it found none.
#[derive(serde::Deserialize)]
struct Case {
    config: LoraConfig,
    modules: Option<BTreeMap<String, (usize, f64)>>,
}

fn config(value: Value) -> LoraConfig {
    serde_json::from_value(value).unwrap()
}

#[test]
fn modules_ranks_and_scales_are_pefts() {
    let model = ModelConfig::open(&own_cases().join("text-all/model")).unwrap();
    let text = std::fs::read_to_string(golden("peft_targets.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let config = &case.config;
        let found = config.adapters(&model);
        let Some(expected) = case.modules else {
            let error = found.unwrap_err().to_string();
            assert!(
                error.contains("lora.target_modules") && error.contains("`q_proj`"),
                "{config:?}: {error}"
            );
            continue;
        };
        let found = found.unwrap();
        let names: Vec<&str> = found.iter().map(|spec| spec.module.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected.keys().collect::<Vec<_>>(), "{config:?}");
        for spec in found {
            let (r, scale) = expected[&spec.module];
            assert_eq!(spec.r, r, "{} in {config:?}", spec.module);
            assert!((spec.scale - scale).abs() < 1e-12, "{} in {config:?}", spec.module);
        }
    }
}

#[test]
fn the_defaults_take_the_text_linears_alone() {
    let model = serde_json::json!({
        "model_type": "idefics3", "image_token_id": 49190, "scale_factor": 4,
        "text_config": {"vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32,
            "num_attention_heads": 15, "num_key_value_heads": 5, "rms_norm_eps": 1e-5, "rope_theta": 100_000.0},
        "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "image_size": 512, "patch_size": 16},
    });
    let model = ModelConfig::from_json(model.as_object().unwrap()).unwrap();
    let trained = |config: &LoraConfig| {
        let specs = config.adapters(&model).unwrap();
        specs.iter().map(|spec| spec.r * (spec.in_features + spec.out_features)).sum::<usize>()
    };
    assert_eq!(trained(&LoraConfig::default()), 8_683_520);
    let all: LoraConfig = config(serde_json::json!({"target_modules": "all-linear"}));
    assert_eq!(trained(&all), 11_549_696);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let model = ModelConfig::open(&own_cases().join("text-all/model")).unwrap();
    let unsupported = [
        ("lora_bias", serde_json::json!(true)),
        ("modules_to_save", serde_json::json!(["lm_head"])),
        ("init_lora_weights", serde_json::json!("olora")),
        ("target_modules", serde_json::json!(["embed_tokens"])),
        ("target_modules", serde_json::json!(["patch_embedding"])),
    ];
    for (key, value) in unsupported {
        let error = config(serde_json::json!({key: value})).adapters(&model).unwrap_err();
        let named = [key, value[0].as_str().unwrap_or(key)];
        assert!(matches!(error, Error::Unsupported { .. }), "{key}: {error}");
        assert!(named.iter().any(|name| error.to_string().contains(name)), "{key}: {error}");
    }
    let outside = [
        ("r", serde_json::json!(0)),
        ("lora_alpha", serde_json::json!(-1.0)),
        ("lora_dropout", serde_json::json!(1.0)),
        ("bias", serde_json::json!("some")),
        ("rank_pattern", serde_json::json!({"q_proj": 0})),
        ("layers_to_transform", serde_json::json!([1])),
        ("target_modules", serde_json::json!("*q_proj")),
        ("exclude_modules", serde_json::json!("(")),
    ];
    for (key, value) in outside {
        let error = config(serde_json::json!({key: value})).adapters(&model).unwrap_err();
        assert!(matches!(error, Error::InvalidConfig { .. }), "{key}: {error}");
        assert!(error.to_string().contains(key), "{key}: {error}");
    }
    let unknown = serde_json::from_str::<LoraConfig>(r#"{"lora_alpa": 3}"#).unwrap_err().to_string();
    assert!(unknown.contains("lora_alpa") && unknown.contains("lora_alpha"), "{unknown}");
}

/// PEFT trains half of what was meant without a word; whoever starts an adapter here is told.
#[test]
fn an_entry_that_matches_nothing_is_named_when_an_adapter_starts() {
    let checkpoint = vlm_lora::Checkpoint::open(own_cases().join("text-all/model")).unwrap();
    let start = |config: &LoraConfig| vlm_lora::PeftAdapter::init(config, &checkpoint, 0).map(drop);
    for (value, key, entry) in [
        (serde_json::json!({"target_modules": ["q_proj", "vproj"]}), "lora.target_modules", "`vproj`"),
        (
            serde_json::json!({"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"k_proj": 2}}),
            "lora.rank_pattern",
            "`k_proj`",
        ),
        (
            serde_json::json!({"target_modules": ["q_proj"], "alpha_pattern": {"layers.77.self_attn.q_proj": 2.0}}),
            "lora.alpha_pattern",
            "layers.77",
        ),
    ] {
        let config = config(value);
        assert!(config.adapters(checkpoint.config()).is_ok(), "files of PEFT are still read");
        let error = start(&config).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(entry), "{error}");
    }
    let all_match = serde_json::json!({"target_modules": ["q_proj", "layers.0.mlp.down_proj"],
        "rank_pattern": {"down_proj": 2, "layers.[01].self_attn.q_proj": 3}, "alpha_pattern": {"q_proj": 8.0}});
    start(&config(all_match)).unwrap();
}

/// What PEFT's random decomposition took out of the base is not in the file, so that nobody can compute with it.
#[test]
fn an_adapter_that_started_by_an_approximate_pissa_is_refused() {
    let checkpoint = vlm_lora::Checkpoint::open(own_cases().join("text-all/model")).unwrap();
    let config = config(
        serde_json::json!({"r": 2, "target_modules": ["q_proj"], "init_lora_weights": "pissa_niter_4"}),
    );
    let adapter = vlm_lora::PeftAdapter::init(&config, &checkpoint, 0).unwrap();
    let dir = tempfile::tempdir().unwrap();
    adapter.save(dir.path()).unwrap();
    let again = vlm_lora::PeftAdapter::open(dir.path(), checkpoint.config()).unwrap();
    assert!(
        again.config.init_lora_weights == vlm_lora::InitLoraWeights::Named("pissa".to_owned()),
        "computed exactly"
    );

    let path = dir.path().join("adapter_config.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"pissa\"", "\"pissa_niter_16\"");
    std::fs::write(&path, text).unwrap();
    let error = vlm_lora::PeftAdapter::open(dir.path(), checkpoint.config()).unwrap_err().to_string();
    for words in ["pissa_niter_16", "path_initial_model_for_weight_conversion"] {
        assert!(error.contains(words), "{error}");
    }
}
