use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::package::{Asked, Typefaces, has_east_asian, is_name};
use crate::render::xml::{MAX_PART, attribute, name_of, tokens};

/// Longest chain of styles that is followed; a document may make a circle of them.
const MAX_PARENTS: usize = 20;

/// What a style says of its text (`OpenDocument` 1.3, part 3: 16.27 and 19.512).
#[derive(Debug, Default, Clone)]
struct Style {
    parent: Option<String>,
    latin: Option<String>,
    asian: Option<String>,
    is_hidden: bool,
}

/// All styles of a document by name, and the names of its typefaces.
#[derive(Debug, Default)]
struct Styles {
    named: BTreeMap<String, Style>,
    /// Of what names no style.
    default: Style,
    /// Families by the names that styles call them.
    families: BTreeMap<String, String>,
}

/// Reads the typefaces of an `OpenDocument` presentation: those in which the letters of each page are set.
pub(in crate::render) fn open_typefaces(bytes: &[u8]) -> Typefaces {
    let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else { return Typefaces::default() };
    let mut part = |name: &str| {
        let mut bytes = Vec::new();
        archive.by_name(name).ok()?.take(MAX_PART).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (shared, content) = (part("styles.xml").unwrap_or_default(), part("content.xml").unwrap_or_default());
    let mut styles = Styles::default();
    styles.read(&shared);
    styles.read(&content);
    let mut slides = Vec::new();
    for page in content.split("<draw:page ").skip(1) {
        let page = page.split("</draw:page>").next().unwrap_or(page);
        let own = page.split('>').next().and_then(|tag| attribute(&format!(" {tag}"), "draw:style-name"));
        // A hidden page is not converted.
        if own.and_then(|name| styles.named.get(&name)).is_none_or(|style| !style.is_hidden) {
            slides.push(styles.of_page(page));
        }
    }
    Typefaces::of(slides)
}

impl Styles {
    fn read(&mut self, xml: &str) {
        // The style whose properties follow; none outside of all, and the default one by an empty name.
        let mut open: Option<String> = None;
        for (tag, _) in tokens(xml) {
            match name_of(tag) {
                "style:font-face" => {
                    let family = attribute(tag, "svg:font-family");
                    let family = family.map(|family| family.trim_matches(['\'', '"']).replace("&apos;", ""));
                    self.families.extend(attribute(tag, "style:name").zip(family));
                }
                "style:style" if !tag.starts_with('/') => {
                    let Some(name) = attribute(tag, "style:name") else { continue };
                    let style = self.named.entry(name.clone()).or_default();
                    style.parent = attribute(tag, "style:parent-style-name").or(style.parent.take());
                    open = (!tag.ends_with('/')).then_some(name);
                }
                "style:default-style" if !tag.starts_with('/') => {
                    let is_drawn = attribute(tag, "style:family").is_some_and(|family| family == "graphic");
                    open = is_drawn.then(String::new);
                }
                "style:style" | "style:default-style" => open = None,
                "style:text-properties" | "style:drawing-page-properties" => self.take(open.as_deref(), tag),
                _ => {}
            }
        }
    }

    /// Takes the properties of a style.
    fn take(&mut self, style: Option<&str>, tag: &str) {
        let Some(name) = style else { return };
        let style = if name.is_empty() { Some(&mut self.default) } else { self.named.get_mut(name) };
        let Some(style) = style else { return };
        let latin = attribute(tag, "style:font-name").or_else(|| attribute(tag, "fo:font-family"));
        style.latin = latin.or(style.latin.take());
        style.asian = attribute(tag, "style:font-name-asian").or(style.asian.take());
        style.is_hidden |= attribute(tag, "presentation:visibility").is_some_and(|value| value == "hidden");
    }

    /// What a style, or the nearest above it, says by `what`.
    fn find(&self, name: &str, what: fn(&Style) -> &Option<String>) -> Option<String> {
        let first = self.named.get(name)?;
        let above = |style: &&Style| style.parent.as_ref().and_then(|parent| self.named.get(parent));
        std::iter::successors(Some(first), above).take(MAX_PARENTS).find_map(|style| what(style).clone())
    }

    /// The typefaces of the letters of a page. Each letter is set in what the innermost style around it names.
    fn of_page(&self, page: &str) -> Asked {
        let mut found = BTreeSet::new();
        let mut around: Vec<(Option<String>, Option<String>)> = Vec::new();
        for (tag, text) in tokens(page) {
            if tag.starts_with('/') {
                around.pop();
            } else if !tag.ends_with('/') && !tag.starts_with(['!', '?']) {
                around.push(self.of_tag(tag));
            }
            if text.trim().is_empty() {
                continue;
            }
            let latin =
                around.iter().rev().find_map(|(latin, _)| latin.clone()).or(self.default.latin.clone());
            found.extend(latin);
            if has_east_asian(text) {
                let asian = around.iter().rev().find_map(|(_, asian)| asian.clone());
                found.extend(asian.or(self.default.asian.clone()));
            }
        }
        let family = |name: &String| self.families.get(name).unwrap_or(name).clone();
        let named = found.iter().map(family).filter(|name| is_name(name)).collect();
        Asked { named, ..Asked::default() }
    }

    fn of_tag(&self, tag: &str) -> (Option<String>, Option<String>) {
        let names = ["text:style-name", "draw:text-style-name", "presentation:style-name", "draw:style-name"];
        let named = || names.iter().filter_map(|key| attribute(tag, key));
        (
            named().find_map(|name| self.find(&name, |style| &style.latin)),
            named().find_map(|name| self.find(&name, |style| &style.asian)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fonts::{Drawn, FontBook};
    use std::io::Write;

    const NOTHING: Drawn<'static> = Drawn { document: &BTreeSet::new(), page: &BTreeSet::new() };

    fn package(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in parts {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    const STYLES: &str = r#"<style:font-face style:name="F1" svg:font-family="'DM Sans'"/>
<style:default-style style:family="graphic"><style:text-properties style:font-name="Fallback" style:font-name-asian="Yu Gothic"/></style:default-style>
<style:default-style style:family="table"><style:text-properties style:font-name="Unused"/></style:default-style>
<style:style style:name="base" style:family="presentation"><style:text-properties style:font-name="Aptos"/></style:style>
<style:style style:name="outline" style:parent-style-name="base" style:family="presentation"/>
<style:style style:name="circle" style:parent-style-name="circle"/>"#;

    const CONTENT: &str = r#"<office:automatic-styles>
<style:style style:name="T1" style:family="text"><style:text-properties style:font-name="F1"/></style:style>
<style:style style:name="P1" style:family="paragraph"><style:paragraph-properties/></style:style>
<style:style style:name="dp2"><style:drawing-page-properties presentation:visibility="hidden"/></style:style>
</office:automatic-styles><office:presentation>
<draw:page draw:name="1"><draw:frame presentation:style-name="outline"><draw:text-box><text:p text:style-name="P1"><text:span text:style-name="T1">All of it is set in one.</text:span></text:p></draw:text-box></draw:frame></draw:page>
<draw:page draw:name="2"><draw:frame presentation:style-name="outline"><text:p text:style-name="P1">Theme <text:span text:style-name="T1">own</text:span></text:p></draw:frame></draw:page>
<draw:page draw:name="3" draw:style-name="dp2"><text:p text:style-name="T1">hidden</text:p></draw:page>
<draw:page draw:name="4"><draw:custom-shape draw:style-name="circle"><text:p>資金 round</text:p></draw:custom-shape><draw:frame presentation:style-name="base"><text:p/></draw:frame></draw:page>
</office:presentation>"#;

    fn missing(page: usize) -> Vec<String> {
        let deck = package(&[("styles.xml", STYLES), ("content.xml", CONTENT)]);
        let typefaces = open_typefaces(&deck);
        assert!(typefaces.are_known(0, 1));
        typefaces.missing(page, 3, NOTHING, &FontBook::default()).into_iter().collect()
    }

    #[test]
    fn each_page_asks_for_what_its_letters_are_set_in() {
        assert_eq!(missing(0), ["DM Sans"], "the shape names another font, and no letter is set in it");
        assert_eq!(missing(1), ["Aptos", "DM Sans"]);
        assert_eq!(missing(2), ["Fallback", "Yu Gothic"], "the hidden page is none");
    }

    #[test]
    fn documents_that_are_broken_ask_for_nothing() {
        assert_eq!(open_typefaces(b"PK"), Typefaces::default());
        for content in ["", "<", "<draw:page", "</a></b>", "<style:style style:name=\"a\""] {
            let deck = package(&[("content.xml", content)]);
            assert!(open_typefaces(&deck).missing_of_all().is_empty(), "{content}");
        }
    }

    impl Typefaces {
        fn missing_of_all(&self) -> BTreeSet<String> {
            self.missing(usize::MAX, usize::MAX, NOTHING, &FontBook::default())
        }
    }
}
