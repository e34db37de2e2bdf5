//! `chat_template.jinja`: any text renders within bounds or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vlm_lora::Processor;
use vlm_lora_fuzz::{sound_model, with_file};

fuzz_target!(|data: &[u8]| {
    let dir = with_file(&sound_model(), "chat_template.jinja", data);
    let Ok(processor) = Processor::open(dir, None) else { return };
    let _ = processor.render("Rate this slide.", Some("Clarity: 4"));
});
