//! Rates slides with a trained adapter.

fn main() {}
