//! Activations made ready once for the products of several frozen matrices.

use super::bf16::{Activation, Context, Rounded};
use super::integer::{Input, Means, Quantised, Width};

/// What a product takes in place of rows in full precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    /// Rows rounded to bf16.
    Bf16,
    /// Rows of integers.
    Integers(Width),
}

/// Rows as one kind of product takes them.
pub(super) enum Prepared {
    Bf16(Rounded),
    Integers(Quantised),
}

impl Prepared {
    /// `x (m, k)`, after the activation. The operand is one that a matrix asked for under this context.
    pub(super) fn new(
        context: Context<'_>,
        operand: Operand,
        x: &[f32],
        (m, k): (usize, usize),
        activation: Activation,
    ) -> Self {
        match (operand, context.means()) {
            (Operand::Integers(width), Some(means)) => {
                let gelu = activation == Activation::Gelu;
                Self::Integers(Quantised::new(means, width, Input { x, m, k, gelu, factors: None }))
            }
            _ => Self::Bf16(Rounded::new(context, x, m, k, activation)),
        }
    }
}

impl<'a> Context<'a> {
    /// How products in integers are taken, where they are.
    pub(super) fn means(self) -> Option<Means<'a>> {
        self.integers.map(|kernel| Means { pool: self.pool, simd: self.simd, kernel })
    }
}
