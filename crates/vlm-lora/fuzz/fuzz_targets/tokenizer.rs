//! `tokenizer.json`: any bytes give a processor or an error, and a processor encodes or says why not.
#![no_main]

use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use vlm_lora::{Processor, Tiles};
use vlm_lora_fuzz::{sound_model, with_file};

/// libFuzzer ends at every panic, also at those of the tokenizers library that `Processor::open` catches and reports. One that leaves
/// the target still ends the run.
static HOOK: Once = Once::new();

fuzz_target!(|data: &[u8]| {
    HOOK.call_once(|| std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))));
    let dir = with_file(&sound_model(), "tokenizer.json", data);
    let Ok(processor) = Processor::open(dir, None) else { return };
    let tiles = Tiles { rows: 1, cols: 2, side: 1, data: vec![0; 9] };
    let _ = processor.encode(&tiles, "Rate this slide.", Some("Clarity: 4"));
});
