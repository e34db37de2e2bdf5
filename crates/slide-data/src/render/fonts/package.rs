use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::book::{FontBook, normalised};

/// Largest part that is looked at, in bytes.
pub(super) const MAX_PART: u64 = 32 << 20;

/// Fonts with the same widths as others, which converters take in their place.
const SAME_WIDTHS: [(&str, &[&str]); 8] = [
    ("calibri", &["carlito"]),
    ("cambria", &["caladea"]),
    ("arial", &["liberationsans", "arimo", "helvetica"]),
    ("helvetica", &["liberationsans", "arimo", "arial", "nimbussans"]),
    ("timesnewroman", &["liberationserif", "tinos"]),
    ("couriernew", &["liberationmono", "cousine"]),
    ("georgia", &["gelasio"]),
    ("arialnarrow", &["liberationsansnarrow"]),
];

/// The typefaces that the slides of a presentation ask for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::render) struct Typefaces {
    /// Of each slide that is shown, in order.
    slides: Vec<BTreeSet<String>>,
}

impl Typefaces {
    /// Of the slides that are shown, in order.
    pub(super) fn of(slides: Vec<BTreeSet<String>>) -> Self {
        Self { slides }
    }

    /// Whether there is something to compare with.
    pub(in crate::render) fn are_known(&self) -> bool {
        !self.slides.is_empty()
    }

    /// The typefaces of a page (from 0) of `pages` that are not there: neither installed, nor among the fonts that the converted
    /// document has (`used`, normalised), nor replaced by one of the same widths.
    ///
    /// Where pages and slides do not match in number, each page is taken to ask for all.
    pub(in crate::render) fn missing(
        &self,
        page: usize,
        pages: usize,
        used: &BTreeSet<String>,
        book: &FontBook,
    ) -> BTreeSet<String> {
        let all = || self.slides.iter().flatten().cloned().collect::<BTreeSet<_>>();
        let asked = if self.slides.len() == pages { self.slides[page].clone() } else { all() };
        let is_used = |name: &str| used.iter().any(|used| used.strip_prefix(name).is_some_and(is_style));
        let is_there = |typeface: &String| {
            let name = normalised(typeface);
            let same = SAME_WIDTHS.iter().find(|(font, _)| *font == name).map_or(&[][..], |(_, same)| *same);
            is_used(&name) || book.has(&name) || same.iter().any(|same| is_used(same) || book.has(same))
        };
        asked.into_iter().filter(|typeface| !is_there(typeface)).collect()
    }
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

/// Reads the typefaces of an Office Open XML presentation: those that a slide, its layout and its master name, and those of the theme
/// where text takes them.
pub(in crate::render) fn typefaces(bytes: &[u8]) -> Typefaces {
    let Ok(archive) = ZipArchive::new(Cursor::new(bytes)) else { return Typefaces::default() };
    let mut package = Package { archive, named: BTreeMap::new() };
    let main = "ppt/presentation.xml";
    let (Some(text), links) = (package.part(main), package.links(main)) else { return Typefaces::default() };
    let mut slides = Vec::new();
    for tag in tags(&text, "sldId") {
        let target = attribute(tag, "r:id").and_then(|id| links.iter().find(|link| link.id == id));
        let Some(slide) =
            target.and_then(|link| package.part(&link.target).map(|text| (link.target.clone(), text)))
        else {
            continue;
        };
        // A hidden slide has no page.
        if tags(&slide.1, "sld").next().and_then(|tag| attribute(tag, "show")).is_some_and(|show| show == "0")
        {
            continue;
        }
        slides.push(package.slide(&slide.0, &slide.1));
    }
    Typefaces { slides }
}

struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// Typefaces of layouts, masters and themes by the name of the part, for many slides share them.
    named: BTreeMap<String, BTreeSet<String>>,
}

struct Link {
    id: String,
    kind: String,
    target: String,
}

impl Package<'_> {
    fn part(&mut self, name: &str) -> Option<String> {
        let mut bytes = Vec::new();
        self.archive.by_name(name).ok()?.take(MAX_PART).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The parts that a part leads to.
    fn links(&mut self, name: &str) -> Vec<Link> {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let Some(text) = self.part(&format!("{folder}/_rels/{file}.rels")) else { return Vec::new() };
        let link = |tag: &str| {
            let target = attribute(tag, "Target")?;
            let kind = attribute(tag, "Type")?;
            let kind = kind.rsplit('/').next()?.to_owned();
            Some(Link { id: attribute(tag, "Id")?, kind, target: resolved(folder, &target) })
        };
        tags(&text, "Relationship").filter_map(link).collect()
    }

    fn slide(&mut self, name: &str, text: &str) -> BTreeSet<String> {
        let mut found = explicit(text);
        // Text that names a typeface for each run takes nothing from layout, master and theme.
        if !takes_theme(text) {
            return found;
        }
        let mut part = name.to_owned();
        for kind in ["slideLayout", "slideMaster", "theme"] {
            let Some(next) = self.links(&part).into_iter().find(|link| link.kind == kind) else { break };
            part = next.target;
            if !self.named.contains_key(&part) {
                let text = self.part(&part).unwrap_or_default();
                let names = if kind == "theme" { of_theme(&text) } else { explicit(&text) };
                self.named.insert(part.clone(), names);
            }
            found.extend(self.named.get(&part).into_iter().flatten().cloned());
        }
        found
    }
}

/// Whether some text of a slide names no typeface itself.
fn takes_theme(text: &str) -> bool {
    let runs = tags(text, "r").count() + tags(text, "fld").count();
    runs > tags(text, "latin")
        .filter(|tag| attribute(tag, "typeface").is_some_and(|name| !name.starts_with('+')))
        .count()
}

/// Whether a text has letters of East Asia.
pub(super) fn has_east_asian(text: &str) -> bool {
    text.chars().any(|c| ('\u{2e80}'..='\u{9fff}').contains(&c) || ('\u{ac00}'..='\u{d7af}').contains(&c))
}

/// The typefaces that a part names for letters; those for East Asian scripts where it has such letters.
fn explicit(text: &str) -> BTreeSet<String> {
    let kinds: &[&str] = if has_east_asian(text) { &["latin", "ea"] } else { &["latin"] };
    let names = kinds.iter().flat_map(|kind| tags(text, kind)).filter_map(|tag| attribute(tag, "typeface"));
    names.filter(|name| !name.is_empty() && !name.starts_with('+')).collect()
}

/// The typefaces of a theme's headings and text.
fn of_theme(text: &str) -> BTreeSet<String> {
    let fonts = text
        .split_once("fontScheme")
        .map_or("", |(_, rest)| rest.split("</a:fontScheme").next().unwrap_or(rest));
    explicit(fonts)
}

/// The insides of the tags of a local name, whatever their prefix.
fn tags<'a>(xml: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    xml.split('<').skip(1).filter_map(move |tag| {
        let inside = tag.split('>').next()?;
        let end = inside.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(inside.len());
        let (tag, rest) = inside.split_at(end);
        (tag.rsplit(':').next()? == name).then_some(rest)
    })
}

pub(super) fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut from = 0;
    while let Some(found) = tag[from..].find(name) {
        let at = from + found;
        from = at + name.len();
        let is_whole = tag[..at].ends_with(char::is_whitespace);
        let Some(value) = tag[from..].trim_start().strip_prefix('=').map(str::trim_start) else { continue };
        let quote = value.chars().next()?;
        if is_whole && (quote == '"' || quote == '\'') {
            return value[1..].split(quote).next().map(|value| value.replace("&amp;", "&"));
        }
    }
    None
}

/// The name of a part that is named from within a folder.
fn resolved(folder: &str, target: &str) -> String {
    if let Some(whole) = target.strip_prefix('/') {
        return whole.to_owned();
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

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

    fn missing(page: usize, pages: usize, used: &[&str]) -> Vec<String> {
        let used = used.iter().map(|&name| name.to_owned()).collect();
        typefaces(&deck()).missing(page, pages, &used, &FontBook::default()).into_iter().collect()
    }

    #[test]
    fn each_slide_asks_for_what_its_text_is_set_in() {
        assert_eq!(missing(0, 2, &[]), ["DM Sans"]);
        assert_eq!(missing(1, 2, &[]), ["Aptos", "Aptos Display"]);
        assert_eq!(
            missing(0, 7, &[]),
            ["Aptos", "Aptos Display", "DM Sans"],
            "pages that cannot be told apart"
        );
    }

    #[test]
    fn a_font_that_the_converted_document_has_is_not_missing() {
        assert_eq!(missing(0, 2, &["dmsansregular"]), [""; 0]);
        assert_eq!(missing(1, 2, &["carlito", "aptosdisplay"]), ["Aptos"]);
    }

    #[test]
    fn a_font_of_the_same_widths_counts() {
        let typefaces = Typefaces { slides: vec![["Calibri", "Arial", "Cambria"].map(str::to_owned).into()] };
        let used = ["carlitobold", "liberationsans"].map(str::to_owned).into();
        let missing = typefaces.missing(0, 1, &used, &FontBook::default());
        assert_eq!(missing.into_iter().collect::<Vec<_>>(), ["Cambria"]);
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
