//! From bytes to text: encodings that spreadsheets write, and files that are no text by their names.

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// The largest file of ratings that is read, in bytes.
pub(super) const MAX_BYTES: u64 = 512 << 20;
/// The largest workbook; it unpacks to many times its size.
pub(super) const MAX_WORKBOOK: usize = 32 << 20;

/// What a file holds.
pub(super) enum Content {
    /// Text, and how it was written where that is not UTF-8.
    Text(String, Option<&'static str>),
    /// An Excel workbook.
    Workbook(Vec<u8>),
}

/// A workbook is one; other archives are refused by what they are.
fn archive(bytes: Vec<u8>) -> Result<Content, String> {
    let holds = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    match () {
        () if bytes.len() > MAX_WORKBOOK => Err(format!("an archive of more than {} MB", MAX_WORKBOOK >> 20)),
        () if holds(b"xl/workbook") => Ok(Content::Workbook(bytes)),
        () if holds(b"opendocument.spreadsheet") => Err(binary("an OpenDocument spreadsheet")),
        () if holds(b"Index/Document.iwa") => Err(binary("a Numbers document")),
        () => Err("a ZIP archive: unpack it and import the file in it".to_owned()),
    }
}

/// Reads text in UTF-8, UTF-16 or Windows-1252; a file that is none is refused by what it is.
pub(super) fn decode(bytes: Vec<u8>) -> Result<Content, String> {
    if bytes.starts_with(b"PK\x03\x04") {
        return archive(bytes);
    }
    if let Some(what) = known_binary(&bytes) {
        return Err(what);
    }
    if let Some((encoding, mark)) = Encoding::for_bom(&bytes) {
        return text(encoding, &bytes[mark..]);
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(Content::Text(text, None)),
        Ok(text) => text_without_mark(text.as_bytes()),
        Err(error) => text_without_mark(error.as_bytes()),
    }
}

fn binary(what: &str) -> String {
    format!("{what}: save it as `CSV UTF-8` (File > Save as, or Export) and import that")
}

fn known_binary(bytes: &[u8]) -> Option<String> {
    type Kind = (&'static [u8], fn() -> String);
    let starts: [Kind; 7] = [
        (b"\xd0\xcf\x11\xe0", || binary("an Excel workbook of the old kind (.xls)")),
        (b"SQLite format 3", || {
            "a database: export its ratings first (Prodigy: `prodigy db-out NAME`) ".trim().to_owned()
        }),
        (b"PAR1", || "a Parquet file: export it as CSV or JSON and import that".to_owned()),
        (b"\x1f\x8b", || "a compressed file: unpack it (`gunzip`) and import what is in it".to_owned()),
        (b"%PDF", || "a PDF document, which holds no ratings to read".to_owned()),
        (b"\x89PNG", || "an image, which holds no ratings".to_owned()),
        (b"\xff\xd8\xff", || "an image, which holds no ratings".to_owned()),
    ];
    starts.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, what)| what())
}

/// Every second byte of text in UTF-16 is zero as long as it is mostly Latin.
fn text_without_mark(bytes: &[u8]) -> Result<Content, String> {
    let head = &bytes[..bytes.len().min(4096)];
    let zeros = |offset: usize| head.iter().skip(offset).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, half) = (zeros(0), zeros(1), head.len() / 2);
    match () {
        () if even == 0 && odd * 2 > half => text(UTF_16LE, bytes),
        () if odd == 0 && even * 2 > half => text(UTF_16BE, bytes),
        () => text(WINDOWS_1252, bytes),
    }
}

fn text(encoding: &'static Encoding, bytes: &[u8]) -> Result<Content, String> {
    let (text, has_errors) = encoding.decode_without_bom_handling(bytes);
    let is_text = !has_errors
        && !text.chars().any(|c| c.is_control() && !['\t', '\n', '\r', '\u{b}', '\u{c}'].contains(&c));
    if !is_text {
        return Err("not text in UTF-8, UTF-16 or Windows-1252".to_owned());
    }
    let said = (encoding != encoding_rs::UTF_8).then(|| encoding.name());
    Ok(Content::Text(text.into_owned(), said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(String, Option<&'static str>), String> {
        match decode(bytes.to_vec())? {
            Content::Text(text, encoding) => Ok((text, encoding)),
            Content::Workbook(_) => Err("workbook".to_owned()),
        }
    }

    #[test]
    fn text_is_read_as_spreadsheets_write_it() {
        let utf16: Vec<u8> = "slide\té\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let plain = |text: &str| Ok((text.to_owned(), None));
        assert_eq!(read("\u{feff}é".as_bytes()), plain("é"));
        assert_eq!(read("é".as_bytes()), plain("é"));
        assert_eq!(
            read(&[b"\xff\xfe", utf16.as_slice()].concat()),
            Ok(("slide\té\n".to_owned(), Some("UTF-16LE")))
        );
        assert_eq!(read(&utf16), Ok(("slide\té\n".to_owned(), Some("UTF-16LE"))));
        assert_eq!(read(b"caf\xe9 \x80"), Ok(("café €".to_owned(), Some("windows-1252"))));
    }

    #[test]
    fn what_is_no_text_is_named() {
        for (bytes, word) in [
            (&b"\xd0\xcf\x11\xe0..."[..], ".xls"),
            (b"PK\x03\x04 something", "unpack"),
            (b"PK\x03\x04 mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "CSV UTF-8"),
            (b"PAR1", "Parquet"),
            (b"SQLite format 3\0", "prodigy db-out"),
            (b"\x1f\x8b\x08", "gunzip"),
            (b"%PDF-1.7", "PDF"),
            (b"\xff\xfe\x00", "UTF-8"),
            (b"\x00\x01\x02\x03\xff", "UTF-8"),
        ] {
            assert!(read(bytes).unwrap_err().contains(word), "{word}: {:?}", read(bytes));
        }
    }
}
