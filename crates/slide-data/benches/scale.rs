//! What looking up duplicates costs in a tree too large for a machine's memory, by sampling its branches:
//! `cargo bench -p slide-data --features render --bench scale -- [SLIDES …]`.
//!
//! A tree is divided from above into `BRANCHES` (256) parts as the library divides. Every slide is drawn and goes down to its part; only
//! `CHOSEN` (8) of the parts, evenly spaced, are kept and made whole, so they are what they would be in the whole tree. Slides of the whole are
//! then looked up in each of them. What the chosen cost, times the parts for each, is what the whole costs, with an interval of 95 %
//! from how much they differ (Student's t). Up to `WHOLE` (1,000,000) slides the whole tree is made too, and the two are compared.
//!
//! A deck is one of 8,333 that are drawn, with its greys moved; a slide has each row of samples of another slide of its deck. Seconds are CPU
//! time. `SEED` draws others.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench reports on stdout, and stops at a surprise"
)]

#[path = "sketches/mod.rs"]
mod sketches;

use sketches::{A_DECK, drawn, roll, spent};
use slide_data::imaging::{Sketch, SketchTree};

/// Slides that are drawn with a picture.
const DRAWN: usize = 100_000;
/// Slides by which it is decided where to divide from above.
const ASKED: u64 = 40_000;
/// Of a part at once, as the library has it.
const AT_ONCE: usize = 96;
/// Slides that are looked up.
const QUERIES: u64 = 20_000;
const SAMPLES: usize = Sketch::LENGTH / 3;
const ROW: usize = 22;

/// All slides, none of which is kept.
struct Population {
    drawn: Vec<Sketch>,
    seed: u64,
}

impl Population {
    /// Where the deck of a slide begins among those drawn, and how its greys are moved.
    fn deck(&self, number: u64) -> (u64, i32, i32) {
        let deck = (self.seed << 40) | (number / A_DECK);
        let first = roll(deck, 70, self.drawn.len() as u64 / A_DECK) * A_DECK;
        (first, 208 + roll(deck, 72, 49) as i32, roll(deck, 73, 49) as i32 - 24)
    }

    /// Which slide a row is of.
    fn row(&self, number: u64, first: u64, row: usize) -> &[u8] {
        let of = first + roll((self.seed << 40) | number, 80 + row as u64, A_DECK);
        self.drawn[(of as usize).min(self.drawn.len() - 1)].as_bytes()
    }

    fn sample(&self, number: u64, cell: usize) -> u8 {
        let (first, gain, shift) = self.deck(number);
        moved(self.row(number, first, cell / ROW)[cell], gain, shift)
    }

    fn sketch(&self, number: u64) -> Sketch {
        let (first, gain, shift) = self.deck(number);
        let mut bytes = [0; Sketch::LENGTH];
        for row in 0..SAMPLES / ROW {
            let of = self.row(number, first, row);
            for part in 0..3 {
                let cells = part * SAMPLES + row * ROW..part * SAMPLES + (row + 1) * ROW;
                for (to, from) in bytes[cells.clone()].iter_mut().zip(&of[cells]) {
                    *to = moved(*from, gain, shift);
                }
            }
        }
        Sketch::from_bytes(&bytes).unwrap()
    }
}

fn moved(grey: u8, gain: i32, shift: i32) -> u8 {
    (128 + (i32::from(grey) - 128) * gain / 256 + shift).clamp(0, 255) as u8
}

/// How the tree is divided from above.
enum Node {
    At {
        cell: usize,
        level: u8,
        left: Box<Node>,
        right: Box<Node>,
    },
    /// Where no division spares a comparison.
    Anyhow {
        bit: u32,
        left: Box<Node>,
        right: Box<Node>,
    },
    Branch(usize),
}

impl Node {
    fn divide(all: &[(u64, Sketch)], branches: usize, next: &mut usize) -> Self {
        if branches == 1 {
            *next += 1;
            return Self::Branch(*next - 1);
        }
        let asked: Vec<&Sketch> =
            all.iter().step_by(all.len().div_ceil(AT_ONCE).max(1)).map(|(_, sketch)| sketch).collect();
        let bit = branches.ilog2();
        let found = SketchTree::division(&asked);
        let is_left = |(number, sketch): &(u64, Sketch)| match found {
            Some((cell, level)) => sketch.as_bytes()[cell] < level,
            None => roll(*number, 90 + u64::from(bit), 2) == 0,
        };
        let (left, right): (Vec<_>, Vec<_>) = all.iter().cloned().partition(is_left);
        let (left, right) = (
            Box::new(Self::divide(&left, branches / 2, next)),
            Box::new(Self::divide(&right, branches / 2, next)),
        );
        match found {
            Some((cell, level)) => Self::At { cell, level, left, right },
            None => Self::Anyhow { bit, left, right },
        }
    }

    fn branch_of(&self, population: &Population, number: u64) -> usize {
        let mut node = self;
        loop {
            node = match node {
                Self::Branch(branch) => return *branch,
                Self::At { cell, level, left, right } => {
                    if population.sample(number, *cell) < *level {
                        left
                    } else {
                        right
                    }
                }
                Self::Anyhow { bit, left, right } => {
                    if roll(number, 90 + u64::from(*bit), 2) == 0 {
                        left
                    } else {
                        right
                    }
                }
            };
        }
    }
}

/// CPU seconds of this thread.
fn of_thread() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// The slides of the chosen branches.
fn collect(population: &Population, top: &Node, slides: u64, chosen: &[usize]) -> Vec<Vec<Sketch>> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let mut all: Vec<Vec<Sketch>> = chosen.iter().map(|_| Vec::new()).collect();
    let part = |thread: u64| {
        let mut own: Vec<Vec<Sketch>> = chosen.iter().map(|_| Vec::new()).collect();
        for number in slides * thread / threads..slides * (thread + 1) / threads {
            let branch = top.branch_of(population, number);
            if let Some(at) = chosen.iter().position(|one| *one == branch) {
                own[at].push(population.sketch(number));
            }
        }
        own
    };
    let part = &part;
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        for part in parts {
            for (all, own) in all.iter_mut().zip(part.join().unwrap()) {
                all.extend(own);
            }
        }
    });
    all
}

/// Seconds for dividing a tree of these and for looking one slide up in it, and how many matches that one has.
fn measure(sketches: &[Sketch], queries: &[Sketch]) -> [f64; 3] {
    let known: Vec<Option<&Sketch>> = sketches.iter().map(Some).collect();
    let start = of_thread();
    let mut tree = SketchTree::new(&known);
    let built = of_thread();
    (0..sketches.len()).for_each(|at| tree.insert(at));
    let inserted = of_thread();
    let matches: usize = queries.iter().map(|query| tree.matches(query).len()).sum();
    let count = queries.len() as f64;
    [built - start, (of_thread() - inserted) / count, matches as f64 / count]
}

/// The sum over all branches as the chosen ones have it, and half the width of its interval.
fn estimate(of: &[f64], branches: usize) -> (f64, f64) {
    /// Student's t for 95 %, by degrees of freedom; beyond, the normal's.
    const T: [f64; 15] =
        [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13];
    let (count, all) = (of.len() as f64, branches as f64);
    let mean = of.iter().sum::<f64>() / count;
    let variance = of.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let t = T.get(of.len().saturating_sub(2)).copied().unwrap_or(1.96);
    (all * mean, all * t * (variance / count * (1.0 - count / all)).sqrt())
}

fn simulate(slides: u64, population: &Population, (branches, count, whole): (usize, usize, u64)) {
    let asked: Vec<(u64, Sketch)> = (0..ASKED)
        .map(|at| at * (slides / ASKED).max(1))
        .map(|number| (number, population.sketch(number)))
        .collect();
    let top = Node::divide(&asked, branches, &mut 0);
    let chosen: Vec<usize> = (0..count).map(|at| (2 * at + 1) * branches / (2 * count)).collect();
    let (start, _) = spent();
    let parts = collect(population, &top, slides, &chosen);
    let drawn = spent().0 - start;
    let queries: Vec<Sketch> =
        (0..QUERIES).map(|at| population.sketch(roll(population.seed, 1_000 + at, slides))).collect();
    let found: Vec<[f64; 3]> = parts.iter().map(|part| measure(part, &queries)).collect();
    let of = |which: usize| estimate(&found.iter().map(|one| one[which]).collect::<Vec<_>>(), branches);
    let (size, size_by) = estimate(&parts.iter().map(|part| part.len() as f64).collect::<Vec<_>>(), branches);
    let ([divide, divide_by], [look, look_by], [matches, _]) = (of(0).into(), of(1).into(), of(2).into());
    println!(
        "{slides} slides, {count} of {branches} branches: {size:.3e} ± {size_by:.1e} slides by the branches; dividing below them {divide:.0} ± {divide_by:.0} s; \
         a look-up {:.1} ± {:.1} µs, {matches:.2} matches; drawing took {drawn:.0} s; at most {} MiB",
        look * 1e6,
        look_by * 1e6,
        spent().1
    );
    drop(parts);
    if slides <= whole {
        let all: Vec<Sketch> = (0..slides).map(|number| population.sketch(number)).collect();
        let [divide, look, matches] = measure(&all, &queries);
        println!(
            "  the whole tree: dividing {divide:.1} s; a look-up {:.1} µs, {matches:.2} matches",
            look * 1e6
        );
    }
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let number =
        |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let seed = number("SEED", 1);
    let population = Population { drawn: drawn(DRAWN, seed, 0), seed };
    let options =
        (number("BRANCHES", 256) as usize, number("CHOSEN", 8) as usize, number("WHOLE", 1_000_000));
    for slides in if numbers.is_empty() { vec![1_000_000] } else { numbers } {
        simulate(slides, &population, options);
    }
}
