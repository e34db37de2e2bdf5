//! Office Open XML: shapes of slides, with the places and rules that layouts and masters give to placeholders.

use std::collections::BTreeMap;

use super::{Area, Boxes, Holds, TextBox, plain};
use crate::render::package::{Package, Part};
use crate::render::xml::{attribute, local_name, number, tokens, unescaped};

/// English Metric Units of a point.
const POINT: f64 = 12_700.0;

/// Where something stands, in units of what is around it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// What a placeholder is called by: `type` and `idx`.
#[derive(Debug, Clone, PartialEq, Default)]
struct Placeholder {
    kind: String,
    index: Option<String>,
}

/// A shape of a slide, layout or master.
#[derive(Debug, Clone, Default)]
struct Frame {
    place: Option<Place>,
    is_turned: bool,
    placeholder: Option<Placeholder>,
    holds: Option<Holds>,
    wraps: Option<bool>,
    is_upright: Option<bool>,
    paragraphs: Vec<String>,
}

/// Reads the boxes of an Office Open XML presentation.
pub(in crate::render) fn boxes(bytes: &[u8]) -> Boxes {
    let Some(mut package) = Package::open(bytes) else { return Boxes::default() };
    let mut known = BTreeMap::new();
    let slides = package.slides();
    Boxes { slides: slides.iter().map(|slide| of_slide(&mut package, &mut known, slide)).collect() }
}

fn of_slide(
    package: &mut Package<'_>,
    known: &mut BTreeMap<String, Vec<Frame>>,
    slide: &Part,
) -> Vec<TextBox> {
    let mut above = Vec::new();
    let mut part = slide.name.clone();
    for kind in ["slideLayout", "slideMaster"] {
        let Some(next) = package.linked(&part, kind) else { break };
        part = next;
        if !known.contains_key(&part) {
            known.insert(part.clone(), frames(&package.part(&part).unwrap_or_default()));
        }
        above.extend(known.get(&part).cloned());
    }
    frames(&slide.text).into_iter().filter_map(|frame| frame.within(&above)).collect()
}

impl Placeholder {
    /// Whether a placeholder of a layout or master is the one that this one follows.
    fn follows(&self, above: &Self, is_master: bool) -> bool {
        let plain = |kind: &str| {
            match kind {
                "ctrTitle" => "title",
                "" | "obj" | "subTitle" => "body",
                kind => kind,
            }
            .to_owned()
        };
        if is_master {
            plain(&self.kind) == plain(&above.kind)
        } else if self.index.is_some() {
            self.index == above.index
        } else {
            above.index.is_none() && plain(&self.kind) == plain(&above.kind)
        }
    }
}

impl Frame {
    /// The box, with what the placeholders above it say where it says nothing itself.
    fn within(mut self, above: &[Vec<Self>]) -> Option<TextBox> {
        if let Some(placeholder) = &self.placeholder {
            for (level, frames) in above.iter().enumerate() {
                let follows = |frame: &&Self| {
                    frame.placeholder.as_ref().is_some_and(|above| placeholder.follows(above, level == 1))
                };
                let Some(frame) = frames.iter().find(follows) else { continue };
                self.place = self.place.or(frame.place);
                self.holds = self.holds.or(frame.holds);
                self.wraps = self.wraps.or(frame.wraps);
                self.is_upright = self.is_upright.or(frame.is_upright);
            }
        }
        let Place { x, y, width, height } = self.place?;
        let is_sound = width > 0.0 && height > 0.0 && !self.is_turned && self.is_upright.unwrap_or(true);
        self.paragraphs.retain(|text| !text.is_empty());
        (is_sound && !self.paragraphs.is_empty()).then(|| TextBox {
            area: Area {
                left: x / POINT,
                top: y / POINT,
                right: (x + width) / POINT,
                bottom: (y + height) / POINT,
            },
            holds: self.holds.unwrap_or_default(),
            wraps: self.wraps.unwrap_or(true),
            paragraphs: self.paragraphs,
        })
    }

    /// Takes what an element within the shape says.
    fn take(&mut self, tag: &str, behind: &str, is_field: bool) {
        match local_name(tag) {
            "ph" => {
                let kind = attribute(tag, "type").unwrap_or_default();
                self.placeholder = Some(Placeholder { kind, index: attribute(tag, "idx") });
            }
            "bodyPr" if !tag.starts_with('/') => {
                self.wraps = attribute(tag, "wrap").map(|wrap| wrap != "none");
                self.is_upright = attribute(tag, "vert").map(|direction| direction == "horz");
            }
            "normAutofit" | "spAutoFit" => self.holds = Some(Holds::All),
            "noAutofit" => self.holds = Some(Holds::Whatever),
            "p" if !tag.starts_with('/') => self.paragraphs.push(String::new()),
            "t" if !tag.starts_with('/') && !is_field => {
                if let Some(paragraph) = self.paragraphs.last_mut() {
                    paragraph.push_str(&plain(&unescaped(behind)));
                }
            }
            _ => {}
        }
    }
}

/// What is open around a tag.
enum Open {
    /// A group: where it stands, and the place and size of the area within.
    Group {
        outer: Option<Place>,
        inner: Option<Place>,
    },
    Shape(Frame),
    /// What has no text of its own, or text that is laid out otherwise.
    Other,
}

/// The shapes of a part, on its page.
fn frames(xml: &str) -> Vec<Frame> {
    let mut reader = FrameReader::default();
    for (tag, behind) in tokens(xml) {
        reader.read(tag, behind);
    }
    reader.found
}

#[derive(Default)]
struct FrameReader {
    open: Vec<Open>,
    found: Vec<Frame>,
    /// Within what older programs show instead.
    is_fallback: bool,
    /// Within a field, whose text is another one when it is drawn.
    is_field: bool,
}

impl FrameReader {
    fn read(&mut self, tag: &str, behind: &str) {
        let (name, ends) = (local_name(tag), tag.starts_with('/'));
        match name {
            "Fallback" => self.is_fallback = !ends,
            _ if self.is_fallback => {}
            "grpSp" | "sp" | "pic" | "graphicFrame" | "cxnSp" if ends => self.close(),
            _ if tag.ends_with('/') && ["grpSp", "sp", "pic", "graphicFrame", "cxnSp"].contains(&name) => {}
            "grpSp" => self.open.push(Open::Group { outer: None, inner: None }),
            "sp" => self.open.push(Open::Shape(Frame::default())),
            "pic" | "graphicFrame" | "cxnSp" => self.open.push(Open::Other),
            "fld" => self.is_field = !ends,
            "xfrm" | "off" | "ext" | "chOff" | "chExt" if !ends => self.place(name, tag),
            _ => {
                if let Some(Open::Shape(frame)) = self.open.last_mut() {
                    frame.take(tag, behind, self.is_field);
                }
            }
        }
    }

    fn place(&mut self, name: &str, tag: &str) {
        match (self.open.last_mut(), name) {
            (Some(Open::Shape(frame)), "xfrm") => {
                frame.is_turned = number(tag, "rot").is_some_and(|turn| turn != 0.0);
            }
            (Some(Open::Shape(frame)), "off" | "ext") => set(&mut frame.place, tag),
            (Some(Open::Group { outer, .. }), "off" | "ext") => set(outer, tag),
            (Some(Open::Group { inner, .. }), "chOff" | "chExt") => set(inner, tag),
            _ => {}
        }
    }

    fn close(&mut self) {
        let Some(Open::Shape(mut frame)) = self.open.pop() else { return };
        for around in self.open.iter().rev() {
            if let (Some(place), Open::Group { outer, inner }) = (&mut frame.place, around) {
                *place = placed(*place, *outer, *inner);
            }
        }
        self.found.push(frame);
    }
}

/// Takes the place or the size that a tag says.
fn set(place: &mut Option<Place>, tag: &str) {
    let place_or_new = || place.unwrap_or(Place { x: 0.0, y: 0.0, width: 0.0, height: 0.0 });
    if let (Some(x), Some(y)) = (number(tag, "x"), number(tag, "y")) {
        *place = Some(Place { x, y, ..place_or_new() });
    } else if let (Some(width), Some(height)) = (number(tag, "cx"), number(tag, "cy")) {
        *place = Some(Place { width, height, ..place_or_new() });
    }
}

/// A place within a group, in the units around the group.
fn placed(place: Place, outer: Option<Place>, inner: Option<Place>) -> Place {
    let (Some(outer), Some(inner)) = (outer, inner) else { return place };
    let scale = |outer: f64, inner: f64| if inner > 0.0 { outer / inner } else { 1.0 };
    let (across, down) = (scale(outer.width, inner.width), scale(outer.height, inner.height));
    Place {
        x: outer.x + (place.x - inner.x) * across,
        y: outer.y + (place.y - inner.y) * down,
        width: place.width * across,
        height: place.height * down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(inside: &str, body: &str, text: &str) -> String {
        format!("<p:sp>{inside}<p:txBody>{body}<a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>")
    }

    fn transform(x: u32, y: u32, cx: u32, cy: u32) -> String {
        format!(
            "<p:spPr><a:xfrm><a:off x=\"{x}\" y=\"{y}\"/><a:ext cx=\"{cx}\" cy=\"{cy}\"/></a:xfrm></p:spPr>"
        )
    }

    fn text_boxes(slide: &str, above: &[&str]) -> Vec<TextBox> {
        let above: Vec<Vec<Frame>> = above.iter().map(|xml| frames(xml)).collect();
        frames(slide).into_iter().filter_map(|frame| frame.within(&above)).collect()
    }

    #[test]
    fn shapes_are_read_with_their_places_rules_and_texts() {
        let place = transform(127_000, 254_000, 1_270_000, 635_000);
        let plain_box = shape(&place, "<a:bodyPr><a:spAutoFit/></a:bodyPr>", "R&amp;D: 4 Teams");
        let loose = shape(&place, "<a:bodyPr wrap=\"none\"/>", "loose");
        let picture = format!("<p:pic>{}</p:pic>", transform(1, 1, 1, 1));
        let found = text_boxes(&(plain_box + &picture + &loose), &[]);
        let area = Area { left: 10.0, top: 20.0, right: 110.0, bottom: 70.0 };
        assert_eq!(
            found[0],
            TextBox { area, holds: Holds::All, wraps: true, paragraphs: vec!["rd4teams".to_owned()] }
        );
        assert_eq!((found[1].holds, found[1].wraps, found.len()), (Holds::Whatever, false, 2));
    }

    #[test]
    fn what_is_turned_upright_or_drawn_by_older_programs_is_left_out() {
        let turned = transform(0, 0, 9, 9).replace("<a:xfrm>", "<a:xfrm rot=\"5400000\">");
        let upright = shape(&transform(0, 0, 9, 9), "<a:bodyPr vert=\"vert270\"/>", "upright");
        let older = format!("<mc:Fallback>{}</mc:Fallback>", shape(&transform(0, 0, 9, 9), "", "older"));
        let field = shape(&transform(0, 0, 9, 9), "", "")
            .replace("<a:r><a:t>", "<a:fld><a:t>7")
            .replace("</a:r>", "</a:fld>");
        assert!(text_boxes(&(shape(&turned, "", "turned") + &upright + &older + &field), &[]).is_empty());
    }

    #[test]
    fn placeholders_stand_where_layout_or_master_say() {
        let holder = |attributes: &str| format!("<p:nvPr><p:ph {attributes}/></p:nvPr>");
        let slide = shape(&holder("type=\"title\""), "<a:bodyPr/>", "title")
            + &shape(&holder("idx=\"1\""), "<a:bodyPr/>", "body");
        let layout =
            shape(&(holder("type=\"title\"") + &transform(0, 0, 12_700, 12_700)), "<a:bodyPr/>", "prompt")
                + &shape(&holder("idx=\"1\""), "<a:bodyPr/>", "prompt");
        let autofit = "<a:bodyPr><a:normAutofit/></a:bodyPr>";
        let master =
            shape(&(holder("type=\"body\"") + &transform(0, 12_700, 25_400, 12_700)), autofit, "prompt");
        let found = text_boxes(&slide, &[&layout, &master]);
        assert_eq!((found[0].area.right, found[0].holds), (1.0, Holds::Whatever));
        assert_eq!((found[1].area.top, found[1].area.right, found[1].holds), (1.0, 2.0, Holds::All));
        assert!(text_boxes(&slide, &[]).is_empty(), "nothing is known of their places");
    }

    #[test]
    fn a_group_moves_and_scales_what_is_in_it() {
        let group = "<p:grpSp><p:grpSpPr><a:xfrm><a:off x=\"12700\" y=\"0\"/><a:ext cx=\"25400\" cy=\"25400\"/>\
                     <a:chOff x=\"100\" y=\"100\"/><a:chExt cx=\"200\" cy=\"100\"/></a:xfrm></p:grpSpPr>";
        let found = text_boxes(
            &format!("{group}{}</p:grpSp>", shape(&transform(200, 100, 100, 50), "", "in it")),
            &[],
        );
        assert_eq!(found[0].area, Area { left: 2.0, top: 0.0, right: 3.0, bottom: 1.0 });
    }
}
