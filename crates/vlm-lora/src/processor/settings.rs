use std::path::Path;

use serde_json::{Map, Value};

use crate::files::{invalid_file, read_json_object_if_present};
use crate::{Error, Result};

const WHAT: &str = "processor configuration";

/// No side of an image exceeds this after the first resize (transformers' constant).
pub(super) const MAX_IMAGE_SIZE: usize = 4096;

/// Largest number of rows and columns for which the tokenizer has position markers.
const MAX_GRID: usize = 6;

/// How images are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// `size.longest_edge`.
    pub(super) longest_edge: usize,
    /// `max_image_size.longest_edge`: side of a tile.
    pub(super) tile: usize,
    /// `do_image_splitting`.
    pub(super) split: bool,
    /// Image tokens of one tile.
    pub(super) image_seq_len: usize,
}

impl Settings {
    pub(super) fn open(dir: &Path, longest_edge: Option<usize>) -> Result<Self> {
        let own = Self::read(dir)?;
        let settings = Self { longest_edge: longest_edge.unwrap_or(own.longest_edge), ..own };
        settings.check()?;
        Ok(settings)
    }

    /// What the files say, before anything replaces it.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let (old, new) = (dir.join("preprocessor_config.json"), dir.join("processor_config.json"));
        let whole = read_json_object_if_present(&new, WHAT)?.unwrap_or_default();
        let nested = whole.get("image_processor").and_then(Value::as_object).cloned();
        let (path, image) = match (nested, read_json_object_if_present(&old, WHAT)?) {
            (Some(nested), _) => (&new, nested),
            (None, Some(image)) => (&old, image),
            (None, None) => {
                return Err(invalid_file(
                    &new,
                    WHAT,
                    "no `image_processor`, and no preprocessor_config.json",
                ));
            }
        };
        Self::from_json(&image, &whole).map_err(|problem| match problem {
            Problem::Value(reason) => invalid_file(path, WHAT, reason),
            Problem::Unsupported(what) => Error::Unsupported { what },
        })
    }

    fn from_json(
        image: &Map<String, Value>,
        whole: &Map<String, Value>,
    ) -> std::result::Result<Self, Problem> {
        refuse_unsupported(image)?;
        let tile = edge(image, "max_image_size", 2048)?.unwrap_or(364);
        let longest_edge = edge(image, "size", MAX_IMAGE_SIZE)?.unwrap_or(4 * 364);
        let image_seq_len = match whole.get("image_seq_len").filter(|value| !value.is_null()) {
            None => 169, // transformers' class default
            Some(value) => size(value, 1 << 14).ok_or_else(|| wrong("image_seq_len", value))?,
        };
        let split = flag(image, "do_image_splitting")?;
        Ok(Self { longest_edge, tile, split, image_seq_len })
    }

    fn check(&self) -> Result<()> {
        let largest = MAX_IMAGE_SIZE.min(MAX_GRID * self.tile);
        if (1..=largest).contains(&self.longest_edge) || (!self.split && self.longest_edge <= MAX_IMAGE_SIZE)
        {
            return Ok(());
        }
        Err(Error::InvalidConfig {
            key: "longest_edge".to_owned(),
            expected: format!("from 1 to {largest} (tiles of {}, at most {MAX_GRID} a side)", self.tile),
            actual: self.longest_edge.to_string(),
        })
    }
}

enum Problem {
    Value(String),
    Unsupported(String),
}

fn wrong(key: &str, value: &Value) -> Problem {
    let text: String = value.to_string().chars().take(80).collect();
    Problem::Value(format!("`{key}` cannot be {text}"))
}

fn size(value: &Value, most: usize) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| (1..=most).contains(size))
}

fn edge(image: &Map<String, Value>, key: &str, most: usize) -> std::result::Result<Option<usize>, Problem> {
    let Some(value) = image.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    let edge = value.get("longest_edge").and_then(|edge| size(edge, most));
    edge.map(Some).ok_or_else(|| wrong(key, value))
}

fn flag(image: &Map<String, Value>, key: &str) -> std::result::Result<bool, Problem> {
    match image.get(key) {
        None | Some(Value::Null) => Ok(true),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(value) => Err(wrong(key, value)),
    }
}

/// Steps that are always taken, and the numbers they are taken with. The class defaults of mean and deviation are 0.5.
fn refuse_unsupported(image: &Map<String, Value>) -> std::result::Result<(), Problem> {
    for key in ["do_convert_rgb", "do_resize", "do_rescale", "do_normalize"] {
        if !flag(image, key)? {
            return Err(Problem::Unsupported(format!("`{key}` = false of the image processor")));
        }
    }
    let lanczos = 1;
    if let Some(value) =
        image.get("resample").filter(|value| value.as_u64() != Some(lanczos) && !value.is_null())
    {
        return Err(unsupported("resample", value));
    }
    if let Some(value) = image.get("rescale_factor").filter(|value| !value.is_null()) {
        let near = value.as_f64().is_some_and(|factor| (factor - 1.0 / 255.0).abs() < 1e-9);
        if !near {
            return Err(unsupported("rescale_factor", value));
        }
    }
    ["image_mean", "image_std"].into_iter().try_for_each(|key| check_half(image, key))
}

/// Refuses a mean or deviation that is not 0.5 in every channel.
fn check_half(image: &Map<String, Value>, key: &str) -> std::result::Result<(), Problem> {
    let Some(value) = image.get(key).filter(|value| !value.is_null()) else { return Ok(()) };
    let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    if values.is_empty() || values.iter().any(|value| value.as_f64() != Some(0.5)) {
        return Err(unsupported(key, value));
    }
    Ok(())
}

fn unsupported(key: &str, value: &Value) -> Problem {
    let text: String = value.to_string().chars().take(80).collect();
    Problem::Unsupported(format!("`{key}` = {text} of the image processor"))
}
