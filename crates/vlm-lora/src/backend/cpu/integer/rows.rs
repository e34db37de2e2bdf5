//! Rounded rows as the left operand of a product.

use std::ops::Range;

use rayon::prelude::*;

use super::super::buffer::Buffer;
use super::super::panels::{Block, Out, PANEL, Rows, Start};
use super::kernel::{self, Lines, Right};
use super::matrix::TAIL;
use super::quantise::{Input, Rounding};
use super::{Form, IntegerKernel, LARGE, Means, Width};

/// Rows of integers, a scale each.
pub(in super::super) struct Quantised {
    kernel: IntegerKernel,
    width: Width,
    form: Form,
    rows: usize,
    columns: usize,
    /// Words of a row.
    stride: usize,
    words: Buffer<u32>,
    scales: Buffer<f32>,
    /// The columns that are kept to twice the bits.
    large: Vec<usize>,
}

impl Quantised {
    /// Rounds rows.
    pub(in super::super) fn new(means: Means<'_>, width: Width, input: Input<'_>) -> Self {
        let (Means { pool, simd, kernel }, Input { x, m, k, .. }) = (means, input);
        assert_eq!(x.len(), m * k, "rows and columns of the input");
        let form = kernel.form(width);
        let stride =
            ((LARGE + k.next_multiple_of(width.each())) / form.each()).next_multiple_of(form.together());
        let large = input.large_columns(simd);
        let rounding = Rounding { simd, width, form, large: &large };
        let mut words = Buffer::<u32>::uninitialised(pool, m.next_multiple_of(form.together()) * stride);
        let mut scales = Buffer::<f32>::uninitialised(pool, m);
        let (of_rows, beyond) = words.split_at_mut(m * stride);
        beyond.fill(0);
        of_rows
            .par_chunks_mut(stride)
            .zip(&mut scales[..])
            .with_min_len(kernel::ROWS)
            .enumerate()
            .for_each_init(
                || vec![0.0; k],
                |row, (index, (words, scale))| {
                    input.row(simd, index, row);
                    *scale = rounding.round(row, words);
                },
            );
        if form == Form::SignedPairs {
            let pairs = words.par_chunks_mut(2 * stride).with_min_len(kernel::ROWS / 2);
            pairs.for_each_init(Vec::new, |scratch, rows| Form::pair_rows(rows, scratch));
        }
        Self { kernel, width, form, rows: m, columns: k, stride, words, scales, large }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn width(&self) -> Width {
        self.width
    }

    /// Lines of a panel.
    fn lines(&self) -> usize {
        self.columns.div_ceil(self.width.each())
    }
}

/// What a thread makes of the panel that its rows are multiplied by.
pub(in super::super) struct Panel {
    /// Lines of the large columns.
    large: Vec<u32>,
    /// All lines in the form that they are multiplied in, where they are not kept in it.
    ordered: Vec<u32>,
    /// What the offset of the bytes added to each sum, to be added back.
    correction: [i32; PANEL],
}

impl Rows for Quantised {
    type Element = u32;
    type Thread = Panel;

    fn block(&self) -> usize {
        kernel::rows(self.kernel, self.form)
    }

    fn row_bytes(&self) -> usize {
        size_of::<u32>() * self.stride
    }

    fn panel(&self) -> usize {
        self.lines() * PANEL + TAIL
    }

    fn thread(&self, _: Range<usize>) -> Panel {
        Panel {
            large: vec![0; LARGE / self.form.each() * PANEL],
            ordered: Vec::new(),
            correction: [0; PANEL],
        }
    }

    fn ready(&self, thread: &mut Panel, panel: &[u32]) {
        let (lines, tail) = panel.split_at(self.lines() * PANEL);
        let Panel { large, ordered, correction } = thread;
        let mut sums = [0_i32; PANEL];
        large.fill(0);
        for (at, &column) in self.large.iter().enumerate() {
            let line = &lines[column / self.width.each() * PANEL..][..PANEL];
            let out = &mut large[at / self.form.each() * PANEL..][..PANEL];
            gather(
                self.width,
                self.form,
                line,
                column % self.width.each(),
                at % self.form.each(),
                out,
                &mut sums,
            );
        }
        self.form.order_lines(large);
        match (self.form, self.width) {
            (Form::Bytes, _) => {
                for (j, correction) in correction.iter_mut().enumerate() {
                    // Beyond 32 bits it wraps around, as the sum does that it is added to, and what they make fits again.
                    let sum = (sums[j] << self.width.shift()) + tail[PANEL + j] as i32;
                    *correction = sum.wrapping_mul(-128);
                }
                return;
            }
            (Form::Signed, _) | (Form::Halves, Width::Sixteen) => return,
            (Form::SignedPairs, _) | (Form::SplitHalves, Width::Sixteen) => {
                let whole = self.lines().next_multiple_of(self.form.together());
                ordered.resize(whole * PANEL, 0);
                ordered[..lines.len()].copy_from_slice(lines);
            }
            (Form::Halves | Form::SplitHalves, Width::Eight) => widen(lines, ordered),
        }
        self.form.order_lines(ordered);
    }

    unsafe fn multiply(&self, thread: &Panel, block: Block, panel: &[u32], c: Out, start: Start) {
        let (lines, tail) = panel.split_at(self.lines() * PANEL);
        let first = block.index * self.block();
        let rows = block.rows.next_multiple_of(self.form.together());
        let left = Lines {
            words: &self.words[first * self.stride..][..rows * self.stride],
            stride: self.stride,
            scales: &self.scales[first..][..block.rows],
        };
        let right = Right {
            large: &thread.large,
            lines: if thread.ordered.is_empty() { lines } else { &thread.ordered },
            scales: bytemuck::cast_slice(&tail[..PANEL]),
            correction: &thread.correction,
        };
        // SAFETY: the caller's promise about `c` and `start`.
        unsafe { kernel::multiply(self.kernel, self.width, self.form, left, right, c, start) };
    }
}

/// Adds the elements `from` of a line's words as elements `to` of the words of `out`, and to `sums`.
fn gather(
    width: Width,
    form: Form,
    line: &[u32],
    from: usize,
    to: usize,
    out: &mut [u32],
    sums: &mut [i32; PANEL],
) {
    let bits = 32 / form.each();
    let mask = (1 << bits) - 1;
    for ((out, &word), sum) in out.iter_mut().zip(line).zip(sums) {
        let value = i32::from(width.element(word, from));
        *sum += value;
        *out |= (value as u32 & mask) << (bits * to);
    }
}

/// Lines of bytes as twice as many lines of halves.
fn widen(lines: &[u32], halves: &mut Vec<u32>) {
    halves.resize(2 * lines.len(), 0);
    for (line, out) in lines.chunks_exact(PANEL).zip(halves.chunks_exact_mut(2 * PANEL)) {
        let (low, high) = out.split_at_mut(PANEL);
        for ((low, high), &word) in low.iter_mut().zip(high).zip(line) {
            let byte = |at: u32| (word << (24 - 8 * at)) as i32 >> 24;
            *low = byte(0) as u32 & 0xffff | (byte(1) as u32) << 16;
            *high = byte(2) as u32 & 0xffff | (byte(3) as u32) << 16;
        }
    }
}
