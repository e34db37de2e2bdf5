use std::collections::BTreeSet;
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::iwa::{Fields, Object, Objects, read};
use super::package::{Asked, Typefaces, is_name};
use crate::render::xml::{MAX_PART, attribute};

/// Longest chain of styles that is followed.
const MAX_PARENTS: usize = 30;
/// Most characters of one text that are looked at.
const MOST: usize = 50_000;
/// Most bytes of objects that are unpacked.
const MAX_OBJECTS: u64 = 512 << 20;

const DOCUMENT: u64 = 1;
const SHOW: u64 = 2;
const NODE: u64 = 4;
const SLIDES: [u64; 2] = [5, 6];
const TEXTS: [u64; 2] = [2001, 2005];
/// The kind of a text that is the notes of a slide.
const NOTE: u64 = 4;

/// Reads the typefaces of a Keynote presentation: those in which the letters of each slide are set; of files before 2013 those of
/// all styles of the document, of which not all are used.
pub(in crate::render) fn keynote_typefaces(bytes: &[u8]) -> Typefaces {
    let mut objects = Objects::new();
    if collect(bytes, 0, &mut objects).is_none() {
        return Typefaces::default();
    }
    if objects.is_empty() {
        return of_old(bytes).map(Typefaces::of).unwrap_or_default();
    }
    Typefaces::of(shown(&objects).map(|slide| of_slide(&objects, slide)).collect())
}

/// The fonts of a file before 2013, which is XML.
fn of_old(bytes: &[u8]) -> Option<Vec<Asked>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let mut part = Vec::new();
    archive.by_name("index.apxl").ok()?.take(MAX_PART).read_to_end(&mut part).ok()?;
    let text = String::from_utf8_lossy(&part);
    // <sf:fontName><sf:string sfa:string="GillSans"/></sf:fontName>
    let behind = text.split("fontName").skip(1).filter(|behind| behind.starts_with('>'));
    let name = |behind: &str| attribute(behind.split('<').nth(1)?, "sfa:string");
    let inherited: BTreeSet<String> = behind.filter_map(name).filter(|name| is_name(name)).collect();
    (!inherited.is_empty()).then(|| vec![Asked { inherited, ..Asked::default() }])
}

/// Takes the objects of a package, which may hold them in an archive of its own.
fn collect(bytes: &[u8], depth: usize, objects: &mut Objects) -> Option<()> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let mut left = MAX_OBJECTS;
    for at in 0..archive.len() {
        let file = archive.by_index(at).ok()?;
        let Ok(name) = file.name().map(std::borrow::Cow::into_owned) else { continue };
        let is_inner = depth == 0 && name.ends_with("Index.zip");
        if !is_inner && name.rsplit_once('.').is_none_or(|(_, kind)| kind != "iwa") {
            continue;
        }
        let mut part = Vec::new();
        file.take(MAX_PART.min(left)).read_to_end(&mut part).ok()?;
        left = left.saturating_sub(part.len() as u64);
        if is_inner {
            collect(&part, 1, objects)?;
        } else {
            read(&part, at, objects);
        }
    }
    Some(())
}

fn fields(objects: &Objects, id: u64) -> Option<Fields<'_>> {
    objects.get(&id).map(|object| Fields(&object.message))
}

/// The slides that are shown, in order.
fn shown(objects: &Objects) -> impl Iterator<Item = &Object> {
    let of_kind = |kind: u64| move |object: &&Object| object.kind == kind;
    let document = objects.values().find(of_kind(DOCUMENT)).map(|object| Fields(&object.message));
    let show = document.and_then(|document| fields(objects, document.reference(2)?));
    let show = show.or_else(|| objects.values().find(of_kind(SHOW)).map(|object| Fields(&object.message)));
    let nodes: Vec<u64> = show
        .and_then(|show| show.message(3))
        .map(|tree| tree.messages(2).filter_map(|node| Fields(node).varint(1)).collect())
        .unwrap_or_default();
    nodes.into_iter().filter_map(move |id| {
        let node = objects.get(&id).filter(|object| object.kind == NODE)?;
        let is_skipped = Fields(&node.message).varint(4) == Some(1);
        let slide = objects.get(&Fields(&node.message).reference(2)?)?;
        (!is_skipped && SLIDES.contains(&slide.kind)).then_some(slide)
    })
}

/// What a slide asks for: its texts stand in the file that it stands in. A style that cannot be followed is passed over.
fn of_slide(objects: &Objects, slide: &Object) -> Asked {
    let texts = objects.values().filter(|object| object.file == slide.file && TEXTS.contains(&object.kind));
    let mut asked = Asked::default();
    for text in texts.map(|object| Fields(&object.message)).filter(|text| text.varint(1) != Some(NOTE)) {
        for (paragraph, characters) in styles(text) {
            let own = characters.and_then(|style| font(objects, style));
            let font = own.or_else(|| paragraph.and_then(|style| font(objects, style)));
            asked.is_partial |= font.is_none();
            asked.named.extend(font.filter(|font| is_name(font)));
        }
    }
    asked
}

/// The styles of paragraph and characters that the letters of a text have.
fn styles(text: Fields<'_>) -> BTreeSet<(Option<u64>, Option<u64>)> {
    let letters: Vec<u16> = text
        .messages(3)
        .flat_map(|part| String::from_utf8_lossy(part).encode_utf16().collect::<Vec<_>>())
        .collect();
    let (paragraphs, characters) = (changes(text, 5), changes(text, 8));
    let at = |changes: &[(u64, Option<u64>)], place: u64| {
        let after = changes.partition_point(|(start, _)| *start <= place);
        after.checked_sub(1).and_then(|last| changes[last].1)
    };
    let is_letter =
        |unit: u16| char::from_u32(u32::from(unit)).is_none_or(|c| !c.is_whitespace() && c != '\u{fffc}');
    let places = letters.iter().take(MOST).zip(0..).filter(|(unit, _)| is_letter(**unit));
    places.map(|(_, place)| (at(&paragraphs, place), at(&characters, place))).collect()
}

/// Where the style of a text changes, and to which.
fn changes(text: Fields<'_>, table: u64) -> Vec<(u64, Option<u64>)> {
    let entries = text.message(table).into_iter().flat_map(|table| table.messages(1)).map(Fields);
    let mut changes: Vec<_> =
        entries.map(|entry| (entry.varint(1).unwrap_or_default(), entry.reference(2))).collect();
    changes.sort_by_key(|(start, _)| *start);
    changes
}

/// The font of a style, or of the nearest above it.
fn font(objects: &Objects, style: u64) -> Option<String> {
    let above = |style: &Fields<'_>| fields(objects, style.message(1)?.reference(3)?);
    let mut chain = std::iter::successors(fields(objects, style), above).take(MAX_PARENTS);
    chain
        .find_map(|style| style.message(11)?.messages(5).next())
        .map(|name| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::iwa::tests::{field, file, inner};
    use super::super::{Drawn, FontBook};
    use super::*;

    fn refers(key: u64, id: u64) -> Vec<u8> {
        inner(key, &field(1, id))
    }

    fn style(parent: Option<u64>, font: Option<&str>) -> Vec<u8> {
        let head = parent.map(|id| refers(3, id)).unwrap_or_default();
        let font = font.map(|font| inner(11, &inner(5, font.as_bytes()))).unwrap_or_default();
        [inner(1, &head), font].concat()
    }

    /// A text whose paragraphs have style 20, with a style of characters from a place on.
    fn text(kind: u64, words: &str, characters: &[(u64, u64)]) -> Vec<u8> {
        let entry = |(at, id): &(u64, u64)| inner(1, &[field(1, *at), refers(2, *id)].concat());
        let table: Vec<u8> = characters.iter().flat_map(entry).collect();
        [field(1, kind), inner(3, words.as_bytes()), inner(5, &entry(&(0, 20))), inner(8, &table)].concat()
    }

    fn deck(styles: &[(u64, u64, Vec<u8>)]) -> Vec<u8> {
        let tree: Vec<u8> = [10, 11, 12].iter().flat_map(|id| refers(2, *id)).collect();
        let mut document = vec![(1, 1, refers(2, 2)), (2, 2, inner(3, &tree))];
        for (node, slide, skipped) in [(10, 100, 0), (11, 110, 1), (12, 120, 0)] {
            document.push((node, 4, [refers(2, slide), field(4, skipped)].concat()));
        }
        document.extend(styles.iter().cloned());
        let files = [
            ("Index/Document.iwa", file(&document)),
            (
                "Index/Slide-1.iwa",
                file(&[
                    (100, 5, vec![]),
                    (101, 2001, text(3, "plain, 𝕏 bold", &[(10, 21)])),
                    (102, 2001, text(3, " \n", &[(0, 22)])),
                ]),
            ),
            ("Index/Slide-2.iwa", file(&[(110, 5, vec![]), (111, 2001, text(3, "skipped", &[(0, 22)]))])),
            (
                "Index/Slide-3.iwa",
                file(&[
                    (120, 5, vec![]),
                    (121, 2001, text(3, "plain", &[])),
                    (122, 2001, text(NOTE, "a note", &[(0, 22)])),
                ]),
            ),
        ];
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(&bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn styles() -> Vec<(u64, u64, Vec<u8>)> {
        vec![
            (19, 2022, style(None, Some("GillSans-Light"))),
            (20, 2022, style(Some(19), None)),
            (21, 2021, style(None, Some("Helvetica-Bold"))),
            (22, 2021, style(None, Some("Unused"))),
        ]
    }

    fn missing(deck: &[u8], page: usize, document: &[&str]) -> Vec<String> {
        let document = document.iter().map(|&name| name.to_owned()).collect();
        let drawn = Drawn { document: &document, page: &document };
        keynote_typefaces(deck).missing(page, 2, drawn, &FontBook::default()).into_iter().collect()
    }

    #[test]
    fn each_slide_asks_for_what_its_letters_are_set_in() {
        let deck = deck(&styles());
        assert_eq!(missing(&deck, 0, &[]), ["GillSans-Light", "Helvetica-Bold"]);
        assert_eq!(missing(&deck, 1, &[]), ["GillSans-Light"], "of the third slide: the second is skipped");
        assert_eq!(missing(&deck, 0, &["liberationsansbold"]), ["GillSans-Light"], "the same widths");
    }

    #[test]
    fn what_cannot_be_followed_is_not_known_and_the_rest_is() {
        let are_known = |deck: &[u8]| [0, 1].map(|page| keynote_typefaces(deck).are_known(page, 2));
        assert_eq!(are_known(&deck(&styles())), [true, true]);
        assert_eq!(are_known(&deck(&[])), [false, false]);
        assert_eq!(are_known(b"PK"), [false, false]);
        let round = [(20, 2022, style(Some(20), None)), (21, 2021, style(None, Some("Unheard")))];
        let round = deck(&round);
        assert_eq!(are_known(&round), [false, false]);
        assert_eq!(missing(&round, 0, &[]), ["Unheard"], "of the letters that can be followed");
    }

    #[test]
    fn objects_may_stand_in_an_archive_of_their_own() {
        let inner = deck(&styles());
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("deck/Index.zip", zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(&inner).unwrap();
        assert_eq!(keynote_typefaces(&archive.finish().unwrap().into_inner()), keynote_typefaces(&inner));
    }

    #[test]
    fn files_before_2013_name_the_fonts_of_their_styles() {
        let xml = r#"<sf:fontName><sf:string sfa:string="GillSans"/></sf:fontName><sf:fontName><sf:string sfa:string="Helvetica"/></sf:fontName>"#;
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("index.apxl", zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(xml.as_bytes()).unwrap();
        let old = archive.finish().unwrap().into_inner();
        assert_eq!(missing(&old, 0, &["liberationsans", "dejavusans"]), ["GillSans"]);
        assert!(missing(&old, 0, &["liberationsans"]).is_empty(), "nothing is drawn in another font");
    }
}
