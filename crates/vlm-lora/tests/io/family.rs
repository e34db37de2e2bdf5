//! The configurations of the released models of the family, with the keys that they are published with and without.

use serde_json::{Value, json};
use vlm_lora::{Llama3Scaling, ModelConfig};

fn read(config: &Value) -> vlm_lora::Result<ModelConfig> {
    ModelConfig::from_json(config.as_object().unwrap())
}

/// The text model of the small ones, with what is left over in their files from other programs.
fn small_text(hidden: usize, heads: usize, kv_heads: usize, inner: usize, layers: usize) -> Value {
    json!({
        "architectures": ["VLlama3ForCausalLM"], "model_type": "llama", "head_dim": 64, "hidden_size": hidden,
        "intermediate_size": inner, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "num_hidden_layers": layers, "vocab_size": 49280, "rms_norm_eps": 1e-5, "rope_theta": 100_000,
        "max_position_embeddings": 8192, "is_llama_config": true, "neftune_noise_alpha": 0.0, "pad_token_id": 2,
        "perceiver_config": {"qk_layer_norms_perceiver": false}, "pixel_shuffle_factor": 4, "qk_layer_norms": false,
        "rope_interleaved": false, "torch_dtype": "bfloat16", "use_resampler": false,
    })
}

fn small_vision() -> Value {
    json!({"model_type": "idefics3", "hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12,
           "image_size": 512, "patch_size": 16, "intermediate_size": 3072, "max_image_size": {"longest_edge": 512},
           "size": {"longest_edge": 2048}, "tie_word_embeddings": false, "torch_dtype": "bfloat16"})
}

fn small(model_type: &str, text: &Value, vision: &Value) -> Value {
    json!({"architectures": ["Idefics3ForConditionalGeneration"], "model_type": model_type, "image_token_id": 49190,
           "pad_token_id": 128_002, "scale_factor": 4, "tie_word_embeddings": false, "text_config": text,
           "vision_config": vision, "use_cache": true, "use_reentrant_checkpointing": false, "vocab_size": 49280})
}

#[test]
fn the_small_ones_of_both_generations() {
    let large = || small_text(960, 15, 5, 2560, 32);
    let of_256m = read(&small("idefics3", &small_text(576, 9, 3, 1536, 30), &small_vision())).unwrap();
    assert_eq!((of_256m.text.head_dim, of_256m.image_seq_len()), (64, 64));
    let of_500m = read(&small("idefics3", &large(), &small_vision())).unwrap();
    let mut vision = small_vision();
    vision["model_type"] = json!("smolvlm_vision");
    assert_eq!(read(&small("smolvlm", &large(), &vision)).unwrap().text, of_500m.text);
    // as transformers 5 writes it again
    let mut text = large();
    text.as_object_mut().unwrap().remove("rope_theta");
    text["rope_parameters"] = json!({"rope_theta": 100_000.0, "rope_type": "default"});
    assert_eq!(read(&small("smolvlm", &text, &small_vision())).unwrap().text, of_500m.text);
}

/// Its text section does not say how many heads there are: Llama's class default holds, as in transformers.
#[test]
fn the_one_of_2_2_billion_parameters_without_its_heads() {
    let mut config = json!({
        "architectures": ["SmolVLMForConditionalGeneration"], "model_type": "smolvlm", "image_token_id": 49190,
        "scale_factor": 3, "tie_word_embeddings": false,
        "text_config": {"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 130_000, "vocab_size": 49280},
        "vision_config": {"model_type": "smolvlm_vision", "hidden_size": 1152, "intermediate_size": 4304,
            "num_hidden_layers": 27, "patch_size": 14, "image_size": 384},
    });
    let read_config = read(&config).unwrap();
    let text = &read_config.text;
    assert_eq!((text.num_attention_heads, text.num_key_value_heads, text.head_dim), (32, 32, 64));
    assert_eq!((read_config.vision.num_attention_heads, read_config.image_seq_len()), (16, 81));
    config["text_config"].as_object_mut().unwrap().remove("rms_norm_eps");
    assert!((read(&config).unwrap().text.rms_norm_eps - 1e-6).abs() < 1e-12, "the class default");
}

#[test]
fn idefics3_8b_stretches_its_angles() {
    let scaling = json!({"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"});
    let config = |place: &str, scaling: &Value| {
        let mut config = json!({
            "architectures": ["Idefics3ForConditionalGeneration"], "model_type": "idefics3", "image_token_id": 128_257,
            "scale_factor": 2, "tie_word_embeddings": false,
            "text_config": {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
                "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 128_259,
                "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0},
            "vision_config": {"model_type": "idefics3", "hidden_size": 1152, "intermediate_size": 4304,
                "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "image_size": 364},
        });
        config["text_config"][place] = scaling.clone();
        config
    };
    let expected = Llama3Scaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    let old = read(&config("rope_scaling", &scaling)).unwrap();
    assert_eq!((old.text.rope_scaling, old.image_seq_len()), (Some(expected), 169));
    let mut new = scaling.clone();
    new["rope_theta"] = json!(500_000.0);
    assert_eq!(read(&config("rope_parameters", &new)).unwrap().text, old.text);
    for (key, value, named) in [
        ("factor", Value::Null, "rope_scaling.factor"),
        ("factor", json!(-1.0), "rope_scaling.factor"),
        ("high_freq_factor", json!(1.0), "rope_scaling.high_freq_factor"),
        ("rope_type", json!("yarn"), "`yarn`"),
        ("attention_factor", json!(2.0), "attention_factor"),
    ] {
        let mut broken = scaling.clone();
        broken[key] = value;
        let error = read(&config("rope_scaling", &broken)).unwrap_err().to_string();
        assert!(error.contains(named), "{key}: {error}");
    }
}
