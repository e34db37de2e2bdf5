//! What buffers are kept as: numbers in f32, operands of products, or both.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Cuda;
use super::buffer::{Block, Buffer, Place, Rows};
use super::check::to_u32;
use super::device::{Address, Argument, CudaDtype, Device, Factor, Operands};
use crate::Result;
use crate::backend::Write;

/// What stands before scaled operands: the bits of the largest magnitude, the factor of the product, and room for alignment.
const HEADER: usize = 16;
/// The exponent that the largest magnitude of an f16 operand is brought to: as large as f16 holds.
const TARGET: i32 = 14;

/// Where a kernel writes numbers and the same as operands; 0 where they are not wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) numbers: Address,
    pub(super) operand: Address,
    /// Elements from one row of operands to the next.
    pub(super) stride: u32,
}

/// Rows of operands as a product reads them.
pub(super) struct Operand<D: Device> {
    pub(super) at: Address,
    /// Elements from one row to the next.
    pub(super) stride: usize,
    /// What undoes their scale.
    pub(super) factor: Factor,
    /// Keeps them until their reader is queued.
    #[expect(dead_code, reason = "is held")]
    block: Option<Arc<Block<D>>>,
}

impl Output {
    /// As kernels take it.
    pub(super) fn arguments(self) -> [Argument; 3] {
        [self.numbers.into(), self.operand.into(), self.stride.into()]
    }
}

impl<D: Device> Operand<D> {
    /// Those of a place, from another address in its block on.
    pub(super) fn of(place: &Place<D>, at: Address) -> Self {
        let block = Some(Arc::clone(place.block()));
        Self { at, stride: place.rows.stride, factor: Factor::Value(1.0), block }
    }

    /// Of somebody who keeps them.
    pub(super) fn at(at: Address, stride: usize) -> Self {
        Self { at, stride, factor: Factor::Value(1.0), block: None }
    }
}

impl<D: Device> Cuda<D> {
    /// The type of operands of products with frozen matrices.
    pub(super) fn operands(&self) -> Operands {
        match self.dtype {
            CudaDtype::Float32 => Operands::Exact,
            CudaDtype::Float16 => Operands::Float16,
            CudaDtype::Bfloat16 => Operands::Bfloat16,
        }
    }

    /// Where the numbers of a buffer are read.
    pub(super) fn numbers(&self, x: &Buffer<D>) -> Result<Address> {
        x.numbers(|place| {
            let block = Block::new(&self.pool, x.len() * 4)?;
            let Rows { width, stride, .. } = place.rows;
            let sizes = [to_u32("a row of", width)?.into(), to_u32("a row of", stride)?.into()];
            let (to, n) = (block.address.into(), (x.len() as u64).into());
            self.each("widen_rows", x.len(), &[place.at.into(), sizes[0], sizes[1], to, n])?;
            Ok(block)
        })
    }

    /// Where all numbers of a buffer are written anew.
    pub(super) fn overwritten(&self, y: &mut Buffer<D>) -> Result<Address> {
        y.overwrite(&self.pool)
    }

    /// Where the numbers of a buffer are changed.
    pub(super) fn changed(&self, y: &mut Buffer<D>) -> Result<Address> {
        self.numbers(y)?;
        Ok(y.change())
    }

    /// As `write` says: [`overwritten`](Self::overwritten) or [`changed`](Self::changed).
    pub(super) fn written(&self, y: &mut Buffer<D>, write: Write) -> Result<Address> {
        match write {
            Write::Set => self.overwritten(y),
            Write::Add => self.changed(y),
        }
    }

    /// Numbers that only products with frozen matrices read, or attention, rotations and activations: in bf16 their operands alone.
    pub(super) fn for_products(&self, len: usize) -> Result<Buffer<D>> {
        if self.dtype == CudaDtype::Bfloat16 {
            return Ok(Buffer::of_operands(len));
        }
        Buffer::new(&self.pool, len)
    }

    /// Such numbers side by side: rows of each width, which in bf16 are columns of one matrix.
    pub(super) fn columns(&self, rows: usize, widths: &[usize]) -> Result<Vec<Buffer<D>>> {
        if self.dtype != CudaDtype::Bfloat16 || widths.len() < 2 {
            return widths.iter().map(|width| self.for_products(rows * width)).collect();
        }
        let stride = widths.iter().sum::<usize>() + self.room();
        let block = Arc::new(Block::new(&self.pool, rows * stride * 2)?);
        let mut at = block.address;
        let one = |(index, &width): (usize, &usize)| {
            let room = if index + 1 == widths.len() { self.room() } else { 0 };
            let place = Place::new(Arc::clone(&block), at, Rows { width, stride, room });
            at += 2 * width as u64;
            Buffer::at_place(rows * width, place)
        };
        Ok(widths.iter().enumerate().map(one).collect())
    }

    /// Elements behind each row of operands, for what adapters put there.
    pub(super) fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    /// Sees to it that rows of operands have so much room from now on.
    pub(super) fn make_room(&self, room: usize) {
        self.room.fetch_max(room, Ordering::Relaxed);
    }

    /// Rows of `width` operands in a block of their own.
    fn new_place(&self, len: usize, width: usize, room: usize) -> Result<Place<D>> {
        let rows = Rows { width, stride: width + room, room };
        let count = if room == 0 { len } else { len / width * rows.stride };
        let header = if self.dtype == CudaDtype::Float16 { HEADER } else { 0 };
        let block = Arc::new(Block::new(&self.pool, header + count * self.dtype.bytes())?);
        let at = block.address + header as u64;
        Ok(Place::new(block, at, rows))
    }

    /// Where a kernel writes all numbers of `y`, rows of `width`, and where the same as operands of the product that reads them next.
    /// In f16 the largest magnitude must be known first.
    pub(super) fn output(&self, y: &mut Buffer<D>, width: usize) -> Result<Output> {
        if self.dtype != CudaDtype::Bfloat16 {
            return Ok(Output {
                numbers: self.overwritten(y)?,
                operand: 0,
                stride: to_u32("a row of", width)?,
            });
        }
        let place = match y.kept_at().filter(|place| place.rows.width == width) {
            Some(place) => place.clone(),
            None => self.new_place(y.len(), width, self.room())?,
        };
        let (operand, stride) = (place.at, to_u32("a row of", place.rows.stride)?);
        Ok(Output { numbers: y.overwrite_with(place), operand, stride })
    }

    /// Where operands alone are written, rows of `width` one behind the other.
    pub(super) fn dense_output(&self, y: &mut Buffer<D>, width: usize) -> Result<Address> {
        let place = self.new_place(y.len(), width, 0)?;
        let at = place.at;
        y.overwrite_with(place);
        Ok(at)
    }

    /// As [`output`](Self::output) of numbers that are not in rows.
    pub(super) fn flat_output(&self, y: &mut Buffer<D>) -> Result<[Address; 2]> {
        if self.dtype != CudaDtype::Bfloat16 {
            return Ok([self.overwritten(y)?, 0]);
        }
        let place = self.new_place(y.len(), y.len(), 0)?;
        let operand = place.at;
        Ok([y.overwrite_with(place), operand])
    }

    /// Rows of `width` numbers of a buffer as operands of a product.
    pub(super) fn operand(&self, x: &Buffer<D>, width: usize) -> Result<Operand<D>> {
        if self.dtype == CudaDtype::Float32 {
            return Ok(Operand::at(self.numbers(x)?, width));
        }
        let place = x.operand(|| self.cast(x, width))?;
        let rows = place.rows;
        let place = if rows.width == width || rows.is_dense() { place.clone() } else { self.cast(x, width)? };
        let stride = if rows.is_dense() { width } else { place.rows.stride };
        let factor = match self.dtype {
            CudaDtype::Float16 => Factor::At(place.block().address + 4),
            _ => Factor::Value(1.0),
        };
        Ok(Operand { at: place.at, stride, factor, block: Some(Arc::clone(place.block())) })
    }

    /// As [`operand`](Self::operand), with so many elements behind each row that belong to nobody.
    pub(super) fn operand_with_room(&self, x: &Buffer<D>, width: usize, room: usize) -> Result<Operand<D>> {
        let place = x.operand(|| self.cast(x, width))?;
        if place.rows.width == width && place.rows.room >= room {
            return Ok(Operand::of(place, place.at));
        }
        let (from, place) = (self.operand(x, width)?, self.new_place(x.len(), width, room.max(self.room()))?);
        let (stride, n) = (to_u32("a row of", place.rows.stride)?, x.len() as u64);
        self.copy_rows(&from, to_u32("a row of", width)?, (place.at, stride), n)?;
        Ok(Operand::of(&place, place.at))
    }

    /// Copies rows of operands.
    pub(super) fn copy_rows(
        &self,
        from: &Operand<D>,
        width: u32,
        (to, stride): (Address, u32),
        n: u64,
    ) -> Result<()> {
        let apart = to_u32("a row of", from.stride)?;
        let arguments = [from.at.into(), width.into(), apart.into(), to.into(), stride.into(), n.into()];
        self.each("copy_operands", to_u32("operands", n as usize)? as usize, &arguments)
    }

    fn cast(&self, x: &Buffer<D>, width: usize) -> Result<Place<D>> {
        let (from, n) = (self.numbers(x)?, x.len() as u64);
        let room = if self.dtype == CudaDtype::Bfloat16 { self.room() } else { 0 };
        let place = self.new_place(x.len(), width, room)?;
        if room > 0 {
            let sizes = [to_u32("a row of", width)?.into(), to_u32("a row of", place.rows.stride)?.into()];
            let arguments = [from.into(), place.at.into(), sizes[0], sizes[1], n.into()];
            self.each("cast_rows", x.len(), &arguments)?;
            return Ok(place);
        }
        let header = if self.dtype == CudaDtype::Float16 {
            self.find_largest(x, place.block().address)?;
            place.block().address
        } else {
            0
        };
        self.each("cast", x.len(), &[from.into(), place.at.into(), n.into(), header.into(), TARGET.into()])?;
        Ok(place)
    }

    /// Writes the bits of the largest magnitude of `x`.
    pub(super) fn find_largest(&self, x: &Buffer<D>, to: Address) -> Result<()> {
        self.device().clear(to, 4)?;
        self.each("largest", x.len(), &[self.numbers(x)?.into(), (x.len() as u64).into(), to.into()])
    }
}
