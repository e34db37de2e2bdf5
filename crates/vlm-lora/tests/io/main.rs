//! Everything that reads or writes files: against transformers, peft and Pillow, and against garbage.

mod exports;
mod memory;
mod pictures;
mod robustness;
mod support;
mod targets;
