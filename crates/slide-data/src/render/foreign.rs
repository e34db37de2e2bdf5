//! Formats that are known and not read: what they are, and what to do with them.

use crate::Reason;

/// What a format is and what to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// What it is, after "is".
    pub what: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl From<Foreign> for Reason {
    fn from(foreign: Foreign) -> Self {
        Self::foreign(foreign.what, foreign.remedy)
    }
}

const fn foreign(what: &'static str, remedy: &'static str) -> Foreign {
    Foreign { what, remedy }
}

const AS_IMAGE: &str = "convert it to PNG or JPEG";
const AS_PDF: &str = "export it as PDF if its pages are slides";
const UNPACK: &str = "unpack it and collect the folder";
const NONE: &str = "no slides are taken from it";

pub(super) const HEIC: Foreign = foreign(
    "a HEIC image",
    "convert it to JPEG or PNG (on a Mac: Preview, File, Export; elsewhere: `heif-convert`)",
);
pub(super) const AVIF: Foreign =
    foreign("an AVIF image", "convert it to PNG or JPEG (an image viewer, or `avifdec`)");
pub(super) const SVG: Foreign =
    foreign("an SVG drawing", "export it as PNG or PDF (Inkscape, `rsvg-convert`, or a browser's print)");
pub(super) const EBOOK: Foreign = foreign("an e-book (EPUB), not a presentation", AS_PDF);
pub(super) const PAGES: Foreign =
    foreign("a Pages or Numbers document, not a presentation", "export it as PDF if its pages are slides");
pub(super) const OFFICE: Foreign = foreign("an Office document, not a presentation", AS_PDF);

/// Formats told by bytes at a fixed place.
static SIGNATURES: [(usize, &[u8], Foreign); 16] = [
    (0, b"\xff\x0a", foreign("a JPEG XL image", AS_IMAGE)),
    (4, b"JXL ", foreign("a JPEG XL image", AS_IMAGE)),
    (0, b"8BPS", foreign("a Photoshop document", "export it as PNG or PDF")),
    (0, b"%!PS", foreign("a PostScript file", "convert it to PDF (`ps2pdf`)")),
    (0, b"\xd7\xcd\xc6\x9a", foreign("a WMF drawing", AS_IMAGE)),
    (40, b" EMF", foreign("an EMF drawing", AS_IMAGE)),
    (0, b"AT&TFORM", foreign("a DjVu document", "convert it to PDF (`ddjvu -format=pdf`)")),
    (0, b"fig-kiwi", foreign("a Figma file", "in Figma: File, Export frames to PDF")),
    (0, b"\x1f\x8b", foreign("a gzip archive", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", foreign("a 7z archive", UNPACK)),
    (0, b"Rar!\x1a\x07", foreign("a RAR archive", UNPACK)),
    (0, b"BZh", foreign("a bzip2 archive", UNPACK)),
    (0, b"\xfd7zXZ\0", foreign("an xz archive", UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", foreign("a zstd archive", UNPACK)),
    (257, b"ustar", foreign("a tar archive", UNPACK)),
    (0, b"{\\rtf", foreign("a text document (RTF), not a presentation", AS_PDF)),
];

/// Tells a format that may hold slides and is not read by its first bytes.
pub(super) fn by_content(bytes: &[u8]) -> Option<Foreign> {
    if bytes.get(4..8) == Some(b"ftyp") {
        return media(bytes.get(8..)?);
    }
    let found =
        SIGNATURES.iter().find(|(at, magic, _)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    found.map(|(_, _, foreign)| *foreign).or_else(|| is_svg(bytes).then_some(SVG))
}

/// Images in the ISO base media format name their kind among the brands; a film has others.
fn media(brands: &[u8]) -> Option<Foreign> {
    let brands: Vec<&[u8]> = brands.chunks(4).take(16).collect();
    let has = |names: &[&[u8; 4]]| brands.iter().any(|brand| names.iter().any(|name| brand == name));
    match () {
        () if has(&[b"avif", b"avis"]) => Some(AVIF),
        () if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) => Some(HEIC),
        () => None,
    }
}

fn is_svg(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with("<svg")
        || (text.starts_with("<?xml") || text.starts_with("<!--")) && text.contains("<svg")
}

/// Parts that only packages of one kind have, so that an archive of slides with odd files in it stays one.
static PARTS: [(&str, Foreign); 9] = [
    ("AndroidManifest.xml", foreign("an Android app", NONE)),
    ("META-INF/MANIFEST.MF", foreign("a Java archive", NONE)),
    ("META-INF/container.xml", EBOOK),
    ("canvas.fig", foreign("a Figma file", "in Figma: File, Export frames to PDF")),
    ("maindoc.xml", foreign("a Krita drawing", "export it as PNG")),
    ("Document.archive", foreign("a Procreate drawing", "share it as PNG or PDF")),
    ("doc.kml", foreign("a map (KMZ)", NONE)),
    ("FixedDocSeq.fdseq", foreign("an XPS document", "print it to PDF")),
    ("FixedDocumentSequence.fdseq", foreign("an XPS document", "print it to PDF")),
];

/// How the name of a part ends that only packages of one kind have.
static ENDS: [(&str, Foreign); 5] = [
    (".app/Info.plist", foreign("an iOS app", NONE)),
    (".dist-info/WHEEL", foreign("a Python package", NONE)),
    (".nuspec", foreign("a NuGet package", NONE)),
    (".usdc", foreign("a 3D model", NONE)),
    (".usda", foreign("a 3D model", NONE)),
];

/// Tells a package (a ZIP inside) by the names of its parts.
pub(super) fn by_parts(names: &[String]) -> Option<Foreign> {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if has("document.json") && has("meta.json") {
        return Some(foreign("a Sketch document", "in Sketch: File, Export to PDF"));
    }
    let ends = |end: &str| names.iter().any(|name| name.ends_with(end) && name.matches('/').count() <= 2);
    let part = PARTS.iter().find(|(name, _)| has(name)).or_else(|| ENDS.iter().find(|(end, _)| ends(end)));
    part.map(|(_, foreign)| *foreign)
}

/// Tells a package by what its part `mimetype` says.
pub(super) fn by_mime_type(kind: &str) -> Foreign {
    let open_document = |name: &str| kind.contains(&format!("opendocument.{name}"));
    match () {
        () if kind.starts_with("application/epub") => EBOOK,
        () if open_document("text") => foreign("a text document, not a presentation", AS_PDF),
        () if open_document("spreadsheet") => foreign("a spreadsheet, not a presentation", AS_PDF),
        () if open_document("graphics") => foreign("a drawing, not a presentation", AS_PDF),
        () if kind.contains("openraster") => foreign("a layered drawing", "export it as PNG or PDF"),
        () if kind.contains("krita") => foreign("a Krita drawing", "export it as PNG"),
        () if kind.contains("adobe") || kind.contains("indesign") => {
            foreign("a document of an Adobe program", "export it as PDF")
        }
        () => OFFICE,
    }
}

/// Tells an Office Open XML package by the types of its parts.
pub(super) fn by_content_types(types: &str) -> Foreign {
    let kinds = [
        ("wordprocessingml", foreign("a Word document, not a presentation", AS_PDF)),
        ("spreadsheetml", foreign("an Excel workbook, not a presentation", AS_PDF)),
        ("ms-excel", foreign("an Excel workbook, not a presentation", AS_PDF)),
        ("visio", foreign("a Visio drawing, not a presentation", AS_PDF)),
        ("fixeddocument", foreign("an XPS document", "print it to PDF")),
        ("3dmodel", foreign("a 3D model", NONE)),
        ("appx", foreign("a Windows app", NONE)),
    ];
    let types = types.to_lowercase();
    kinds.iter().find(|(name, _)| types.contains(name)).map_or(OFFICE, |(_, foreign)| *foreign)
}

/// Tells a compound file by the name of a stream in it.
pub(super) static STREAMS: [(&str, Foreign); 6] = [
    ("WordDocument", foreign("a Word document, not a presentation", AS_PDF)),
    ("Workbook", foreign("an Excel workbook, not a presentation", AS_PDF)),
    ("VisioDocument", foreign("a Visio drawing, not a presentation", AS_PDF)),
    ("Quill", foreign("a Publisher document, not a presentation", AS_PDF)),
    ("__nameid_version1.0", foreign("an e-mail of Outlook", "save the decks attached to it as files")),
    ("Catalog", foreign("a store of thumbnails (Thumbs.db)", "nothing is to be done")),
];

/// Folders that a Mac shows as one file, by their extension.
pub(super) fn by_bundle(name: &str) -> Option<Foreign> {
    let bundles = [
        (".key", foreign("a Keynote document as a folder", "in Keynote: File, Export To, PDF")),
        (".pages", PAGES),
        (".numbers", PAGES),
        (".rtfd", foreign("a text document as a folder", AS_PDF)),
        (".app", foreign("a program", NONE)),
        (".photoslibrary", foreign("a photo library", "export the pictures of slides from it")),
    ];
    let name = name.to_lowercase();
    bundles.iter().find(|(end, _)| name.len() > end.len() && name.ends_with(end)).map(|(_, foreign)| *foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_phones_and_films_are_told_apart() {
        let file = |brands: &[&[u8]]| [[0_u8, 0, 0, 32].as_slice(), b"ftyp", &brands.concat()].concat();
        assert_eq!(by_content(&file(&[b"heic", b"\0\0\0\0", b"mif1", b"heic"])), Some(HEIC));
        assert_eq!(by_content(&file(&[b"mif1", b"\0\0\0\0", b"mif1", b"avif"])), Some(AVIF));
        assert_eq!(by_content(&file(&[b"isom", b"\0\0\x02\0", b"iso2", b"mp41"])), None);
    }

    #[test]
    fn svg_is_told_from_other_xml() {
        for text in ["<svg xmlns='x'/>", "\u{feff}<?xml version='1.0'?>\n<!-- x --><svg/>"] {
            assert_eq!(by_content(text.as_bytes()), Some(SVG), "{text}");
        }
        for text in ["<?xml version='1.0'?><note/>", "a text about <svg"] {
            assert_eq!(by_content(text.as_bytes()), None, "{text}");
        }
    }
}
