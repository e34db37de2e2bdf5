//! Images into tiles, chat messages into ids.

mod fingerprint;
mod resize;
mod settings;
mod template;
mod text;
mod tiling;

use std::path::Path;
use std::sync::Arc;

use image::DynamicImage;

pub use text::Encoded;
pub use tiling::pixel_values;

use crate::{Result, Sample, Target, Tiles};
use settings::Settings;
use template::ChatTemplate;
use text::Text;

/// The processor of a checkpoint: what `Idefics3Processor` of transformers computes with its PIL backend (Pillow 13).
pub struct Processor {
    settings: Settings,
    text: Text,
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Processor {
    /// Opens the processor files of a checkpoint directory, in the older layout (`preprocessor_config.json`,
    /// `chat_template.json`) or the newer one (`processor_config.json`, `chat_template.jinja`), and its `tokenizer.json`.
    ///
    /// `longest_edge` replaces the checkpoint's `size.longest_edge`: a smaller one gives fewer tiles.
    ///
    /// # Errors
    /// When a file is missing or invalid, asks for something that is not supported, or the tokenizer lacks a token that the
    /// prompt needs.
    pub fn open(dir: impl AsRef<Path>, longest_edge: Option<usize>) -> Result<Self> {
        let dir = dir.as_ref();
        let settings = Settings::open(dir, longest_edge)?;
        let text = Text::open(dir, ChatTemplate::open(dir)?, settings.image_seq_len)?;
        Ok(Self { settings, text })
    }

    /// Image tokens of one tile.
    pub fn image_seq_len(&self) -> usize {
        self.settings.image_seq_len
    }

    /// Side of a tile in pixels.
    pub fn tile_size(&self) -> usize {
        self.settings.tile
    }

    /// The longest edge that an image is resized to before it is split.
    pub fn longest_edge(&self) -> usize {
        self.settings.longest_edge
    }

    /// Resizes and splits an image. Transparency is laid over white; 16-bit colours keep their high byte, 16-bit grey is
    /// clipped at 255 (both as Pillow does); orientation tags are not applied.
    ///
    /// # Errors
    /// When the image is empty or larger than 65,535 on a side or 178,956,970 pixels in all.
    pub fn tiles(&self, image: &DynamicImage) -> Result<Tiles> {
        tiling::tiles(&tiling::to_rgb(image)?, &self.settings)
    }

    /// Rows and columns of the split of an image of this size, `(0, 0)` for a single tile.
    ///
    /// # Errors
    /// As [`tiles`](Self::tiles).
    pub fn grid(&self, width: usize, height: usize) -> Result<(usize, usize)> {
        tiling::Plan::new(width, height, &self.settings).map(|plan| plan.grid())
    }

    /// The rendered conversation before the image's placeholder is expanded: one user message with the image and the
    /// prompt, then the answer, or the opening of one.
    ///
    /// # Errors
    /// When a text holds a special token or the template fails.
    pub fn render(&self, prompt: &str, answer: Option<&str>) -> Result<String> {
        self.text.render(prompt, answer)
    }

    /// The ids of the conversation about an image, and which of them are prompt and answer.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn encode(&self, tiles: &Tiles, prompt: &str, answer: Option<&str>) -> Result<Encoded> {
        self.text.encode((tiles.rows, tiles.cols), prompt, answer)
    }

    /// A sample whose targets are the tokens of the answer up to and including the end of the turn; without an answer it has
    /// no targets.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn sample(&self, tiles: &Arc<Tiles>, prompt: &str, answer: Option<&str>) -> Result<Sample> {
        let encoded = self.encode(tiles, prompt, answer)?;
        let targets = encoded.answer().map(|position| {
            let tokens = vec![(encoded.input_ids[position], 1.0)];
            Target { position, tokens, weight: 1.0 }
        });
        let targets = targets.collect();
        Ok(Sample { input_ids: encoded.input_ids, tiles: Arc::clone(tiles), targets })
    }

    /// The ids of an answer as they follow any prompt, the end of the turn included.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn answer_ids(&self, answer: &str) -> Result<Vec<u32>> {
        let encoded = self.text.encode((0, 0), "", Some(answer))?;
        Ok(encoded.input_ids[encoded.answer()].to_vec())
    }

    /// The id of a text that is exactly one token, as `"3"` or `"<end_of_utterance>"`.
    ///
    /// # Errors
    /// When the text is no token or several.
    pub fn token_id(&self, text: &str) -> Result<u32> {
        self.text.token_id(text)
    }

    /// The text of ids; `skip_special` leaves out special tokens.
    ///
    /// # Errors
    /// When the tokenizer cannot decode.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.text.decode(ids, skip_special)
    }

    /// The token that stands for one row of image features.
    pub fn image_token_id(&self) -> u32 {
        self.text.image_token_id
    }

    /// The token that ends an answer, `<end_of_utterance>`.
    pub fn eos_token_id(&self) -> u32 {
        self.text.eos_token_id
    }
}
