//! How many words are to be seen on a slide, from its pixels.

use image::RgbImage;

use super::size::at_most;
use super::strokes::{Part, Strokes};

/// Longest edge at which words are looked for: small print is some 12 pixels high there. In a copy half as large its words run together.
const EDGE: u32 = 1280;
/// A gap within a word is at most this share of its height, less what smoothing takes of it.
const GAP: (f64, f64) = (0.24, 1.25);
/// How often a row crosses a word of two letters or more.
const CROSSED: f64 = 2.6;
/// How often a row crosses one of six letters or more that are not small.
const OFTEN_CROSSED: f64 = 4.4;
/// Above and below a line of print there is less than within, on one side much less.
const CLEAR: (f64, f64) = (0.2, 0.9);

/// Strokes that stand as close as letters of a word do.
struct Group {
    of: Part,
    /// The group left of it, on the same rows.
    before: Option<usize>,
}

/// An estimate of the words on a slide. Strokes that hang together are letters, or words in small print; those that stand closer on a
/// row than a share of their height are a word, as in run-length smoothing (F. Wahl, K. Wong and R. Casey, Block segmentation and
/// text extraction in mixed text/image documents, 1982), here by the height of the letters at hand. It counts if rows cross it as
/// often as letters and what lies above and below is plain; single letters and figures count beside a word.
pub(super) fn words(image: &RgbImage) -> usize {
    let copy = at_most(image, EDGE);
    let strokes = Strokes::of(&copy);
    let mut parts = strokes.parts();
    let longest = strokes.width.max(strokes.height);
    parts.retain(|part| {
        part.pixels > 2
            && part.height() * 25 <= longest * 3
            && part.width() * 2 <= strokes.width
            && !is_outline(part)
    });
    parts.sort_by_key(|part| (part.columns.start, part.rows.start));
    let groups = grouped(&parts, strokes.height);
    count(&groups, &strokes)
}

/// Whether it is too wide for a letter and crossed too seldom for several: a frame, an arrow, a rule.
fn is_outline(part: &Part) -> bool {
    let (width, height) = (part.width(), part.height());
    let crossed = if width > 3 * height && height >= 16 { OFTEN_CROSSED } else { CROSSED };
    height > 4 && width as f64 > 1.4 * height as f64 + 3.0 && (part.runs as f64) < crossed * height as f64
}

/// Joins parts, from left to right, with the last one on the row of their middle.
fn grouped(parts: &[Part], height: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut last: Vec<Option<usize>> = vec![None; height];
    for part in parts {
        let before = last[usize::midpoint(part.rows.start, part.rows.end)];
        let place = before.filter(|place| is_within(&groups[*place].of, part)).unwrap_or(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.of.take(part),
            None => groups.push(Group { of: part.clone(), before }),
        }
        last[part.rows.clone()].fill(Some(place));
    }
    groups
}

/// Whether a part belongs to the word left of it.
fn is_within(word: &Part, part: &Part) -> bool {
    let (low, high) = heights(word, part);
    let shared = word.rows.end.min(part.rows.end).saturating_sub(word.rows.start.max(part.rows.start));
    gap(word, part) <= GAP.0 * high - GAP.1 && shared as f64 >= 0.5 * low && high <= 4.0 * low + 3.0
}

fn heights(one: &Part, other: &Part) -> (f64, f64) {
    let (one, other) = (one.height() as f64, other.height() as f64);
    (one.min(other), one.max(other))
}

/// From the end of one to the start of the next; below 0 where they overlap.
fn gap(left: &Part, right: &Part) -> f64 {
    right.columns.start as f64 - left.columns.end as f64
}

fn count(groups: &[Group], strokes: &Strokes) -> usize {
    let is_clear: Vec<bool> = groups.iter().map(|group| is_clear(&group.of, strokes)).collect();
    let is_word: Vec<bool> =
        groups.iter().zip(&is_clear).map(|(group, is_clear)| *is_clear && has_letters(&group.of)).collect();
    let mut counts = is_word.clone();
    for (at, group) in groups.iter().enumerate() {
        let Some(before) = group.before.filter(|before| is_beside(&groups[*before].of, &group.of)) else {
            continue;
        };
        counts[before] |= is_word[at] && is_clear[before];
        counts[at] |= is_word[before] && is_clear[at];
    }
    counts.into_iter().filter(|counts| *counts).count()
}

/// Whether it is large enough to be read, and what lies above and below it plainer than itself.
fn is_clear(part: &Part, strokes: &Strokes) -> bool {
    let reach = ((part.height() as f64 * 0.3).round() as usize).max(2);
    let inside = strokes.share(&part.columns, part.rows.clone());
    let above = strokes.share(&part.columns, part.rows.start.saturating_sub(reach)..part.rows.start);
    let below = strokes.share(&part.columns, part.rows.end..part.rows.end + reach);
    let least = (strokes.width.max(strokes.height) as f64 * 5.0 / f64::from(EDGE)).round() as usize;
    part.height() >= least && above.min(below) <= CLEAR.0 * inside && above.max(below) <= CLEAR.1 * inside
}

fn has_letters(part: &Part) -> bool {
    part.width() >= part.height() && part.runs as f64 >= CROSSED * part.height() as f64
}

/// Whether two groups stand side by side on a line of print.
fn is_beside(left: &Part, right: &Part) -> bool {
    let (low, high) = heights(left, right);
    let apart = left.rows.end.abs_diff(right.rows.end) as f64;
    gap(left, right) <= 0.8 * high && low >= 0.6 * high && apart < 0.3 * high
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, imageops};

    /// Letters of 5 by 7 squares.
    const LETTERS: [[u8; 7]; 6] = [
        [0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
        [0b11110, 0b10001, 0b11110, 0b10001, 0b10001, 0b10001, 0b11110],
        [0b11111, 0b10000, 0b11110, 0b10000, 0b10000, 0b10000, 0b11111],
        [0b10001, 0b11011, 0b10101, 0b10101, 0b10001, 0b10001, 0b10001],
        [0b10001, 0b11001, 0b10101, 0b10011, 0b10001, 0b10001, 0b10001],
        [0b01111, 0b10000, 0b01110, 0b00001, 0b00001, 0b10001, 0b01110],
    ];

    /// Words of 2 to 8 letters in a rectangle, each square of a letter `size` pixels wide; how many they are.
    fn write(page: &mut RgbImage, [left, top, right, bottom]: [u32; 4], size: u32, ink: Rgb<u8>) -> usize {
        let mut rng = fastrand::Rng::with_seed(u64::from(left + top + size));
        let (mut x, mut y, mut written) = (left, top, 0);
        while y + 7 * size < bottom {
            let letters = rng.u32(2..=8);
            if x + 6 * size * letters > right {
                (x, y) = (left, y + 11 * size);
                continue;
            }
            for _ in 0..letters {
                let letter = LETTERS[rng.usize(..LETTERS.len())];
                for (row, column) in
                    (0..7 * size).flat_map(|row| (0..5 * size).map(move |column| (row, column)))
                {
                    if letter[(row / size) as usize] >> (4 - column / size) & 1 == 1 {
                        page.put_pixel(x + column, y + row, ink);
                    }
                }
                x += 6 * size;
            }
            (x, written) = (x + 3 * size, written + 1);
        }
        written
    }

    fn box_of(page: &mut RgbImage, [left, top, right, bottom]: [u32; 4], color: Rgb<u8>) {
        for (x, y) in (top..bottom).flat_map(|y| (left..right).map(move |x| (x, y))) {
            page.put_pixel(x, y, color);
        }
    }

    /// A title, print on the page, on a dark panel and, faint, on a coloured one.
    fn slide() -> (RgbImage, usize) {
        let mut page = RgbImage::from_pixel(1280, 720, Rgb([255; 3]));
        let title = write(&mut page, [60, 40, 1200, 90], 6, Rgb([20, 30, 80]));
        let plain = write(&mut page, [60, 140, 600, 660], 2, Rgb([40; 3]));
        box_of(&mut page, [660, 140, 1220, 380], Rgb([20, 40, 70]));
        let dark = write(&mut page, [680, 160, 1200, 370], 3, Rgb([250, 240, 200]));
        box_of(&mut page, [660, 420, 1220, 660], Rgb([230, 220, 120]));
        let faint = write(&mut page, [680, 440, 1200, 650], 2, Rgb([190, 180, 80]));
        (page, title + plain + dark + faint)
    }

    fn reversed(page: &RgbImage) -> RgbImage {
        RgbImage::from_fn(page.width(), page.height(), |x, y| {
            Rgb(page.get_pixel(x, y).0.map(|value| 255 - value))
        })
    }

    #[test]
    fn words_of_any_size_and_colour_are_counted() {
        let (page, written) = slide();
        let found = words(&page);
        assert!(found.abs_diff(written) * 20 <= written, "{found} of {written}");
        assert_eq!(words(&reversed(&page)), found);
    }

    #[test]
    fn a_larger_image_has_as_many() {
        let (page, written) = slide();
        let large = imageops::resize(&page, 2560, 1440, imageops::FilterType::Triangle);
        assert!(words(&large).abs_diff(written) * 10 <= written, "{} of {written}", words(&large));
    }

    #[test]
    fn what_is_not_print_has_none() {
        let mut drawn = RgbImage::from_pixel(1280, 720, Rgb([255; 3]));
        for at in 0..8 {
            let (x, y) = (80 + 140 * at, 640 - 60 * at);
            box_of(&mut drawn, [x, y, x + 90, 660], Rgb([40, 90, 160])); // bars
            box_of(&mut drawn, [x, 40, x + 30, 70], Rgb([200, 60, 40])); // windows
        }
        box_of(&mut drawn, [60, 100, 1220, 102], Rgb([0; 3]));
        box_of(&mut drawn, [60, 100, 62, 680], Rgb([0; 3]));
        let mut rng = fastrand::Rng::with_seed(9);
        let noise = RgbImage::from_fn(1280, 720, |_, _| Rgb([rng.u8(..); 3]));
        let texture = imageops::blur(&noise, 2.0);
        for (name, image) in [("drawn", drawn), ("noise", noise), ("texture", texture)] {
            assert!(words(&image) <= 5, "{name}: {}", words(&image));
        }
    }

    #[test]
    fn images_of_any_shape_are_looked_at() {
        for (width, height) in [(1, 1), (1, 900), (900, 1), (2, 2), (3, 5000), (5000, 3), (17, 16)] {
            for value in [0, 255] {
                assert_eq!(
                    words(&RgbImage::from_pixel(width, height, Rgb([value; 3]))),
                    0,
                    "{width}×{height}"
                );
            }
            let mut rng = fastrand::Rng::with_seed(1);
            words(&RgbImage::from_fn(width, height, |_, _| Rgb([rng.u8(..); 3])));
        }
    }
}
