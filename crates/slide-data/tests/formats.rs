//! Files as people have them: pictures of phones, scans, portfolios, archives within archives.
#![cfg(feature = "render")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use slide_data::image::{ImageFormat, Rgb, RgbImage, Rgba, RgbaImage, imageops};
use slide_data::imaging::decode;
use slide_data::render::load_bytes;
use slide_data::{Error, Limits, Reason, RenderedSlide, pixels_sha256};
use support::{encoded, pdf_of_files, pdf_with, tiff, zip};

/// The slides, and what failed with the reason.
fn read_under(name: &str, bytes: Vec<u8>, limits: &Limits) -> (Vec<RenderedSlide>, Vec<(String, Reason)>) {
    let (mut slides, mut failures) = (Vec::new(), Vec::new());
    for item in load_bytes(name, bytes, limits) {
        match item {
            Ok(slide) => slides.push(slide),
            Err(Error::Unreadable { origin, reason, .. }) => failures.push((origin, reason)),
            Err(other) => panic!("{other}"),
        }
    }
    (slides, failures)
}

fn limits() -> Limits {
    Limits { longest_edge: 320, ..Limits::default() }
}

fn read(name: &str, bytes: Vec<u8>) -> (Vec<RenderedSlide>, Vec<(String, Reason)>) {
    read_under(name, bytes, &limits())
}

/// A picture with some detail.
fn picture(seed: u32) -> RgbImage {
    RgbImage::from_fn(176, 99, |x, y| {
        Rgb([(x * 3 + seed * 40) as u8, (y * 5) as u8, ((x / 9 + y / 7) * 31) as u8])
    })
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = support::Dice(seed);
    (0..length).map(|_| dice.roll(256) as u8).collect()
}

#[test]
fn motion_photos_are_read_whatever_follows_the_picture() {
    for seed in 0..12 {
        let still = encoded(&picture(seed), ImageFormat::Jpeg);
        let wanted = pixels_sha256(&decode(&still, &limits()).unwrap());
        let film = noise(seed.into(), 1_500_000);
        let (slides, failures) = read("motion.jpg", [&still[..], &film].concat());
        assert_eq!(failures, []);
        assert_eq!(pixels_sha256(&slides[0].image), wanted, "{seed}");
    }
}

#[test]
fn a_jpeg_without_its_end_marker_is_read_and_one_that_was_cut_through_is_not() {
    for seed in 0..8 {
        let whole = encoded(&picture(seed), ImageFormat::Jpeg);
        let wanted = pixels_sha256(&decode(&whole, &limits()).unwrap());
        for missing in [1, 2] {
            let found = decode(&whole[..whole.len() - missing], &limits()).unwrap();
            assert_eq!(pixels_sha256(&found), wanted, "{seed}, {missing} bytes short");
        }
        for share in 1..20 {
            let refused = decode(&whole[..whole.len() * share / 20], &limits());
            assert!(refused.is_err(), "{seed}: {share} of 20 parts");
        }
    }
}

#[test]
fn every_page_of_a_scanned_deck_is_a_slide() {
    let pages: Vec<RgbImage> = (0..7).map(picture).collect();
    let (slides, failures) = read("scan.tiff", tiff(&pages));
    assert_eq!(failures, []);
    assert_eq!(slides.iter().map(|slide| slide.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    for (slide, page) in slides.iter().zip(&pages) {
        assert_eq!(&slide.image, page);
        assert_eq!((&slide.deck_id, slide.source.page), (&slides[0].deck_id, Some(slide.number)));
    }
    let (single, _) = read("scan.tiff", tiff(&pages[..1]));
    assert_eq!(single[0].source.page, None, "a picture is a picture of its folder, as ever");
    let (slides, failures) = read_under("scan.tiff", tiff(&pages), &Limits { max_pages: 3, ..limits() });
    assert!(slides.is_empty() && failures[0].1.to_string().contains("max_pages"), "{failures:?}");
    // A page that is broken costs itself.
    let mut bytes = tiff(&pages[..3]);
    let at = bytes.windows(4).rposition(|window| window == [1, 1, 4, 0]).unwrap();
    bytes[at + 8..at + 12].copy_from_slice(&0u32.to_le_bytes());
    let (slides, failures) = read("scan.tiff", bytes);
    assert_eq!((slides.len(), failures.len()), (2, 1), "{failures:?}");
    assert!(failures[0].0.contains("page 3"), "{failures:?}");
}

#[test]
fn decks_in_archives_in_archives_are_read_within_limits() {
    let png = encoded(&picture(1), ImageFormat::Png);
    let deck = support::deck(3, 2);
    let inner = zip(&[("deck.pdf", &deck), ("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0heic")]);
    let bytes = zip(&[("2024/client.zip", &inner), ("extra/1.png", &png), ("picture without a name", &png)]);
    let (slides, failures) = read("drive.zip", bytes.clone());
    let origins: Vec<_> = slides.iter().map(|slide| slide.source.origin.as_str()).collect();
    let wanted = [
        "drive.zip!2024/client.zip!deck.pdf",
        "drive.zip!2024/client.zip!deck.pdf",
        "drive.zip!extra/1.png",
        "drive.zip!picture without a name",
    ];
    assert_eq!(origins, wanted);
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].0.contains("client.zip, photo.heic"), "{failures:?}");
    assert!(failures[0].1.to_string().contains("HEIC") && failures[0].1.to_string().contains("convert"));
    // A deck is the same, in whatever archive it lies.
    assert_eq!(slides[0].slide_id, read("deck.pdf", deck).0[0].slide_id);
    // Entries of all archives count together, and so do bytes.
    let (_, failures) = read_under("drive.zip", bytes.clone(), &Limits { max_entries: 4, ..limits() });
    assert!(failures.iter().any(|(_, reason)| reason.to_string().contains("max_entries")), "{failures:?}");
}

#[test]
fn a_bomb_of_nested_archives_costs_no_more_than_is_allowed() {
    let zeros = vec![0u8; 1 << 20];
    let layer = zip(&[("a.bmp", &zeros)]);
    // Each archive declares little; together they unpack to 64 MiB.
    let entries: Vec<String> = (0..64).map(|at| format!("{at}.zip")).collect();
    let entries: Vec<(&str, &[u8])> = entries.iter().map(|name| (name.as_str(), layer.as_slice())).collect();
    let bomb = zip(&entries);
    assert!(bomb.len() < 200_000);
    let limits = Limits { max_unpacked_mib: 4, ..limits() };
    let (slides, failures) = read_under("bomb.zip", bomb, &limits);
    assert!(slides.is_empty());
    let refused =
        failures.iter().filter(|(_, reason)| reason.to_string().contains("max_unpacked_mib")).count();
    assert!((60..=62).contains(&refused), "{refused}: {:?}", failures.first());
    let deep = (0..20).fold(zip(&[("a.png", &encoded(&picture(1), ImageFormat::Png))]), |inner, _| {
        zip(&[("in.zip", &inner)])
    });
    let (slides, failures) = read("deep.zip", deep);
    assert!(slides.is_empty() && failures[0].1.to_string().contains("within 3 archives"), "{failures:?}");
}

#[test]
fn a_portfolio_is_the_decks_in_it_and_an_attached_deck_is_named() {
    let (deck, png) = (support::deck(5, 3), encoded(&picture(2), ImageFormat::Png));
    let files: [(&str, &[u8]); 3] = [("pitch.pdf", &deck), ("cover.png", &png), ("notes.txt", b"words")];
    let (slides, failures) = read("folder.pdf", pdf_of_files(&files, true));
    let origins: Vec<_> = slides.iter().map(|slide| slide.source.origin.as_str()).collect();
    assert_eq!(
        origins,
        ["folder.pdf!pitch.pdf", "folder.pdf!pitch.pdf", "folder.pdf!pitch.pdf", "folder.pdf!cover.png"]
    );
    assert_eq!(slides[1].slide_id, read("pitch.pdf", deck.clone()).0[1].slide_id);
    assert!(failures.len() == 1 && failures[0].1.to_string().contains("a text"), "{failures:?}");
    let (slides, failures) = read("report.pdf", pdf_of_files(&files, false));
    assert_eq!(slides.len(), 1, "the page of a document with attachments is a page");
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(
        failures[0].1.to_string().contains("attached") && failures[0].0.contains("pitch.pdf"),
        "{failures:?}"
    );
}

#[test]
fn a_crop_box_that_shows_nothing_gives_way_to_the_page() {
    let pages = [support::slide(7, 1), support::slide(7, 2)];
    let (plain, _) = read("a.pdf", support::pdf(&pages));
    let boxes = [
        "/CropBox [0 0 0 0]",
        "/CropBox [100 100 100 400]",
        "/CropBox [2000 2000 2960 2540]",
        "/CropBox[-900 0 -10 540]",
    ];
    for crop in boxes {
        let (slides, failures) = read("a.pdf", pdf_with(&pages, crop, "", &[]));
        assert_eq!(failures, [], "{crop}");
        for (slide, wanted) in slides.iter().zip(&plain) {
            assert_eq!(pixels_sha256(&slide.image), pixels_sha256(&wanted.image), "{crop}");
        }
    }
    let (half, _) = read("a.pdf", pdf_with(&pages, "/CropBox [0 0 480 540]", "", &[]));
    assert_eq!(half[0].image.dimensions(), (284, 320), "a box that shows something holds");
}

#[test]
fn a_transparent_drawing_lies_on_what_makes_it_seen() {
    let drawing = |ink: [u8; 4]| {
        let image = RgbaImage::from_fn(320, 180, |x, y| {
            if x % 12 < 4 && y % 30 < 16 { Rgba(ink) } else { Rgba([0, 0, 0, 0]) }
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        read("a.png", bytes.into_inner()).0.remove(0).image
    };
    let darkest = |image: &RgbImage| imageops::grayscale(image).pixels().map(|p| p.0[0]).min().unwrap();
    let lightest = |image: &RgbImage| imageops::grayscale(image).pixels().map(|p| p.0[0]).max().unwrap();
    for ink in [[255, 255, 255, 255], [0, 0, 0, 255], [255, 240, 200, 255], [30, 60, 90, 200]] {
        let image = drawing(ink);
        assert!(lightest(&image) - darkest(&image) > 100, "{ink:?}");
    }
}

#[test]
fn packages_of_programs_are_no_archives_of_pictures() {
    let png = encoded(&picture(1), ImageFormat::Png);
    let package = |parts: &[(&str, &[u8])]| {
        let parts: Vec<(&str, &[u8])> =
            [parts, &[("media/1.png", png.as_slice()), ("thumb.jpg", &png)]].concat();
        zip(&parts)
    };
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("a.docx", package(&[("[Content_Types].xml", b"wordprocessingml")]), "Word"),
        ("a.xlsx", package(&[("[Content_Types].xml", b"spreadsheetml")]), "Excel"),
        ("a.epub", package(&[("mimetype", b"application/epub+zip")]), "EPUB"),
        ("a.odt", package(&[("mimetype", b"application/vnd.oasis.opendocument.text")]), "text document"),
        ("a.ods", package(&[("mimetype", b"application/vnd.oasis.opendocument.spreadsheet")]), "spreadsheet"),
        ("a.sketch", package(&[("document.json", b"{}"), ("meta.json", b"{}")]), "Sketch"),
        ("a.jar", package(&[("META-INF/MANIFEST.MF", b"x")]), "Java"),
        ("a.apk", package(&[("AndroidManifest.xml", b"x")]), "Android"),
        ("a.pages", package(&[("Index/Document.iwa", b"x")]), "Pages"),
        ("a.whl", package(&[("a-1.dist-info/WHEEL", b"x")]), "Python"),
        ("a.fig", package(&[("canvas.fig", b"x")]), "Figma"),
        ("a.xd", package(&[("mimetype", b"application/vnd.adobe.sparkler.project+dcx+zip")]), "Adobe"),
        ("a.mscz", package(&[]), "`.mscz`"),
        ("renamed.zip", package(&[("META-INF/MANIFEST.MF", b"x")]), "Java"),
    ];
    for (name, bytes, words) in cases {
        let (slides, failures) = read(name, bytes);
        assert!(slides.is_empty() && failures.len() == 1, "{name}: {failures:?}");
        assert!(failures[0].1.to_string().contains(words), "{name}: {}", failures[0].1);
    }
    // What a Mac packs of a Keynote document that is a folder.
    let folder =
        zip(&[("deck.key/Data/st1.png", &png), ("deck.key/Data/st2.png", &png), ("other/1.png", &png)]);
    let (slides, failures) = read("deck.key.zip", folder);
    assert_eq!(slides.len(), 1);
    assert!(failures.len() == 1 && failures[0].1.to_string().contains("Keynote"), "{failures:?}");
    for name in ["decks.zip", "decks", "decks v1.2", "https://host.test/files?id=3", "decks.cbz"] {
        assert_eq!(read(name, package(&[])).0.len(), 2, "{name}");
    }
}

/// A one-page PDF whose font is this object, with text in it.
fn with_font(font: &str, text: &str) -> Vec<u8> {
    let page = format!("BT /F1 60 Tf 80 260 Td {text} Tj ET");
    let plain = String::from_utf8(support::pdf(&[page])).unwrap();
    plain.replace("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>", font).into_bytes()
}

#[test]
fn fonts_that_are_not_there_are_named_and_no_text_vanishes_silently() {
    let names = |set: &std::collections::BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
    let simple = |name: &str| format!("<< /Type /Font /Subtype /TrueType /BaseFont /{name} >>");
    let ink = |image: &RgbImage| image.pixels().filter(|pixel| pixel.0 != [255; 3]).count();
    for standard in ["Helvetica", "ArialMT", "Arial,Bold", "TimesNewRomanPSMT", "CourierNew"] {
        let (slides, _) = read("a.pdf", with_font(&simple(standard), "(Text)"));
        assert_eq!(slides[0].lacks, slide_data::render::Lacks::default(), "{standard}");
    }
    let (slides, _) = read("a.pdf", with_font(&simple("ABCDEF+Calibri-Light"), "(Text)"));
    assert_eq!(
        (names(&slides[0].lacks.substituted), names(&slides[0].lacks.fonts)),
        (vec!["Calibri-Light".to_owned()], vec![])
    );
    assert!(ink(&slides[0].image) > 100);
    let cases = [
        ("Japan1", "UniJIS-UCS2-H", "<65e5672c>"),
        ("GB1", "UniGB-UCS2-H", "<4e2d6587>"),
        ("Korea1", "UniKS-UCS2-H", "<d55cae00>"),
        ("CNS1", "UniCNS-UCS2-H", "<4e2d6587>"),
    ];
    for (ordering, encoding, text) in cases {
        let font = format!(
            "<< /Type /Font /Subtype /Type0 /BaseFont /Some-{ordering} /Encoding /{encoding} /DescendantFonts [<< /Type /Font \
             /Subtype /CIDFontType0 /BaseFont /Some-{ordering} /CIDSystemInfo << /Registry (Adobe) /Ordering ({ordering}) /Supplement 2 >> \
             /FontDescriptor << /Type /FontDescriptor /FontName /Some-{ordering} /Flags 4 >> >>] >>"
        );
        let (slides, _) = read("a.pdf", with_font(&font, text));
        let lacks = &slides[0].lacks;
        assert_eq!(lacks.fonts.len() + lacks.substituted.len(), 1, "{ordering}: {lacks:?}");
        // With a font of the script installed it is drawn with that; without one the letters are lost, and that is said.
        assert_eq!(ink(&slides[0].image) > 100, lacks.fonts.is_empty(), "{ordering}: {lacks:?}");
    }
    // A font that is listed and not used changes nothing.
    let unused =
        String::from_utf8(with_font("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>", "(Text)"))
            .unwrap();
    let unused = unused.replace("/BaseFont /Helvetica-Bold", "/BaseFont /Calibri-Bold");
    assert!(read("a.pdf", unused.into_bytes()).0[0].lacks.substituted.is_empty());
}

/// What `fixtures/make.py` drew.
fn drawn(x: u32, y: u32) -> [u8; 3] {
    [(x * 5 % 256) as u8, (y * 7 % 256) as u8, ((x * y + 3 * x) % 256) as u8]
}

#[test]
fn jpeg_2000_has_the_pixels_that_were_written() {
    let fixture =
        |name: &str| std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let wanted = RgbImage::from_fn(48, 32, |x, y| Rgb(drawn(x, y)));
    for name in ["rgb.jp2", "rgb.j2k"] {
        assert_eq!(read(name, fixture(name)).0[0].image, wanted, "{name}");
    }
    let grey = RgbImage::from_fn(48, 32, |x, y| Rgb([drawn(x, y)[2]; 3]));
    assert_eq!(read("grey.jp2", fixture("grey.jp2")).0[0].image, grey);
    let (alpha, failures) = read("alpha.jp2", fixture("alpha.jp2"));
    assert_eq!(failures, []);
    assert_eq!(alpha[0].image.dimensions(), (48, 32));
    let small = Limits { max_pixels: 1_000, ..limits() };
    let (_, failures) = read_under("rgb.jp2", fixture("rgb.jp2"), &small);
    assert!(failures[0].1.to_string().contains("max_pixels"), "{failures:?}");
    for length in [12, 40, 100, 200] {
        let cut = &fixture("rgb.jp2")[..length];
        let (slides, failures) = read("cut.jp2", cut.to_vec());
        assert!(slides.is_empty() && failures.len() == 1, "{length} bytes: {failures:?}");
    }
}
