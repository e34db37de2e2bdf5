//! What slides cost that all look alike at first sight: `cargo bench -p slide-data --features collect --bench crowd -- [SLIDES …]`.
//!
//! Draws one form that is filled in otherwise so many times (300, unless told otherwise; seeded), and for every tenth a copy (cropped by up
//! to 3 % a side, 50 to 150 % of the size, JPEG 30 to 95), collects them, and says how long looking for duplicates took, how many of
//! the copies are found and how many forms are taken for another. `SPLITS=1` also proves splits. Seconds are of the process's CPU time.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench reports on stdout, and stops at a surprise"
)]

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::path::Path;
use std::sync::Mutex;

use repeatable_random::mix;
use slide_data::collect::{
    Collector, DataConfig, Decisions, InProcess, Progress, Reader, Staying, Store, prove,
};
use slide_data::image::codecs::jpeg::JpegEncoder;
use slide_data::image::{Rgb, RgbImage, imageops};
use slide_data::imaging::{SlideHash, decode};
use slide_data::render::find_inputs;
use slide_data::{Limits, Manifest, SlideRecord, SplitRatios, Splits};

const SIZE: (u32, u32) = (640, 360);
const SEED: u64 = 17 << 40;

/// The `n`-th number of a form, below `below`.
fn roll(form: u64, n: u64, below: u64) -> u32 {
    (mix((SEED + form).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ mix(n)) % below) as u32
}

fn fill(image: &mut RgbImage, (left, top): (u32, u32), (width, height): (u32, u32), grey: u8) {
    for y in top..(top + height).min(SIZE.1) {
        for x in left..(left + width).min(SIZE.0) {
            image.put_pixel(x, y, Rgb([grey; 3]));
        }
    }
}

/// Letters as strokes, in words, until `width` is full.
fn words(image: &mut RgbImage, of: (u64, u64), at: (u32, u32), width: u32, grey: u8) {
    let (mut x, mut letter) = (0, 0);
    while x + 6 < width {
        let kind = roll(of.0, of.1 * 1_000 + letter, 6);
        letter += 1;
        if kind == 0 {
            x += 5; // between words
            continue;
        }
        fill(image, (at.0 + x, at.1), (2, 9), grey);
        fill(image, (at.0 + x, at.1 + 2 * kind - 2), (5, 2), grey);
        x += 7;
    }
}

/// A form with a heading and ten fields in two columns, filled in as far in each, with other words; form 0 has the labels of all.
fn form(number: u64) -> RgbImage {
    let mut image = RgbImage::from_pixel(SIZE.0, SIZE.1, Rgb([253; 3]));
    fill(&mut image, (0, 0), (SIZE.0, 48), 60);
    words(&mut image, (0, 1), (24, 18), 220, 240);
    for field in 0..10 {
        let (left, top) = (24 + field % 2 * 304, 66 + field / 2 * 56);
        words(&mut image, (0, 10 + u64::from(field)), (left, top), 60 + 9 * (field % 4), 110);
        fill(&mut image, (left, top + 14), (280, 28), 226);
        let long = 200 + roll(number, 50 + u64::from(field), 16);
        words(&mut image, (number, 100 + u64::from(field)), (left + 6, top + 23), long, 70);
    }
    image
}

/// A copy as it comes back from a screen, a scan or a smaller deck.
fn copy(image: &RgbImage, number: u64) -> RgbImage {
    let cut = |n: u64, length: u32| roll(number, n, 31) * length / 1_000;
    let (left, top) = (cut(1, SIZE.0), cut(2, SIZE.1));
    let (width, height) = (SIZE.0 - left - cut(3, SIZE.0), SIZE.1 - top - cut(4, SIZE.1));
    let cropped = imageops::crop_imm(image, left, top, width, height).to_image();
    let percent = 50 + roll(number, 5, 101);
    let size = (width * percent / 100, height * percent / 100);
    let scaled = imageops::resize(&cropped, size.0, size.1, imageops::FilterType::CatmullRom);
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, 30 + roll(number, 6, 66) as u8).encode_image(&scaled).unwrap();
    decode(bytes.get_ref(), &Limits::default()).unwrap()
}

/// A name without digits, so that each image is a deck of its own.
fn name(kind: &str, number: u64) -> String {
    let letters = (0..5).rev().map(|place| char::from(b'a' + (number / 26u64.pow(place) % 26) as u8));
    format!("{kind}-{}.png", letters.collect::<String>())
}

fn draw(folder: &Path, forms: u64) {
    for number in 1..=forms {
        let image = form(number);
        image.save(folder.join(name("form", number))).unwrap();
        if number % 10 == 0 {
            copy(&image, number).save(folder.join(name("copy", number))).unwrap();
        }
    }
}

/// CPU seconds of the process.
fn spent() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Notes when duplicates begin to be looked for.
#[derive(Default)]
struct Begun(Mutex<f64>);

impl Progress for Begun {
    fn comparing(&self) {
        *self.0.lock().unwrap() = spent();
    }
}

/// How many of two hundred pairs of forms have hashes that are similar enough to be looked at.
fn similar(slides: &[SlideRecord]) -> usize {
    let forms: Vec<_> = slides.iter().filter(|slide| slide.source.origin.contains("form-")).collect();
    let hash = |at: u32| SlideHash::from_hex(&forms[at as usize].phash).unwrap();
    let pick = |pair: u64, side: u64| roll(pair, 90 + side, forms.len() as u64);
    (0..200).filter(|&pair| hash(pick(pair, 0)).similarity(&hash(pick(pair, 1))) >= 0.8).count()
}

/// Copies that repeat their form or are repeated by it, and slides that repeat another form.
fn judge(slides: &[SlideRecord]) -> (usize, usize) {
    let origin = |slide: &SlideRecord| {
        Path::new(&slide.source.origin).file_name().unwrap().to_string_lossy().into_owned()
    };
    let of: HashMap<&str, String> =
        slides.iter().map(|slide| (slide.slide_id.as_str(), origin(slide))).collect();
    let number = |name: &str| name.split_once('-').unwrap().1.to_owned();
    let (mut found, mut wrong) = (0, 0);
    for slide in slides {
        let Some(original) = &slide.duplicate_of else { continue };
        let is_own = number(&of[original.as_str()]) == number(&origin(slide));
        found += usize::from(is_own);
        wrong += usize::from(!is_own);
    }
    (found, wrong)
}

fn measure(forms: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (decks, raw) = (dir.path().join("decks"), dir.path().join("raw"));
    std::fs::create_dir_all(&decks).unwrap();
    draw(&decks, forms);
    let config = DataConfig::default();
    let mut store = Store::open(&raw).unwrap();
    let inputs = find_inputs(&decks, Some(&decks)).unwrap();
    let (staying, decisions, begun) = (Staying::default(), Decisions::default(), Begun::default());
    let (store_of_run, readers) = (&mut store, 2);
    let mut collector = Collector {
        store: store_of_run,
        config: &config,
        readers,
        retry: false,
        staying: &staying,
        decisions: &decisions,
    };
    let reader = || -> Box<dyn Reader + Send> { Box::new(InProcess) };
    collector.run(&inputs, &reader, &begun).unwrap();
    let seconds = spent() - *begun.0.lock().unwrap();
    let (slides, (found, wrong)) = (store.slides(), judge(store.slides()));
    println!(
        "{forms} forms and {} copies: {seconds:.1} s; {found} copies found, {wrong} slides taken for another form; {} of 200 pairs of forms similar",
        slides.len() - forms as usize,
        similar(slides),
    );
    if std::env::var_os("SPLITS").is_some() {
        let (manifest, before) = (Manifest { slides: slides.to_vec() }, spent());
        let (mut splits, mut sizes, ratios) = (Splits::default(), BTreeMap::new(), SplitRatios::default());
        manifest.usable().for_each(|slide| *sizes.entry(slide.group.clone()).or_default() += 1);
        splits.assign(&sizes, ratios, 42).unwrap();
        let proof = prove(&manifest, &raw, &splits, ratios, &config.duplicates, &decisions).unwrap();
        println!(
            "  splits proved in {:.1} s: {} of {} pairs close, the closest {:?}",
            spent() - before,
            proof.close_pairs,
            proof.pairs,
            proof.closest
        );
    }
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    for forms in if numbers.is_empty() { vec![300] } else { numbers } {
        measure(forms);
    }
}
