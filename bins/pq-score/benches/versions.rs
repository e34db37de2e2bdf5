//! How often a change that was planted in a drawn deck is found by a trained model, and how often "better" is said of what is not.
//!
//!     cargo bench -p pq-score --bench versions -- PROJECT [PAIRS]
//!
//! PROJECT is the folder of the demo (`make demo`), whose champion, validated, rates. Of each deck four slides are given two points more on
//! one criterion, and two are drawn anew, in other words, without being any better. Seeded.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a measurement, which prints and may stop at a surprise"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use sample_decks::{Deck, Quality, Rng, render_pdf};
use serde_json::Value;

const SCORE: &str = env!("CARGO_BIN_EXE_pq-score");
/// The criteria that apply to every slide, by their places among [`Quality::KEYS`].
const CRITERIA: [usize; 4] = [0, 1, 3, 4];
const BY: f64 = 2.0;

#[derive(Default, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is counted by itself")]
struct Said {
    /// Slides are matched as they were drawn.
    matched: bool,
    found: bool,
    wrong_better: bool,
    worse: bool,
}

/// A deck with the places that are worked on: the improved ones, and those that are only drawn anew.
struct Pair {
    seed: u64,
    criterion: usize,
    improved: Vec<usize>,
    redrawn: Vec<usize>,
}

fn with(quality: &Quality, criterion: usize, change: impl Fn(f64) -> f64) -> Quality {
    let mut quality = *quality;
    let own = match criterion {
        0 => &mut quality.clarity,
        1 => &mut quality.design,
        3 => &mut quality.readability,
        _ => &mut quality.content_quality,
    };
    *own = change(*own);
    quality
}

impl Pair {
    fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x7061_6972);
        let slides = Deck::draw(seed, 0).slides.len();
        let mut places: Vec<usize> = (1..slides).collect();
        rng.shuffle(&mut places);
        let (improved, redrawn) = (places[..4].to_vec(), places[4..6].to_vec());
        Self { seed, criterion: CRITERIA[rng.below(4)], improved, redrawn }
    }

    /// Leaves room for what it will be improved by.
    fn low(&self, quality: &Quality) -> Quality {
        with(quality, self.criterion, |value| value.min(5.0 - BY))
    }

    fn before(&self) -> Deck {
        Deck::worked_on(self.seed, 0, |place, quality| {
            self.improved.contains(&place).then(|| self.low(quality))
        })
    }

    fn after(&self) -> Deck {
        Deck::worked_on(self.seed, 0, |place, quality| {
            if self.improved.contains(&place) {
                return Some(with(&self.low(quality), self.criterion, |value| value + BY));
            }
            self.redrawn.contains(&place).then_some(*quality)
        })
    }

    fn read(&self, versions: &Value) -> Said {
        let mut said = Said::default();
        let key = Quality::KEYS[self.criterion];
        let mut note = |found: &Value, is_true: bool| {
            let is_better = found["tendency"] == "better";
            said.found |= is_true && is_better;
            said.wrong_better |= !is_true && is_better;
            said.worse |= found["tendency"] == "worse";
        };
        let mut places = Vec::new();
        for slide in versions["changed"].as_array().unwrap() {
            let place = slide["after"].as_u64().unwrap() as usize - 1;
            places.push((slide["before"].as_u64().unwrap() as usize - 1, place));
            for found in slide["differences"].as_array().unwrap() {
                note(found, found["criterion"] == key && self.improved.contains(&place));
            }
        }
        for found in versions["criteria"].as_array().unwrap() {
            note(found, found["criterion"] == key);
        }
        let mut drawn: Vec<(usize, usize)> =
            self.improved.iter().chain(&self.redrawn).map(|place| (*place, *place)).collect();
        drawn.sort_unstable();
        said.matched = places == drawn;
        said
    }
}

fn score(project: &Path, config: &Path, folder: &Path, pair: &Pair) -> Said {
    let [old, new] = ["old.pdf", "new.pdf"].map(|name| folder.join(name));
    std::fs::write(&old, render_pdf(&pair.before().scenes()).unwrap()).unwrap();
    std::fs::write(&new, render_pdf(&pair.after().scenes()).unwrap()).unwrap();
    let mut command = Command::new(SCORE);
    command.current_dir(project).arg("--config").arg(config).args(["--no-log", "--json", "--before"]);
    let output = command.arg(&old).arg(&new).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    pair.read(&last["versions"])
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let project = PathBuf::from(args.next().unwrap_or_else(|| panic!("name the folder of the demo")));
    let pairs = args.next().and_then(|count| count.parse().ok()).unwrap_or(100);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/demo/config");
    let folder = tempfile::tempdir().unwrap();
    let said: Vec<Said> =
        (0..pairs).map(|at| score(&project, &config, folder.path(), &Pair::draw(900_000 + at))).collect();
    let count = |of: &dyn Fn(&Said) -> bool| said.iter().filter(|said| of(said)).count();
    println!(
        "of {pairs} pairs: matched as drawn {}, planted change found {}, false \"better\" {}, \"worse\" {}",
        count(&|said| said.matched),
        count(&|said| said.found),
        count(&|said| said.wrong_better),
        count(&|said| said.worse)
    );
}
