use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hayro::hayro_interpret::FontResolverFn;
use hayro::hayro_interpret::font::{FallbackFontQuery, FontData, FontQuery};
use hayro::hayro_interpret::hayro_cmap::CidFamily;
use hayro::hayro_syntax::Pdf;
use hayro::hayro_syntax::object::{Array, Dict, Name, Stream, String as PdfString};
use hayro::hayro_syntax::page::{Page, Resources};

use super::book::{FontBook, Script, normalised};

/// Forms within forms that are looked into, and forms of a page.
const MAX_DEPTH: usize = 6;
const MAX_FORMS: usize = 500;

/// Names of the fonts that every reader of PDF has, and of those that have the same widths.
const STANDARD: [&str; 9] = [
    "helvetica",
    "arial",
    "times",
    "timesnewroman",
    "courier",
    "couriernew",
    "symbol",
    "zapfdingbats",
    "symbolmt",
];

/// Finds what is not embedded: an installed font of that name or with the letters of the script, else what the renderer has.
pub(in crate::render) fn resolver() -> FontResolverFn {
    Arc::new(|query: &FontQuery| match query {
        FontQuery::Standard(font) => Some(font.get_font_data()),
        FontQuery::Fallback(query) => installed(FontBook::installed(), query)
            .or_else(|| Some(query.pick_standard_font().get_font_data())),
    })
}

fn installed(book: &FontBook, query: &FallbackFontQuery) -> Option<(FontData, u32)> {
    let names = [&query.post_script_name, &query.font_name, &query.font_family];
    let named = names.into_iter().flatten().find_map(|name| book.named(name));
    let script = query.character_collection.as_ref().and_then(|collection| match collection.family {
        CidFamily::AdobeJapan1 => Some(Script::Japanese),
        CidFamily::AdobeGB1 => Some(Script::SimplifiedChinese),
        CidFamily::AdobeKorea1 => Some(Script::Korean),
        CidFamily::AdobeCNS1 => Some(Script::TraditionalChinese),
        _ => None,
    });
    let (bytes, index) = named.or_else(|| book.for_script(script?))?;
    Some((bytes, index))
}

/// The fonts of a page that are neither embedded nor installed nor standard: whether their letters are lost, by name. Letters of
/// others are drawn in another shape, each in its place, for the document says the widths.
pub(in crate::render) fn not_embedded(page: &Page<'_>) -> BTreeMap<String, bool> {
    Search::default().on(page).found
}

/// The normalised names of the fonts in which a page shows text.
pub(in crate::render) fn names_shown(page: &Page<'_>) -> BTreeSet<String> {
    Search { shown: Some(BTreeSet::new()), ..Search::default() }.on(page).shown.unwrap_or_default()
}

#[derive(Default)]
struct Search {
    found: BTreeMap<String, bool>,
    /// The names of all fonts that text is shown with, where they are wanted.
    shown: Option<BTreeSet<String>>,
    forms: usize,
}

impl Search {
    fn on(mut self, page: &Page<'_>) -> Self {
        let stream = || page.page_stream().map(<[u8]>::to_vec);
        self.look(page.resources(), &stream, 0);
        self
    }

    fn look(&mut self, resources: &Resources<'_>, stream: &dyn Fn() -> Option<Vec<u8>>, depth: usize) {
        let mut content = None;
        for key in resources.fonts.keys() {
            let Some(font) = resources.fonts.get::<Dict<'_>>(&key) else { continue };
            let judged = judge(&font, FontBook::installed);
            if judged.is_none() && self.shown.is_none() {
                continue;
            }
            // A font that is listed and not used changes nothing.
            let content: &Option<Vec<u8>> = content.get_or_insert_with(stream);
            if !content.as_ref().is_some_and(|content| shows(content, &key)) {
                continue;
            }
            if let Some((name, is_lost)) = judged {
                *self.found.entry(name).or_default() |= is_lost;
            }
            if let (Some(shown), Some(name)) = (&mut self.shown, base_name(&font)) {
                shown.insert(normalised(&name));
            }
        }
        for key in resources.x_objects.keys() {
            if depth >= MAX_DEPTH || self.forms >= MAX_FORMS {
                return;
            }
            let Some(form) = resources.x_objects.get::<Stream<'_>>(&key) else { continue };
            let Some(inner) = form.dict().get::<Dict<'_>>(b"Resources".as_slice()) else { continue };
            self.forms += 1;
            let stream = || form.decoded_data().ok().map(std::borrow::Cow::into_owned);
            self.look(&Resources::new(inner), &stream, depth + 1);
        }
    }
}

/// Whether a content stream selects a font and shows text with it. Text of a scan that is there to be searched is not shown
/// (mode 3).
fn shows(content: &[u8], key: &[u8]) -> bool {
    let name = [b"/", key].concat();
    let is_selected = content.windows(name.len() + 1).any(|window| {
        window.starts_with(&name)
            && !window[name.len()].is_ascii_alphanumeric()
            && !b"+-_.".contains(&window[name.len()])
    });
    let has = |mode: &[u8]| content.windows(mode.len()).any(|window| window == mode);
    let is_hidden = has(b"3 Tr") && !has(b"0 Tr") && !has(b"1 Tr") && !has(b"2 Tr");
    is_selected && !is_hidden
}

/// The name of a font that is neither embedded nor standard nor installed, and whether its letters are lost.
fn judge(font: &Dict<'_>, book: fn() -> &'static FontBook) -> Option<(String, bool)> {
    let kind = font.get::<Name<'_>>(b"Subtype".as_slice())?;
    let kind = kind.as_str();
    if kind == "Type3" {
        return None;
    }
    let descendant = font
        .get::<Array<'_>>(b"DescendantFonts".as_slice())
        .and_then(|fonts| fonts.iter::<Dict<'_>>().next());
    let holder = descendant.as_ref().unwrap_or(font);
    let descriptor = holder.get::<Dict<'_>>(b"FontDescriptor".as_slice()).unwrap_or_default();
    if ["FontFile", "FontFile2", "FontFile3"].iter().any(|key| descriptor.contains_key(key.as_bytes())) {
        return None;
    }
    let name = base_name(font)?;
    if STANDARD.contains(&family(&name).as_str()) {
        return None;
    }
    if book().has(&name) {
        return None;
    }
    if kind != "Type0" {
        return Some((name, false));
    }
    Some((name, !script(holder).is_some_and(|script| book().covers(script))))
}

/// The script whose letters a font of several bytes a letter holds, where it says so.
fn script(holder: &Dict<'_>) -> Option<Script> {
    let system = holder.get::<Dict<'_>>(b"CIDSystemInfo".as_slice());
    let ordering = system.and_then(|system| system.get::<PdfString<'_>>(b"Ordering".as_slice()));
    match ordering.as_ref().map(PdfString::as_bytes) {
        Some(b"Japan1") => Some(Script::Japanese),
        Some(b"GB1") => Some(Script::SimplifiedChinese),
        Some(b"Korea1" | b"KR") => Some(Script::Korean),
        Some(b"CNS1") => Some(Script::TraditionalChinese),
        _ => None,
    }
}

/// `BaseFont` without the six letters of a subset.
fn base_name(font: &Dict<'_>) -> Option<String> {
    let name = font.get::<Name<'_>>(b"BaseFont".as_slice())?;
    let name = name.as_str();
    let is_subset = |prefix: &str| prefix.len() == 6 && prefix.bytes().all(|byte| byte.is_ascii_uppercase());
    let name = name.split_once('+').filter(|(prefix, _)| is_subset(prefix)).map_or(name, |(_, name)| name);
    Some(name.to_owned())
}

/// The family in a PostScript name: without style and maker.
fn family(name: &str) -> String {
    let name = name.split([',', '-']).next().unwrap_or(name);
    let name = name.strip_suffix("MT").unwrap_or(name);
    normalised(name.strip_suffix("PS").unwrap_or(name))
}

/// The normalised names of all fonts that a document embeds or names.
pub(in crate::render) fn names_used(pdf: &Pdf) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for page in pdf.pages().iter() {
        let fonts = &page.resources().fonts;
        let dictionaries = fonts.keys().filter_map(|key| fonts.get::<Dict<'_>>(&key));
        names.extend(dictionaries.filter_map(|font| Some(normalised(&base_name(&font)?))));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_fonts_are_known_by_all_their_names() {
        for name in [
            "Helvetica-Bold",
            "ArialMT",
            "Arial-BoldMT",
            "Arial,Bold",
            "TimesNewRomanPS-BoldMT",
            "TimesNewRomanPSMT",
            "CourierNew",
            "Times-Roman",
        ] {
            assert!(STANDARD.contains(&family(name).as_str()), "{name}: {}", family(name));
        }
        for name in ["ArialNarrow", "Calibri", "ArialUnicodeMS", "TimesTen-Roman"] {
            assert!(!STANDARD.contains(&family(name).as_str()), "{name}");
        }
    }

    #[test]
    fn a_font_counts_where_text_is_shown_with_it() {
        assert!(shows(b"BT /F1 12 Tf (a) Tj ET", b"F1"));
        assert!(!shows(b"BT /F12 12 Tf (a) Tj ET", b"F1"));
        assert!(!shows(b"BT 3 Tr /F1 12 Tf (a) Tj ET", b"F1"));
        assert!(shows(b"BT 3 Tr /F1 12 Tf (a) Tj 0 Tr (b) Tj ET", b"F1"));
    }
}
