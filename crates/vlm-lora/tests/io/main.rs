//! Everything that reads or writes files: against transformers, peft and Pillow, and against garbage.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read fails its test")]

mod exports;
mod family;
mod images;
mod memory;
mod robustness;
mod support;
mod targets;
