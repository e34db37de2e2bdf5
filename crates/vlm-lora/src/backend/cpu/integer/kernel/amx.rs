//! AMX-INT8: up to 32 rows times 32 columns in four tiles.

use super::super::super::panels::{Out, PANEL, Source, Start};
use super::super::super::tiles::{SIDE, Shape};
use super::super::Width;
use super::{Lines, Right, TILE_ROWS};

/// The tiles of a thread: 0 to 3 hold sums, 4 and 5 rows, 6 and 7 columns.
trait Unit {
    /// Gives the tiles these shapes; what they held is lost.
    fn configure(&mut self, shape: Shape);
    /// Loads the rows of tile `T`, `distance` bytes apart.
    ///
    /// # Safety
    /// There are as many rows and bytes as the tile has.
    unsafe fn load<const T: u8>(&mut self, from: *const u32, distance: usize);
    /// Stores the rows of tile `T`, `distance` bytes apart.
    ///
    /// # Safety
    /// As of [`load`](Self::load), and no one else uses them.
    unsafe fn store<const T: u8>(&mut self, to: *mut i32, distance: usize);
    /// `C += A · B` of bytes, those of `A` unsigned, four of a word with four of a word; sums wrap around.
    fn dot<const C: u8, const A: u8, const B: u8>(&mut self);
}

/// Sums of a block.
type Sums = [[i32; PANEL]; TILE_ROWS];

/// As [`multiply`](super::multiply), of bytes and up to [`TILE_ROWS`] rows.
///
/// # Safety
/// As of [`multiply`](super::multiply), for a block that was checked.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) unsafe fn multiply(a: Lines<'_>, b: Right<'_>, c: Out, start: Start) {
    // SAFETY: the caller's promise.
    unsafe { block(&mut linux::Registers::new(), a, b, c, start) };
}

/// As [`multiply`], on some tiles.
///
/// # Safety
/// As of [`multiply`].
unsafe fn block(unit: &mut impl Unit, a: Lines<'_>, b: Right<'_>, c: Out, start: Start) {
    let rows = a.scales.len();
    assert!(rows > 0 && rows <= TILE_ROWS && a.words.len() == rows * a.stride);
    assert!(b.large.len() + b.lines.len() == a.stride * PANEL, "a line for each word of a row");
    let mut sums = [[0; PANEL]; TILE_ROWS];
    add(unit, a, 0, b.large, &mut sums);
    for sum in sums.as_flattened_mut() {
        *sum <<= Width::Eight.shift();
    }
    add(unit, a, b.large.len() / PANEL, b.lines, &mut sums);
    for (r, (sums, &scale)) in sums.iter().zip(a.scales).enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            let total = sum.wrapping_add(b.correction[j]) as f32;
            // SAFETY: the caller's promise about `c` and `start`.
            unsafe {
                let start = start.map_or(0.0, |Source { at, stride }| *at.add(r * stride + j));
                *c.at.add(r * c.stride + j) = start + total * b.scales[j] * scale;
            }
        }
    }
}

/// Adds the products of words `from..` of the rows with as many lines.
fn add(unit: &mut impl Unit, a: Lines<'_>, from: usize, lines: &[u32], sums: &mut Sums) {
    let words = lines.len() / PANEL;
    let whole = words / SIDE * SIDE;
    for (first, count, width) in [(0, whole, SIDE), (whole, words - whole, words - whole)] {
        if count == 0 {
            continue;
        }
        let lines = &lines[first * PANEL..][..count * PANEL];
        steps(unit, Lines { words: &a.words[from + first..], ..a }, lines, width, sums);
    }
}

/// As [`add`], of the first words of rows, `width` in a step.
fn steps(unit: &mut impl Unit, a: Lines<'_>, lines: &[u32], width: usize, sums: &mut Sums) {
    let rows = a.scales.len();
    let (upper, lower) = (rows.min(SIDE), rows.saturating_sub(SIDE));
    // A tile that is not used has a row all the same: one of none is no tile.
    let below = lower.max(1);
    unit.configure(Shape {
        rows: [upper, upper, below, below, upper, below, width, width].map(|rows| rows as u8),
        row_bytes: [SIDE, SIDE, SIDE, SIDE, width, width, SIDE, SIDE].map(|words| 4 * words as u16),
    });
    let (row, line) = (4 * a.stride, 4 * PANEL);
    let at = sums.as_flattened_mut().as_mut_ptr();
    // SAFETY: there are 32 rows of 32 sums, `rows` rows of words from the first one of `a` on, of which the last has `lines.len() / PANEL`
    // left, and as many lines. The lower tiles are used only where there are rows for them.
    unsafe {
        let sums = [0, SIDE, SIDE * PANEL, SIDE * PANEL + SIDE].map(|offset| at.add(offset));
        unit.load::<0>(sums[0].cast(), line);
        unit.load::<1>(sums[1].cast(), line);
        if lower > 0 {
            unit.load::<2>(sums[2].cast(), line);
            unit.load::<3>(sums[3].cast(), line);
        }
        for step in 0..lines.len() / PANEL / width {
            let panel = lines.as_ptr().add(step * width * PANEL);
            let left = a.words.as_ptr().add(step * width);
            unit.load::<6>(panel, line);
            unit.load::<4>(left, row);
            unit.dot::<0, 4, 6>();
            unit.load::<7>(panel.add(SIDE), line);
            unit.dot::<1, 4, 7>();
            if lower > 0 {
                unit.load::<5>(left.add(SIDE * a.stride), row);
                unit.dot::<2, 5, 6>();
                unit.dot::<3, 5, 7>();
            }
        }
        unit.store::<0>(sums[0], line);
        unit.store::<1>(sums[1], line);
        if lower > 0 {
            unit.store::<2>(sums[2], line);
            unit.store::<3>(sums[3], line);
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod linux {
    use std::arch::asm;

    use super::super::super::super::tiles::{Configured, Shape};
    use super::Unit;

    /// The CPU's own tiles. Between two of these instructions nothing else uses the registers: the compiler does not know them.
    pub(super) struct Registers(Option<Configured>);

    impl Registers {
        pub(super) fn new() -> Self {
            Self(None)
        }
    }

    impl Unit for Registers {
        fn configure(&mut self, shape: Shape) {
            // Only one may be there: the older one would release the tiles of the newer one.
            self.0 = None;
            self.0 = Some(Configured::new(shape));
        }

        #[inline(always)]
        unsafe fn load<const T: u8>(&mut self, from: *const u32, distance: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!("tileloadd tmm{t}, [{from} + {distance}]", t = const T, from = in(reg) from,
                     distance = in(reg) distance, options(nostack, readonly));
            }
        }

        #[inline(always)]
        unsafe fn store<const T: u8>(&mut self, to: *mut i32, distance: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!("tilestored [{to} + {distance}], tmm{t}", t = const T, to = in(reg) to,
                     distance = in(reg) distance, options(nostack));
            }
        }

        #[inline(always)]
        fn dot<const C: u8, const A: u8, const B: u8>(&mut self) {
            // SAFETY: changes a tile, which is set up.
            unsafe {
                asm!("tdpbusd tmm{c}, tmm{a}, tmm{b}", c = const C, a = const A, b = const B,
                     options(nostack, nomem));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tiles as Intel's manual describes their instructions.
    struct Emulated {
        shape: Shape,
        tiles: [[[u8; 64]; SIDE]; 8],
    }

    impl Emulated {
        fn word(&self, tile: u8, row: usize, at: usize) -> [u8; 4] {
            *self.tiles[usize::from(tile)][row][4 * at..].first_chunk().unwrap()
        }

        fn size(&self, tile: u8) -> (usize, usize) {
            let tile = usize::from(tile);
            (usize::from(self.shape.rows[tile]), usize::from(self.shape.row_bytes[tile]))
        }
    }

    impl Unit for Emulated {
        fn configure(&mut self, shape: Shape) {
            let is_valid =
                |(&rows, &bytes): (&u8, &u16)| (1..=16).contains(&rows) && (4..=64).contains(&bytes);
            assert!(shape.rows.iter().zip(&shape.row_bytes).all(is_valid), "{shape:?}");
            *self = Self { shape, tiles: [[[0; 64]; SIDE]; 8] };
        }

        unsafe fn load<const T: u8>(&mut self, from: *const u32, distance: usize) {
            let (rows, bytes) = self.size(T);
            self.tiles[usize::from(T)] = [[0; 64]; SIDE];
            for (r, row) in self.tiles[usize::from(T)].iter_mut().take(rows).enumerate() {
                for (b, to) in row.iter_mut().take(bytes).enumerate() {
                    // SAFETY: the caller's promise.
                    *to = unsafe { from.cast::<u8>().add(r * distance + b).read() };
                }
            }
        }

        unsafe fn store<const T: u8>(&mut self, to: *mut i32, distance: usize) {
            let (rows, bytes) = self.size(T);
            for (r, row) in self.tiles[usize::from(T)].iter().take(rows).enumerate() {
                for (b, from) in row.iter().take(bytes).enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe { to.cast::<u8>().add(r * distance + b).write(*from) };
                }
            }
        }

        fn dot<const C: u8, const A: u8, const B: u8>(&mut self) {
            let ((rows, bytes), (words, _)) = (self.size(C), self.size(B));
            assert_eq!(self.size(A), (rows, 4 * words), "the instruction refuses other shapes");
            for r in 0..rows {
                for j in 0..bytes / 4 {
                    let mut sum = i32::from_le_bytes(self.word(C, r, j));
                    for k in 0..words {
                        for (x, w) in self.word(A, r, k).into_iter().zip(self.word(B, k, j)) {
                            sum = sum.wrapping_add(i32::from(x) * i32::from(w as i8));
                        }
                    }
                    self.tiles[usize::from(C)][r][4 * j..][..4].copy_from_slice(&sum.to_le_bytes());
                }
            }
        }
    }

    fn bytes(rng: &mut u64) -> [u8; 4] {
        *rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*rng >> 32) as u32).to_le_bytes()
    }

    /// The result of element `(r, j)` by the definition.
    fn expected(a: Lines<'_>, b: Right<'_>, (r, j): (usize, usize), start: f32) -> f32 {
        let large = b.large.len() / PANEL;
        let row = &a.words[r * a.stride..][..a.stride];
        let sum = |words: &[u32], lines: &[u32]| {
            let products = words.iter().enumerate().flat_map(|(k, x)| {
                let w = lines[k * PANEL + j].to_le_bytes();
                x.to_le_bytes().into_iter().zip(w).map(|(x, w)| i64::from(x) * i64::from(w as i8))
            });
            products.sum::<i64>()
        };
        let total = (sum(&row[..large], b.large) << 7) + sum(&row[large..], b.lines);
        start + (total as i32).wrapping_add(b.correction[j]) as f32 * b.scales[j] * a.scales[r]
    }

    #[test]
    fn emulated_tiles_give_the_sums_of_a_plain_loop() {
        let mut rng = 7;
        let scales: Vec<f32> = (0..TILE_ROWS).map(|i| 0.5 + i as f32 / 16.0).collect();
        let correction = std::array::from_fn(|j| (j as i32 - 9) * 100_000);
        for (rows, words) in [(1, 1), (5, 3), (12, 16), (16, 17), (17, 40), (31, 192), (32, 15), (32, 64)] {
            let (large, stride) = (4, 4 + words);
            let mut draw = |count: usize| -> Vec<u32> {
                (0..count).map(|_| u32::from_le_bytes(bytes(&mut rng))).collect()
            };
            let (left, right) = (draw(rows * stride), draw(stride * PANEL));
            let a = Lines { words: &left, stride, scales: &scales[..rows] };
            let (large, lines) = right.split_at(large * PANEL);
            let b = Right { large, lines, scales: &scales[..PANEL], correction: &correction };
            let bias: Vec<f32> = (0..PANEL).map(|j| j as f32 * 3.0).collect();
            for start in [None, Some(Source { at: bias.as_ptr(), stride: 0 })] {
                let mut c = vec![-1.0_f32; TILE_ROWS * 40];
                let out = Out { at: c.as_mut_ptr(), stride: 40 };
                let mut unit = Emulated { shape: Shape::WHOLE, tiles: [[[0; 64]; SIDE]; 8] };
                // SAFETY: `c` has 32 rows of 40 elements, the start 32 to read.
                unsafe { block(&mut unit, a, b, out, start) };
                for (i, value) in c.iter().enumerate() {
                    let (r, j) = (i / 40, i % 40);
                    let inside = r < rows && j < PANEL;
                    let wanted =
                        if inside { expected(a, b, (r, j), start.map_or(0.0, |_| bias[j])) } else { -1.0 };
                    assert_eq!(value.to_bits(), wanted.to_bits(), "{rows} rows, {words} words, {r}, {j}");
                }
            }
        }
    }
}
