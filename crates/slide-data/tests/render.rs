//! Rendering files and folders through the public interface.
#![cfg(feature = "render")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use slide_data::image::{ImageFormat, Rgb, RgbImage};
use slide_data::render::load;
use slide_data::{Error, Limits, Reason, RenderedSlide, SourceKind, pixels_sha256};
use support::{encoded, zip};

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn png(shade: u8) -> Vec<u8> {
    encoded(&RgbImage::from_pixel(64, 36, Rgb([shade, 0, 0])), ImageFormat::Png)
}

/// The slides and, as text, the failures.
fn read(path: &Path, limits: &Limits) -> (Vec<RenderedSlide>, Vec<Reason>) {
    let (mut slides, mut failures) = (Vec::new(), Vec::new());
    for item in load(path, limits).unwrap() {
        match item {
            Ok(slide) => slides.push(slide),
            Err(Error::Unreadable { reason, .. }) => failures.push(reason),
            Err(other) => panic!("{other}"),
        }
    }
    (slides, failures)
}

#[test]
fn the_pages_of_a_pdf_come_in_order_at_the_wanted_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("Our deck 🚀.pdf");
    write(&path, &support::deck(1, 5));
    let (slides, failures) = read(&path, &Limits { longest_edge: 640, ..Limits::default() });
    assert_eq!(failures, []);
    assert_eq!(slides.iter().map(|s| s.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(slides.iter().all(|s| s.image.dimensions() == (640, 360) && s.deck == "Our deck 🚀"));
    assert_eq!(slides[2].source.page, Some(3));
    assert_eq!(slides[2].source.kind, SourceKind::Pdf);
    let different: std::collections::BTreeSet<_> = slides.iter().map(|s| pixels_sha256(&s.image)).collect();
    assert_eq!(different.len(), 5);
}

#[test]
fn a_renamed_document_keeps_its_ids_and_threads_do_not_change_pixels() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a/one.pdf"), dir.path().join("b/two.pdf"));
    write(&a, &support::deck(2, 4));
    write(&b, &support::deck(2, 4));
    let (first, _) = read(&a, &Limits { threads: 1, ..Limits::default() });
    let (second, _) = read(&b, &Limits { threads: 4, ..Limits::default() });
    for (one, two) in first.iter().zip(&second) {
        assert_eq!((&one.slide_id, pixels_sha256(&one.image)), (&two.slide_id, pixels_sha256(&two.image)));
    }
}

#[test]
fn an_archive_yields_its_images_and_documents_in_natural_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.zip");
    let bytes = zip(&[
        ("s/10.png", &png(10)),
        ("s/2.png", &png(2)),
        ("s/readme.txt", b"text"),
        ("s/bad.jpg", b"not an image"),
        ("t/deck.pdf", &support::deck(3, 2)),
    ]);
    write(&path, &bytes);
    let (slides, failures) = read(&path, &Limits::default());
    let origins: Vec<_> = slides.iter().map(|s| s.source.origin.as_str()).collect();
    assert_eq!(origins, ["all.zip!s/2.png", "all.zip!s/10.png", "all.zip!t/deck.pdf", "all.zip!t/deck.pdf"]);
    assert_eq!(slides[0].deck_id, slides[1].deck_id);
    assert_ne!(slides[0].deck_id, slides[2].deck_id);
    assert_eq!(failures, [Reason::Unknown]);
}

#[test]
fn archives_that_escape_or_unpack_to_too_much_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_unpacked_mib: 1, max_entries: 3, ..Limits::default() };
    let zeros = vec![0u8; 2 << 20];
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("escape.zip", zip(&[("../../evil.png", &png(1))]), "leaves the archive"),
        ("bomb.zip", zip(&[("zeros.bmp", &zeros)]), "max_unpacked_mib"),
        (
            "many.zip",
            zip(&[("1.png", b"x"), ("2.png", b"x"), ("3.png", b"x"), ("4.png", b"x")]),
            "max_entries",
        ),
        ("empty.zip", zip(&[]), "holds no slides"),
    ];
    for (name, bytes, words) in cases {
        let path = dir.path().join(name);
        write(&path, &bytes);
        let (slides, failures) = read(&path, &limits);
        assert!(slides.is_empty() && failures.len() == 1, "{name}: {failures:?}");
        assert!(failures[0].to_string().contains(words), "{name}: {}", failures[0]);
    }
}

#[test]
fn a_folder_with_broken_files_names_them_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let good = support::deck(4, 2);
    write(&dir.path().join("good.pdf"), &good);
    write(&dir.path().join("broken.pdf"), b"%PDF-1.7\nnothing follows");
    write(&dir.path().join("empty.pdf"), b"");
    write(&dir.path().join("text.png"), b"this is text");
    write(&dir.path().join("pages.pdf"), &support::pdf(&vec![String::new(); 12]));
    let (slides, failures) = read(dir.path(), &Limits { max_pages: 10, ..Limits::default() });
    assert_eq!(slides.len(), 2);
    assert_eq!(failures.len(), 4, "{failures:?}");
    assert!(failures.iter().any(|reason| reason.to_string().contains("12 pages")));
}

#[test]
fn a_password_is_named_as_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let text = String::from_utf8(support::deck(5, 1)).unwrap();
    // Standard security handler, revision 3, with keys that no empty password opens.
    let keys = "/Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff> /U <ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff> >> /ID [<00> <00>]";
    let path = dir.path().join("secret.pdf");
    write(&path, text.replace("/Root 1 0 R", &format!("/Root 1 0 R {keys}")).as_bytes());
    assert_eq!(read(&path, &Limits::default()).1, [Reason::Encrypted]);
}

#[test]
fn what_a_page_says_does_not_depend_on_how_it_is_drawn() {
    let pages: Vec<String> = (1..=3).map(|number| support::slide(60, number)).collect();
    let anew: Vec<String> = pages.iter().map(|page| support::drawn_anew(page)).collect();
    // Outlined letters are drawn twice, invisible ones not at all.
    let outlined: Vec<String> = pages.iter().map(|page| page.replace("BT ", "BT 2 Tr ")).collect();
    let invisible: Vec<String> = pages.iter().map(|page| page.replace("BT ", "BT 3 Tr ")).collect();
    let texts = |pages: &[String]| {
        let slides = slide_data::render::load_bytes("deck.pdf", support::pdf(pages), &Limits::default());
        slides.into_iter().map(|slide| slide.unwrap().text).collect::<Vec<_>>()
    };
    let plain = texts(&pages);
    assert!(plain.iter().flatten().count() == 3 && plain[0] != plain[1], "{plain:?}");
    for variant in [anew, outlined, invisible] {
        assert_eq!(texts(&variant), plain);
    }
    let image = slide_data::render::load_bytes("a.png", png(9), &Limits::default());
    assert_eq!(image[0].as_ref().unwrap().text, None);
}
