use std::fmt::Write as _;

use hayro::hayro_syntax::Pdf;
use hayro::hayro_syntax::object::ObjectIdentifier;
use hayro::hayro_syntax::page::Page;

/// The document with the `MediaBox` in place of every `CropBox` that shows nothing: one that is empty, or that lies outside the
/// `MediaBox`. None where there is no such page.
///
/// The renderer would draw an empty page of another size. The pages' dictionaries are written anew behind the file, as an editor
/// saves a change (ISO 32000-1, 7.5.6).
pub(super) fn mended(pdf: &Pdf) -> Option<Vec<u8>> {
    let bytes: &[u8] = pdf.data().as_ref();
    let pages: Vec<(ObjectIdentifier, Vec<u8>)> = pdf.pages().iter().filter_map(rewritten).collect();
    // What is appended to an encrypted file would have to be encrypted.
    if pages.is_empty() || contains(bytes, b"/Encrypt") {
        return None;
    }
    let previous = last_startxref(bytes)?;
    let mut whole = bytes.to_vec();
    let mut table = String::from("xref\n");
    for (id, dictionary) in &pages {
        whole.push(b'\n');
        let _ = write!(table, "{} 1\n{:010} {:05} n \n", id.obj_number, whole.len(), id.gen_number);
        whole.extend(format!("{} {} obj\n", id.obj_number, id.gen_number).bytes());
        whole.extend(dictionary);
        whole.extend(b"\nendobj\n");
    }
    let start = whole.len();
    let root = pdf.xref().root_id();
    let size = pages.iter().map(|(id, _)| id.obj_number).max().unwrap_or(0).max(root.obj_number) + 1;
    let _ = write!(
        table,
        "trailer\n<< /Size {size} /Root {} {} R /Prev {previous} >>\nstartxref\n{start}\n%%EOF\n",
        root.obj_number, root.gen_number
    );
    whole.extend(table.bytes());
    Some(whole)
}

/// The dictionary of a page whose `CropBox` shows nothing, with the `MediaBox` in its place.
fn rewritten(page: &Page<'_>) -> Option<(ObjectIdentifier, Vec<u8>)> {
    let (media, seen) = (page.media_box(), page.intersected_crop_box());
    let is_empty = |width: f64, height: f64| width < 1.0 || height < 1.0;
    if is_empty(media.width(), media.height()) || !is_empty(seen.width(), seen.height()) {
        return None;
    }
    let id = page.raw().obj_id()?;
    let data = page.raw().data().trim_ascii();
    let inside = data.strip_prefix(b"<<").unwrap_or(data);
    let inside = inside.strip_suffix(b">>").unwrap_or(inside);
    let [x0, y0, x1, y1] = [media.x0, media.y0, media.x1, media.y1];
    let mut dictionary = format!("<< /CropBox [{x0} {y0} {x1} {y1}] ").into_bytes();
    // Another key of the same length, which nobody knows.
    let mut rest = inside;
    while let Some(at) = position(rest, b"/CropBox") {
        dictionary.extend(&rest[..at]);
        dictionary.extend(b"/CropOld");
        rest = &rest[at + b"/CropBox".len()..];
    }
    dictionary.extend(rest);
    dictionary.extend(b" >>");
    Some((id, dictionary))
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    position(bytes, wanted).is_some()
}

/// The number behind the last `startxref`.
fn last_startxref(bytes: &[u8]) -> Option<u64> {
    let at = bytes.windows(9).rposition(|window| window == b"startxref")?;
    let text = bytes.get(at + 9..)?.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}
