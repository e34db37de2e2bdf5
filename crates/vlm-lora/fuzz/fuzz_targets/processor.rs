//! `processor_config.json`: any bytes give settings or an error; settings cut an image into a bounded number of tiles.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vlm_lora::Processor;
use vlm_lora_fuzz::{sound_model, with_file};

fuzz_target!(|data: &[u8]| {
    let dir = with_file(&sound_model(), "processor_config.json", data);
    let Ok(processor) = Processor::open(dir, None) else { return };
    for (width, height) in [(1, 1), (65_535, 1), (1280, 720), (3, 40_000)] {
        if let Ok((rows, cols)) = processor.grid(width, height) {
            assert!(rows <= 6 && cols <= 6);
        }
    }
});
