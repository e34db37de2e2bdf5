//! What the search for duplicates costs with many slides: `cargo bench -p slide-data --features render --bench search -- [SLIDES …]`.
//!
//! Draws sketches of slides (decks of twelve in a theme of their own; every tenth slide is a cropped copy of an earlier one of any
//! deck), inserts them in blocks of 256 as collecting does and looks for each among those before it. Of the comparison with all, 200 slides
//! are taken and held against what the tree finds. Seconds are of the
//! process's CPU time. `SEED` draws others (default 1); with `THEMES` there are so many themes, not one a deck. At most `DRAWN` (100,000) slides
//! are drawn, which takes longest; the others are put together of parts of slides of one deck.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

#[path = "sketches/mod.rs"]
mod sketches;

use sketches::{A_DECK, drawn, roll, spent};
use slide_data::imaging::{Sketch, SketchTree};

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

/// So many sketches, of which at most `drawn` are drawn; the others are put together.
fn all(count: usize, options: Options) -> Vec<Sketch> {
    let own = count.min(options.drawn);
    let mut sketches = drawn(own, options.seed, options.themes);
    for at in own..count {
        let one = put_together(&sketches[..own], (options.seed << 40) | at as u64);
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

fn measure(count: usize, options: Options) {
    let sketches = all(count, options);
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
