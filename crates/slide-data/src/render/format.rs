use std::io::{Cursor, Read};

use zip::ZipArchive;

/// What a file is, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// PNG, JPEG, WebP, GIF, TIFF or BMP.
    Image,
    /// PDF.
    Pdf,
    /// A presentation with its extension: `pptx`, `odp` or `ppt`.
    Presentation(&'static str),
    /// A ZIP archive that is no presentation.
    Zip,
    /// A presentation (or another Office document) that needs a password.
    Protected,
    /// A document that holds no slides: a text, a spreadsheet, an e-book.
    Document,
    /// None of these.
    Unknown,
}

/// Extensions that promise slides; other files of unknown content are passed over.
pub(crate) const EXTENSIONS: [&str; 18] = [
    "png", "jpg", "jpeg", "webp", "gif", "tif", "tiff", "bmp", "pdf", "pptx", "ppsx", "pptm", "potx", "odp",
    "otp", "ppt", "pps", "zip",
];

/// Tells the format from the first bytes; a package (ZIP) by its directory and what it says of itself.
pub fn sniff(bytes: &[u8]) -> FileFormat {
    let images: [&[u8]; 7] = [b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM", b"RIFF"];
    if images.iter().any(|magic| bytes.starts_with(magic)) {
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
    FileFormat::Unknown
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Office Open XML names its kind in `[Content_Types].xml`, `OpenDocument` in `mimetype`; what is neither is an archive.
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
        return match () {
            () if !kind.starts_with("application/vnd.oasis.opendocument.presentation") => {
                FileFormat::Document
            }
            // Of a protected document the manifest alone is plain, and says how the parts are encrypted.
            () if part(&mut archive, "META-INF/manifest.xml")
                .is_some_and(|manifest| manifest.contains("encryption-data")) =>
            {
                FileFormat::Protected
            }
            () => FileFormat::Presentation("odp"),
        };
    }
    match part(&mut archive, "[Content_Types].xml") {
        None => FileFormat::Zip,
        Some(types) if PRESENTATIONS.iter().any(|kind| types.contains(kind)) => {
            FileFormat::Presentation("pptx")
        }
        Some(_) => FileFormat::Document,
    }
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
        () if !has_stream("PowerPoint Document") => FileFormat::Unknown,
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
        let cases = [
            (pptx.clone(), FileFormat::Presentation("pptx")),
            (zip(&[("[Content_Types].xml", renamed)]), FileFormat::Presentation("pptx")),
            (zip(&[("[Content_Types].xml", text), ("word/media/a.png", b"x")]), FileFormat::Document),
            (zip(&[("mimetype", odp), ("META-INF/manifest.xml", plain)]), FileFormat::Presentation("odp")),
            (zip(&[("mimetype", odp), ("META-INF/manifest.xml", encrypted)]), FileFormat::Protected),
            (zip(&[("mimetype", b"application/epub+zip")]), FileFormat::Document),
            // The names of a presentation within an archive do not make the archive one.
            (zip(&[("decks/a.pptx", &pptx), ("b.png", b"x")]), FileFormat::Zip),
            (zip(&[]), FileFormat::Zip),
        ];
        for (at, (bytes, wanted)) in cases.into_iter().enumerate() {
            assert_eq!(sniff(&bytes), wanted, "case {at}");
        }
    }

    #[test]
    fn a_protected_compound_file_is_named_so() {
        let (document, package) = (utf16("PowerPoint Document"), utf16("EncryptedPackage"));
        let (open, locked) = (0xe391_c05f_u32.to_le_bytes(), 0xf3d1_c4df_u32.to_le_bytes());
        assert_eq!(sniff(&compound(&[&package])), FileFormat::Protected);
        assert_eq!(sniff(&compound(&[&document, &locked])), FileFormat::Protected);
        assert_eq!(sniff(&compound(&[&document, &open])), FileFormat::Presentation("ppt"));
        assert_eq!(sniff(&compound(&[&utf16("WordDocument")])), FileFormat::Unknown);
    }
}
