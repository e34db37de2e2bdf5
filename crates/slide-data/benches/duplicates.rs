//! How well near-duplicates are found: `cargo bench -p slide-data --features render --bench duplicates -- [PDF …]`.
//!
//! Takes drawn decks (several slides of one template each) and the PDFs named, makes variants of each slide (JPEG 30 to 95, 50 to
//! 150 % of the size, borders of up to 3 % cropped, and all of them together), and counts at the thresholds of `data.toml`:
//! variants that are found (recall), pairs found that are no variants (precision), different slides of one deck that are merged.
//! Slides without content and slides of real decks that truly repeat are judged by equal pixels.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Cursor;
use std::path::Path;
use std::time::Instant;

use slide_data::image::codecs::jpeg::JpegEncoder;
use slide_data::image::{RgbImage, imageops};
use slide_data::picture::{Signature, SlideHash, decode};
use slide_data::render::load;
use slide_data::{DuplicateThresholds, Limits};
use support::Dice;

struct Measured {
    name: String,
    signature: Signature,
    hash: SlideHash,
}

fn measure(name: String, picture: &RgbImage) -> Measured {
    let signature = Signature::of(picture);
    Measured { name, hash: signature.hash(), signature }
}

fn jpeg(picture: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(picture).expect("a slide fits a JPEG");
    decode(bytes.get_ref(), &Limits::default()).expect("our own JPEG")
}

fn scaled(picture: &RgbImage, percent: u32) -> RgbImage {
    let (width, height) = (picture.width() * percent / 100, picture.height() * percent / 100);
    imageops::resize(picture, width, height, imageops::FilterType::CatmullRom)
}

fn cropped(picture: &RgbImage, shares: [f64; 4]) -> RgbImage {
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let [left, right, top, bottom] = shares;
    let (x, y) = ((left * width) as u32, (top * height) as u32);
    let size = (((1.0 - left - right) * width) as u32, ((1.0 - top - bottom) * height) as u32);
    imageops::crop_imm(picture, x, y, size.0, size.1).to_image()
}

fn variants(picture: &RgbImage, dice: &mut Dice) -> Vec<(&'static str, RgbImage)> {
    let mut share = || dice.roll(301) as f64 / 10_000.0;
    let one_side = [share(), 0.0, share(), 0.0];
    let all_sides = [share(), share(), share(), share()];
    let percent = 50 + dice.roll(101) as u32;
    let quality = 30 + dice.roll(66) as u8;
    vec![
        ("jpeg 30", jpeg(picture, 30)),
        ("jpeg 95", jpeg(picture, 95)),
        ("scale 50 %", scaled(picture, 50)),
        ("scale 150 %", scaled(picture, 150)),
        ("crop 3 % all sides", cropped(picture, [0.03; 4])),
        ("crop two sides", cropped(picture, one_side)),
        ("crop four sides", cropped(picture, all_sides)),
        ("all together", jpeg(&scaled(&cropped(picture, all_sides), percent), quality)),
    ]
}

fn is_near(a: &Measured, b: &Measured, limits: &DuplicateThresholds) -> (bool, f32, f32) {
    let similarity = a.hash.similarity(&b.hash);
    if similarity < limits.similarity {
        return (false, similarity, f32::NAN);
    }
    let difference = a.signature.difference(&b.signature);
    (difference <= limits.difference, similarity, difference)
}

fn deck_of(path: &Path) -> Vec<RgbImage> {
    let slides = load(path, &Limits::default()).expect("the deck exists");
    slides.filter_map(Result::ok).map(|slide| slide.image).collect()
}

#[allow(clippy::too_many_lines, reason = "one measurement after the other")]
fn main() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let mut decks: Vec<(String, Vec<RgbImage>)> = Vec::new();
    for seed in 0..6 {
        let path = dir.path().join(format!("drawn-{seed}.pdf"));
        std::fs::write(&path, support::deck(seed, 8)).expect("room for a deck");
        decks.push((format!("drawn-{seed}"), deck_of(&path)));
    }
    decks.extend(named.iter().map(|path| (path.clone(), deck_of(Path::new(path)))));
    let limits = DuplicateThresholds::default();
    let mut dice = Dice(5);
    let (mut tried, mut found) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    let (mut merged, mut pairs, mut false_pairs, mut compared) = (0u64, 0u64, 0u64, 0u64);
    let start = Instant::now();
    for (name, slides) in &decks {
        let originals: Vec<Measured> =
            slides.iter().enumerate().map(|(at, s)| measure(format!("{name} {}", at + 1), s)).collect();
        for (at, slide) in slides.iter().enumerate() {
            if originals[at].hash.similarity(&originals[at].hash) < 0.5 {
                continue; // blank
            }
            for (kind, variant) in variants(slide, &mut dice) {
                let variant = measure(String::new(), &variant);
                *tried.entry(kind).or_insert(0u64) += 1;
                let (near, similarity, difference) = is_near(&originals[at], &variant, &limits);
                *found.entry(kind).or_insert(0u64) += u64::from(near);
                if !near {
                    println!(
                        "missed: {} {kind}: similarity {similarity:.3}, difference {difference:.3}",
                        originals[at].name
                    );
                }
                for (other, original) in originals.iter().enumerate().filter(|(other, _)| *other != at) {
                    compared += 1;
                    let repeats = slides[other] == slides[at];
                    false_pairs += u64::from(!repeats && is_near(original, &variant, &limits).0);
                }
            }
            for other in 0..at {
                pairs += 1;
                let (near, similarity, difference) = is_near(&originals[at], &originals[other], &limits);
                if near && slides[at] != slides[other] {
                    merged += 1;
                    println!(
                        "merged: {} and {}: similarity {similarity:.3}, difference {difference:.3}",
                        originals[at].name, originals[other].name
                    );
                }
            }
        }
    }
    for (kind, count) in &tried {
        println!("recall {kind}: {} of {count}", found[kind]);
    }
    let (all, hits) = (tried.values().sum::<u64>(), found.values().sum::<u64>());
    println!("recall: {:.2} % of {all} variants", 100.0 * hits as f64 / all as f64);
    println!(
        "precision: {:.2} % ({false_pairs} false of {compared} compared)",
        100.0 * hits as f64 / (hits + false_pairs).max(1) as f64
    );
    println!(
        "merged different slides of one deck: {:.3} % ({merged} of {pairs})",
        100.0 * merged as f64 / pairs.max(1) as f64
    );
    println!("{:.1} s in all", start.elapsed().as_secs_f64());
}
