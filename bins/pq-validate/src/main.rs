//! Compares the model with people.

fn main() {}
