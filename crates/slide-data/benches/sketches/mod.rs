//! Draws sketches of slides: decks of twelve in a theme of their own; every tenth slide is a cropped copy of an earlier one of any deck.

use repeatable_random::mix;
use slide_data::image::{Rgb, RgbImage, imageops};
use slide_data::imaging::{Signature, Sketch};

const SIZE: (u32, u32) = (192, 108);
pub(crate) const A_DECK: u64 = 12;

/// The `n`-th number of a slide or deck, below `below`.
pub(crate) fn roll(of: u64, n: u64, below: u64) -> u64 {
    mix(of.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ mix(n)) % below
}

fn fill(image: &mut RgbImage, from: (u64, u64), size: (u64, u64), grey: u64) {
    let (right, bottom) = ((from.0 + size.0).min(SIZE.0.into()), (from.1 + size.1).min(SIZE.1.into()));
    for y in from.1..bottom {
        for x in from.0..right {
            image.put_pixel(x as u32, y as u32, Rgb([grey as u8; 3]));
        }
    }
}

/// Words as grey strokes in lines from `at` down.
fn text(image: &mut RgbImage, slide: u64, part: u64, at: (u64, u64, u64), lines: u64, grey: u64) {
    for line in 0..lines {
        let (mut x, end) = (at.0, at.0 + at.2 * (30 + roll(slide, part * 97 + line, 70)) / 100);
        let mut word = 0;
        while x < end {
            let width = 3 + roll(slide, part * 9_973 + line * 101 + word, 12);
            fill(image, (x, at.1 + line * 8), (width.min(end - x), 3), grey);
            x += width + 2;
            word += 1;
        }
    }
}

/// A slide of a deck's theme: paper, ink, a bar, a title, and text, a picture or a chart in one of several places.
fn draw(deck: u64, number: u64, themes: u64) -> RgbImage {
    let (slide, deck) = (deck * A_DECK + number, if themes == 0 { deck } else { deck % themes });
    let is_dark = roll(deck, 1, 4) == 0;
    let paper = if is_dark { roll(deck, 2, 60) } else { 225 + roll(deck, 2, 31) };
    let ink = if is_dark { 200 + roll(deck, 3, 56) } else { roll(deck, 3, 90) };
    let mut image = RgbImage::from_pixel(SIZE.0, SIZE.1, Rgb([paper as u8; 3]));
    let bar = 60 + roll(deck, 4, 120);
    match roll(deck, 5, 4) {
        0 => fill(&mut image, (0, 0), (192, 10 + roll(deck, 6, 12)), bar),
        1 => fill(&mut image, (0, 0), (8 + roll(deck, 6, 20), 108), bar),
        2 => fill(&mut image, (0, 96), (192, 12), bar),
        _ => {}
    }
    let left = 14 + roll(deck, 7, 18);
    text(&mut image, slide, 1, (left, 14 + roll(deck, 8, 8), 110), 1 + roll(slide, 2, 2), ink);
    match roll(slide, 3, 4) {
        0 => text(&mut image, slide, 2, (left, 38, 150), 4 + roll(slide, 4, 4), ink),
        1 => {
            text(&mut image, slide, 2, (left, 38, 70), 3 + roll(slide, 4, 5), ink);
            for x in 0..40 {
                fill(&mut image, (100 + 2 * x, 36), (2, 56), 40 + roll(slide, 50 + x / 4, 190));
            }
        }
        2 => {
            for column in 0..5 + roll(slide, 5, 4) {
                let height = 8 + roll(slide, 10 + column, 50);
                fill(&mut image, (left + column * 18, 94 - height), (11, height), bar);
            }
        }
        _ => {
            for column in 0..3 {
                text(
                    &mut image,
                    slide,
                    3 + column,
                    (left + column * 52, 44, 44),
                    2 + roll(slide, 6 + column, 5),
                    ink,
                );
            }
        }
    }
    image
}

/// The sketch of a slide; of every tenth, that of a copy of an earlier one, cropped by up to 3 %.
fn sketch(first: u64, at: u64, themes: u64) -> Sketch {
    let (slide, at) = (first + if at % 10 == 9 { roll(first + at, 60, at) } else { at }, first + at);
    let image = draw(slide / A_DECK, slide % A_DECK, themes);
    let cut = |n: u64| if slide == at { 0 } else { roll(at, n, 4) as u32 };
    let (x, y) = (cut(61), cut(62));
    let size = (SIZE.0 - x - cut(63), SIZE.1 - y - cut(64));
    Sketch::of(&Signature::of(&imageops::crop_imm(&image, x, y, size.0, size.1).to_image()))
}

/// The first sketches, drawn by all threads.
pub(crate) fn drawn(count: usize, seed: u64, themes: u64) -> Vec<Sketch> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut sketches = vec![None; count];
    std::thread::scope(|scope| {
        for (chunk, sketches) in sketches.chunks_mut(count.div_ceil(threads)).enumerate() {
            let from = chunk * count.div_ceil(threads);
            scope.spawn(move || {
                for (at, place) in sketches.iter_mut().enumerate() {
                    *place = Some(sketch(seed << 40, (from + at) as u64, themes));
                }
            });
        }
    });
    sketches.into_iter().flatten().collect()
}

/// CPU seconds of the process, and the most memory that it had, in MiB.
pub(crate) fn spent() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: f64 = stat.rsplit(')').next().map_or(0.0, |rest| {
        rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum()
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
    (ticks / 100.0, peak.unwrap_or(0) / 1024)
}
