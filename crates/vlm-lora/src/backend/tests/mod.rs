//! Tests of the backends: each gradient against central differences, each backend against the others, and the same bits on any
//! number of threads.

pub(super) mod compare;
mod gradients;
pub(super) mod scenarios;
