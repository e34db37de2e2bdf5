//! A drive as people have it: files of many formats, with what becomes of each.

use slide_data::image::{ImageFormat, RgbImage};

use super::support::{self, encoded, pdf_of_files, pdf_with, tiff, zip};

/// What becomes of a file.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// So many slides come of it.
    Slides(usize),
    /// It is set aside, with these words in the reason.
    SetAside(&'static str),
    /// It is passed over, with these words in the reason.
    PassedOver(&'static str),
}

use Fate::{PassedOver, SetAside, Slides};

pub(crate) struct DriveFile {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fate: Fate,
}

/// All files, each of another format or kind. The pictures lie in folders of their own, so that each is a deck.
pub(crate) fn files(pictures: &[RgbImage]) -> Vec<DriveFile> {
    let mut all = images(pictures);
    all.extend(documents(pictures));
    all.extend(packages(pictures));
    all.extend(foreign_images());
    all.extend(others());
    all
}

fn file(name: &'static str, bytes: impl Into<Vec<u8>>, fate: Fate) -> DriveFile {
    DriveFile { name, bytes: bytes.into(), fate }
}

fn images(pictures: &[RgbImage]) -> Vec<DriveFile> {
    let as_file = |at: usize, format| encoded(&pictures[at], format);
    let jpeg = as_file(0, ImageFormat::Jpeg);
    let film: Vec<u8> = (0..400_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    vec![
        file("png/1.png", as_file(1, ImageFormat::Png), Slides(1)),
        file("jpeg/1.jpg", jpeg.clone(), Slides(1)),
        file("motion/1.jpg", [&as_file(2, ImageFormat::Jpeg)[..], &film].concat(), Slides(1)),
        file("no end/1.jpeg", &jpeg[..jpeg.len() - 2], Slides(1)),
        file("cut/1.jpg", &jpeg[..jpeg.len() / 2], SetAside("ends early")),
        file("gif/1.gif", as_file(3, ImageFormat::Gif), Slides(1)),
        file("bmp/1.bmp", as_file(4, ImageFormat::Bmp), Slides(1)),
        file("webp/1.webp", as_file(5, ImageFormat::WebP), Slides(1)),
        file("tiff/1.tif", as_file(6, ImageFormat::Tiff), Slides(1)),
        file("scan.tiff", tiff(&pictures[..3]), Slides(3)),
        file("mislabelled/1.heic", as_file(7, ImageFormat::Png), Slides(1)),
        file("no extension/picture", as_file(8, ImageFormat::Png), Slides(1)),
        file("text.png", b"this is text".as_slice(), SetAside("neither an image")),
    ]
}

fn documents(pictures: &[RgbImage]) -> Vec<DriveFile> {
    let png = encoded(&pictures[9], ImageFormat::Png);
    let deck = support::deck(201, 2);
    let pptx = zip(&[("ppt/presentation.xml", b"<x/>")]);
    let crop = pdf_with(&[support::slide(203, 1)], "/CropBox [0 0 0 0]", "", &[]);
    vec![
        file("deck.pdf", support::deck(202, 2), Slides(2)),
        file("cropped.pdf", crop, Slides(1)),
        file("portfolio.pdf", pdf_of_files(&[("inner.pdf", &deck)], true), Slides(2)),
        file("broken.pdf", b"%PDF-1.7 nothing".as_slice(), SetAside("cannot be read")),
        file("online only.pdf", b"".as_slice(), SetAside("0 bytes")),
        file("deck.pptx", pptx.clone(), SetAside("LibreOffice")),
        file(
            "deck.key",
            zip(&[("Index/Slide-1.iwa", b"x"), ("Data/st1.png", &png)]),
            SetAside("LibreOffice"),
        ),
        file("old.key", zip(&[("index.apxl", b"x"), ("thumbs/st1.png", &png)]), SetAside("LibreOffice")),
        file(
            "deck.odp",
            zip(&[("mimetype", b"application/vnd.oasis.opendocument.presentation")]),
            SetAside("LibreOffice"),
        ),
        file("deck.ppt", compound("PowerPoint Document"), SetAside("LibreOffice")),
        file("locked.pptx", compound("EncryptedPackage"), SetAside("password")),
        file("pictures.zip", zip(&[("s/1.png", &png), ("readme.txt", b"words")]), Slides(1)),
        file("nested.zip", zip(&[("in.zip", &zip(&[("deck.pdf", &support::deck(204, 2))]))]), Slides(2)),
        file("pptx in it.zip", zip(&[("deck.pptx", &pptx)]), SetAside("LibreOffice")),
        file("phone.zip", zip(&[("IMG_1.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0")]), SetAside("HEIC")),
        file("nothing.zip", zip(&[("readme.txt", b"words")]), SetAside("holds no slides")),
    ]
}

/// Files that are a ZIP inside, with a picture that is no slide.
fn packages(pictures: &[RgbImage]) -> Vec<DriveFile> {
    let png = encoded(&pictures[10], ImageFormat::Png);
    let of = |name: &str, content: &[u8]| zip(&[(name, content), ("media/1.png", &png)]);
    vec![
        file("report.docx", of("[Content_Types].xml", b"wordprocessingml"), SetAside("Word")),
        file("plan.xlsx", of("[Content_Types].xml", b"spreadsheetml"), SetAside("Excel")),
        file("flow.vsdx", of("[Content_Types].xml", b"visio"), SetAside("Visio")),
        file("page.xps", of("[Content_Types].xml", b"fixeddocument"), SetAside("XPS")),
        file("book.epub", of("mimetype", b"application/epub+zip"), SetAside("EPUB")),
        file(
            "text.odt",
            of("mimetype", b"application/vnd.oasis.opendocument.text"),
            SetAside("text document"),
        ),
        file("letter.pages", of("Index/Document.iwa", b"x"), SetAside("Pages or Numbers")),
        file("sums.numbers", of("index.numbers", b"x"), SetAside("Pages or Numbers")),
        file(
            "design.sketch",
            zip(&[("document.json", b"{}"), ("meta.json", b"{}"), ("p.png", &png)]),
            SetAside("Sketch"),
        ),
        file("design.xd", of("mimetype", b"application/vnd.adobe.sparkler.project+dcx"), SetAside("Adobe")),
        file("paint.kra", of("mimetype", b"application/x-krita"), SetAside("Krita")),
        file("tool.jar", of("META-INF/MANIFEST.MF", b"x"), SetAside("Java")),
        file("app.apk", of("AndroidManifest.xml", b"x"), SetAside("Android")),
        file("score.mscz", of("score.xml", b"x"), SetAside("`.mscz`")),
        file("letter.doc", compound("WordDocument"), SetAside("Word")),
        file("sums.xls", compound("Workbook"), SetAside("Excel")),
        file("mail.msg", compound("__nameid_version1.0"), SetAside("Outlook")),
    ]
}

/// A compound file with one stream of this name.
fn compound(stream: &str) -> Vec<u8> {
    let name: Vec<u8> = stream.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".as_slice(), &[0; 1600], &name].concat()
}

fn foreign_images() -> Vec<DriveFile> {
    vec![
        file("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1".as_slice(), SetAside("HEIC")),
        file("photo.avif", b"\0\0\0\x1cftypavif\0\0\0\0mif1".as_slice(), SetAside("AVIF")),
        file("logo.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>".as_slice(), SetAside("SVG")),
        file("photo.jxl", b"\xff\x0a\xfa\x1f".as_slice(), SetAside("JPEG XL")),
        file("design.psd", b"8BPS\0\x01".as_slice(), SetAside("Photoshop")),
        file("figure.eps", b"%!PS-Adobe-3.0 EPSF-3.0".as_slice(), PassedOver("PostScript")),
        file("figure.wmf", b"\xd7\xcd\xc6\x9a\0\0".as_slice(), PassedOver("WMF")),
        file("scan.djvu", b"AT&TFORM\0\0".as_slice(), PassedOver("DjVu")),
        file("design.fig", b"fig-kiwi\x0f\0\0\0".as_slice(), PassedOver("Figma")),
        file("decks.rar", b"Rar!\x1a\x07\x01\0".as_slice(), PassedOver("RAR")),
        file("decks.7z", b"7z\xbc\xaf\x27\x1c\0\x04".as_slice(), PassedOver("7z")),
        file("decks.tar.gz", b"\x1f\x8b\x08\0".as_slice(), PassedOver("gzip")),
    ]
}

fn others() -> Vec<DriveFile> {
    let note = br#"{"doc_id":"1AbC-d_9","email":"jane@acme.example"}"#;
    vec![
        file(
            "deck.gslides",
            note.as_slice(),
            PassedOver("https://docs.google.com/presentation/d/1AbC-d_9/edit"),
        ),
        file("notes.gdoc", note.as_slice(), PassedOver("Google document")),
        file(".deck.key.icloud", b"bplist00".as_slice(), PassedOver("iCloud")),
        file("~$deck.pptx", b"\x04Jane".as_slice(), PassedOver("lock file")),
        file(".~lock.deck.odp#", b",jane".as_slice(), PassedOver("lock file")),
        file("deck.pdf.crdownload", b"%PDF-1.7".as_slice(), PassedOver("has not ended")),
        file("deck.zip.part", b"PK\x03\x04".as_slice(), PassedOver("has not ended")),
        file("online only.dat", b"".as_slice(), PassedOver("0 bytes")),
        file("link.url", b"[InternetShortcut]".as_slice(), PassedOver("link")),
        file(".DS_Store", b"\0\0\0\x01Bud1".as_slice(), PassedOver("operating system")),
        file("Thumbs.db", compound("Catalog"), PassedOver("operating system")),
        file("__MACOSX/._1.png", b"\0\x05\x16\x07".as_slice(), PassedOver("operating system")),
        file(".git/HEAD", b"ref".as_slice(), PassedOver("hidden folder")),
        file("bundle.key/Index.zip", b"PK".as_slice(), PassedOver("Keynote document as a folder")),
        file("notes.txt", b"words".as_slice(), PassedOver("a text")),
        file("table.csv", b"a,b".as_slice(), PassedOver("data")),
        file("page.html", b"<!doctype html>".as_slice(), PassedOver("web page")),
        file("talk.mp4", b"\0\0\0\x18ftypisom\0\0\0\0".as_slice(), PassedOver("a film")),
        file("talk.mp3", b"ID3\x03".as_slice(), PassedOver("sound")),
        file("talk.wav", b"RIFF\x24\0\0\0WAVEfmt ".as_slice(), PassedOver("sound")),
        file("Aptos.ttf", b"\0\x01\0\0".as_slice(), PassedOver("a font")),
        file("server.key", b"-----BEGIN PRIVATE KEY-----".as_slice(), PassedOver("key")),
        file("mail.eml", b"From: jane".as_slice(), PassedOver("message")),
        file("setup.exe", b"MZ\x90\0".as_slice(), PassedOver("program")),
        file("script.py", b"print(1)".as_slice(), PassedOver("program's source")),
        file("BMW.txt", b"BMW 320d, 14500 km, 2019, blue, automatic".as_slice(), PassedOver("a text")),
        file("blob", b"\0\x01\x02\xff\xfe\x80".as_slice(), PassedOver("nothing that is known")),
        file("source.toml", b"license = \"CC-BY-4.0\"".as_slice(), PassedOver("licence")),
    ]
}
