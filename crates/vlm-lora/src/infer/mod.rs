//! Greedy generation and choice scoring with a key-value cache.

mod choice;
mod generate;
mod score;

pub use choice::{ChoiceAnswer, ChoiceTokens, Slot};
pub use generate::{Generation, generate};
pub use score::{Distribution, Scorer, choice_probabilities};

/// The index of the largest value; of equal ones the first, as torch takes it.
fn argmax(values: impl IntoIterator<Item = f32>) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, value) in values.into_iter().enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}
