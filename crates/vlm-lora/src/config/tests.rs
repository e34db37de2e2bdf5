use super::*;
use crate::Result;

pub(crate) fn small() -> Value {
    serde_json::json!({
        "model_type": "idefics3", "image_token_id": 394, "scale_factor": 4,
        "text_config": {"vocab_size": 448, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 100_000.0},
        "vision_config": {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": 128, "patch_size": 16},
    })
}

fn parse(value: &Value) -> Result<ModelConfig> {
    ModelConfig::from_json(value.as_object().unwrap())
}

#[test]
fn both_places_of_rope_theta_are_read() {
    let mut old = small();
    assert!((parse(&old).unwrap().text.rope_theta - 100_000.0).abs() < 1e-9);
    let text = old["text_config"].as_object_mut().unwrap();
    text.remove("rope_theta");
    text.insert(
        "rope_parameters".into(),
        serde_json::json!({"rope_theta": 273_768.0, "rope_type": "default"}),
    );
    assert!((parse(&old).unwrap().text.rope_theta - 273_768.0).abs() < 1e-9);
}

#[test]
fn a_tile_may_hold_a_remainder_beside_its_patches() {
    let mut config = small();
    let vision = config["vision_config"].as_object_mut().unwrap();
    vision.insert("image_size".into(), serde_json::json!(384));
    vision.insert("patch_size".into(), serde_json::json!(14));
    config["scale_factor"] = serde_json::json!(3);
    let config = parse(&config).unwrap(); // as SmolVLM-Instruct of 2.2 billion parameters has it
    assert_eq!((config.vision.grid(), config.image_seq_len()), (27, 81));
}

#[test]
fn a_missing_rope_theta_is_named() {
    let mut config = small();
    config["text_config"].as_object_mut().unwrap().remove("rope_theta");
    let error = parse(&config).unwrap_err().to_string();
    assert!(error.contains("text_config.rope_theta"), "{error}");
    config["text_config"]["rope_parameters"] = serde_json::json!({"rope_type": "default"});
    assert!(parse(&config).unwrap_err().to_string().contains("rope_theta"));
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let cases = [
        ("text_config", "hidden_act", serde_json::json!("gelu")),
        ("text_config", "attention_bias", serde_json::json!(true)),
        ("text_config", "mlp_bias", serde_json::json!(true)),
        ("text_config", "model_type", serde_json::json!("mistral")),
        ("text_config", "rope_scaling", serde_json::json!({"type": "linear", "factor": 8.0})),
        ("text_config", "rope_scaling", serde_json::json!({"rope_type": "default", "factor": 8.0})),
        ("text_config", "rope_parameters", serde_json::json!({"rope_type": "yarn", "rope_theta": 1e4})),
        ("text_config", "attention_dropout", serde_json::json!(0.1)),
        ("text_config", "num_attention_heads", serde_json::json!(0)),
        ("text_config", "num_hidden_layers", serde_json::json!(u64::MAX)),
        ("text_config", "num_key_value_heads", serde_json::json!(3)),
        ("text_config", "rms_norm_eps", serde_json::json!(0.0)),
        ("vision_config", "hidden_act", serde_json::json!("gelu")),
        ("vision_config", "num_attention_heads", serde_json::json!(5)),
        ("vision_config", "patch_size", serde_json::json!(129)),
        ("vision_config", "num_channels", serde_json::json!(4)),
    ];
    for (section, key, value) in cases {
        let mut config = small();
        config[section][key] = value;
        let error = parse(&config).unwrap_err().to_string();
        assert!(error.contains(key), "{section}.{key}: {error}");
    }
    let mut config = small();
    config["quantization_config"] = serde_json::json!({"load_in_8bit": true});
    assert!(parse(&config).unwrap_err().to_string().contains("quantization_config"));
}

#[test]
fn the_released_geometry_has_the_published_size() {
    let config = serde_json::json!({
        "model_type": "idefics3", "image_token_id": 49190, "scale_factor": 4,
        "text_config": {"vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32,
            "num_attention_heads": 15, "num_key_value_heads": 5, "rms_norm_eps": 1e-5, "rope_theta": 100_000.0},
        "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "image_size": 512, "patch_size": 16},
    });
    let config = parse(&config).unwrap();
    let tensors = config.tensors();
    let total: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!((tensors.len(), total), (489, 507_482_304));
    assert_eq!((config.text.head_dim, config.image_seq_len()), (64, 64));
}
