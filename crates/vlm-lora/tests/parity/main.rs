//! What transformers and peft computed, on every case in `fixtures/parity` and in `$VLM_PARITY_DIR`.
//! `fixtures/parity/make_case.py` makes cases.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a case that cannot be read fails its test; the deviations are shown"
)]

mod case;
mod files;
mod generation;
mod passes;
mod training;
