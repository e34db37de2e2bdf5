//! Office Open XML presentations: their parts, and what these lead to.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::xml::{MAX_PART, attribute, tags};

const MAIN: &str = "ppt/presentation.xml";

/// An opened presentation.
pub(super) struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
}

/// Leads from one part to another.
pub(super) struct Link {
    id: String,
    /// The last word of its type, as in `slideLayout`.
    pub(super) kind: String,
    /// The name of the part.
    pub(super) target: String,
}

/// A part and its text.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) text: String,
}

impl<'a> Package<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { archive: ZipArchive::new(Cursor::new(bytes)).ok()? })
    }

    /// The text of a part.
    pub(super) fn part(&mut self, name: &str) -> Option<String> {
        let mut bytes = Vec::new();
        self.archive.by_name(name).ok()?.take(MAX_PART).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The parts that a part leads to.
    pub(super) fn links(&mut self, name: &str) -> Vec<Link> {
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

    /// The part of a kind that a part leads to.
    pub(super) fn linked(&mut self, name: &str, kind: &str) -> Option<String> {
        self.links(name).into_iter().find(|link| link.kind == kind).map(|link| link.target)
    }

    /// The slides that are shown, in order. A hidden slide has no page.
    pub(super) fn slides(&mut self) -> Vec<Part> {
        let (Some(text), links) = (self.part(MAIN), self.links(MAIN)) else { return Vec::new() };
        let mut slides = Vec::new();
        for tag in tags(&text, "sldId") {
            let link = attribute(tag, "r:id").and_then(|id| links.iter().find(|link| link.id == id));
            let Some((name, text)) = link.and_then(|link| Some((&link.target, self.part(&link.target)?)))
            else {
                continue;
            };
            let shown = tags(&text, "sld").next().and_then(|tag| attribute(tag, "show"));
            if shown.is_none_or(|shown| shown != "0") {
                slides.push(Part { name: name.clone(), text });
            }
        }
        slides
    }
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
