use std::sync::Arc;

use super::bf16::Bf16Kernel;
use super::buffer::Pool;
use super::simd::Simd;

/// What products need besides their operands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) pool: &'a Arc<Pool>,
    pub(super) kernel: Bf16Kernel,
    pub(super) simd: Simd,
}
