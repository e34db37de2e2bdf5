//! Whatever a file is taken for (PDF, archive, presentation, image): reading it never panics and obeys the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slide_data::render::{FileFormat, load_bytes, sniff};
use slide_data::{Error, Limits, Reason};

fuzz_target!(|bytes: &[u8]| {
    if let FileFormat::Presentation(_) = sniff(bytes) {
        return; // starts another program
    }
    let limits = Limits {
        longest_edge: 64,
        max_edge: 256,
        max_pixels: 1 << 18,
        max_pages: 4,
        max_entries: 8,
        max_unpacked_mib: 4,
        threads: 1,
        ..Limits::default()
    };
    let items = load_bytes("fuzzed", bytes.to_vec(), &limits);
    assert!(items.iter().filter(|item| item.is_ok()).count() <= 4 * 8);
    for item in items {
        if let Err(Error::Unreadable { reason: Reason::Crashed(what), .. }) = item {
            panic!("a decoder panicked: {what}");
        }
    }
});
