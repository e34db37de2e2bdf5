//! Adapters: the products of up to four that read one input, in one launch each.

use super::Cuda;
use super::buffer::{Block, Buffer};
use super::check::{fail, length, to_u32};
use super::device::{Address, Argument, CudaDtype, Device};
use super::storage::Operand;
use crate::Result;
use crate::backend::dropout::Mask;
use crate::backend::{Dropout, LowRank, LowRankBackward, LowRankForward, check};

/// Adapters that go together, and the jobs of a kernel: the numbers stand in `adapters.cu` as well.
const TOGETHER: usize = 4;
const JOBS: usize = 2 * TOGETHER;
/// Threads of a block, its rows and pieces of widths, and pieces of ranks.
const THREADS: u32 = 128;
const SIDE: usize = 64;
const RANKS: usize = 32;
/// Pieces of gradients that one launch can have.
const TICKETS: usize = 1 << 16;
/// Rows of a gradient that one block sums.
const SPLIT: usize = 512;

/// A part of one adapter, as the kernels take it.
#[derive(Debug, Clone, Copy)]
struct Job {
    input: Address,
    matrix: Address,
    out: Address,
    width: u32,
    rank: u32,
    /// Whether the matrix is A, `(rank, width)`, rather than B, `(width, rank)`.
    by_rank: bool,
    dropout: Option<Dropout>,
    scale: f32,
    /// Elements from one row of the input to the next.
    stride: u32,
    /// Where `adapters_down` writes its results as operands too, or 0, and elements from one row of them to the next.
    border: Input,
}

/// Words of a job.
const WORDS: usize = 9;

impl Job {
    fn words(self) -> [Argument; WORDS] {
        let mask = self.dropout.map(|Dropout { p, key }| (key, Mask::new(key, p)));
        let (key, threshold, keep) =
            mask.map_or((0, 0, 1.0), |(key, mask)| (key, mask.threshold(), mask.scale() as f32));
        let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [
            self.input,
            self.matrix,
            self.out,
            both(self.width, self.rank),
            key,
            threshold | u64::from(self.by_rank) << 32,
            both(self.scale.to_bits(), keep.to_bits()),
            both(self.stride, self.border.1),
            self.border.0,
        ]
        .map(Argument::Word)
    }

    fn elements(self) -> usize {
        self.width as usize * self.rank as usize
    }

    fn pieces_of_rank(self) -> usize {
        (self.rank as usize).div_ceil(RANKS)
    }

    fn pieces_of_width(self) -> usize {
        (self.width as usize).div_ceil(SIDE)
    }
}

/// The arguments of a kernel over these jobs.
fn arguments(jobs: &[Job], others: &[Argument]) -> Vec<Argument> {
    let none = [Argument::Word(0); WORDS];
    let words = jobs.iter().map(|job| job.words()).chain(std::iter::repeat(none)).take(JOBS);
    words.flatten().chain(others.iter().copied()).collect()
}

/// Where rows begin, and elements from one to the next.
type Input = (Address, u32);

/// An adapter in the backward pass.
pub(super) struct Backward<'a, 'b, D: Device> {
    pub(super) pair: LowRank<'b, Buffer<D>>,
    /// What the forward pass made of the input, `(m, r)`.
    pub(super) down: &'a Buffer<D>,
    /// The gradient of its output.
    pub(super) dy: Input,
    /// Where `scale · dy · B` is written as operands too, or 0.
    pub(super) border: Input,
    pub(super) da: &'a mut Buffer<D>,
    pub(super) db: &'a mut Buffer<D>,
}

/// Sizes of an adapter, checked, and where its matrices are.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    n: u32,
    k: u32,
    r: u32,
    a: Address,
    b: Address,
}

impl Sizes {
    /// From `input` through A to `out`, or back: the input's dropout applies to the side of `width`.
    fn job_of_a<D: Device>(self, pair: &LowRank<'_, Buffer<D>>, input: Input, out: Address) -> Job {
        let Self { k: width, r: rank, a: matrix, .. } = self;
        let (dropout, (input, stride)) = (pair.dropout, input);
        Job { input, matrix, out, width, rank, by_rank: true, dropout, scale: 1.0, stride, border: (0, 0) }
    }

    /// From `input` through B to `out`, or back.
    fn job_of_b<D: Device>(self, pair: &LowRank<'_, Buffer<D>>, input: Input, out: Address) -> Job {
        let Self { n: width, r: rank, b: matrix, .. } = self;
        let (scale, (input, stride)) = (pair.scale, input);
        Job { input, matrix, out, width, rank, by_rank: false, dropout: None, scale, stride, border: (0, 0) }
    }
}

impl<D: Device> Cuda<D> {
    fn sizes(&self, x: &Buffer<D>, m: usize, pair: &LowRank<'_, Buffer<D>>) -> Result<Sizes> {
        let (n, k) = check::low_rank(self, x, m, pair)?;
        Ok(Sizes {
            n: to_u32("an adapter to", n)?,
            k: to_u32("an adapter of", k)?,
            r: to_u32("a rank of", pair.r)?,
            a: self.numbers(pair.a)?,
            b: self.numbers(pair.b)?,
        })
    }

    /// Where the kernels read an activation or a gradient: as a product with the base does in bf16, else in f32.
    fn wide(&self, x: &Buffer<D>, width: u32) -> Result<Input> {
        if self.dtype != CudaDtype::Bfloat16 {
            return Ok((self.numbers(x)?, width));
        }
        let operand = self.operand(x, width as usize)?;
        Ok((operand.at, to_u32("a row of", operand.stride)?))
    }

    /// Launches a kernel over rows: so many blocks side by side, and one for every 64 rows.
    fn adapter_rows(
        &self,
        kernel: &str,
        jobs: &[Job],
        pieces: usize,
        m: usize,
        others: &[Argument],
    ) -> Result<()> {
        let blocks = m.div_ceil(SIDE);
        if blocks > 65_535 {
            return Err(fail(format!("{m} rows of an adapter")));
        }
        let sizes = [Argument::U32(jobs.len() as u32), Argument::U32(m as u32)];
        let all = arguments(jobs, &[&sizes, others].concat());
        self.launch(kernel, [to_u32("pieces of adapters", pieces)?, blocks as u32], THREADS, &all)
    }

    /// As [`Backend::adapters`](crate::backend::Backend::adapters).
    pub(super) fn add_adapters(
        &self,
        x: &Buffer<D>,
        m: usize,
        adapters: &mut [LowRankForward<'_, Buffer<D>>],
    ) -> Result<()> {
        for adapters in adapters.chunks_mut(TOGETHER) {
            let (mut downs, mut ups) = (Vec::new(), Vec::new());
            for LowRankForward { pair, down, y } in adapters {
                let sizes = self.sizes(x, m, pair)?;
                length("down", down.len(), m * pair.r)?;
                length("y", y.len(), m * sizes.n as usize)?;
                let between = self.overwritten(down)?;
                downs.push(sizes.job_of_a(pair, self.wide(x, sizes.k)?, between));
                ups.push(sizes.job_of_b(pair, (between, sizes.r), self.changed(y)?));
            }
            if m > 0 {
                self.narrow_products(&downs, m)?;
                let pieces = ups.iter().map(|job| job.pieces_of_width()).sum();
                self.adapter_rows("adapters_up", &ups, pieces, m, &[0_u32.into()])?;
            }
        }
        Ok(())
    }

    /// What the first matrices of these adapters make of an input, each as numbers and, one beside the other, behind the rows of the input.
    pub(super) fn adapters_down(
        &self,
        x: &Buffer<D>,
        m: usize,
        operand: &Operand<D>,
        downs: Vec<(&LowRank<'_, Buffer<D>>, &mut Buffer<D>)>,
    ) -> Result<()> {
        let input = (operand.at, to_u32("a row of", operand.stride)?);
        let (mut jobs, mut border) = (Vec::new(), None);
        for (pair, down) in downs {
            let sizes = self.sizes(x, m, pair)?;
            length("down", down.len(), m * pair.r)?;
            let at = border.unwrap_or(operand.at + 2 * u64::from(sizes.k));
            let job = sizes.job_of_a(pair, input, self.overwritten(down)?);
            jobs.push(Job { border: (at, input.1), ..job });
            border = Some(at + 2 * u64::from(sizes.r));
        }
        self.narrow_products(&jobs, m)
    }

    /// As [`Backend::adapters_backward`](crate::backend::Backend::adapters_backward).
    pub(super) fn adapter_gradients(
        &self,
        x: &Buffer<D>,
        m: usize,
        adapters: &mut [LowRankBackward<'_, Buffer<D>>],
        mut dx: Option<&mut Buffer<D>>,
    ) -> Result<()> {
        if let Some(dx) = dx.as_deref_mut() {
            length("dx", dx.len(), x.len())?;
        }
        for adapters in adapters.chunks_mut(TOGETHER) {
            let mut all = Vec::new();
            for LowRankBackward { pair, down, dy, da, db } in adapters.iter_mut() {
                let sizes = self.sizes(x, m, pair)?;
                length("dy", dy.len(), m * sizes.n as usize)?;
                let dy = self.wide(dy, sizes.n)?;
                all.push(Backward { pair: *pair, down, dy, border: (0, 0), da, db });
            }
            let between = self.pair_gradients(x, m, &mut all)?;
            if let Some(dx) = dx.as_deref_mut() {
                let pairs = all.iter().map(|one| &one.pair).zip(&between);
                self.add_input_gradients(x, m, pairs, dx)?;
            }
        }
        Ok(())
    }

    /// Adds to the gradients of the matrices of these adapters; gives for each `scale · dy · B (m, r)`.
    pub(super) fn pair_gradients(
        &self,
        x: &Buffer<D>,
        m: usize,
        adapters: &mut [Backward<'_, '_, D>],
    ) -> Result<Vec<Block<D>>> {
        let (mut downs, mut gradients, mut between) = (Vec::new(), Vec::new(), Vec::new());
        for Backward { pair, down, dy, border, da, db } in adapters {
            let sizes = self.sizes(x, m, pair)?;
            length("down", down.len(), m * pair.r)?;
            length("da", da.len(), pair.a.len())?;
            length("db", db.len(), pair.b.len())?;
            let d_down = Block::new(&self.pool, m * pair.r * 4)?;
            downs.push(Job { border: *border, ..sizes.job_of_b(pair, *dy, d_down.address) });
            let input = self.wide(x, sizes.k)?;
            let (of_a, of_b) = (sizes.job_of_a(pair, input, self.changed(da)?), downs[downs.len() - 1]);
            gradients.push(Job { matrix: d_down.address, ..of_a });
            gradients.push(Job { matrix: self.numbers(down)?, out: self.changed(db)?, ..of_b });
            between.push(d_down);
        }
        if m > 0 && !downs.is_empty() {
            self.narrow_products(&downs, m)?;
            self.gradient_sums(&gradients, m)?;
        }
        Ok(between)
    }

    /// Adds to the gradient of the input what comes through adapters, of what [`pair_gradients`](Self::pair_gradients) gave for each.
    pub(super) fn add_input_gradients<'a, 'b: 'a>(
        &self,
        x: &Buffer<D>,
        m: usize,
        adapters: impl Iterator<Item = (&'a LowRank<'b, Buffer<D>>, &'a Block<D>)>,
        dx: &mut Buffer<D>,
    ) -> Result<()> {
        let (to, mut ups) = (self.changed(dx)?, Vec::new());
        for (pair, d_down) in adapters {
            let sizes = self.sizes(x, m, pair)?;
            ups.push(sizes.job_of_a(pair, (d_down.address, sizes.r), to));
        }
        if m == 0 || ups.is_empty() {
            return Ok(());
        }
        let pieces = ups.first().map_or(0, |job| job.pieces_of_width());
        self.adapter_rows("adapters_up", &ups, pieces, m, &[1_u32.into()])
    }

    /// Rows of `rank` numbers, of rows of `width`.
    fn narrow_products(&self, jobs: &[Job], m: usize) -> Result<()> {
        let pieces = jobs.iter().map(|job| job.pieces_of_rank()).sum();
        self.adapter_rows("adapters_down", jobs, pieces, m, &[])
    }

    /// Adds sums over all rows to gradients: over a part of the rows at a time, then over the parts.
    fn gradient_sums(&self, jobs: &[Job], m: usize) -> Result<()> {
        let (total, splits) = (jobs.iter().map(|job| job.elements()).sum::<usize>(), m.div_ceil(SPLIT));
        let partial = Block::new(&self.pool, if splits > 1 { splits * total * 4 } else { 4 })?;
        let pieces: usize = jobs.iter().map(|job| job.pieces_of_width() * job.pieces_of_rank()).sum();
        let others = [Argument::U32(jobs.len() as u32), to_u32("rows", m)?.into(), (SPLIT as u32).into()];
        let places = [partial.address.into(), self.tickets(pieces)?.into()];
        let all = arguments(jobs, &[&others[..], &places].concat());
        let grid = [to_u32("pieces of adapters", pieces)?, to_u32("parts of the rows", splits)?];
        self.launch("adapters_gradient", grid, THREADS, &all)
    }

    /// So many zeros, which a kernel that counts in them leaves as zeros.
    fn tickets(&self, count: usize) -> Result<Address> {
        if count > TICKETS {
            return Err(fail(format!("adapters of {count} pieces")));
        }
        if let Some(block) = self.tickets.get() {
            return Ok(block.address);
        }
        let block = Block::new(&self.pool, TICKETS * 4)?;
        self.device().clear(block.address, TICKETS * 4)?;
        // Of two threads one block stays, and both are zeros.
        Ok(self.tickets.get_or_init(|| block).address)
    }
}
