use std::collections::{BTreeMap, BTreeSet};

use super::book::{FontBook, normalised};
use crate::render::package::{Package, Part};
use crate::render::xml::{attribute, local_name, tags, tokens};

/// Fonts whose letters have the same widths, so that converters take one in the place of another and lines break as before.
const SAME_WIDTHS: [&[&str]; 6] = [
    &["calibri", "carlito"],
    &["cambria", "caladea"],
    &["arial", "helvetica", "liberationsans", "arimo", "nimbussans"],
    &["timesnewroman", "times", "liberationserif", "tinos", "nimbusroman"],
    &["couriernew", "courier", "liberationmono", "cousine", "nimbusmonops"],
    &["georgia", "gelasio"],
];

/// Words that stand in the place of a name where text came from a web page.
const NO_NAMES: [&str; 7] =
    ["inherit", "initial", "serif", "sansserif", "monospace", "systemui", "applesystem"];

/// Fonts that converters take symbols from, whatever a text is set in.
const SYMBOLS: [&str; 5] = ["opensymbol", "symbol", "wingdings", "emoji", "zapfdingbats"];

/// The typefaces that the letters of a slide ask for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Named where the letters stand.
    pub(super) named: BTreeSet<String>,
    /// Of layout, master and theme, where letters say nothing themselves: some of these are asked for.
    pub(super) inherited: BTreeSet<String>,
    /// Whether there are letters of which nobody can tell what they ask for.
    pub(super) is_partial: bool,
}

/// The typefaces that the slides of a presentation ask for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::render) struct Typefaces {
    /// Of each slide that is shown, in order.
    slides: Vec<Asked>,
}

/// The names of fonts in a converted document, normalised.
#[derive(Debug, Clone, Copy)]
pub(in crate::render) struct Drawn<'a> {
    /// Of all fonts that the document has.
    pub(in crate::render) document: &'a BTreeSet<String>,
    /// Of those in which the page shows letters.
    pub(in crate::render) page: &'a BTreeSet<String>,
}

impl Typefaces {
    /// Of the slides that are shown, in order.
    pub(super) fn of(slides: Vec<Asked>) -> Self {
        Self { slides }
    }

    /// Whether all letters of a page (from 0) of `pages` say what they ask for. Where pages and slides do not match in number,
    /// those of all slides must.
    pub(in crate::render) fn are_known(&self, page: usize, pages: usize) -> bool {
        let asked = self.of_page(page, pages);
        !asked.is_empty() && asked.iter().all(|asked| !asked.is_partial)
    }

    /// What a page may ask for.
    fn of_page(&self, page: usize, pages: usize) -> &[Asked] {
        if self.slides.len() == pages { &self.slides[page..=page] } else { &self.slides }
    }

    /// The typefaces of a page (from 0) of `pages` that are not there: neither installed, nor among the fonts that the converted
    /// document has, nor replaced by one of the same widths. Those that letters may take from layout, master or theme count where
    /// the page shows letters in a font that nobody asked for.
    ///
    /// Where pages and slides do not match in number, each page is taken to ask for all.
    pub(in crate::render) fn missing(
        &self,
        page: usize,
        pages: usize,
        drawn: Drawn<'_>,
        book: &FontBook,
    ) -> BTreeSet<String> {
        let asked = self.of_page(page, pages);
        let named = asked.iter().flat_map(|asked| &asked.named);
        let inherited = asked.iter().flat_map(|asked| &asked.inherited);
        let is_there = |typeface: &&String| {
            names(typeface)
                .any(|name| drawn.document.iter().any(|font| is_of(font, &name)) || book.has(&name))
        };
        let is_asked = |font: &String| {
            named
                .clone()
                .chain(inherited.clone())
                .any(|typeface| names(typeface).any(|name| is_of(font, &name)))
        };
        let is_symbol = |font: &String| SYMBOLS.iter().any(|symbols| font.contains(symbols));
        let has_stranger = drawn.page.iter().any(|font| !is_symbol(font) && !is_asked(font));
        let perhaps = inherited.clone().filter(|_| has_stranger);
        named.clone().chain(perhaps).filter(|typeface| !is_there(typeface)).cloned().collect()
    }
}

/// The normalised name of a typeface and those of fonts of the same widths. A `PostScript` name has the family before its style.
fn names(typeface: &str) -> impl Iterator<Item = String> {
    let name = normalised(typeface);
    let family = typeface.split_once('-').filter(|(_, style)| is_style(&normalised(style)));
    let family = family.map_or_else(|| name.clone(), |(family, _)| normalised(family));
    let same = SAME_WIDTHS.iter().find(|same| same.contains(&family.as_str())).copied().unwrap_or_default();
    std::iter::once(name).chain(same.iter().map(|&name| name.to_owned()))
}

/// Whether a font is of a family, in whatever style.
fn is_of(font: &str, family: &str) -> bool {
    font.strip_prefix(family).is_some_and(is_style)
}

/// Whether a text names a typeface.
pub(super) fn is_name(typeface: &str) -> bool {
    !typeface.is_empty() && !typeface.starts_with('+') && !NO_NAMES.contains(&normalised(typeface).as_str())
}

/// Whether the rest of a font's name tells its style alone.
fn is_style(mut rest: &str) -> bool {
    const STYLES: [&str; 20] = [
        "regular", "bold", "italic", "oblique", "light", "medium", "semi", "demi", "extra", "ultra", "black",
        "heavy", "thin", "book", "roman", "normal", "mt", "ps", "variable", "vf",
    ];
    while let Some(next) = STYLES.iter().find_map(|style| rest.strip_prefix(style)) {
        rest = next;
    }
    rest.is_empty()
}

/// Reads the typefaces of an Office Open XML presentation.
pub(in crate::render) fn typefaces(bytes: &[u8]) -> Typefaces {
    let Some(mut package) = Package::open(bytes) else { return Typefaces::default() };
    // Typefaces of layouts, masters and themes by the name of the part, for many slides share them.
    let mut above = BTreeMap::new();
    let slides = package.slides();
    Typefaces::of(slides.iter().map(|slide| of_slide(&mut package, &mut above, slide)).collect())
}

fn of_slide(
    package: &mut Package<'_>,
    above: &mut BTreeMap<(String, bool), BTreeSet<String>>,
    slide: &Part,
) -> Asked {
    let letters = Letters::of(&slide.text);
    let mut inherited = BTreeSet::new();
    let mut part = slide.name.clone();
    for kind in ["slideLayout", "slideMaster", "theme"] {
        if !letters.some_inherit {
            break;
        }
        let Some(next) = package.linked(&part, kind) else { break };
        part = next;
        let key = (part.clone(), letters.are_asian);
        if !above.contains_key(&key) {
            let text = package.part(&part).unwrap_or_default();
            let text = if kind == "theme" { fonts_of_theme(&text) } else { &text };
            above.insert(key.clone(), explicit(text, letters.are_asian));
        }
        inherited.extend(above.get(&key).into_iter().flatten().cloned());
    }
    Asked { named: letters.named, inherited, is_partial: false }
}

/// What the letters of a slide are set in.
#[derive(Default)]
struct Letters {
    named: BTreeSet<String>,
    /// Whether some name no typeface themselves.
    some_inherit: bool,
    /// Whether some are of East Asia.
    are_asian: bool,
}

impl Letters {
    fn of(slide: &str) -> Self {
        let mut letters = Self::default();
        // The typefaces of the run that is open, for letters of other scripts and for those of East Asia, and its text.
        let mut run: Option<([Option<String>; 2], String)> = None;
        for (tag, behind) in tokens(slide) {
            match (local_name(tag), &mut run) {
                ("r" | "fld", _) if !tag.starts_with('/') => run = Some(([None, None], String::new())),
                ("r" | "fld", Some(_)) => letters.take(run.take()),
                ("latin", Some(([latin, _], _))) => *latin = attribute(tag, "typeface"),
                ("ea", Some(([_, asian], _))) => *asian = attribute(tag, "typeface"),
                ("t", Some((_, text))) if !tag.starts_with('/') => text.push_str(behind),
                _ => {}
            }
        }
        letters
    }

    fn take(&mut self, run: Option<([Option<String>; 2], String)>) {
        let Some(([latin, asian], text)) = run else { return };
        let has_asian = has_east_asian(&text);
        let has_others = text.chars().any(|c| !c.is_whitespace() && !is_east_asian(c));
        self.are_asian |= has_asian;
        for (typeface, is_used) in [(latin, has_others), (asian, has_asian)] {
            match typeface.filter(|typeface| is_name(typeface)) {
                Some(typeface) if is_used => drop(self.named.insert(typeface)),
                None => self.some_inherit |= is_used,
                Some(_) => {}
            }
        }
    }
}

fn is_east_asian(c: char) -> bool {
    ('\u{2e80}'..='\u{9fff}').contains(&c) || ('\u{ac00}'..='\u{d7af}').contains(&c)
}

/// Whether a text has letters of East Asia.
pub(super) fn has_east_asian(text: &str) -> bool {
    text.chars().any(is_east_asian)
}

/// The typefaces that a part names for letters, and for those of East Asia where there are any.
fn explicit(text: &str, are_asian: bool) -> BTreeSet<String> {
    let kinds: &[&str] = if are_asian { &["latin", "ea"] } else { &["latin"] };
    let names = kinds.iter().flat_map(|kind| tags(text, kind)).filter_map(|tag| attribute(tag, "typeface"));
    names.filter(|name| is_name(name)).collect()
}

/// What a theme says of the fonts of headings and text.
fn fonts_of_theme(text: &str) -> &str {
    text.split_once("fontScheme").map_or("", |(_, rest)| rest.split("</a:fontScheme").next().unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    fn package(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in parts {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    const RUN: &str = "<a:r><a:rPr lang=\"en\"/><a:t>text</a:t></a:r>";

    /// Three slides in the order 2, 3, 1, of which the third part is hidden.
    fn deck() -> Vec<u8> {
        let link = |id: &str, kind: &str, target: &str| {
            format!("<Relationship Id=\"{id}\" Type=\"http://x/{kind}\" Target=\"{target}\"/>")
        };
        let ids = "<p:sldIdLst><p:sldId id=\"256\" r:id=\"rId2\"/><p:sldId id=\"257\" r:id=\"rId3\"/><p:sldId id=\"258\" r:id=\"rId1\"/></p:sldIdLst>";
        let slides: Vec<String> =
            (1..=3).map(|at| link(&format!("rId{at}"), "slide", &format!("slides/slide{at}.xml"))).collect();
        let to_layout = link("rId1", "slideLayout", "../slideLayouts/slideLayout1.xml");
        let own = "<p:sld><a:r><a:rPr><a:latin typeface=\"DM Sans\" pitchFamily=\"2\"/></a:rPr><a:t>x</a:t></a:r></p:sld>";
        let theme = "<a:fontScheme name=\"x\"><a:majorFont><a:latin typeface=\"Aptos Display\"/><a:ea typeface=\"\"/><a:font script=\"Jpan\" typeface=\"Yu Gothic\"/></a:majorFont><a:minorFont><a:latin typeface=\"Aptos\"/></a:minorFont></a:fontScheme>";
        package(&[
            ("ppt/presentation.xml", ids),
            ("ppt/_rels/presentation.xml.rels", &slides.concat()),
            ("ppt/slides/slide1.xml", &format!("<p:sld>{RUN}</p:sld>")),
            ("ppt/slides/slide2.xml", own),
            ("ppt/slides/slide3.xml", &format!("<p:sld show=\"0\">{RUN}</p:sld>")),
            ("ppt/slides/_rels/slide1.xml.rels", &to_layout),
            ("ppt/slides/_rels/slide2.xml.rels", &to_layout),
            ("ppt/slideLayouts/slideLayout1.xml", "<p:sldLayout/>"),
            (
                "ppt/slideLayouts/_rels/slideLayout1.xml.rels",
                &link("rId1", "slideMaster", "../slideMasters/slideMaster1.xml"),
            ),
            ("ppt/slideMasters/slideMaster1.xml", "<p:sldMaster/>"),
            ("ppt/slideMasters/_rels/slideMaster1.xml.rels", &link("rId9", "theme", "/ppt/theme/theme1.xml")),
            ("ppt/theme/theme1.xml", theme),
        ])
    }

    fn missing(page: usize, pages: usize, document: &[&str], shown: &[&str]) -> Vec<String> {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let (document, shown) = (set(&[document, shown].concat()), set(shown));
        let drawn = Drawn { document: &document, page: &shown };
        typefaces(&deck()).missing(page, pages, drawn, &FontBook::default()).into_iter().collect()
    }

    #[test]
    fn each_slide_asks_for_what_its_text_is_set_in() {
        assert_eq!(missing(0, 2, &[], &["dejavusans"]), ["DM Sans"]);
        assert_eq!(missing(1, 2, &[], &["dejavusans"]), ["Aptos", "Aptos Display"]);
        assert_eq!(
            missing(0, 7, &[], &["dejavusans"]),
            ["Aptos", "Aptos Display", "DM Sans"],
            "pages that cannot be told apart"
        );
    }

    #[test]
    fn a_font_that_the_converted_document_has_is_not_missing() {
        assert_eq!(missing(0, 2, &["dmsansregular"], &["dejavusans"]), [""; 0]);
        assert_eq!(missing(1, 2, &["carlito", "aptosdisplay"], &["dejavusans"]), ["Aptos"]);
    }

    #[test]
    fn what_a_theme_names_is_missing_where_letters_are_drawn_in_what_nobody_asked_for() {
        assert_eq!(missing(1, 2, &[], &["aptosdisplaybold"]), [""; 0], "the page has headings alone");
        assert_eq!(missing(1, 2, &[], &["aptosdisplay", "opensymbol"]), [""; 0], "and bullets");
        assert_eq!(missing(1, 2, &[], &["aptosdisplay", "dejavusans"]), ["Aptos"]);
    }

    #[test]
    fn a_font_of_the_same_widths_counts() {
        let named = ["Calibri", "Arial", "Cambria", "Liberation Sans", "Helvetica-Bold", "Calibri Light"];
        let asked = Asked { named: named.map(str::to_owned).into(), ..Asked::default() };
        let typefaces = Typefaces::of(vec![asked]);
        let used = ["carlitobold", "liberationsans"].map(str::to_owned).into();
        let drawn = Drawn { document: &used, page: &used };
        let missing = typefaces.missing(0, 1, drawn, &FontBook::default());
        assert_eq!(missing.into_iter().collect::<Vec<_>>(), ["Calibri Light", "Cambria"]);
    }

    #[test]
    fn fonts_for_scripts_that_no_letter_is_of_are_not_asked_for() {
        let theme =
            r#"<a:fontScheme><a:latin typeface="Calibri"/><a:ea typeface="新細明體"/></a:fontScheme>"#;
        assert_eq!(explicit(fonts_of_theme(theme), false).into_iter().collect::<Vec<_>>(), ["Calibri"]);
        let run =
            |properties: &str, text: &str| format!("<a:r><a:rPr>{properties}</a:rPr><a:t>{text}</a:t></a:r>");
        let fonts = r#"<a:latin typeface="Lato"/><a:ea typeface="SimSun"/>"#;
        let letters = Letters::of(&run(fonts, "plain"));
        assert_eq!((letters.named.len(), letters.some_inherit, letters.are_asian), (1, false, false));
        let letters = Letters::of(&run(fonts, "資金"));
        assert_eq!(letters.named.into_iter().collect::<Vec<_>>(), ["SimSun"]);
        let letters = Letters::of(&run(r#"<a:latin typeface="inherit"/>"#, "資金 round"));
        assert!(letters.named.is_empty() && letters.some_inherit && letters.are_asian);
        let empty = run(fonts, " ") + r#"<a:endParaRPr><a:latin typeface="Aptos"/></a:endParaRPr>"#;
        assert!(Letters::of(&empty).named.is_empty(), "nothing is set in them");
    }

    #[test]
    fn packages_that_are_broken_ask_for_nothing() {
        assert_eq!(typefaces(b"PK"), Typefaces::default());
        assert_eq!(
            typefaces(&package(&[("ppt/presentation.xml", "<p:sldId r:id=\"rId1\"/>")])),
            Typefaces::default()
        );
    }
}
