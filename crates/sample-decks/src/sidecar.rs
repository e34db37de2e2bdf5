use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use slide_data::{Contract, write_atomic};

use crate::{Deck, Quality, Result, Slide, render_pdf, render_png};

/// The name of the file beside the decks that holds every slide's latent quality.
pub const LATENTS_FILE: &str = "latents.json";

/// `latents.json`: the quality of every slide by deck file (or folder) and page, from 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latents {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// The seed the decks were drawn from.
    pub seed: u64,
    /// Qualities of the pages of each deck, by its file name or folder.
    pub decks: BTreeMap<String, Vec<Quality>>,
}

impl Contract for Latents {
    const NAME: &'static str = "latents file";
    const VERSION: u32 = 1;
}

impl Latents {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or does not hold qualities.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(<Self as Contract>::read(path)?)
    }

    /// The quality of a slide by its origin (a deck's file, or an image in a deck's folder) and page.
    pub fn quality(&self, origin: &str, page: Option<usize>) -> Option<Quality> {
        let mut parts = Path::new(origin).iter().rev().filter_map(|part| part.to_str());
        let file = parts.next()?;
        if let Some(pages) = self.decks.get(file) {
            return pages.get(page?.checked_sub(1)?).copied();
        }
        let number: usize = file.strip_suffix(".png")?.strip_prefix("slide-")?.parse().ok()?;
        self.decks.get(parts.next()?)?.get(number.checked_sub(1)?).copied()
    }
}

/// How decks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Each deck as one PDF.
    Pdf,
    /// Each deck as a folder of images.
    Png,
    /// Every fourth deck as a folder of images, the others as PDF.
    Mixed,
}

/// What decks are to be written.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// How many decks.
    pub decks: usize,
    /// Where randomness starts; other seeds give other companies, themes and qualities.
    pub seed: u64,
    /// The form they are written in.
    pub format: Format,
    /// Width of images in pixels.
    pub width: u32,
}

/// Draws decks and writes them below `out` with [`LATENTS_FILE`].
///
/// # Errors
/// When a file cannot be written or an image cannot be drawn.
pub fn write_decks(out: &Path, order: &Order) -> Result<Latents> {
    let written: Result<Vec<(String, Vec<Quality>)>> = (0..order.decks)
        .into_par_iter()
        .map(|index| {
            let deck = Deck::draw(order.seed, index);
            let name = format!("{:03}-{}", index + 1, deck.company.to_lowercase());
            let name = match order.format {
                Format::Pdf => write_pdf(out, name, &deck)?,
                Format::Mixed if index % 4 != 3 => write_pdf(out, name, &deck)?,
                Format::Png | Format::Mixed => write_images(out, name, &deck, order.width)?,
            };
            Ok((name, deck.slides.iter().map(|slide| slide.quality).collect()))
        })
        .collect();
    let latents =
        Latents { schema_version: Latents::VERSION, seed: order.seed, decks: written?.into_iter().collect() };
    latents.write(&out.join(LATENTS_FILE))?;
    Ok(latents)
}

fn write_pdf(out: &Path, name: String, deck: &Deck) -> Result<String> {
    let file = name + ".pdf";
    write_atomic(&out.join(&file), &render_pdf(&deck.scenes())?)?;
    Ok(file)
}

fn write_images(out: &Path, folder: String, deck: &Deck, width: u32) -> Result<String> {
    for (index, slide) in deck.slides.iter().enumerate() {
        let path = out.join(&folder).join(format!("slide-{:02}.png", index + 1));
        write_atomic(&path, &render_png(&slide.scene, width)?)?;
    }
    Ok(folder)
}

/// Draws decks as images with everything that is visible on them, one line a slide in `slides.jsonl`: what a model can be
/// taught to see.
///
/// # Errors
/// As [`write_decks`].
pub fn write_seen(out: &Path, order: &Order) -> Result<usize> {
    let lines: Result<Vec<String>> = (0..order.decks)
        .into_par_iter()
        .map(|index| {
            let deck = Deck::draw(order.seed, index);
            let mut lines = String::new();
            for (page, slide) in deck.slides.iter().enumerate() {
                let file = format!("{index:04}-{:02}.png", page + 1);
                write_atomic(&out.join(&file), &render_png(&slide.scene, order.width)?)?;
                lines.push_str(&seen_line(&file, index, slide));
            }
            Ok(lines)
        })
        .collect();
    let lines = lines?.concat();
    write_atomic(&out.join("slides.jsonl"), lines.as_bytes())?;
    Ok(lines.lines().count())
}

/// What was drawn in a file, as a line of JSON.
fn seen_line(file: &str, deck: usize, slide: &Slide) -> String {
    let line = serde_json::json!({
        "file": file, "deck": deck, "topic": slide.topic, "form": slide.form,
        "quality": slide.quality, "look": slide.look, "elements": slide.scene.elements,
    });
    format!("{line}\n")
}
