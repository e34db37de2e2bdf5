//! The pages of a TIFF file.

use std::collections::BTreeSet;

/// Field that says what a page is: 1 a reduced copy of another, 4 a mask (TIFF 6.0, `NewSubfileType`).
const NEW_SUBFILE_TYPE: u16 = 254;

/// Where the directories of a file's pages lie; empty for what is no TIFF. Thumbnails and masks are no pages; at most `limit` are
/// listed.
pub(super) fn pages(bytes: &[u8], limit: usize) -> Vec<u64> {
    let Some(layout) = Layout::of(bytes) else { return Vec::new() };
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut at = layout.offset(bytes, layout.first());
    while let Some(place) = at.filter(|&place| place != 0 && found.len() < limit && seen.insert(place)) {
        let Some((is_page, next)) = layout.directory(bytes, place) else { break };
        if is_page {
            found.push(place);
        }
        at = Some(next);
    }
    found
}

/// Makes the directory at `place` the first, and only, one that a decoder sees.
pub(super) fn select(bytes: &mut [u8], place: u64) {
    let Some(layout) = Layout::of(bytes) else { return };
    let at = layout.first();
    let width = layout.width();
    let value = if layout.is_big_endian { place.to_be_bytes() } else { place.to_le_bytes() };
    let value = if layout.is_big_endian { &value[8 - width..] } else { &value[..width] };
    if let Some(field) = bytes.get_mut(at..at + width) {
        field.copy_from_slice(value);
    }
}

/// How numbers are written in a file.
#[derive(Clone, Copy)]
struct Layout {
    is_big_endian: bool,
    /// `BigTIFF`: offsets and counts of eight bytes.
    is_big: bool,
}

impl Layout {
    fn of(bytes: &[u8]) -> Option<Self> {
        let (is_big_endian, is_big) = match bytes.get(..4)? {
            b"II*\0" => (false, false),
            b"MM\0*" => (true, false),
            b"II+\0" => (false, true),
            b"MM\0+" => (true, true),
            _ => return None,
        };
        Some(Self { is_big_endian, is_big })
    }

    /// Where the offset of the first directory stands.
    fn first(self) -> usize {
        if self.is_big { 8 } else { 4 }
    }

    /// Bytes of an offset.
    fn width(self) -> usize {
        if self.is_big { 8 } else { 4 }
    }

    fn number(self, bytes: &[u8], at: usize, width: usize) -> Option<u64> {
        let field = bytes.get(at..at.checked_add(width)?)?;
        let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.is_big_endian { field.iter().fold(0, push) } else { field.iter().rev().fold(0, push) })
    }

    fn offset(self, bytes: &[u8], at: usize) -> Option<u64> {
        self.number(bytes, at, self.width())
    }

    /// Whether the directory at `place` is a page, and where the next one lies (0 at the end).
    fn directory(self, bytes: &[u8], place: u64) -> Option<(bool, u64)> {
        let place = usize::try_from(place).ok()?;
        let (head, entry) = if self.is_big { (8, 20) } else { (2, 12) };
        let count = usize::try_from(self.number(bytes, place, head)?).ok()?;
        let start = place + head;
        let end = start.checked_add(count.checked_mul(entry)?)?;
        if end > bytes.len() {
            return None;
        }
        let mut is_page = true;
        for at in (start..end).step_by(entry) {
            if self.number(bytes, at, 2)? == u64::from(NEW_SUBFILE_TYPE) {
                let value = self.number(bytes, at + entry - self.width(), 4)?;
                is_page = value & 0b101 == 0;
            }
        }
        // Without a next one the file may simply end here.
        Some((is_page, self.offset(bytes, end).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories without pixels: the kind of each page, in the given order of bytes.
    fn file(kinds: &[u32], is_big_endian: bool) -> Vec<u8> {
        let u16s = |value: u16| if is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let u32s = |value: u32| if is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut bytes = if is_big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend(u32s(8));
        for (at, kind) in kinds.iter().enumerate() {
            bytes.extend([u16s(1), u16s(NEW_SUBFILE_TYPE), u16s(4)].concat());
            bytes.extend([u32s(1), u32s(*kind)].concat());
            let next = bytes.len() as u32 + 4;
            bytes.extend(u32s(if at + 1 == kinds.len() { 0 } else { next }));
        }
        bytes
    }

    #[test]
    fn pages_are_listed_in_order_without_thumbnails_and_masks() {
        for is_big_endian in [false, true] {
            assert_eq!(pages(&file(&[0, 2, 1, 2, 4], is_big_endian), 100), [8, 26, 62]);
        }
    }

    #[test]
    fn a_chain_that_bites_its_tail_or_leaves_the_file_ends() {
        let mut bytes = file(&[0, 0], false);
        let at = bytes.len() - 4;
        bytes[at] = 8;
        assert_eq!(pages(&bytes, 100), [8, 26]);
        bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(pages(&bytes, 100), [8, 26]);
        assert_eq!(pages(b"II*\0", 100), [0; 0]);
        assert_eq!(pages(b"\x89PNG", 100), [0; 0]);
    }

    #[test]
    fn the_selected_directory_comes_first() {
        let mut bytes = file(&[0, 0, 0], true);
        select(&mut bytes, 44);
        assert_eq!(pages(&bytes, 100), [44]);
    }
}
