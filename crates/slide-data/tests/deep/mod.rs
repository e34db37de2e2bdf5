//! Mutations that reach the decoders: what is compressed is unpacked, changed and packed again, and check sums and lengths are
//! made right, so that a file does not fail before its content is looked at.

use std::io::{Read as _, Write as _};
use std::ops::Range;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::support::Dice;

/// A damaged copy of a whole file of this format.
pub(crate) fn mutated(extension: &str, bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    match extension {
        "png" => png(bytes, dice),
        "jpg" => jpeg(bytes, dice),
        "gif" => part(bytes, 10..bytes.len(), dice),
        "webp" => part(bytes, 20..bytes.len(), dice),
        "tiff" => tiff(bytes, dice),
        "bmp" => {
            let end = *dice.pick(&[54, bytes.len()]);
            part(bytes, 14..end.min(bytes.len()), dice)
        }
        "pdf" => pdf(bytes, dice),
        _ => bytes.to_vec(),
    }
}

/// Changes one to eight bytes of a range, where they stand.
fn part(bytes: &[u8], range: Range<usize>, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes[range], dice);
    bytes
}

fn change(bytes: &mut [u8], dice: &mut Dice) {
    if bytes.is_empty() {
        return;
    }
    for _ in 0..=dice.roll(8) {
        let at = dice.roll(bytes.len());
        bytes[at] = match dice.roll(4) {
            0 => dice.roll(256) as u8,
            1 => bytes[at] ^ 1 << dice.roll(8),
            2 => *dice.pick(&[0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff]),
            _ => bytes[dice.roll(bytes.len())],
        };
    }
}

fn inflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    ZlibDecoder::new(bytes).read_to_end(&mut plain).ok()?;
    Some(plain)
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Scan lines, their filters, the compressed stream or another chunk; every check sum fits.
fn png(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut chunks: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut rest = &bytes[8..];
    while rest.len() >= 12 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        chunks.push((rest[4..8].to_vec(), rest[8..8 + length].to_vec()));
        rest = &rest[12 + length..];
    }
    let at = match dice.roll(5) {
        0 => dice.roll(chunks.len()),
        _ => chunks.iter().position(|(kind, _)| kind == b"IDAT").unwrap(),
    };
    let data = &mut chunks[at].1;
    match inflated(data) {
        Some(mut plain) if dice.roll(3) > 0 => {
            change(&mut plain, dice);
            if dice.roll(8) == 0 {
                plain.truncate(dice.roll(plain.len()));
            }
            *data = deflated(&plain);
        }
        _ => change(data, dice),
    }
    let mut file = bytes[..8].to_vec();
    for (kind, data) in chunks {
        file.extend((data.len() as u32).to_be_bytes());
        let checked = [kind, data].concat();
        file.extend(&checked);
        file.extend(crc32fast::hash(&checked).to_be_bytes());
    }
    file
}

/// The scan (without making markers), or the content of a table before it.
fn jpeg(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut segments = Vec::new();
    let mut at = 2;
    while bytes[at + 1] != 0xda {
        let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        segments.push(at + 4..at + 2 + length);
        at += 2 + length;
    }
    let scan = at + 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]))..bytes.len() - 2;
    if dice.roll(3) == 0 {
        return part(bytes, dice.pick(&segments).clone(), dice);
    }
    let mut file = part(bytes, scan.clone(), dice);
    for at in scan {
        if file[at] == 0xff && file[at + 1] != 0 {
            file[at] = 0xfe;
        }
    }
    file
}

/// A field of the directory, or the data.
fn tiff(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let entries = usize::from(u16::from_le_bytes([bytes[directory], bytes[directory + 1]]));
    let entry = directory + 2 + 12 * dice.roll(entries);
    match dice.roll(3) {
        0 => part(bytes, 8..directory, dice),
        1 => part(bytes, entry + 2..entry + 12, dice),
        _ => {
            let mut file = bytes.to_vec();
            file[entry + 8 + dice.roll(4)] = *dice.pick(&[0, 1, 2, 3, 5, 8, 16, 32, 255]);
            file
        }
    }
}

/// A stream, unpacked where it is packed; or a number, a name or an operator between the streams. The table of objects fits.
fn pdf(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let find = |from: usize, wanted: &[u8]| {
        bytes[from..].windows(wanted.len()).position(|window| window == wanted).map(|at| from + at)
    };
    let mut streams = Vec::new();
    let mut at = 0;
    while let Some(start) = find(at, b"stream\n").map(|at| at + 7) {
        let Some(end) = find(start, b"\nendstream") else { break };
        streams.push(start..end);
        at = end + 10;
    }
    let mut file = bytes.to_vec();
    if dice.roll(4) == 0 || streams.is_empty() {
        let at = dice.roll(file.len());
        let end = (at + 200).min(file.len());
        change_syntax(&mut file[at..end], dice);
    } else {
        let stream = dice.pick(&streams).clone();
        let old = bytes[stream.clone()].to_vec();
        let new = if let Some(mut plain) = inflated(&old) {
            if plain.iter().take(200).all(u8::is_ascii) {
                change_syntax(&mut plain, dice);
            } else {
                change(&mut plain, dice);
            }
            deflated(&plain)
        } else {
            let mut plain = old.clone();
            change_syntax(&mut plain, dice);
            plain
        };
        let (was, is) = (format!("/Length {}", old.len()), format!("/Length {}", new.len()));
        let before = stream.start.saturating_sub(400)..stream.start;
        let length = bytes[before.clone()].windows(was.len()).rposition(|window| window == was.as_bytes());
        file.splice(stream.clone(), new);
        if let Some(at) = length {
            let at = before.start + at;
            file.splice(at..at + was.len(), is.bytes());
        }
    }
    with_table(file)
}

/// Digits become other digits, signs and operators others of their kind, so that the syntax mostly holds.
fn change_syntax(bytes: &mut [u8], dice: &mut Dice) {
    for _ in 0..=dice.roll(12) {
        if bytes.is_empty() {
            return;
        }
        let at = dice.roll(bytes.len());
        bytes[at] = match bytes[at] {
            b'0'..=b'9' => *dice.pick(b"0123456789-."),
            b'a'..=b'z' | b'A'..=b'Z' => *dice.pick(b"qQcmlhvyreSfFBbWnTjdgGkKsiMPDETX"),
            b' ' | b'\n' => *dice.pick(b" \n/<>[]()"),
            other if dice.roll(3) > 0 => other,
            _ => dice.roll(256) as u8,
        };
    }
}

/// The file with its table of objects computed anew, if it has a plain one.
fn with_table(file: Vec<u8>) -> Vec<u8> {
    let rfind = |wanted: &[u8]| file.windows(wanted.len()).rposition(|window| window == wanted);
    let (Some(table), Some(trailer)) = (rfind(b"\nxref\n"), rfind(b"trailer")) else { return file };
    let mut offsets = std::collections::BTreeMap::new();
    for (at, _) in file[..table].windows(6).enumerate().filter(|(_, window)| *window == b" 0 obj") {
        let start = file[..at].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
        if let Some(number) = std::str::from_utf8(&file[start..at]).ok().and_then(|text| text.parse().ok()) {
            offsets.insert(number, start);
        }
    }
    let last: usize = offsets.keys().max().copied().unwrap_or(0);
    let mut new = file[..=table].to_vec();
    new.extend(format!("xref\n0 {}\n0000000000 65535 f \n", last + 1).bytes());
    for number in 1..=last {
        let offset = offsets.get(&number).copied().unwrap_or(0);
        new.extend(format!("{offset:010} 00000 n \n").bytes());
    }
    let start = rfind(b"startxref").unwrap_or(file.len());
    new.extend(&file[trailer..start.max(trailer)]);
    new.extend(format!("startxref\n{}\n%%EOF\n", table + 1).bytes());
    new
}
