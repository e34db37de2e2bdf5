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
