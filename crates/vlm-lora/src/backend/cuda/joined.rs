//! Linears of one input, with their adapters, as one product.

use std::sync::Arc;

use super::Cuda;
use super::adapters::Backward;
use super::buffer::{Buffer, Place};
use super::check::{fail, length, to_u32};
use super::device::{Address, CudaDtype, Device, Factor, Matmul, Results};
use super::packed::{Bordered, Packed, Whole};
use super::storage::{Operand, Output};
use super::weight::{Rows, Weight};
use crate::Result;
use crate::backend::fused::{adapted, adapted_backward};
use crate::backend::{AdaptedBackward, AdaptedOutput, Kernels as _, LowRank, LowRankGradients, Write};

/// Adapters whose matrices one launch puts beside the packed ones.
const MOST_ADAPTERS: usize = 4;

/// Linears whose matrices lie below each other.
struct Group<'a, D: Device> {
    packed: &'a Arc<Packed<D>>,
    /// The first row of each matrix, and how many there are.
    rows: Vec<(usize, usize)>,
}

impl<'a, D: Device> Group<'a, D> {
    /// These matrices, where they are all of a block, in order, and are kept as operands.
    fn of(weights: impl Iterator<Item = &'a Weight<D>>) -> Option<Self> {
        let mut found: Option<&Arc<Packed<D>>> = None;
        let mut rows: Vec<(usize, usize)> = Vec::new();
        for weight in weights {
            let Rows::Operands { block, first } = &weight.rows else { return None };
            let next = rows.last().map_or(0, |(first, n)| first + n);
            if *first != next || found.is_some_and(|found| !Arc::ptr_eq(found, block)) {
                return None;
            }
            found = Some(block);
            rows.push((*first, weight.n));
        }
        let packed = found?;
        let end = rows.last().map_or(0, |(first, n)| first + n);
        (end == packed.rows).then_some(Self { packed, rows })
    }
}

/// Where rows side by side begin, where each of these places lies behind the one before; then the last one.
pub(super) fn side_by_side<'a, D: Device>(
    places: impl Iterator<Item = Option<&'a Place<D>>>,
) -> Option<(Address, Place<D>)> {
    let mut begin: Option<(Address, Place<D>)> = None;
    for place in places {
        let place = place?;
        begin = match begin {
            None => Some((place.at, place.clone())),
            Some((at, before)) => {
                let follows = place.at == before.at + 2 * before.rows.width as u64;
                if !follows || place.rows.stride != before.rows.stride {
                    return None;
                }
                Some((at, place.clone()))
            }
        };
    }
    begin
}

/// The adapters of linears, each with the rows of its own.
fn bordered<'a, 'b, D: Device>(
    group: &Group<'_, D>,
    pairs: impl Iterator<Item = Option<&'a LowRank<'b, Buffer<D>>>>,
) -> Vec<Bordered<'a, 'b, D>>
where
    'b: 'a,
{
    let all = group.rows.iter().zip(pairs);
    all.filter_map(|(&(first, n), pair)| Some(Bordered { first, n, pair: pair? })).collect()
}

impl<D: Device> Cuda<D> {
    /// As [`Backend::adapted`](crate::backend::Backend::adapted).
    pub(super) fn adapted_products(
        &self,
        x: &Buffer<D>,
        m: usize,
        outputs: &mut [AdaptedOutput<'_, Weight<D>, Buffer<D>>],
    ) -> Result<()> {
        let count = outputs.iter().filter(|output| output.adapter.is_some()).count();
        let group = Group::of(outputs.iter().map(|output| output.linear.weight));
        let joins =
            outputs.len() == 1 || side_by_side(outputs.iter().map(|output| output.y.kept_at())).is_some();
        match group {
            Some(group)
                if self.dtype == CudaDtype::Bfloat16
                    && m * group.packed.k > 0
                    && joins
                    && count <= MOST_ADAPTERS =>
            {
                self.joined_products(x, m, &group, outputs)
            }
            _ => {
                // What adapters add to is f32 from the start.
                for output in outputs.iter_mut().filter(|output| output.adapter.is_some()) {
                    self.overwritten(output.y)?;
                }
                adapted(self, x, m, outputs)
            }
        }
    }

    fn joined_products(
        &self,
        x: &Buffer<D>,
        m: usize,
        group: &Group<'_, D>,
        outputs: &mut [AdaptedOutput<'_, Weight<D>, Buffer<D>>],
    ) -> Result<()> {
        let (n, k) = (group.packed.rows, group.packed.k);
        length("x", x.len(), m * k)?;
        to_u32("a result of", m * n)?;
        for AdaptedOutput { linear, addend, y, .. } in &*outputs {
            length("y", y.len(), m * linear.weight.n)?;
            linear.bias.map_or(Ok(()), |bias| length("bias", bias.len(), linear.weight.n))?;
            addend.map_or(Ok(()), |addend| length("addend", addend.len(), y.len()))?;
        }
        let (whole, operand, ranks) = self.with_downs(x, m, group, outputs)?;
        let biases: Vec<_> =
            outputs.iter().map(|output| (output.linear.weight.n, output.linear.bias)).collect();
        let product = Matmul {
            m,
            n,
            k: k + ranks,
            transpose_a: false,
            transpose_b: true,
            a: operand.at,
            b: whole.row(0, 2),
            c: 0,
            strides: [operand.stride, whole.stride, n],
            results: Results::Float32,
            operands: self.operands(),
            factor: Factor::Value(1.0),
            accumulate: false,
            addend: None,
            bias: None,
        };
        if let [AdaptedOutput { linear, addend, y, .. }] = outputs
            && !y.is_operand()
        {
            let bias = linear.bias.map(|bias| self.numbers(bias)).transpose()?;
            let addend = addend.map(|addend| self.numbers(addend)).transpose()?;
            return self.device().matmul(Matmul { c: self.overwritten(y)?, bias, addend, ..product });
        }
        let bias = self.joined_bias(group.packed, &biases)?;
        let bias = bias.as_ref().map(|block| block.address);
        let mut begin = None;
        for AdaptedOutput { linear, y, .. } in &mut *outputs {
            let Output { operand, stride, .. } = self.output(y, linear.weight.n)?;
            begin.get_or_insert((operand, stride as usize));
        }
        let (c, stride) = begin.unwrap_or_default();
        let strides = [operand.stride, whole.stride, stride];
        self.device().matmul(Matmul { c, strides, results: Results::Operands, bias, ..product })?;
        outputs
            .iter_mut()
            .try_for_each(|output| output.addend.map_or(Ok(()), |addend| self.add(1.0, addend, output.y)))
    }

    /// The packed matrices with their adapters, the input with what the adapters make of it behind each row, and how much that is.
    fn with_downs(
        &self,
        x: &Buffer<D>,
        m: usize,
        group: &Group<'_, D>,
        outputs: &mut [AdaptedOutput<'_, Weight<D>, Buffer<D>>],
    ) -> Result<(Whole<D>, Operand<D>, usize)> {
        let k = group.packed.k;
        let pairs = outputs.iter().map(|output| output.adapter.as_ref().map(|(pair, _)| pair));
        let adapters = bordered(group, pairs);
        if adapters.is_empty() {
            return Ok((group.packed.whole(), self.operand(x, k)?, 0));
        }
        let whole = self.bordered(group.packed, &adapters)?;
        let ranks: usize = adapters.iter().map(|adapter| adapter.pair.r).sum();
        drop(adapters);
        let operand = self.operand_with_room(x, k, ranks)?;
        let downs = outputs.iter_mut().filter_map(|output| output.adapter.as_mut());
        let downs: Vec<_> = downs.map(|(pair, down)| (&*pair, &mut **down)).collect();
        self.adapters_down(x, m, &operand, downs)?;
        Ok((whole, operand, ranks))
    }

    /// As [`Backend::adapted_backward`](crate::backend::Backend::adapted_backward).
    pub(super) fn adapted_gradients(
        &self,
        x: Option<&Buffer<D>>,
        m: usize,
        linears: &mut [AdaptedBackward<'_, Weight<D>, Buffer<D>>],
        dx: Option<(&mut Buffer<D>, Write)>,
    ) -> Result<()> {
        let count = linears.iter().filter(|one| one.adapter.is_some()).count();
        let group = Group::of(linears.iter().map(|linear| linear.weight));
        let joins =
            linears.len() == 1 || side_by_side(linears.iter().map(|one| one.dy.kept_operand())).is_some();
        match group {
            Some(group) if self.dtype == CudaDtype::Bfloat16 && m > 0 && joins && count <= MOST_ADAPTERS => {
                self.joined_gradients(x, m, &group, linears, dx)
            }
            _ => adapted_backward(self, x, m, linears, dx),
        }
    }

    fn joined_gradients(
        &self,
        x: Option<&Buffer<D>>,
        m: usize,
        group: &Group<'_, D>,
        linears: &mut [AdaptedBackward<'_, Weight<D>, Buffer<D>>],
        mut dx: Option<(&mut Buffer<D>, Write)>,
    ) -> Result<()> {
        for AdaptedBackward { weight, dy, .. } in &*linears {
            length("dy", dy.len(), m * weight.n)?;
        }
        let pairs = linears.iter().map(|one| one.adapter.as_ref().map(|adapter| &adapter.pair));
        let adapters = bordered(group, pairs);
        // Masks lie between adapters and the input: their part cannot be a part of the product.
        let is_dropped = adapters.iter().any(|adapter| adapter.pair.dropout.is_some());
        let wanted: usize =
            if dx.is_none() || is_dropped { 0 } else { adapters.iter().map(|adapter| adapter.pair.r).sum() };
        let (operand, room) = self.gradients_with_room(group, linears, wanted)?;
        let ranks = if room >= wanted { wanted } else { 0 };
        let whole = if ranks > 0 { self.bordered(group.packed, &adapters)? } else { group.packed.whole() };
        drop(adapters);
        let (mut all, mut at) = (Vec::new(), operand.at + 2 * group.packed.rows as u64);
        let stride = to_u32("a row of", operand.stride)?;
        for (AdaptedBackward { adapter, .. }, (first, _)) in linears.iter_mut().zip(&group.rows) {
            let Some(LowRankGradients { pair, down, da, db }) = adapter else { continue };
            let border = if ranks > 0 { (at, stride) } else { (0, 0) };
            at += 2 * pair.r as u64;
            let dy = (operand.at + 2 * *first as u64, stride);
            all.push(Backward { pair: *pair, down, dy, border, da, db });
        }
        let read = match x {
            None if !all.is_empty() => return Err(fail("adapters read their input")),
            x => x,
        };
        let between = read.map_or(Ok(Vec::new()), |x| self.pair_gradients(x, m, &mut all))?;
        let Some((dx, write)) = dx.as_mut() else { return Ok(()) };
        self.input_gradients(m, group, (&operand, ranks), &whole, (dx, *write))?;
        match read {
            Some(x) if ranks == 0 && !all.is_empty() => {
                self.add_input_gradients(x, m, all.iter().map(|one| &one.pair).zip(&between), dx)
            }
            _ => Ok(()),
        }
    }

    /// The gradients of these linears' results as operands side by side, and how much room is behind each row, of what is wanted.
    fn gradients_with_room(
        &self,
        group: &Group<'_, D>,
        linears: &[AdaptedBackward<'_, Weight<D>, Buffer<D>>],
        wanted: usize,
    ) -> Result<(Operand<D>, usize)> {
        let n = group.packed.rows;
        if let [AdaptedBackward { dy, .. }] = linears {
            let operand =
                if wanted > 0 { self.operand_with_room(dy, n, wanted)? } else { self.operand(dy, n)? };
            return Ok((operand, wanted));
        }
        let (at, last) = side_by_side(linears.iter().map(|one| one.dy.kept_operand()))
            .ok_or_else(|| fail("gradients that lie apart"))?;
        Ok((Operand::of(&last, at), last.rows.room))
    }

    /// `dx (m, k) (+)= [dy | scale · dy · B] · [W, A]`, with so many columns of adapters.
    fn input_gradients(
        &self,
        m: usize,
        group: &Group<'_, D>,
        (operand, ranks): (&Operand<D>, usize),
        whole: &Whole<D>,
        (dx, write): (&mut Buffer<D>, Write),
    ) -> Result<()> {
        let (n, k) = (group.packed.rows, group.packed.k);
        length("dx", dx.len(), m * k)?;
        let product = Matmul {
            m,
            n: k,
            k: n + ranks,
            transpose_a: false,
            transpose_b: false,
            a: operand.at,
            b: whole.row(0, 2),
            c: 0,
            strides: [operand.stride, whole.stride, k],
            results: Results::Float32,
            operands: self.operands(),
            factor: Factor::Value(1.0),
            accumulate: write == Write::Add,
            addend: None,
            bias: None,
        };
        if dx.is_operand() && write == Write::Set {
            let Output { operand: c, stride, .. } = self.output(dx, k)?;
            let strides = [operand.stride, whole.stride, stride as usize];
            return self.device().matmul(Matmul { c, strides, results: Results::Operands, ..product });
        }
        self.device().matmul(Matmul { c: self.written(dx, write)?, ..product })
    }
}
