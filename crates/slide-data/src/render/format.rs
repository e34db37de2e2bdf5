use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::foreign::{self, Foreign};
use crate::imaging::is_jpeg2000;

/// What a file is, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// PNG, JPEG, WebP, GIF, TIFF, BMP or JPEG 2000.
    Image,
    /// PDF.
    Pdf,
    /// A presentation with its extension: `pptx`, `odp`, `ppt` or `key`.
    Presentation(&'static str),
    /// A ZIP archive that is no package of another program.
    Zip,
    /// A presentation (or another Office document) that needs a password.
    Protected,
    /// A format that may hold slides, is known, and is not read.
    Foreign(Foreign),
    /// None of these.
    Unknown,
}

/// Extensions that promise slides; other files of unknown content are passed over.
pub(crate) const EXTENSIONS: [&str; 30] = [
    "png", "jpg", "jpeg", "webp", "gif", "tif", "tiff", "bmp", "jp2", "j2k", "pdf", "pptx", "ppsx", "pptm",
    "ppsm", "potx", "potm", "odp", "otp", "ppt", "pps", "pot", "zip", "heic", "heif", "avif", "svg", "svgz",
    "jxl", "psd",
];

/// Tells the format from the first bytes; a package (ZIP) by its directory and what it says of itself.
pub fn sniff(bytes: &[u8]) -> FileFormat {
    if is_image(bytes) {
        return FileFormat::Image;
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return package(bytes);
    }
    if bytes.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return compound_file(bytes);
    }
    // The header may stand anywhere in the first kilobyte (ISO 32000, implementation notes).
    if has(&bytes[..bytes.len().min(1024)], b"%PDF-") {
        return FileFormat::Pdf;
    }
    foreign::by_content(bytes).map_or(FileFormat::Unknown, FileFormat::Foreign)
}

fn is_image(bytes: &[u8]) -> bool {
    let images: [&[u8]; 7] = [b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];
    let is_webp = || bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    // "BM" also begins words: the size of the header that follows tells.
    let header = || bytes.get(14..18).map(|size| u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
    let is_bmp = || bytes.starts_with(b"BM") && matches!(header(), Some(12..=124));
    images.iter().any(|magic| bytes.starts_with(magic)) || is_webp() || is_bmp() || is_jpeg2000(bytes)
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn open_document(archive: &mut ZipArchive<Cursor<&[u8]>>, mime_type: &str) -> FileFormat {
    match () {
        () if !mime_type.starts_with("application/vnd.oasis.opendocument.presentation") => {
            FileFormat::Foreign(foreign::by_mime_type(mime_type))
        }
        // Of a protected document the manifest alone is plain, and says how the parts are encrypted.
        () if part(archive, "META-INF/manifest.xml")
            .is_some_and(|manifest| manifest.contains("encryption-data")) =>
        {
            FileFormat::Protected
        }
        () => FileFormat::Presentation("odp"),
    }
}

/// Office Open XML names its kind in `[Content_Types].xml`, `OpenDocument` in `mimetype`, others are told by their parts; what is
/// none of these is an archive.
fn package(bytes: &[u8]) -> FileFormat {
    let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else {
        // Its converter may be more forgiving.
        return if has(bytes, b"ppt/presentation.xml") {
            FileFormat::Presentation("pptx")
        } else {
            FileFormat::Zip
        };
    };
    if archive.index_for_name("ppt/presentation.xml").is_some() {
        return FileFormat::Presentation("pptx");
    }
    if let Some(kind) = part(&mut archive, "mimetype") {
        return open_document(&mut archive, &kind);
    }
    match part(&mut archive, "[Content_Types].xml") {
        None => iwork(&mut archive)
            .or_else(|| foreign::by_parts(&names(&archive)).map(FileFormat::Foreign))
            .unwrap_or(FileFormat::Zip),
        Some(types) if PRESENTATIONS.iter().any(|kind| types.contains(kind)) => {
            FileFormat::Presentation("pptx")
        }
        Some(types) => FileFormat::Foreign(foreign::by_content_types(&types)),
    }
}

fn names(archive: &ZipArchive<Cursor<&[u8]>>) -> Vec<String> {
    archive.file_names().filter_map(|name| name.ok().map(Into::into)).collect()
}

/// Keynote, Pages and Numbers: since 2013 parts in `Index` (or in an archive `Index.zip`), of which Keynote alone has slides;
/// before, one part that is named after the program.
fn iwork(archive: &mut ZipArchive<Cursor<&[u8]>>) -> Option<FileFormat> {
    const SLIDES: [&str; 3] = ["Slide", "MasterSlide", "TemplateSlide"];
    let is_slide = |name: &String| {
        let name = name.strip_prefix("Index/").unwrap_or(name);
        SLIDES.iter().any(|start| name.starts_with(start)) && is_iwork_part(name)
    };
    let outer = names(archive);
    let has = |wanted: &[&str]| outer.iter().any(|name| wanted.contains(&name.as_str()));
    if has(&["index.apxl", "index.apxl.gz"]) || outer.iter().any(is_slide) {
        return Some(FileFormat::Presentation("key"));
    }
    if has(&["Index/Document.iwa", "index.numbers", "index.numbers.gz"])
        || has(&["index.xml", "index.xml.gz"]) && has(&["buildVersionHistory.plist"])
    {
        return Some(FileFormat::Foreign(foreign::PAGES));
    }
    let mut inner = Vec::new();
    archive.by_name("Index.zip").ok()?.take(64 << 20).read_to_end(&mut inner).ok()?;
    let inner = names(&ZipArchive::new(Cursor::new(inner.as_slice())).ok()?);
    if inner.iter().any(is_slide) {
        return Some(FileFormat::Presentation("key"));
    }
    inner.iter().any(|name| is_iwork_part(name)).then_some(FileFormat::Foreign(foreign::PAGES))
}

fn is_iwork_part(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, extension)| extension == "iwa")
}

/// Content types of a presentation's main part, where it does not have its usual name.
const PRESENTATIONS: [&str; 4] = [
    "presentationml.presentation.main+xml",
    "presentationml.slideshow.main+xml",
    "presentationml.template.main+xml",
    "vnd.ms-powerpoint.",
];

/// The beginning of a part of a package, as text.
fn part(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    archive.by_name(name).ok()?.take(1 << 20).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The names of a compound file's streams are UTF-16; the user's atom tells whether a binary presentation is encrypted (MS-PPT,
/// `headerToken` of the `CurrentUserAtom`).
fn compound_file(bytes: &[u8]) -> FileFormat {
    let has_stream =
        |name: &str| has(bytes, &name.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    let token = |value: u32| has(bytes, &value.to_le_bytes());
    match () {
        () if has_stream("EncryptedPackage") => FileFormat::Protected,
        () if !has_stream("PowerPoint Document") => {
            let known = foreign::STREAMS.iter().find(|(name, _)| has_stream(name));
            known.map_or(FileFormat::Unknown, |(_, foreign)| FileFormat::Foreign(*foreign))
        }
        () if token(0xf3d1_c4df) && !token(0xe391_c05f) => FileFormat::Protected,
        () => FileFormat::Presentation("ppt"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn zip(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in parts {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn compound(parts: &[&[u8]]) -> Vec<u8> {
        [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".as_slice(), &[0; 504], &parts.concat()].concat()
    }

    fn utf16(name: &str) -> Vec<u8> {
        name.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn packages_are_told_apart_by_what_they_say_of_themselves() {
        let odp = b"application/vnd.oasis.opendocument.presentation".as_slice();
        let pptx = zip(&[("ppt/presentation.xml", b"<x/>")]);
        let renamed = b"<Override ContentType='application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml'/>";
        let text = b"<Override ContentType='application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml'/>";
        let encrypted = b"<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>";
        let plain = b"<manifest:file-entry/>";
        let key = FileFormat::Presentation("key");
        let cases = [
            (pptx.clone(), FileFormat::Presentation("pptx")),
            (zip(&[("[Content_Types].xml", renamed)]), FileFormat::Presentation("pptx")),
            (
                zip(&[("[Content_Types].xml", text), ("word/media/a.png", b"x")]),
                FileFormat::Foreign(foreign::by_content_types("wordprocessingml")),
            ),
            (zip(&[("mimetype", odp), ("META-INF/manifest.xml", plain)]), FileFormat::Presentation("odp")),
            (zip(&[("mimetype", odp), ("META-INF/manifest.xml", encrypted)]), FileFormat::Protected),
            (zip(&[("mimetype", b"application/epub+zip")]), FileFormat::Foreign(foreign::EBOOK)),
            (
                zip(&[("Index/Document.iwa", b"x"), ("Index/Slide-12.iwa", b"x"), ("Data/st-1.jpg", b"x")]),
                key,
            ),
            (zip(&[("Index.zip", &zip(&[("Index/MasterSlide.iwa", b"x")])), ("preview.jpg", b"x")]), key),
            (zip(&[("index.apxl", b"x"), ("thumbs/st0.tiff", b"x")]), key),
            (
                zip(&[("Index/Document.iwa", b"x"), ("preview.jpg", b"x")]),
                FileFormat::Foreign(foreign::PAGES),
            ),
            (
                zip(&[("Index.zip", &zip(&[("Index/Document.iwa", b"x")]))]),
                FileFormat::Foreign(foreign::PAGES),
            ),
            // Odd files beside slides do not make an archive a package.
            (zip(&[("1.png", b"x"), ("manifest.json", b"{}"), ("document.json", b"{}")]), FileFormat::Zip),
            // The names of a presentation within an archive do not make the archive one.
            (zip(&[("decks/a.pptx", &pptx), ("b.png", b"x")]), FileFormat::Zip),
            (zip(&[]), FileFormat::Zip),
        ];
        for (at, (bytes, wanted)) in cases.into_iter().enumerate() {
            assert_eq!(sniff(&bytes), wanted, "case {at}");
        }
    }

    #[test]
    fn words_and_films_that_begin_like_images_are_none() {
        for bytes in
            [b"BMW 320d, 2019, 14500 km\n".as_slice(), b"RIFF\x24\0\0\0WAVEfmt ", b"RIFF\x24\0\0\0AVI LIST"]
        {
            assert_eq!(sniff(bytes), FileFormat::Unknown);
        }
        assert_eq!(sniff(b"RIFF\x24\0\0\0WEBPVP8 "), FileFormat::Image);
    }

    #[test]
    fn a_protected_compound_file_is_named_so() {
        let (document, package) = (utf16("PowerPoint Document"), utf16("EncryptedPackage"));
        let (open, locked) = (0xe391_c05f_u32.to_le_bytes(), 0xf3d1_c4df_u32.to_le_bytes());
        assert_eq!(sniff(&compound(&[&package])), FileFormat::Protected);
        assert_eq!(sniff(&compound(&[&document, &locked])), FileFormat::Protected);
        assert_eq!(sniff(&compound(&[&document, &open])), FileFormat::Presentation("ppt"));
        let FileFormat::Foreign(word) = sniff(&compound(&[&utf16("WordDocument")])) else {
            panic!("not told")
        };
        assert!(word.what.contains("Word"), "{}", word.what);
        assert_eq!(sniff(&compound(&[&utf16("Something")])), FileFormat::Unknown);
    }
}
