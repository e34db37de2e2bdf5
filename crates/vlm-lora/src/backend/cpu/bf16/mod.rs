//! Products with a frozen matrix of bf16 and sums in f32, by AMX tiles, AVX-512's dot products of pairs or NEON's products of
//! small matrices.
//!
//! `C (m, n) (+)= A (m, k) · B (k, n)`: `A` is rounded to bf16 rows; the panels of `B` hold pairs along `k`. A matrix that is
//! kept in bf16 is packed once, as the forward pass wants it; the backward pass packs its panels anew, a few percent of its work.

#![expect(unsafe_code, reason = "the kernels write blocks of the result through pointers")]

mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod engine;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pairs;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
mod softmax;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

pub(super) use engine::{BitRows, Engine, PairPanels};
pub(super) use softmax::{Scores, Upstream, exponentials, probabilities};

use super::buffer::{Buffer, Pool};
use super::integer::IntegerKernel;
use super::isa::{Isa, Simd};
use super::panels::{self, Block, Initial, Out, Part, Rows, Source, Start, Target};
use super::pointwise::gelu_block;
use crate::backend::Write;

pub(super) use super::panels::PANEL;

/// The summed dimension is padded with zeros to a multiple of this many elements.
pub(super) const STEP: usize = 32;
/// How products with a bf16 matrix are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bf16Kernel {
    /// Tiles of AMX-BF16.
    Amx,
    /// Dot products of AVX512-BF16.
    Avx512,
    /// Products of small matrices of NEON's extension BF16 (`bfmmla`).
    Neon,
    /// Activations and the matrix as integers of 16 bits, whose products are more exact than those of bf16: any CPU.
    Int16,
    /// Blocks of the matrix are upcast to f32 and go through the f32 product: any CPU.
    Upcast,
}

impl Bf16Kernel {
    /// The kernels that this CPU and system can run, the fastest first.
    pub fn available() -> Vec<Self> {
        Self::available_with(Isa::detected())
    }

    /// As [`available`](Self::available), of those that need no more than this instruction set.
    pub fn available_with(isa: Isa) -> Vec<Self> {
        let mut kernels = Vec::new();
        match isa.min(Isa::detected()) {
            Isa::Avx512 if pairs::available() => {
                kernels.extend(amx::available().then_some(Self::Amx));
                kernels.push(Self::Avx512);
            }
            Isa::Neon if cfg!(target_arch = "aarch64") && pairs::available() => kernels.push(Self::Neon),
            _ => {}
        }
        // Plain loops are no faster in integers, and NEON multiplies no more integers of 16 bits at a time than f32.
        kernels.extend(if isa >= Isa::Avx2 && cfg!(target_arch = "x86_64") {
            [Self::Int16, Self::Upcast]
        } else {
            [Self::Upcast, Self::Int16]
        });
        kernels
    }

    /// The name that a backend's description shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512-bf16",
            Self::Neon => "neon-bf16",
            Self::Int16 => "int16",
            Self::Upcast => "upcast",
        }
    }

    /// Whether it multiplies in bf16.
    pub(super) fn is_native(self) -> bool {
        matches!(self, Self::Amx | Self::Avx512 | Self::Neon)
    }

    /// This kernel, or where so few rows would leave most of its blocks empty a smaller one.
    fn for_rows(self, m: usize) -> Self {
        if self == Self::Amx && m <= pairs::ROWS { Self::Avx512 } else { self }
    }

    /// Rows of a block.
    pub(super) fn rows(self) -> usize {
        match self {
            Self::Amx => amx::ROWS,
            Self::Avx512 | Self::Neon | Self::Int16 | Self::Upcast => pairs::ROWS,
        }
    }
}

/// What products need besides their operands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) pool: &'a Arc<Pool>,
    pub(super) kernel: Bf16Kernel,
    /// How products of matrices of integers are taken; none where activations stay as they are.
    pub(super) integers: Option<IntegerKernel>,
    pub(super) simd: Simd,
    /// Whether products in f32 with frozen matrices are Accelerate's.
    pub(super) accelerate: bool,
}

/// A frozen matrix `(n, k)` of bf16 bits, row-major.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) bits: &'a [u16],
    pub(super) n: usize,
    pub(super) k: usize,
}

/// A frozen matrix `(n, k)` packed by [`pack_rows`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) data: &'a [u32],
    pub(super) n: usize,
    pub(super) k: usize,
}

/// Elements of a panel of rows of `k`.
pub(super) fn panel_of(k: usize) -> usize {
    k.next_multiple_of(STEP) / 2 * PANEL
}

impl Panels<'_> {
    /// Elements of a panel.
    fn panel(self) -> usize {
        panel_of(self.k)
    }

    /// The bits of row `row`.
    pub(super) fn row(self, row: usize) -> impl Iterator<Item = u16> {
        let pairs = self.data[row / PANEL * self.panel()..][..self.panel()].chunks_exact(PANEL);
        pairs
            .flat_map(move |pairs| [pairs[row % PANEL] as u16, (pairs[row % PANEL] >> 16) as u16])
            .take(self.k)
    }
}

/// A frozen matrix in one form or the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Frozen<'a> {
    Rows(Matrix<'a>),
    Panels(Panels<'a>),
}

impl Frozen<'_> {
    fn shape(self) -> (usize, usize) {
        match self {
            Self::Rows(Matrix { n, k, .. }) | Self::Panels(Panels { n, k, .. }) => (n, k),
        }
    }
}

/// Packs the rows of a matrix once for all products.
pub(super) fn packed(w: Matrix<'_>) -> Vec<u32> {
    let panel = panel_of(w.k);
    let mut data = vec![0; w.n.div_ceil(PANEL) * panel];
    data.par_chunks_mut(panel.max(1)).enumerate().for_each(|(i, out)| pairs::pack_rows(w, i * PANEL, out));
    data
}

/// How the rounded rows of a block follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Row after row.
    Rows,
    /// Step after step of all rows, so that a tile lies in one piece.
    Steps,
}

/// `y (m, n) = initial + x (m, k) · Wᵀ` of the rounded `x`.
pub(super) fn forward(pool: &Arc<Pool>, x: &Rounded, w: Frozen<'_>, y: &mut [f32], initial: Initial<'_>) {
    let (n, k) = w.shape();
    assert_eq!(x.columns, k, "columns of the input");
    let target = Target::new(y, x.rows, n, initial);
    match w {
        Frozen::Panels(w) => panels::multiply(x, target, 0, w.data),
        Frozen::Rows(w) => {
            panels::multiply_packing(pool, x, target, |panel, out| pairs::pack_rows(w, panel * PANEL, out));
        }
    }
}

/// `dx (m, k) (+)= dy (m, n) · W`. The kernel is one that multiplies in bf16.
pub(super) fn backward(
    context: Context<'_>,
    dy: &[f32],
    m: usize,
    w: Frozen<'_>,
    dx: &mut [f32],
    write: Write,
) {
    let (n, k) = w.shape();
    assert_eq!(dy.len(), m * n);
    let a = Rounded::new(context, dy, m, n, Activation::Identity);
    let target = Target::new(dx, m, k, write.into());
    panels::multiply_packing(context.pool, &a, target, |panel, out| match w {
        Frozen::Panels(w) => pairs::repack(w, panel * PANEL, out),
        Frozen::Rows(w) => pairs::pack_columns(w, panel * PANEL, out),
    });
}

/// Rows rounded to bf16 and padded with zeros to whole steps and whole blocks of the kernel.
pub(super) struct Rounded {
    kernel: Bf16Kernel,
    storage: Buffer<f32>,
    rows: usize,
    columns: usize,
    stride: usize,
    order: Order,
}

/// What is applied to rows before they are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    Identity,
    Gelu,
}

impl Rounded {
    /// Of `x (m, k)`. The kernel is one that multiplies in bf16.
    pub(super) fn new(context: Context<'_>, x: &[f32], m: usize, k: usize, activation: Activation) -> Self {
        let Context { pool, kernel, simd, .. } = context;
        assert_eq!(x.len(), m * k, "rows and columns of the input");
        let kernel = kernel.for_rows(m);
        let order = if kernel == Bf16Kernel::Amx { Order::Steps } else { Order::Rows };
        let (stride, block) = (k.next_multiple_of(STEP), kernel.rows());
        let mut storage = Buffer::uninitialised(pool, m.next_multiple_of(block) * stride / 2);
        let bits: &mut [u16] = bytemuck::cast_slice_mut(&mut storage);
        let one_block = |activated: &mut Vec<f32>, (index, out): (usize, &mut [u16])| {
            for r in 0..block {
                let row = index * block + r;
                let mut x = if row < m { &x[row * k..(row + 1) * k] } else { &[] };
                if activation == Activation::Gelu {
                    activated.resize(x.len(), 0.0);
                    gelu_block(simd, x, activated);
                    x = activated;
                }
                match order {
                    Order::Rows => round_row(x, &mut out[r * stride..(r + 1) * stride]),
                    Order::Steps if x.is_empty() => {
                        out.chunks_exact_mut(block * STEP).for_each(|step| step[r * STEP..][..STEP].fill(0));
                    }
                    Order::Steps => pairs::round(x, &mut out[r * STEP..], block * STEP),
                }
            }
        };
        bits.par_chunks_mut((block * stride).max(1)).enumerate().for_each_init(Vec::new, one_block);
        Self { kernel, storage, rows: m, columns: k, stride, order }
    }

    fn bits(&self) -> &[u16] {
        bytemuck::cast_slice(&self.storage)
    }
}

impl Rows for Rounded {
    /// A pair of bf16.
    type Element = u32;
    type Thread = Option<amx::Tiles>;

    fn block(&self) -> usize {
        self.kernel.rows()
    }

    fn row_bytes(&self) -> usize {
        size_of::<u16>() * self.stride
    }

    fn panel(&self) -> usize {
        self.stride / 2 * PANEL
    }

    fn thread(&self, _: Range<usize>) -> Option<amx::Tiles> {
        (self.kernel == Bf16Kernel::Amx).then(amx::Tiles::new)
    }

    unsafe fn multiply(&self, tiles: &Option<amx::Tiles>, block: Block, b: &[u32], c: Out, start: Start) {
        let whole = self.block() * self.stride;
        let a = &self.bits()[block.index * whole..][..whole];
        if let Some(tiles) = tiles {
            // SAFETY: the caller's promise about `c` and `start`.
            unsafe { tiles.multiply(a, self.order, b, c, start) };
            return;
        }
        let a = if block.rows <= pairs::FEW_ROWS { &a[..pairs::FEW_ROWS * self.stride] } else { a };
        // SAFETY: as above; the kernel was found available before it was chosen.
        unsafe { pairs::multiply(a, self.stride, b, c, start) };
    }
}

/// Rounds a row to bf16; what `out` is longer, a whole number of steps, becomes zero.
pub(super) fn round_row(x: &[f32], out: &mut [u16]) {
    pairs::round(x, out, STEP);
    out[x.len().next_multiple_of(STEP)..].fill(0);
}

/// All panels of the matrix's rows as columns, one after the other.
pub(super) fn pack_rows(w: Matrix<'_>, out: &mut [u32]) {
    let panel = w.k.next_multiple_of(STEP) / 2 * PANEL;
    for (i, out) in out.chunks_exact_mut(panel).enumerate() {
        pairs::pack_rows(w, i * PANEL, out);
    }
}

/// All panels of the matrix's columns, one after the other.
pub(super) fn pack_columns(w: Matrix<'_>, out: &mut [u32]) {
    let panel = w.n.next_multiple_of(STEP) / 2 * PANEL;
    for (i, out) in out.chunks_exact_mut(panel).enumerate() {
        pairs::pack_columns(w, i * PANEL, out);
    }
}
