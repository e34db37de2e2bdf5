//! Fine-tunes the model on the labelled slides.

fn main() {}
