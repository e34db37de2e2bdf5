/// What a file is, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// PNG, JPEG, WebP, GIF, TIFF or BMP.
    Picture,
    /// PDF.
    Pdf,
    /// A presentation with its extension: `pptx`, `odp` or `ppt`.
    Presentation(&'static str),
    /// A ZIP archive that is no presentation.
    Zip,
    /// A presentation (or another Office document) that needs a password.
    Protected,
    /// None of these.
    Unknown,
}

/// Extensions that promise slides; other files of unknown content are passed over.
pub(crate) const EXTENSIONS: [&str; 18] = [
    "png", "jpg", "jpeg", "webp", "gif", "tif", "tiff", "bmp", "pdf", "pptx", "ppsx", "pptm", "potx", "odp",
    "otp", "ppt", "pps", "zip",
];

/// Tells the format from the first bytes (and, for presentations, from the names in the archive's directory).
pub fn sniff(bytes: &[u8]) -> FileFormat {
    let pictures: [&[u8]; 7] = [b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM", b"RIFF"];
    let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    if pictures.iter().any(|magic| bytes.starts_with(magic)) {
        return FileFormat::Picture;
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return match () {
            () if has(b"ppt/presentation.xml") => FileFormat::Presentation("pptx"),
            () if has(b"application/vnd.oasis.opendocument.presentation") => FileFormat::Presentation("odp"),
            () => FileFormat::Zip,
        };
    }
    if bytes.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        // A compound file; the names of its streams are UTF-16.
        let has_stream =
            |name: &str| has(&name.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        return match () {
            () if has_stream("PowerPoint Document") => FileFormat::Presentation("ppt"),
            () if has_stream("EncryptedPackage") => FileFormat::Protected,
            () => FileFormat::Unknown,
        };
    }
    // The header may stand anywhere in the first kilobyte (ISO 32000, implementation notes).
    if bytes[..bytes.len().min(1024)].windows(5).any(|window| window == b"%PDF-") {
        return FileFormat::Pdf;
    }
    FileFormat::Unknown
}
