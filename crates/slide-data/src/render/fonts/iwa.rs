//! Objects of Keynote's files since 2013: protocol buffers in pieces of Snappy without check sums.
//!
//! The form is described by S. O'Brien (<https://github.com/obriensp/iWorkFileFormat>); the numbers of kinds and fields are those of
//! the messages that Keynote 10 to 14 writes.

use std::collections::HashMap;

/// Most bytes that one piece may unpack to; Keynote's have 64 KiB.
const MAX_PIECE: usize = 1 << 24;

/// An object: its kind, its message, and the file it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) kind: u64,
    pub(super) message: Vec<u8>,
    pub(super) file: usize,
}

/// The objects of a document by number.
pub(super) type Objects = HashMap<u64, Object>;

/// Takes the objects of a file; says whether it is whole.
pub(super) fn read(bytes: &[u8], file: usize, objects: &mut Objects) -> bool {
    let Some(unpacked) = unpacked(bytes) else { return false };
    let mut rest = unpacked.as_slice();
    while !rest.is_empty() {
        let Some(length) = varint(&mut rest) else { return false };
        let Some(info) = split(&mut rest, length) else { return false };
        let number = Fields(info).varint(1).unwrap_or_default();
        for (at, message) in Fields(info).messages(2).enumerate() {
            let (kind, length) = (Fields(message).varint(1), Fields(message).varint(3).unwrap_or_default());
            let Some(message) = split(&mut rest, length) else { return false };
            if let (0, Some(kind)) = (at, kind) {
                objects.insert(number, Object { kind, message: message.to_vec(), file });
            }
        }
    }
    true
}

/// Unpacks the pieces of a file.
fn unpacked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    while !bytes.is_empty() {
        let head = split(&mut bytes, 4)?;
        let length = u64::from(u32::from_le_bytes([head[1], head[2], head[3], 0]));
        let piece = split(&mut bytes, length)?;
        if head[0] != 0 {
            return None;
        }
        unpack(piece, &mut whole)?;
    }
    Some(whole)
}

/// Unpacks a piece (Snappy's raw form: <https://github.com/google/snappy/blob/main/format_description.txt>).
fn unpack(mut piece: &[u8], whole: &mut Vec<u8>) -> Option<()> {
    let length = usize::try_from(varint(&mut piece)?).ok().filter(|length| *length <= MAX_PIECE)?;
    let start = whole.len();
    while !piece.is_empty() {
        let tag = split(&mut piece, 1)?[0];
        let (length, back) = match tag & 3 {
            0 => {
                let length = match tag >> 2 {
                    short @ 0..60 => u64::from(short),
                    long => little_endian(split(&mut piece, u64::from(long) - 59)?),
                };
                whole.extend_from_slice(split(&mut piece, length + 1)?);
                (0, 0)
            }
            1 => (4 + (tag >> 2 & 7), u64::from(tag >> 5) << 8 | little_endian(split(&mut piece, 1)?)),
            2 => (1 + (tag >> 2), little_endian(split(&mut piece, 2)?)),
            _ => (1 + (tag >> 2), little_endian(split(&mut piece, 4)?)),
        };
        let back = usize::try_from(back).ok()?;
        for _ in 0..length {
            let at = whole.len().checked_sub(back).filter(|at| *at >= start && back > 0)?;
            whole.push(whole[at]);
        }
        if whole.len() - start > MAX_PIECE {
            return None;
        }
    }
    (whole.len() - start == length).then_some(())
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Cuts off the first bytes.
fn split<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = split(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// What a field holds.
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, as far as it is whole.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn all(self) -> impl Iterator<Item = (u64, Value<'a>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let key = varint(&mut rest)?;
            let length = match key & 7 {
                0 => return Some((key >> 3, Value::Varint(varint(&mut rest)?))),
                1 => 8,
                2 => varint(&mut rest)?,
                5 => 4,
                _ => return None,
            };
            Some((key >> 3, Value::Bytes(split(&mut rest, length)?)))
        })
    }

    /// The first number of a field.
    pub(super) fn varint(self, field: u64) -> Option<u64> {
        self.all().find_map(|(key, value)| match value {
            Value::Varint(number) if key == field => Some(number),
            _ => None,
        })
    }

    /// All messages or texts of a field.
    pub(super) fn messages(self, field: u64) -> impl Iterator<Item = &'a [u8]> {
        self.all().filter_map(move |(key, value)| match value {
            Value::Bytes(bytes) if key == field => Some(bytes),
            _ => None,
        })
    }

    /// The first message of a field.
    pub(super) fn message(self, field: u64) -> Option<Self> {
        self.messages(field).next().map(Self)
    }

    /// The number of the object that a field refers to.
    pub(super) fn reference(self, field: u64) -> Option<u64> {
        self.message(field)?.varint(1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::render::fonts) fn number(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    pub(in crate::render::fonts) fn field(key: u64, value: u64) -> Vec<u8> {
        [number(key << 3), number(value)].concat()
    }

    pub(in crate::render::fonts) fn inner(key: u64, bytes: &[u8]) -> Vec<u8> {
        [number(key << 3 | 2), number(bytes.len() as u64), bytes.to_vec()].concat()
    }

    /// A file of objects, in pieces that hold literals alone.
    pub(in crate::render::fonts) fn file(objects: &[(u64, u64, Vec<u8>)]) -> Vec<u8> {
        let mut plain = Vec::new();
        for (id, kind, message) in objects {
            let info = [field(1, *kind), field(3, message.len() as u64)].concat();
            let info = [field(1, *id), inner(2, &info)].concat();
            plain.extend([number(info.len() as u64), info, message.clone()].concat());
        }
        let mut pieces = Vec::new();
        for piece in plain.chunks(50) {
            let packed =
                [number(piece.len() as u64), vec![(piece.len() as u8 - 1) << 2], piece.to_vec()].concat();
            pieces.extend([&[0, packed.len() as u8, 0, 0], packed.as_slice()].concat());
        }
        pieces
    }

    #[test]
    fn objects_are_read_across_pieces() {
        let mut objects = Objects::new();
        let long = inner(5, &[b'x'; 200]);
        assert!(read(&file(&[(7, 2022, long.clone()), (300, 5, field(4, 1))]), 3, &mut objects));
        assert_eq!(objects[&7], Object { kind: 2022, message: long, file: 3 });
        assert_eq!(Fields(&objects[&300].message).varint(4), Some(1));
    }

    #[test]
    fn copies_are_unpacked_as_the_format_says() {
        // "abc", then 6 bytes from 3 back (one byte of distance), then 2 from 9 back (two bytes), then 5 from 1 back (four bytes).
        let piece = [
            number(16),
            vec![2 << 2],
            b"abc".to_vec(),
            vec![1 | 2 << 2, 3],
            vec![2 | 1 << 2, 9, 0],
            vec![3 | 4 << 2, 1, 0, 0, 0],
        ];
        let mut whole = b"before".to_vec();
        assert_eq!(unpack(&piece.concat(), &mut whole), Some(()));
        assert_eq!(whole, b"beforeabcabcabcabbbbbb");
        for broken in [
            &[4, 0][..],
            &[3, 1 | 2 << 2, 3],
            &[200, 255, 255, 255, 127, 0, 0],
            &[1, 63 << 2, 255, 255, 255, 255],
        ] {
            assert_eq!(unpack(broken, &mut Vec::new()), None, "{broken:?}");
        }
    }

    #[test]
    fn broken_files_give_what_is_whole_or_nothing() {
        let whole = file(&[(7, 5, field(4, 1))]);
        for end in 0..whole.len() {
            read(&whole[..end], 0, &mut Objects::new());
        }
        assert!(!read(b"\x01\0\0\0", 0, &mut Objects::new()) && !read(b"PK", 0, &mut Objects::new()));
        assert!(Fields(&[0x0f, 1, 2]).varint(1).is_none());
    }
}
