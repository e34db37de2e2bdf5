//! Brings decks in as slides.

fn main() {}
