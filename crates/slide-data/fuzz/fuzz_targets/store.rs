//! The files of a store and of the labels: any content is read or refused with an error, and what is read can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slide_data::{Labels, Manifest, Rubric, Splits, append_json_line, read_json};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder");
    let path = folder.path().join("manifest.jsonl");
    std::fs::write(&path, bytes).expect("room for a file");
    if let Ok(before) = Manifest::read(folder.path()) {
        // A torn last line is cut off or closed; the lines before it stay.
        append_json_line(&path, &[1, 2, 3]).expect("the file can be written");
        if let Ok(text) = std::fs::read_to_string(&path) {
            assert!(text.lines().filter(|line| !line.is_empty()).count() > before.slides.len());
        }
    }
    let _ = read_json::<Splits>(&path, "split file");
    let _ = Labels::read(&path, &Rubric::default());
});

