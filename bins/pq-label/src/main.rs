//! Serves the labelling page.

fn main() {}
