//! AMX-BF16: 32 × 32 results in four tiles. Intrinsics for it are not stable, inline assembly is.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use linux::{Tiles, available};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) use elsewhere::{Tiles, available};

#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
use super::{Order, Out, PANEL, STEP, Source, Start};

/// Rows of a block.
pub(super) const ROWS: usize = 32;

/// The eight tiles of a thread: 16 rows of 64 bytes each.
#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
trait Unit {
    /// Fills tile `T` with zeros.
    fn zero<const T: u8>(&mut self);
    /// Loads the 16 rows of tile `T`, `distance` bytes apart.
    ///
    /// # Safety
    /// There are 64 bytes in each row.
    unsafe fn load<const T: u8>(&mut self, from: *const u8, distance: usize);
    /// Stores the 16 rows of tile `T`, `distance` bytes apart.
    ///
    /// # Safety
    /// There is room for 64 bytes in each row, which no one else uses.
    unsafe fn store<const T: u8>(&mut self, to: *mut u8, distance: usize);
    /// `C (16, 16) += A (16, 32) · B`, where `B` has the pairs of two rows in each of its 16.
    fn multiply<const C: u8, const A: u8, const B: u8>(&mut self);
}

/// `C (32, 32) = start + A (32, k) · panel`, with `k` the thirty-second part of `a`.
///
/// # Safety
/// `c` has 32 rows of 32 elements that no one else uses; `start` likewise has 32 rows to read, which may be
/// one and the same.
#[inline(always)]
#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
unsafe fn block(unit: &mut impl Unit, a: &[u16], order: Order, b: &[u32], c: Out, start: Start) {
    let row = a.len() / ROWS;
    assert!(row > 0 && a.len() == ROWS * row && row.is_multiple_of(STEP) && b.len() == row / 2 * PANEL);
    // Distances in elements: from row to row of a tile, and from step to step.
    let (row_distance, step_distance) = match order {
        Order::Rows => (row, STEP),
        Order::Steps => (STEP, ROWS * STEP),
    };
    // SAFETY: by the assertion and the caller's promise every tile lies inside its matrix.
    unsafe {
        if let Some(Source { at, stride }) = start {
            let (right, below) = (at.add(16), at.add(16 * stride));
            unit.load::<0>(at.cast(), 4 * stride);
            unit.load::<1>(right.cast(), 4 * stride);
            unit.load::<2>(below.cast(), 4 * stride);
            unit.load::<3>(below.add(16).cast(), 4 * stride);
        } else {
            unit.zero::<0>();
            unit.zero::<1>();
            unit.zero::<2>();
            unit.zero::<3>();
        }
        for step in 0..row / STEP {
            let upper = a.as_ptr().add(step * step_distance);
            let panel = b.as_ptr().add(step * STEP / 2 * PANEL);
            unit.load::<6>(panel.cast(), 4 * PANEL);
            unit.load::<4>(upper.cast(), 2 * row_distance);
            unit.multiply::<0, 4, 6>();
            unit.load::<7>(panel.add(16).cast(), 4 * PANEL);
            unit.multiply::<1, 4, 7>();
            unit.load::<5>(upper.add(16 * row_distance).cast(), 2 * row_distance);
            unit.multiply::<2, 5, 6>();
            unit.multiply::<3, 5, 7>();
        }
        let Out { at, stride } = c;
        let below = at.add(16 * stride);
        unit.store::<0>(at.cast(), 4 * stride);
        unit.store::<1>(at.add(16).cast(), 4 * stride);
        unit.store::<2>(below.cast(), 4 * stride);
        unit.store::<3>(below.add(16).cast(), 4 * stride);
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod linux {
    use std::arch::asm;

    pub(in super::super) use super::super::super::tiles::has_bf16 as available;
    use super::super::super::tiles::{Configured, Shape};
    use super::super::{Order, Out, Start};
    use super::{Unit, block};

    /// The eight tiles of this thread, set up as 16 rows of 64 bytes while this value lives.
    pub(in super::super::super) struct Tiles(Configured);

    impl Tiles {
        /// Sets the tiles of this thread up.
        pub(in super::super) fn new() -> Self {
            assert!(available(), "the kernel was chosen on a CPU that lacks it");
            Self(Configured::new(Shape::WHOLE))
        }

        /// `C (32, 32) = start + A (32, k) · panel`, with `k` the thirty-second part of `a`.
        ///
        /// # Safety
        /// As of [`block`].
        pub(in super::super) unsafe fn multiply(
            &self,
            a: &[u16],
            order: Order,
            b: &[u32],
            c: Out,
            start: Start,
        ) {
            // SAFETY: the caller's promise; the tiles are set up while `self` lives.
            unsafe { block(&mut Registers(&self.0), a, order, b, c, start) };
        }
    }

    /// The CPU's own tiles. Between two of these instructions nothing else uses the registers: the compiler does not
    /// know them, and a thread keeps them while its [`Tiles`] live.
    struct Registers<'a>(#[expect(dead_code, reason = "the tiles are set up while it lives")] &'a Configured);

    impl Unit for Registers<'_> {
        #[inline(always)]
        fn zero<const T: u8>(&mut self) {
            // SAFETY: changes a tile, which is set up.
            unsafe { asm!("tilezero tmm{t}", t = const T, options(nostack, nomem)) };
        }

        #[inline(always)]
        unsafe fn load<const T: u8>(&mut self, from: *const u8, distance: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!("tileloadd tmm{t}, [{from} + {distance}]", t = const T, from = in(reg) from,
                     distance = in(reg) distance, options(nostack, readonly));
            }
        }

        #[inline(always)]
        unsafe fn store<const T: u8>(&mut self, to: *mut u8, distance: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!("tilestored [{to} + {distance}], tmm{t}", t = const T, to = in(reg) to,
                     distance = in(reg) distance, options(nostack));
            }
        }

        #[inline(always)]
        fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {
            // SAFETY: changes a tile, which is set up.
            unsafe {
                asm!("tdpbf16ps tmm{c}, tmm{a}, tmm{b}", c = const C, a = const A, b = const B,
                     options(nostack, nomem));
            }
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod elsewhere {
    use super::super::{Order, Out, Start};

    /// There are no tiles here.
    pub(in super::super::super) enum Tiles {}

    pub(in super::super) fn available() -> bool {
        false
    }

    impl Tiles {
        pub(in super::super) fn new() -> Self {
            unreachable!("the kernel is never chosen on this architecture");
        }

        pub(in super::super) unsafe fn multiply(&self, _: &[u16], _: Order, _: &[u32], _: Out, _: Start) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tiles as Intel's manual describes their instructions: sums of two products each, the even pair member first.
    struct Emulated([[[u8; 64]; 16]; 8]);

    impl Emulated {
        fn float(&self, tile: u8, row: usize, column: usize) -> f32 {
            f32::from_le_bytes(*self.0[usize::from(tile)][row][4 * column..].first_chunk().unwrap())
        }

        fn narrow(&self, tile: u8, row: usize, column: usize) -> f32 {
            let bits =
                u16::from_le_bytes(*self.0[usize::from(tile)][row][2 * column..].first_chunk().unwrap());
            f32::from_bits(u32::from(bits) << 16)
        }
    }

    impl Unit for Emulated {
        fn zero<const T: u8>(&mut self) {
            self.0[usize::from(T)] = [[0; 64]; 16];
        }

        unsafe fn load<const T: u8>(&mut self, from: *const u8, distance: usize) {
            for (r, row) in self.0[usize::from(T)].iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *row = unsafe { from.add(r * distance).cast::<[u8; 64]>().read_unaligned() };
            }
        }

        unsafe fn store<const T: u8>(&mut self, to: *mut u8, distance: usize) {
            for (r, row) in self.0[usize::from(T)].iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { to.add(r * distance).cast::<[u8; 64]>().write_unaligned(*row) };
            }
        }

        fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {
            for r in 0..16 {
                for j in 0..16 {
                    let mut sum = self.float(C, r, j);
                    for pair in 0..16 {
                        for member in 0..2 {
                            sum +=
                                self.narrow(A, r, 2 * pair + member) * self.narrow(B, pair, 2 * j + member);
                        }
                    }
                    self.0[usize::from(C)][r][4 * j..][..4].copy_from_slice(&sum.to_le_bytes());
                }
            }
        }
    }

    /// Small integers, which bf16 and the sums hold exactly.
    fn integer(i: usize) -> f32 {
        (i * 7 % 13) as f32 - 6.0
    }

    fn bits(value: f32) -> u16 {
        (value.to_bits() >> 16) as u16
    }

    #[test]
    fn emulated_tiles_multiply_exactly_in_either_order_and_from_every_start() {
        const STRIDE: usize = 40;
        for (k, order) in [(32, Order::Rows), (96, Order::Rows), (32, Order::Steps), (96, Order::Steps)] {
            let (x, w) =
                (|r: usize, l: usize| integer(r * k + l), |l: usize, j: usize| integer(3 + l * PANEL + j));
            let mut a = vec![0; ROWS * k];
            let mut b = vec![0; k / 2 * PANEL];
            for r in 0..ROWS {
                for l in 0..k {
                    let at = match order {
                        Order::Rows => r * k + l,
                        Order::Steps => l / STEP * ROWS * STEP + r * STEP + l % STEP,
                    };
                    a[at] = bits(x(r, l));
                }
            }
            for (i, pair) in b.iter_mut().enumerate() {
                let (l, j) = (i / PANEL * 2, i % PANEL);
                *pair = u32::from(bits(w(l, j))) | u32::from(bits(w(l + 1, j))) << 16;
            }
            let before: Vec<f32> = (0..ROWS * STRIDE).map(|i| i as f32).collect();
            let bias: Vec<f32> = (0..PANEL).map(|j| 100.0 + j as f32).collect();
            for start in 0..3 {
                let mut c = before.clone();
                let out = Out { at: c.as_mut_ptr(), stride: STRIDE };
                let result = Source { at: out.at.cast_const(), stride: STRIDE };
                let from = [None, Some(result), Some(Source { at: bias.as_ptr(), stride: 0 })][start];
                // SAFETY: `c` and what the sums start from have 32 rows of 32 elements.
                unsafe { block(&mut Emulated([[[0; 64]; 16]; 8]), &a, order, &b, out, from) };
                for r in 0..ROWS {
                    for j in 0..STRIDE {
                        let initial = [0.0, before[r * STRIDE + j], *bias.get(j).unwrap_or(&0.0)][start];
                        let product: f32 =
                            (0..k).map(|l| if j < PANEL { x(r, l) * w(l, j) } else { 0.0 }).sum();
                        let expected = if j < PANEL { initial + product } else { before[r * STRIDE + j] };
                        assert_eq!(
                            c[r * STRIDE + j].to_bits(),
                            expected.to_bits(),
                            "row {r}, column {j}, k {k}, {order:?}, {start}"
                        );
                    }
                }
            }
        }
    }
}
