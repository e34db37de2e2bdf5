//! Decides whether to retrain.

fn main() {}
