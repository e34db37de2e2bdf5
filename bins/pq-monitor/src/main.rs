//! Reports drift and performance.

fn main() {}
