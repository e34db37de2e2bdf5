//! `config.json`: any bytes give a configuration or an error; a configuration counts its tensors without overflow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vlm_lora::{LoraConfig, ModelConfig};

fuzz_target!(|data: &[u8]| {
    let Ok(map) = serde_json::from_slice(data) else { return };
    let Ok(config) = ModelConfig::from_json(&map) else { return };
    let total = config.tensors().iter().try_fold(0_usize, |sum, (_, shape)| {
        shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side)).and_then(|size| sum.checked_add(size))
    });
    assert!(total.is_some(), "a tensor's size overflows");
    let _ = LoraConfig::default().adapters(&config);
});
