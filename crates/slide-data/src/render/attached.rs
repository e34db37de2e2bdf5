use hayro::hayro_syntax::Pdf;
use hayro::hayro_syntax::object::{Array, Dict, Object, Stream, String as PdfString};

/// Deepest level of a tree of names, and most files, that are looked at.
const MAX_DEPTH: usize = 16;
const MAX_FILES: usize = 1_000;

/// The files within a PDF.
pub(super) struct Attached<'a> {
    /// Whether the PDF is a portfolio: a cover for the files in it.
    pub(super) is_portfolio: bool,
    /// Name and content of each.
    pub(super) files: Vec<(String, Stream<'a>)>,
}

impl<'a> Attached<'a> {
    /// Finds the files that are attached to a document as a whole (ISO 32000-1, 7.11.4 and 12.3.5).
    pub(super) fn of(pdf: &'a Pdf) -> Self {
        let catalog: Option<Dict<'a>> = pdf.xref().get(pdf.xref().root_id());
        let mut files = Vec::new();
        let names = catalog.as_ref().and_then(|catalog| catalog.get::<Dict<'a>>(b"Names".as_slice()));
        if let Some(tree) = names.and_then(|names| names.get::<Dict<'a>>(b"EmbeddedFiles".as_slice())) {
            collect(&tree, 0, &mut files);
        }
        let is_portfolio = catalog.is_some_and(|catalog| catalog.contains_key(b"Collection".as_slice()));
        Self { is_portfolio: is_portfolio && !files.is_empty(), files }
    }
}

fn collect<'a>(node: &Dict<'a>, depth: usize, files: &mut Vec<(String, Stream<'a>)>) {
    if depth > MAX_DEPTH {
        return;
    }
    if let Some(kids) = node.get::<Array<'a>>(b"Kids".as_slice()) {
        for kid in kids.iter::<Dict<'a>>() {
            collect(&kid, depth + 1, files);
        }
    }
    let Some(pairs) = node.get::<Array<'a>>(b"Names".as_slice()) else { return };
    for specification in pairs.iter::<Object<'a>>().filter_map(Object::into_dict) {
        if files.len() < MAX_FILES {
            files.extend(file(&specification));
        }
    }
}

fn file<'a>(specification: &Dict<'a>) -> Option<(String, Stream<'a>)> {
    let name = ["UF", "F"].iter().find_map(|key| specification.get::<PdfString<'a>>(key.as_bytes()));
    let streams = specification.get::<Dict<'a>>(b"EF".as_slice())?;
    let stream = ["UF", "F"].iter().find_map(|key| streams.get::<Stream<'a>>(key.as_bytes()))?;
    let name = name.map_or_else(|| "attachment".to_owned(), |name| text(name.as_bytes()));
    // A name, not a path: what is written nowhere cannot lead anywhere, but records shall not look as if.
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    Some((name, stream))
}

/// A text string: UTF-16 or UTF-8 with a mark at the beginning, else Latin letters (ISO 32000-1, 7.9.2.2).
fn text(bytes: &[u8]) -> String {
    if let Some(units) = bytes.strip_prefix(&[0xfe, 0xff]) {
        let units: Vec<u16> =
            units.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        return String::from_utf16_lossy(&units);
    }
    match bytes.strip_prefix(&[0xef, 0xbb, 0xbf]) {
        Some(utf8) => String::from_utf8_lossy(utf8).into_owned(),
        None => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}
