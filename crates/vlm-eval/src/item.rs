use slide_data::{Label, Prediction};

/// One slide: what people said and what the model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The slide.
    pub slide_id: String,
    /// Slides of one group (a deck with its near-duplicates) are resampled together.
    pub group: String,
    /// What people say; its point scores are what is measured against.
    pub label: Label,
    /// The model's distributions.
    pub prediction: Prediction,
}
