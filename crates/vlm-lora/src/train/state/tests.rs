use super::*;
use crate::fingerprint::{CheckpointFingerprint, Fingerprint, WeightFormat};

fn identity() -> Identity {
    let checkpoint = CheckpointFingerprint {
        weights: Fingerprint::of_bytes(b"weights"),
        processor: Fingerprint::of_bytes(b"processor"),
    };
    let config = LoraConfig::default();
    let spec = AdapterSpec {
        module: "model.text_model.layers.0.self_attn.q_proj".to_owned(),
        in_features: 960,
        out_features: 320,
        r: config.r,
        scale: 2.0,
        dropout: config.lora_dropout,
        use_dora: false,
    };
    Identity {
        training_data: "a".to_owned(),
        validation_data: None,
        base: Some(BaseIdentity { checkpoint, format: WeightFormat::default() }),
        adapter: AdapterIdentity { config, modules: vec![spec] },
    }
}

/// What this version writes for [`identity`], frozen. Never change it: a later version must still be able to resume the run.
const FROZEN: &str = r#"{
  "training_data": "a",
  "validation_data": null,
  "base": {
    "weights": "sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
    "processor": "sha256:d825be6ffd4c9a27a8cc2f26e4a3b95bc87a8f43289ca467d064d544c509f8eb",
    "format": {"device": "cpu", "dtype": "float32", "load_in_8bit": false}
  },
  "adapter": {
    "config": {
      "r": 16, "lora_alpha": 32.0, "lora_dropout": 0.05,
      "target_modules": ".*text_model.*\\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
      "rank_pattern": {}, "alpha_pattern": {}, "use_rslora": false, "use_dora": false, "bias": "none", "lora_bias": false,
      "init_lora_weights": true
    },
    "modules": [
      {"module": "model.text_model.layers.0.self_attn.q_proj", "in_features": 960, "out_features": 320, "r": 16, "scale": 2.0,
       "dropout": 0.05, "use_dora": false}
    ]
  }
}"#;

#[test]
fn an_identity_that_was_written_once_is_read_for_ever() {
    let frozen: serde_json::Value = serde_json::from_str(FROZEN).unwrap();
    assert_eq!(serde_json::to_value(identity()).unwrap(), frozen);
    assert_eq!(serde_json::from_value::<Identity>(frozen).unwrap(), identity());
}

/// What a state lacks that was written before a field was added: the field is its default, and the run goes on.
#[test]
fn a_field_that_is_added_with_a_default_leaves_a_run_resumable() {
    let config = TrainingConfig::default();
    for (table, field) in [
        ("/adapter/config", "use_dora"),
        ("/adapter/config", "lora_bias"),
        ("/adapter/config", "alpha_pattern"),
        ("/base/format", "load_in_8bit"),
        ("", "validation_data"),
    ] {
        let mut older: serde_json::Value = serde_json::from_str(FROZEN).unwrap();
        let table = older.pointer_mut(table).unwrap().as_object_mut().unwrap();
        assert!(table.remove(field).is_some(), "{field}");
        let state = TrainerState::new(config.clone(), serde_json::from_value(older).unwrap());
        assert_eq!(state.difference(&config, &identity()), None, "{field}");
    }
    let mut older = serde_json::to_value(TrainerState::new(config.clone(), identity())).unwrap();
    older["config"].as_object_mut().unwrap().remove("score_token_weight").unwrap();
    let state: TrainerState = serde_json::from_value(older).unwrap();
    assert_eq!(state.difference(&config, &identity()), None);
}

#[test]
fn a_run_goes_on_with_the_same_inputs_only() {
    type Change = fn(&mut Identity);
    let config = TrainingConfig::default();
    let state = TrainerState::new(config.clone(), identity());
    assert_eq!(state.difference(&config, &identity()), None);
    let harmless = TrainingConfig { output_dir: "elsewhere".into(), ..config.clone() };
    assert_eq!(state.difference(&harmless, &identity()), None);

    let faster = TrainingConfig { learning_rate: 1.0, ..config.clone() };
    let text = state.difference(&faster, &identity()).unwrap();
    assert!(text.contains("`training.learning_rate` was 0.0002 and is now 1.0"), "{text}");
    let better = TrainingConfig { greater_is_better: Some(true), ..config.clone() };
    assert!(state.difference(&better, &identity()).unwrap().contains("was unset"));

    let cases: [(Change, &str); 8] = [
        (|other| other.training_data = "x".to_owned(), "the training data"),
        (|other| other.validation_data = Some("x".to_owned()), "the validation data"),
        (
            |other| other.base.as_mut().unwrap().checkpoint.weights = Fingerprint::of_bytes(b""),
            "this one is e3b0c44298fc…",
        ),
        (|other| other.base.as_mut().unwrap().checkpoint.processor = Fingerprint::of_bytes(b""), "tokenizer"),
        (
            |other| other.base.as_mut().unwrap().format.load_in_8bit = true,
            "is now held as cpu, float32, 8 bits",
        ),
        (|other| other.base = None, "was named then and is not now"),
        (|other| other.adapter.config.r = 8, "`lora.r` was 16 and is now 8"),
        (|other| other.adapter.modules[0].in_features = 1, "the modules"),
    ];
    for (change, words) in cases {
        let mut other = identity();
        change(&mut other);
        let text = state.difference(&config, &other).unwrap();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn the_state_survives_json_to_the_bit() {
    let mut state = TrainerState::new(TrainingConfig::default(), identity());
    state.progress.run.add(0.1 + 0.2, 7, 1.0 / 3.0);
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<TrainerState>(&text).unwrap(), state);
}
