//! `adapter_config.json` (the input up to a zero byte) and `adapter_model.safetensors` (the rest, where there is any).
#![no_main]

use libfuzzer_sys::fuzz_target;
use vlm_lora::{ModelConfig, PeftAdapter};
use vlm_lora_fuzz::{sound_adapter, sound_model, with_file};

const WEIGHTS: &str = "adapter_model.safetensors";

fuzz_target!(|data: &[u8]| {
    let model = ModelConfig::open(&sound_model()).expect("the fixture is sound");
    let sound = || std::fs::read(sound_adapter().join(WEIGHTS)).expect("the fixture is sound");
    let (config, weights) = match data.iter().position(|byte| *byte == 0) {
        Some(end) => (&data[..end], data[end + 1..].to_vec()),
        None => (data, sound()),
    };
    with_file(&sound_adapter(), WEIGHTS, &weights);
    let dir = with_file(&sound_adapter(), "adapter_config.json", config);
    if let Ok(adapter) = PeftAdapter::open(dir, &model) {
        assert!(!adapter.modules.is_empty());
    }
});
