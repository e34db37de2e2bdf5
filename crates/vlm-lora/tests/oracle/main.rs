//! The passes against candle-transformers' SigLIP and Llama, and AdamW against candle-nn's: implementations of others, in Rust,
//! on geometries drawn at random and, where it lies, on the released checkpoint.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod adamw;
mod geometry;
#[path = "../../examples/candle_scores/smolvlm.rs"]
mod smolvlm;
mod towers;
