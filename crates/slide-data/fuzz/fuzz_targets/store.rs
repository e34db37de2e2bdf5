//! The files of a store, of the labels and of the log: any content is read or refused with an error, and what is read can be
//! written again.
#![no_main]

use durable_files::append_json_lines;
use libfuzzer_sys::fuzz_target;
use slide_data::{Contract as _, Labels, Manifest, Prediction, Rubric, Splits};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder");
    let path = folder.path().join("manifest.jsonl");
    std::fs::write(&path, bytes).expect("room for a file");
    let _ = Splits::read(&path);
    let _ = Labels::read_for(&path, &Rubric::default());
    if let Ok(log) = Prediction::read_log_if_present(&path) {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        assert!(log.entries.len() <= lines.count(), "no line is read twice");
    }
    if let Ok(before) = Manifest::read(folder.path()) {
        // A torn last line is cut off or closed; the lines before it stay.
        append_json_lines(&path, &[[1, 2, 3]]).expect("the file can be written");
        if let Ok(text) = std::fs::read_to_string(&path) {
            assert!(text.lines().filter(|line| !line.is_empty()).count() > before.slides.len());
        }
    }
});
