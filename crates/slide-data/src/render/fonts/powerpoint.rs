//! Old PowerPoint files: the list of fonts of the document ([MS-PPT], `FontEntityAtom`), in a compound file ([MS-CFB]).

use std::collections::BTreeSet;

use super::package::{Asked, Typefaces, is_name};

/// Ends a chain of sectors, and all that lies above is no sector.
const LAST_SECTOR: usize = 0xffff_fffa;
const FONT: u64 = 0x0fb7;
/// Records within records that are followed.
const MAX_DEPTH: usize = 16;
/// Most sectors of a file, so that a broken chain ends.
const MAX_SECTORS: usize = 1 << 22;

/// Reads the typefaces of an old PowerPoint presentation: it lists those of all slides in one place, and not all are used.
pub(in crate::render) fn powerpoint_typefaces(bytes: &[u8]) -> Typefaces {
    let Some(stream) = stream(bytes, "PowerPoint Document") else { return Typefaces::default() };
    let mut names = BTreeSet::new();
    fonts(&stream, 0, &mut names);
    if names.is_empty() {
        return Typefaces::default();
    }
    Typefaces::of(vec![Asked { inherited: names, ..Asked::default() }])
}

/// Takes the names of fonts from the records of a stream.
fn fonts(mut records: &[u8], depth: usize, names: &mut BTreeSet<String>) {
    while let Some((head, rest)) = records.split_at_checked(8) {
        let Some((content, rest)) = number(head, 4, 4).and_then(|length| rest.split_at_checked(length))
        else {
            return;
        };
        let is_container = head[0] & 0xf == 0xf;
        if is_container && depth < MAX_DEPTH {
            fonts(content, depth + 1, names);
        } else if number(head, 2, 2) == Some(FONT as usize) {
            let units = content.chunks_exact(2).take(32).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
            names.extend(Some(String::from_utf16_lossy(&units)).filter(|name| is_name(name)));
        }
        records = rest;
    }
}

/// The little-endian number of some bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    Some(bytes.get(at..at + length)?.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

/// A compound file: its bytes, the size of a sector, and which sector follows which.
struct Compound<'a> {
    bytes: &'a [u8],
    sector: usize,
    next: Vec<usize>,
}

/// The content of a stream of a compound file; of a short one nothing, which stands elsewhere.
fn stream(bytes: &[u8], wanted: &str) -> Option<Vec<u8>> {
    let file = Compound::open(bytes)?;
    let wanted: Vec<u8> = wanted.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let folder = file.chain(number(bytes, 48, 4)?);
    let entry = folder.chunks_exact(128).find(|entry| {
        let length = number(entry, 64, 2).unwrap_or_default();
        length == wanted.len() + 2 && entry.starts_with(&wanted)
    })?;
    let (start, size) = (number(entry, 116, 4)?, number(entry, 120, 4)?);
    let mut content = file.chain(start);
    content.truncate(size);
    (size >= number(bytes, 56, 4)?).then_some(content)
}

impl<'a> Compound<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let shift = number(bytes, 30, 2).filter(|shift| [9, 12].contains(shift))?;
        let mut file = Self { bytes, sector: 1 << shift, next: Vec::new() };
        // The sectors that hold the table: 109 in the head, others in a chain of their own.
        let mut tables: Vec<usize> = (0..109).filter_map(|at| number(bytes, 76 + 4 * at, 4)).collect();
        let mut more = number(bytes, 68, 4)?;
        while more < LAST_SECTOR && tables.len() < MAX_SECTORS / 128 {
            let Some(list) = file.at(more) else { break };
            tables.extend(list.chunks_exact(4).filter_map(|entry| number(entry, 0, 4)));
            more = tables.pop()?;
        }
        for table in tables.into_iter().filter(|sector| *sector < LAST_SECTOR) {
            let entries = file.at(table)?.chunks_exact(4).filter_map(|entry| number(entry, 0, 4));
            let entries: Vec<usize> = entries.collect();
            file.next.extend(entries);
        }
        Some(file)
    }

    fn at(&self, sector: usize) -> Option<&'a [u8]> {
        let start = sector.checked_add(1)?.checked_mul(self.sector)?;
        self.bytes.get(start..start + self.sector)
    }

    /// The bytes of a chain of sectors.
    fn chain(&self, first: usize) -> Vec<u8> {
        let mut content = Vec::new();
        let mut sector = first;
        // No chain is longer than the file.
        while content.len() <= self.bytes.len() {
            let Some(part) = self.at(sector) else { break };
            content.extend_from_slice(part);
            let Some(next) = self.next.get(sector) else { break };
            sector = *next;
        }
        content
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Drawn, FontBook};
    use super::*;

    fn record(kind: u16, version: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_le_bytes();
        [&[version, 0][..], &kind.to_le_bytes(), &length, content].concat()
    }

    fn font(name: &str) -> Vec<u8> {
        let mut content: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        content.resize(68, 0);
        record(FONT as u16, 0, &content)
    }

    /// A compound file with a table, a folder, and one stream whose sectors stand in reversed order.
    fn compound(content: &[u8]) -> Vec<u8> {
        let mut padded = content.to_vec();
        padded.resize(4096, 0);
        let mut head = vec![0; 512];
        for (at, value) in [(30, 9), (48, 1), (56, 4096), (68, 0xffff_fffe_u32), (76, 0)] {
            head[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        head[80..512].fill(0xff);
        let mut table = vec![0xffff_ffff_u32; 128];
        (table[0], table[1], table[2]) = (0xffff_fffd, 0xffff_fffe, 0xffff_fffe);
        (3..10).for_each(|sector| table[sector] = sector as u32 - 1);
        let mut entry = vec![0; 512];
        let name: Vec<u8> = "PowerPoint Document".encode_utf16().flat_map(u16::to_le_bytes).collect();
        entry[..name.len()].copy_from_slice(&name);
        for (at, value) in [(64, name.len() as u32 + 2), (116, 9), (120, 4096)] {
            entry[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let sectors = padded.chunks(512).rev().flatten().copied();
        let table = table.iter().flat_map(|entry| entry.to_le_bytes());
        head.into_iter().chain(table).chain(entry).chain(sectors).collect()
    }

    #[test]
    fn the_list_of_fonts_is_read_wherever_it_stands() {
        let filler = record(1, 0, &[7; 700]);
        let list = record(0x07d5, 0xf, &[font("Arial"), font("Gill Sans MT"), font("inherit")].concat());
        let file = compound(&[filler.clone(), record(0x03e8, 0xf, &[filler, list].concat())].concat());
        let typefaces = powerpoint_typefaces(&file);
        let shown = ["liberationsans", "dejavusans"].map(str::to_owned).into();
        let missing = |page: &BTreeSet<String>| {
            let drawn = Drawn { document: page, page };
            typefaces.missing(3, 9, drawn, &FontBook::default()).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(missing(&shown), ["Gill Sans MT"]);
        assert_eq!(
            missing(&["liberationsansbold".to_owned()].into()),
            [""; 0],
            "nothing stands in for it here"
        );
    }

    #[test]
    fn broken_files_ask_for_nothing() {
        let file = compound(&record(0x03e8, 0xf, &font("Arial")));
        for end in (0..file.len()).step_by(97) {
            powerpoint_typefaces(&file[..end]);
        }
        let mut circle = file;
        circle[512 + 4 * 9..512 + 4 * 10].copy_from_slice(&9_u32.to_le_bytes());
        powerpoint_typefaces(&circle);
        assert!(!powerpoint_typefaces(b"\xd0\xcf\x11\xe0").are_known(0, 1));
    }
}
