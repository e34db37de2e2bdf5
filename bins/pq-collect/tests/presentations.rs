//! Presentations through an installed `LibreOffice`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;

use slide_data::render::find_libreoffice;
use slide_data::{Manifest, SourceKind};

use common::Place;

pq_testing::tests! {
    presentations_become_slides_several_at_a_time: needs Office;
}

const CONTENT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0" office:version="1.2">
<office:body><office:presentation>PAGES</office:presentation></office:body></office:document-content>"#;
const MANIFEST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" manifest:version="1.2">
<manifest:file-entry manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.presentation"/>
<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>"#;

/// An `OpenDocument` presentation with one line of text a page.
fn odp(lines: &[&str]) -> Vec<u8> {
    let page = |line: &&str| {
        format!(
            r#"<draw:page draw:name="{line}"><draw:frame svg:x="2cm" svg:y="3cm" svg:width="20cm" svg:height="4cm"><draw:text-box><text:p>{line}</text:p></draw:text-box></draw:frame></draw:page>"#
        )
    };
    let content = CONTENT.replace("PAGES", &lines.iter().map(page).collect::<String>());
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let parts = [
        ("mimetype", "application/vnd.oasis.opendocument.presentation"),
        ("content.xml", &content),
        ("META-INF/manifest.xml", MANIFEST),
    ];
    for (name, text) in parts {
        archive.start_file(name, stored).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn presentations_become_slides_several_at_a_time() {
    assert!(find_libreoffice().is_some(), "what the test has found, the command finds");
    let place = Place::new();
    place.write("in/one deck 🚀.odp", &odp(&["Problem", "Solution and market"]));
    place.write("in/two.odp", &odp(&["Team of five", "Ask: two million", "Thank you all"]));
    place.write("in/broken.odp", &odp(&["<unclosed"]));
    let report = place.json(&["in", "--json", "--jobs", "2", "--set", "limits.time_limit_s=120"]);
    assert_eq!(report["slides_new"], 5, "{report:#}");
    assert_eq!(report["set_aside"].as_array().unwrap().len(), 1, "{report:#}");
    let slides = Manifest::read(&place.raw()).unwrap().slides;
    assert!(slides.iter().all(|slide| slide.source.kind == SourceKind::Presentation && slide.width == 640));
    assert_eq!(place.json(&["in", "--json"])["unchanged"], 3);
    assert!(!place.raw().join(".staging").exists());
}
