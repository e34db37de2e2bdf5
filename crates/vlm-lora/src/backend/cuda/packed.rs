//! Matrices of one input below each other, with the matrices of their adapters beside and below them.
//!
//! With `W (n, k)` of several linears one below the other and their adapters' `A (r, k)` and `B (n, r)`, the block is
//! `[[W, scale · B], [A, -]]`: its upper rows take `[x | x · Aᵀ]` to the results in one product, its left columns take
//! `[dy | scale · dy · B]` to the gradient of the input (LoRA, Hu et al. 2021, equation 3, with both products as one). A linear without an adapter has
//! zeros where `B` would be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Cuda;
use super::buffer::{Block, Buffer};
use super::check::{fail, to_u32};
use super::device::{Address, Argument, Device};
use super::storage::Operand;
use crate::Result;
use crate::backend::LowRank;

/// What operands stand at multiples of.
const ALIGNED: usize = 8;
/// Matrices that one launch puts into borders: the number stands in `borders.cu` as well.
const PATCHES: usize = 8;
/// Words of each of them.
const WORDS: usize = 4;

/// Rows of operands of one or several matrices.
pub(super) struct Packed<D: Device> {
    /// Of all matrices.
    pub(super) rows: usize,
    pub(super) k: usize,
    state: Mutex<State<D>>,
    /// The biases of all side by side.
    bias: Mutex<Option<Joined<D>>>,
}

/// Where the rows are, and what stands beside and below them.
struct State<D: Device> {
    block: Arc<Block<D>>,
    /// Elements from one row to the next.
    stride: usize,
    border: Vec<Patch>,
}

/// The matrices of one adapter in the border.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Patch {
    /// The first row of its linear, its rows, and its rank.
    first: usize,
    n: usize,
    r: usize,
    /// What was put there: the contents of both matrices, and the factor.
    written: Option<(u64, u64, f32)>,
}

/// Biases as operands.
struct Joined<D: Device> {
    /// Of the buffers that they are of.
    versions: Vec<Option<u64>>,
    block: Arc<Block<D>>,
}

/// Rows of operands, kept until what reads them is queued.
pub(super) struct Whole<D: Device> {
    block: Arc<Block<D>>,
    pub(super) stride: usize,
}

impl<D: Device> Whole<D> {
    /// Where a row begins.
    pub(super) fn row(&self, row: usize, bytes: usize) -> Address {
        self.block.address + (row * self.stride * bytes) as u64
    }
}

/// An adapter of a linear among packed ones.
pub(super) struct Bordered<'a, 'b, D: Device> {
    /// The first row of the linear.
    pub(super) first: usize,
    /// Its rows.
    pub(super) n: usize,
    pub(super) pair: &'a LowRank<'b, Buffer<D>>,
}

impl<D: Device> Packed<D> {
    pub(super) fn new(block: Block<D>, rows: usize, k: usize) -> Self {
        let state = State { block: Arc::new(block), stride: k, border: Vec::new() };
        Self { rows, k, state: Mutex::new(state), bias: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State<D>> {
        // A panic elsewhere leaves it whole: blocks are replaced with their strides, and a patch is written before it is noted.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All rows as they are.
    pub(super) fn whole(&self) -> Whole<D> {
        let state = self.state();
        Whole { block: Arc::clone(&state.block), stride: state.stride }
    }
}

/// What was written to buffers: by their versions before, those now and where the numbers are.
pub(super) type Changes = HashMap<u64, (u64, Address)>;

impl<D: Device> State<D> {
    /// Where the matrices of the adapter go whose ranks begin with this one: rows of A below all rows, and B beside its own.
    fn places(&self, packed: &Packed<D>, patch: Patch, before: usize) -> Result<[Piece; 2]> {
        let at = |row: usize, column: usize| self.block.address + 2 * (row * self.stride + column) as u64;
        let stride = to_u32("a row of", self.stride)?;
        let piece = |to: Address, (rows, width): (usize, usize)| -> Result<Piece> {
            Ok(Piece { to, rows: to_u32("rows", rows)?, width: to_u32("a row of", width)?, stride })
        };
        let of_a = piece(at(packed.rows + before, 0), (patch.r, packed.k))?;
        Ok([of_a, piece(at(patch.first, packed.k + before), (patch.n, patch.r))?])
    }

    /// The words of `borders` for adapters of which both matrices were changed.
    fn renew(&mut self, packed: &Packed<D>, changes: &Changes, parts: &mut Vec<u64>) -> Result<()> {
        let mut before = 0;
        for index in 0..self.border.len() {
            let patch = self.border[index];
            let first = before;
            before += patch.r;
            let Some((a, b, scale)) = patch.written else { continue };
            let (Some(&a), Some(&b)) = (changes.get(&a), changes.get(&b)) else { continue };
            let pieces = self.places(packed, patch, first)?;
            for ((piece, (_, from)), scale) in pieces.into_iter().zip([a, b]).zip([1.0, scale]) {
                parts.extend(piece.words(from, scale));
            }
            self.border[index].written = Some((a.0, b.0, scale));
        }
        Ok(())
    }
}

/// Where a matrix goes in a border.
#[derive(Debug, Clone, Copy)]
struct Piece {
    to: Address,
    rows: u32,
    width: u32,
    stride: u32,
}

impl Piece {
    /// As kernels take it, with where the matrix is and its factor.
    fn words(self, from: Address, scale: f32) -> [u64; WORDS] {
        let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [from, self.to, both(self.rows, self.width), both(self.stride, scale.to_bits())]
    }

    fn elements(self) -> usize {
        self.rows as usize * self.width as usize
    }
}

impl<D: Device> Cuda<D> {
    /// All rows, with these adapters beside and below them as they are now.
    pub(super) fn bordered(
        &self,
        packed: &Arc<Packed<D>>,
        adapters: &[Bordered<'_, '_, D>],
    ) -> Result<Whole<D>> {
        let mut state = packed.state();
        let is_alike = state.border.len() == adapters.len()
            && state.border.iter().zip(adapters).all(|(patch, adapter)| {
                (patch.first, patch.n, patch.r) == (adapter.first, adapter.n, adapter.pair.r)
            });
        if !is_alike {
            self.make_border(packed, &mut state, adapters)?;
        }
        self.fill_border(packed, &mut state, adapters)?;
        Ok(Whole { block: Arc::clone(&state.block), stride: state.stride })
    }

    /// Moves the rows to where there is room for these adapters.
    fn make_border(
        &self,
        packed: &Arc<Packed<D>>,
        state: &mut State<D>,
        adapters: &[Bordered<'_, '_, D>],
    ) -> Result<()> {
        let ranks: usize = adapters.iter().map(|adapter| adapter.pair.r).sum();
        let (rows, k) = (packed.rows, packed.k);
        let room = ranks.next_multiple_of(ALIGNED);
        let (all, stride) = (rows + ranks, k + room);
        let block = Block::new(&self.pool, all * stride * 2)?;
        self.device().clear(block.address, all * stride * 2)?;
        let from = Operand::at(state.block.address, state.stride);
        let to = (block.address, to_u32("a row of", stride)?);
        self.copy_rows(&from, to_u32("a row of", k)?, to, (rows * k) as u64)?;
        self.make_room(room);
        let patch = |adapter: &Bordered<'_, '_, D>| Patch {
            first: adapter.first,
            n: adapter.n,
            r: adapter.pair.r,
            written: None,
        };
        if state.border.is_empty() {
            self.known_borders().push(Arc::downgrade(packed));
        }
        *state = State { block: Arc::new(block), stride, border: adapters.iter().map(patch).collect() };
        // What the rows took before is of a size that nobody else asks for.
        self.pool.release();
        Ok(())
    }

    fn known_borders(&self) -> MutexGuard<'_, Vec<Weak<Packed<D>>>> {
        // Entries are added and removed whole.
        self.bordered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all adapters of a kind again of which an optimizer has changed both matrices, by one launch.
    pub(super) fn renew_borders(&self, changes: &Changes) -> Result<()> {
        let mut parts = Vec::new();
        let mut known = self.known_borders();
        known.retain(|packed| packed.strong_count() > 0);
        for packed in known.iter().filter_map(Weak::upgrade) {
            packed.state().renew(&packed, changes, &mut parts)?;
        }
        drop(known);
        let words: Vec<u32> =
            parts.iter().flat_map(|word: &u64| [*word as u32, (word >> 32) as u32]).collect();
        self.each_part_of("borders", &words, WORDS, &[])
    }

    /// Writes the matrices of adapters that have changed, by one launch.
    fn fill_border(
        &self,
        packed: &Packed<D>,
        state: &mut State<D>,
        adapters: &[Bordered<'_, '_, D>],
    ) -> Result<()> {
        let (mut arguments, mut n, mut before) = (Vec::new(), 0, 0);
        let mut written = Vec::with_capacity(adapters.len());
        for (patch, Bordered { pair, .. }) in state.border.iter().zip(adapters) {
            let now = Some((pair.a.version(), pair.b.version(), pair.scale));
            written.push(now);
            let first = before;
            before += pair.r;
            if patch.written == now {
                continue;
            }
            let from = [self.numbers(pair.a)?, self.numbers(pair.b)?];
            for ((piece, from), scale) in
                state.places(packed, *patch, first)?.into_iter().zip(from).zip([1.0, pair.scale])
            {
                arguments.extend(piece.words(from, scale));
                n += piece.elements();
            }
        }
        if n > 0 {
            if arguments.len() > WORDS * PATCHES {
                return Err(fail(format!("{} adapters of one input", adapters.len())));
            }
            arguments.resize(WORDS * PATCHES, 0);
            arguments.push(n as u64);
            let arguments: Vec<Argument> = arguments.into_iter().map(Argument::Word).collect();
            self.each("border", n, &arguments)?;
        }
        state.border.iter_mut().zip(written).for_each(|(patch, written)| patch.written = written);
        Ok(())
    }

    /// Biases side by side as operands, each with its length, where there are any.
    pub(super) fn joined_bias(
        &self,
        packed: &Packed<D>,
        biases: &[(usize, Option<&Buffer<D>>)],
    ) -> Result<Option<Arc<Block<D>>>> {
        let versions: Vec<Option<u64>> = biases.iter().map(|(_, bias)| bias.map(Buffer::version)).collect();
        if versions.iter().all(Option::is_none) {
            return Ok(None);
        }
        // A panic elsewhere leaves it whole: it is replaced at once.
        let mut known = packed.bias.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(joined) = known.as_ref().filter(|joined| joined.versions == versions) {
            return Ok(Some(Arc::clone(&joined.block)));
        }
        let n: usize = biases.iter().map(|(n, _)| n).sum();
        let block = Arc::new(Block::new(&self.pool, 2 * n)?);
        self.device().clear(block.address, 2 * n)?;
        let mut to: Address = block.address;
        for &(n, bias) in biases {
            if let Some(bias) = bias {
                self.device().copy(self.operand(bias, n)?.at, to, 2 * n)?;
            }
            to += 2 * n as u64;
        }
        *known = Some(Joined { versions, block: Arc::clone(&block) });
        Ok(Some(block))
    }
}
