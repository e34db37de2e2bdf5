use std::sync::Arc;

use super::Bf16Kernel;
use crate::backend::cpu::buffer::Pool;
use crate::backend::cpu::isa::Simd;

/// What products need besides their operands.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Context<'a> {
    pub(in super::super) pool: &'a Arc<Pool>,
    pub(in super::super) kernel: Bf16Kernel,
    pub(in super::super) simd: Simd,
}
