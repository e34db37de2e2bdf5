//! `model.safetensors`: any bytes open or are refused; what opens has every tensor at its size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vlm_lora::Checkpoint;
use vlm_lora_fuzz::{sound_model, with_file};

fuzz_target!(|data: &[u8]| {
    let dir = with_file(&sound_model(), "model.safetensors", data);
    let Ok(checkpoint) = Checkpoint::open(dir) else { return };
    for (name, shape) in checkpoint.config().tensors() {
        let values = checkpoint.values(&name, &shape).expect("opening checked it");
        assert_eq!(values.len(), shape.iter().product::<usize>());
    }
});
