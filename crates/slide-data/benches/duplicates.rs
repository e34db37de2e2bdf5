//! How well near-duplicates are found: `cargo bench -p slide-data --features render --bench duplicates -- [PDF …]`.
//!
//! Takes drawn decks (several slides of one template each) and the PDFs named, makes variants of each slide (JPEG 30 to 95, 50 to
//! 150 % of the size, borders of up to 3 % cropped, and all of them together), and counts at the thresholds of `data.toml`:
//! variants that are found (recall), slides of all decks that a variant is wrongly taken for (precision), different slides of one
//! deck that are merged. Slides without content, and slides of real decks that truly repeat, are judged by equal pixels.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use slide_data::image::codecs::jpeg::JpegEncoder;
use slide_data::image::{RgbImage, imageops};
use slide_data::imaging::{Signature, Sketch, SlideHash, decode, pixels_sha256};
use slide_data::render::load;
use slide_data::{DuplicateThresholds, Limits};
use support::Dice;

struct Measured {
    deck: usize,
    name: String,
    pixels: String,
    signature: Signature,
    sketch: Sketch,
    hash: SlideHash,
}

fn measure(deck: usize, name: String, image: &RgbImage) -> Measured {
    let signature = Signature::of(image);
    let (hash, sketch) = (signature.hash(), Sketch::of(&signature));
    Measured { deck, name, pixels: pixels_sha256(image), hash, sketch, signature }
}

fn jpeg(image: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(image).expect("a slide fits a JPEG");
    decode(bytes.get_ref(), &Limits::default()).expect("our own JPEG")
}

fn scaled(image: &RgbImage, percent: u32) -> RgbImage {
    let (width, height) = (image.width() * percent / 100, image.height() * percent / 100);
    imageops::resize(image, width, height, imageops::FilterType::CatmullRom)
}

fn cropped(image: &RgbImage, shares: [f64; 4]) -> RgbImage {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let [left, right, top, bottom] = shares;
    let (x, y) = ((left * width) as u32, (top * height) as u32);
    let size = (((1.0 - left - right) * width) as u32, ((1.0 - top - bottom) * height) as u32);
    imageops::crop_imm(image, x, y, size.0, size.1).to_image()
}

fn variants(image: &RgbImage, dice: &mut Dice) -> Vec<(&'static str, RgbImage)> {
    let mut share = || dice.roll(301) as f64 / 10_000.0;
    let one_side = [share(), 0.0, share(), 0.0];
    let all_sides = [share(), share(), share(), share()];
    let percent = 50 + dice.roll(101) as u32;
    let quality = 30 + dice.roll(66) as u8;
    vec![
        ("jpeg 30", jpeg(image, 30)),
        ("jpeg 95", jpeg(image, 95)),
        ("scale 50 %", scaled(image, 50)),
        ("scale 150 %", scaled(image, 150)),
        ("crop 3 % all sides", cropped(image, [0.03; 4])),
        ("crop two sides", cropped(image, one_side)),
        ("crop four sides", cropped(image, all_sides)),
        ("all together", jpeg(&scaled(&cropped(image, all_sides), percent), quality)),
    ]
}

fn is_near(a: &Measured, b: &Measured, limits: &DuplicateThresholds) -> (bool, f32, f32) {
    let similarity = a.hash.similarity(&b.hash);
    if similarity < limits.similarity || !a.sketch.may_match(&b.sketch) {
        return (false, similarity, f32::NAN);
    }
    let difference = a.signature.difference(&b.signature);
    (difference <= limits.difference, similarity, difference)
}

fn deck_of(path: &Path) -> Vec<RgbImage> {
    let slides = load(path, &Limits::default()).expect("the deck exists");
    slides.filter_map(Result::ok).map(|slide| slide.image).collect()
}

fn drawn(decks: u64) -> Vec<(String, Vec<RgbImage>)> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let draw = |seed| {
        let path = dir.path().join(format!("drawn-{seed}.pdf"));
        std::fs::write(&path, support::deck(seed, 8)).expect("room for a deck");
        (format!("drawn-{seed}"), deck_of(&path))
    };
    (0..decks).map(draw).collect()
}

#[derive(Default)]
struct Counts {
    tried: BTreeMap<&'static str, u64>,
    found: BTreeMap<&'static str, u64>,
    false_pairs: u64,
    compared: u64,
    merged: u64,
    pairs: u64,
    /// The largest difference of a variant from its slide, and the smallest of different slides.
    farthest: f32,
    nearest: Option<f32>,
}

impl Counts {
    /// One slide's variants against all slides, and the slide against those before it in its deck.
    fn try_slide(&mut self, at: usize, image: &RgbImage, all: &[Measured], limits: &DuplicateThresholds) {
        let own = &all[at];
        if own.hash.similarity(&own.hash) < 0.5 {
            return; // blank
        }
        for (kind, variant) in variants(image, &mut Dice(5 + at as u64)) {
            let variant = measure(own.deck, format!("{} {kind}", own.name), &variant);
            let (near, similarity, difference) = is_near(own, &variant, limits);
            *self.tried.entry(kind).or_default() += 1;
            *self.found.entry(kind).or_default() += u64::from(near);
            self.farthest = self.farthest.max(difference);
            if !near {
                println!("missed: {}: similarity {similarity:.3}, difference {difference:.3}", variant.name);
            }
            for other in all.iter().filter(|other| other.pixels != own.pixels) {
                self.compared += 1;
                let (near, similarity, difference) = is_near(other, &variant, limits);
                self.false_pairs += u64::from(near);
                if near {
                    println!("false: {} and {}: {similarity:.3}, {difference:.3}", variant.name, other.name);
                }
            }
        }
        for other in all[..at].iter().filter(|other| other.deck == own.deck && other.pixels != own.pixels) {
            self.pairs += 1;
            let (near, similarity, difference) = is_near(own, other, limits);
            self.merged += u64::from(near);
            self.nearest = Some(self.nearest.map_or(difference, |least| least.min(difference)));
            if near {
                println!("merged: {} and {}: {similarity:.3}, {difference:.3}", own.name, other.name);
            }
        }
    }

    fn add(&mut self, other: Self) {
        other.tried.into_iter().for_each(|(kind, count)| *self.tried.entry(kind).or_default() += count);
        other.found.into_iter().for_each(|(kind, count)| *self.found.entry(kind).or_default() += count);
        self.false_pairs += other.false_pairs;
        self.compared += other.compared;
        self.merged += other.merged;
        self.pairs += other.pairs;
        self.farthest = self.farthest.max(other.farthest);
        self.nearest = [self.nearest, other.nearest].into_iter().flatten().reduce(f32::min);
    }

    fn print(&self) {
        let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        for (kind, count) in &self.tried {
            println!("recall {kind}: {} of {count}", self.found[kind]);
        }
        let (all, hits) = (self.tried.values().sum(), self.found.values().sum());
        println!("recall: {:.2} % of {all} variants", share(hits, all));
        let (precision, false_pairs) = (share(hits, hits + self.false_pairs), self.false_pairs);
        println!("precision: {precision:.2} % ({false_pairs} false of {} compared)", self.compared);
        let (merged, pairs) = (self.merged, self.pairs);
        println!("merged different slides of one deck: {:.3} % ({merged} of {pairs})", share(merged, pairs));
        let nearest = self.nearest.unwrap_or(f32::NAN);
        println!("difference: variants up to {:.3}, other slides of a deck from {nearest:.3}", self.farthest);
    }
}

fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let mut decks = drawn(12);
    decks.extend(named.iter().map(|path| (path.clone(), deck_of(Path::new(path)))));
    let limits = DuplicateThresholds::default();
    let slides: Vec<(usize, &RgbImage)> = decks
        .iter()
        .enumerate()
        .flat_map(|(deck, (_, slides))| slides.iter().map(move |s| (deck, s)))
        .collect();
    let name = |at: usize, deck: usize| {
        let before = slides[..at].iter().filter(|(other, _)| *other == deck).count();
        format!("{} {}", decks[deck].0, before + 1)
    };
    let all: Vec<Measured> =
        slides.iter().enumerate().map(|(at, (deck, image))| measure(*deck, name(at, *deck), image)).collect();
    println!("{} decks, {} slides", decks.len(), slides.len());
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Counts::default()));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut counts = Counts::default();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((_, image)) = slides.get(at) else { break };
                    counts.try_slide(at, image, &all, &limits);
                }
                total.lock().expect("no thread panicked").add(counts);
            });
        }
    });
    total.lock().expect("no thread panicked").print();
    println!("{:.1} s in all", start.elapsed().as_secs_f64());
}
