//! What the search for duplicates costs with many slides: `cargo bench -p slide-data --features render --bench search -- [SLIDES …]`.
//!
//! Draws sketches of slides (decks of twelve in a theme of their own; every tenth slide is a cropped copy of an earlier one of any
//! deck), inserts them in blocks of 256 as collecting does and looks for each among those before it. Of the comparison with all, 200 slides
//! are taken and held against what the tree finds. Seconds are of the
//! process's CPU time. `SEED` draws others (default 1); with `THEMES` there are so many themes, not one a deck. At most `DRAWN` (100,000) slides
//! are drawn, which takes longest; the others are put together of parts of slides of one deck.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use repeatable_random::mix;
use slide_data::image::{Rgb, RgbImage, imageops};
use slide_data::imaging::{Signature, Sketch, SketchTree};

const SIZE: (u32, u32) = (192, 108);
const A_DECK: u64 = 12;
const BLOCK: usize = 256;
const COMPARED: usize = 200;

/// What is drawn.
#[derive(Clone, Copy)]
struct Options {
    seed: u64,
    /// Of all decks; 0: each has its own.
    themes: u64,
    drawn: usize,
}

/// The `n`-th number of a slide or deck, below `below`.
fn roll(of: u64, n: u64, below: u64) -> u64 {
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

/// So many sketches, of which at most `drawn` are drawn; the others are put together.
fn sketches(count: usize, Options { seed, themes, drawn }: Options) -> Vec<Sketch> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let own = count.min(drawn);
    let mut sketches = vec![None; own];
    std::thread::scope(|scope| {
        for (chunk, sketches) in sketches.chunks_mut(own.div_ceil(threads)).enumerate() {
            let from = chunk * own.div_ceil(threads);
            scope.spawn(move || {
                for (at, place) in sketches.iter_mut().enumerate() {
                    *place = Some(sketch(seed << 40, (from + at) as u64, themes));
                }
            });
        }
    });
    let mut sketches: Vec<Sketch> = sketches.into_iter().flatten().collect();
    for at in own..count {
        let one = put_together(&sketches[..own], (seed << 40) | at as u64);
        sketches.push(one);
    }
    sketches
}

/// A sketch that has each third of its rows of another slide of one deck: it is of the deck's theme, and of no slide that was drawn.
fn put_together(drawn: &[Sketch], number: u64) -> Sketch {
    let decks = (drawn.len() as u64 / A_DECK).max(1);
    let deck = roll(number, 70, decks) * A_DECK;
    let of = |third: u64| {
        let slide = (deck + roll(number, 71 + third, A_DECK)) as usize;
        drawn[slide.min(drawn.len() - 1)].as_bytes()
    };
    let thirds = [of(0), of(1), of(2)];
    let part = Sketch::LENGTH / 3;
    let bytes: Vec<u8> = (0..Sketch::LENGTH).map(|at| thirds[at % part * 3 / part][at]).collect();
    Sketch::from_bytes(&bytes).expect("as many bytes as a sketch has")
}

/// CPU seconds of the process, and the most memory that it had, in MiB.
fn spent() -> (f64, u64) {
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

fn measure(count: usize, options: Options) {
    let sketches = sketches(count, options);
    let known: Vec<Option<&Sketch>> = sketches.iter().map(Some).collect();
    let (start, before) = spent();
    let mut tree = SketchTree::new(&known);
    let (built, after) = spent();
    let (mut matches, mut most) = (0usize, 0);
    for block in (0..count).collect::<Vec<_>>().chunks(BLOCK) {
        for &at in block {
            let found = tree.matches(&sketches[at]).len();
            (matches, most) = (matches + found, most.max(found));
        }
        for &at in block {
            tree.insert(at);
        }
    }
    let (searched, _) = spent();
    for at in (0..COMPARED).map(|n| n * count / COMPARED) {
        let mut found = tree.matches(&sketches[at]);
        found.sort_unstable();
        let all: Vec<usize> = (0..count).filter(|&other| sketches[other].may_match(&sketches[at])).collect();
        assert_eq!(found, all, "sketch {at}");
    }
    let compared = (spent().0 - searched) / COMPARED as f64;
    println!(
        "{count} sketches: divided in {:.1} s, looked up in {:.1} s, {:.2} matches a slide (at most {most}), {} MiB for sketches, at most {after} MiB; \
         comparing with all earlier ones: {:.0} s (from {COMPARED} slides, which found the same)",
        built - start,
        searched - built,
        matches as f64 / count as f64,
        before,
        compared * count as f64 / 2.0,
    );
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let number =
        |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let drawn = number("DRAWN", 100_000) as usize;
    let options = Options { seed: number("SEED", 1), themes: number("THEMES", 0), drawn };
    for count in if numbers.is_empty() { vec![10_000, 100_000] } else { numbers } {
        measure(count, options);
    }
}
