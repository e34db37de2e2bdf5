use std::sync::Arc;

/// The square tiles of one image after resizing and splitting, before normalisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiles {
    /// Rows of the split, 0 where the image is a single tile.
    pub rows: usize,
    /// Columns of the split, 0 where the image is a single tile.
    pub cols: usize,
    /// Side of a tile in pixels.
    pub side: usize,
    /// RGB bytes, shape `(tiles, side, side, 3)`: row by row, the global view last.
    pub data: Vec<u8>,
}

impl Tiles {
    /// How many tiles there are: `rows · cols + 1`.
    pub fn count(&self) -> usize {
        self.rows * self.cols + 1
    }

    /// The bytes of a tile; none where there is no such tile.
    pub fn tile(&self, index: usize) -> &[u8] {
        let len = self.side * self.side * 3;
        self.data.get(index * len..(index + 1) * len).unwrap_or_default()
    }

    /// A tile as an image of its own.
    pub(crate) fn alone(&self, index: usize) -> Self {
        Self { rows: 0, cols: 0, side: self.side, data: self.tile(index).to_vec() }
    }
}

/// What is to be predicted at one position of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Index of the predicted token in `input_ids`, at least 1; the logits that predict it stand at `position - 1`.
    pub position: usize,
    /// Tokens with their probabilities, which sum to 1; one entry with probability 1 is an ordinary label.
    pub tokens: Vec<(u32, f32)>,
    /// Weight of this position in the loss, 1 unless score tokens are to count more.
    pub weight: f32,
}

/// One image with its prompt and answer, ready for the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Ids of prompt and answer; one image token per feature row.
    pub input_ids: Vec<u32>,
    /// The image.
    pub tiles: Arc<Tiles>,
    /// The supervised positions in rising order; empty for a prompt that is only scored.
    pub targets: Vec<Target>,
}
