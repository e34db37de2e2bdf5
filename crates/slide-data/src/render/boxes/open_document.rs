//! `OpenDocument`: frames and shapes, whose places are those on the page.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::{Area, Boxes, Holds, TextBox, plain};
use crate::render::xml::{MAX_PART, attribute, name_of, tokens, unescaped};

/// Longest chain of styles that is followed; a document may make a circle of them.
const MAX_PARENTS: usize = 20;
/// What holds text on a page.
const SHAPES: [&str; 4] = ["draw:frame", "draw:custom-shape", "draw:rect", "draw:ellipse"];

/// What a style says of boxes (`OpenDocument` 1.3, part 3: 20.107 and 20.135).
#[derive(Debug, Default, Clone)]
struct Style {
    parent: Option<String>,
    grows: Option<bool>,
    shrinks: Option<bool>,
    is_hidden: bool,
}

/// Reads the boxes of an `OpenDocument` presentation.
pub(in crate::render) fn open_boxes(bytes: &[u8]) -> Boxes {
    let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else { return Boxes::default() };
    let mut part = |name: &str| {
        let mut bytes = Vec::new();
        archive.by_name(name).ok()?.take(MAX_PART).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (shared, content) = (part("styles.xml").unwrap_or_default(), part("content.xml").unwrap_or_default());
    let mut styles = BTreeMap::new();
    read_styles(&mut styles, &shared);
    read_styles(&mut styles, &content);
    let mut slides = Vec::new();
    for page in content.split("<draw:page ").skip(1) {
        let page = page.split("</draw:page>").next().unwrap_or(page);
        let own = page.split('>').next().and_then(|tag| attribute(&format!(" {tag}"), "draw:style-name"));
        // A hidden page is not converted.
        if own.and_then(|name| styles.get(&name)).is_none_or(|style| !style.is_hidden) {
            slides.push(of_page(page, &styles));
        }
    }
    Boxes { slides }
}

fn read_styles(styles: &mut BTreeMap<String, Style>, xml: &str) {
    let mut open: Option<String> = None;
    for (tag, _) in tokens(xml) {
        match name_of(tag) {
            "style:style" if !tag.starts_with('/') => {
                open = attribute(tag, "style:name");
                let Some(name) = &open else { continue };
                let style = styles.entry(name.clone()).or_default();
                style.parent = attribute(tag, "style:parent-style-name").or(style.parent.take());
                open = open.filter(|_| !tag.ends_with('/'));
            }
            "style:style" => open = None,
            "style:graphic-properties" | "style:drawing-page-properties" => {
                let Some(style) = open.as_ref().and_then(|name| styles.get_mut(name)) else { continue };
                let says = |key: &str, value: &str| attribute(tag, key).map(|said| said == value);
                style.grows = says("draw:auto-grow-height", "true").or(style.grows);
                style.shrinks = says("draw:fit-to-size", "shrink-to-fit").or(style.shrinks);
                style.is_hidden |= says("presentation:visibility", "hidden") == Some(true);
            }
            _ => {}
        }
    }
}

/// How a box of a style holds its text.
fn holds(styles: &BTreeMap<String, Style>, name: Option<&String>) -> Holds {
    let above = |style: &&Style| style.parent.as_ref().and_then(|parent| styles.get(parent));
    let chain = || std::iter::successors(name.and_then(|name| styles.get(name)), above).take(MAX_PARENTS);
    let grows = chain().find_map(|style| style.grows).unwrap_or(false);
    let shrinks = chain().find_map(|style| style.shrinks).unwrap_or(false);
    if grows || shrinks { Holds::All } else { Holds::Whatever }
}

fn of_page(page: &str, styles: &BTreeMap<String, Style>) -> Vec<TextBox> {
    let mut found = Vec::new();
    // The shape that is open, where its place is known.
    let mut open: Option<TextBox> = None;
    for (tag, behind) in tokens(page) {
        let (name, ends) = (name_of(tag), tag.starts_with('/'));
        if name == "presentation:notes" {
            break; // they stand behind the shapes of the page
        }
        if SHAPES.contains(&name) {
            found.extend(
                open.take().filter(|text_box| text_box.paragraphs.iter().any(|text| !text.is_empty())),
            );
            open = (!ends && !tag.ends_with('/')).then(|| of_tag(tag, styles)).flatten();
            continue;
        }
        match (name, &mut open) {
            // Rows of a table grow, and their place is not the frame's.
            ("table:table", _) => open = None,
            ("text:p" | "text:h", Some(text_box)) if !ends => text_box.paragraphs.push(String::new()),
            _ => {}
        }
        if let Some(paragraph) = open.as_mut().and_then(|text_box| text_box.paragraphs.last_mut())
            && !(ends && matches!(name, "text:p" | "text:h"))
            && name != "text:page-number"
        {
            paragraph.push_str(&plain(&unescaped(behind)));
        }
    }
    found
}

/// The box of a shape; none where it is turned or nothing is said of its place.
fn of_tag(tag: &str, styles: &BTreeMap<String, Style>) -> Option<TextBox> {
    if attribute(tag, "draw:transform").is_some() {
        return None;
    }
    let [x, y, width, height] = ["svg:x", "svg:y", "svg:width", "svg:height"].map(|key| attribute(tag, key));
    let (left, top) = (points(&x?)?, points(&y?)?);
    let area = Area { left, top, right: left + points(&width?)?, bottom: top + points(&height?)? };
    let style = attribute(tag, "presentation:style-name").or_else(|| attribute(tag, "draw:style-name"));
    Some(TextBox { area, holds: holds(styles, style.as_ref()), wraps: true, paragraphs: Vec::new() })
}

/// A length in points.
fn points(length: &str) -> Option<f64> {
    let at = length.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = length.split_at(at);
    let points = match unit {
        "cm" => 72.0 / 2.54,
        "mm" => 7.2 / 2.54,
        "in" => 72.0,
        "pt" => 1.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_with_their_places_rules_and_texts() {
        let mut styles = BTreeMap::new();
        read_styles(
            &mut styles,
            r#"<style:style style:name="base"><style:graphic-properties draw:auto-grow-height="true"/></style:style>
            <style:style style:name="gr1" style:parent-style-name="base"><style:graphic-properties draw:fill="none"/></style:style>
            <style:style style:name="circle" style:parent-style-name="circle"/>"#,
        );
        let page = r#"draw:name="1"><draw:frame draw:style-name="gr1" svg:x="1in" svg:y="2in" svg:width="2.54cm" svg:height="36pt">
            <draw:text-box><text:p>R&amp;D <text:span>Team</text:span> of 4</text:p><text:p/></draw:text-box></draw:frame>
            <draw:custom-shape draw:style-name="circle" draw:transform="rotate(1)" svg:width="1cm" svg:height="1cm"><text:p>turned</text:p></draw:custom-shape>
            <draw:frame svg:x="0cm" svg:y="0cm" svg:width="1cm" svg:height="1cm"><table:table><text:p>cell</text:p></table:table></draw:frame>
            <draw:rect draw:style-name="circle" svg:x="0cm" svg:y="0cm" svg:width="10mm" svg:height="1cm"><text:p>loose</text:p></draw:rect>
            <presentation:notes><draw:frame svg:x="0cm" svg:y="0cm" svg:width="1cm" svg:height="1cm"><text:p>note</text:p></draw:frame></presentation:notes>"#;
        let found = of_page(page, &styles);
        let area = Area { left: 72.0, top: 144.0, right: 144.0, bottom: 180.0 };
        assert_eq!((found[0].area, found[0].holds), (area, Holds::All));
        assert_eq!(found[0].paragraphs, ["rdteamof4", ""]);
        assert_eq!(
            (found[1].holds, found[1].paragraphs.clone(), found.len()),
            (Holds::Whatever, vec!["loose".to_owned()], 2)
        );
    }

    #[test]
    fn lengths_are_read_in_the_units_that_are_written() {
        for length in ["2.54cm", "25.4mm", "1in", "72pt"] {
            assert!(points(length).is_some_and(|found| (found - 72.0).abs() < 1e-9), "{length}");
        }
        assert_eq!([points("1px"), points("cm"), points("7")], [None; 3]);
    }

    #[test]
    fn documents_that_are_broken_have_no_boxes() {
        assert_eq!(open_boxes(b"PK"), Boxes::default());
        assert!(of_page("<draw:frame", &BTreeMap::new()).is_empty());
    }
}
