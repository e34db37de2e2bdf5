//! Keys and repeatable random numbers, as `repeatable-random` has them.

pub(crate) use repeatable_random::{GOLDEN, finalize, mix};

/// A key of its own for each module name (FNV-1a).
pub(crate) fn name_key(name: &str) -> u64 {
    repeatable_random::fnv1a(name.as_bytes())
}
