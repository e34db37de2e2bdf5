//! `tokenizer.json`: any bytes give a processor or an error, and a processor encodes or says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vlm_lora::{Processor, Tiles};
use vlm_lora_fuzz::{sound_model, with_file};

fuzz_target!(|data: &[u8]| {
    let dir = with_file(&sound_model(), "tokenizer.json", data);
    let Ok(processor) = Processor::open(dir, None) else { return };
    let tiles = Tiles { rows: 1, cols: 2, side: 1, data: vec![0; 9] };
    let _ = processor.encode(&tiles, "Rate this slide.", Some("Clarity: 4"));
});
