//! Releases and rolls back versions.

fn main() {}
