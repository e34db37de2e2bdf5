//! AMX-BF16: 32 × 32 results in four tiles. Intrinsics for it are not stable, inline assembly is.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use linux::{Tiles, available};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) use elsewhere::{Tiles, available};

/// Rows of a block.
pub(super) const ROWS: usize = 32;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod linux {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    use super::super::{Order, PANEL, STEP};
    use super::ROWS;

    /// Whether the processor has the tiles and the system lets this process use them.
    pub(in super::super) fn available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| {
            const AMX_BF16: u32 = 1 << 22;
            const AMX_TILE: u32 = 1 << 24;
            let features = __cpuid_count(7, 0).edx;
            features & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE && permitted()
        })
    }

    /// Asks Linux for the tiles' state, which it saves for a process only on request.
    fn permitted() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: the call takes two numbers and changes nothing but the permission.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }

    /// What `ldtilecfg` reads.
    #[repr(C, align(64))]
    struct Configuration {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    /// The eight tiles of this thread, set up as 16 rows of 64 bytes while this value lives.
    pub(in super::super) struct Tiles(PhantomData<*const ()>);

    impl Tiles {
        /// Sets the tiles of this thread up.
        pub(in super::super) fn new() -> Self {
            assert!(available(), "the kernel was chosen on a processor that lacks it");
            let mut configuration = Configuration {
                palette: 1,
                start_row: 0,
                reserved: [0; 14],
                row_bytes: [0; 16],
                rows: [0; 16],
            };
            configuration.row_bytes[..8].fill(64);
            configuration.rows[..8].fill(16);
            // SAFETY: the processor has tiles, as asserted, and the 64 bytes are a valid configuration.
            unsafe {
                asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly));
            }
            Self(PhantomData)
        }

        /// `C (32, 32) (+)= A (32, k) · panel`, with `k` the thirty-second part of `a`.
        ///
        /// # Safety
        /// `c` has 32 rows of 32 elements, `stride` apart, that no one else uses.
        #[expect(clippy::unused_self, reason = "the tiles are set up while it lives")]
        pub(in super::super) unsafe fn multiply(
            &self,
            (a, order): (&[u16], Order),
            b: &[u32],
            c: *mut f32,
            stride: usize,
            add: bool,
        ) {
            let row = a.len() / ROWS;
            assert!(
                row > 0 && a.len() == ROWS * row && row.is_multiple_of(STEP) && b.len() == row / 2 * PANEL
            );
            // Distances in elements: from row to row of a tile, and from step to step.
            let (row_distance, step_distance) = match order {
                Order::Rows => (row, STEP),
                Order::Steps => (STEP, ROWS * STEP),
            };
            // SAFETY: by the assertion and the caller's promise every tile lies inside its matrix; the tiles are set up while
            // `self` lives, and nothing else on this thread uses them meanwhile.
            unsafe {
                let below = c.add(16 * stride);
                start(c, below, stride, add);
                asm!(
                    "2:",
                    "tileloadd tmm6, [{b} + {p}]",
                    "tileloadd tmm4, [{a} + {s}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {p} + 64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{l} + {s}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a}, {next}",
                    "add {l}, {next}",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    a = inout(reg) a.as_ptr() => _,
                    l = inout(reg) a.as_ptr().add(16 * row_distance) => _,
                    b = inout(reg) b.as_ptr() => _,
                    steps = inout(reg) row / STEP => _,
                    s = in(reg) 2 * row_distance,
                    next = in(reg) 2 * step_distance,
                    p = in(reg) 4 * PANEL,
                    options(nostack, readonly),
                );
                asm!(
                    "tilestored [{c} + {s}], tmm0",
                    "tilestored [{c} + {s} + 64], tmm1",
                    "tilestored [{d} + {s}], tmm2",
                    "tilestored [{d} + {s} + 64], tmm3",
                    c = in(reg) c, d = in(reg) below, s = in(reg) 4 * stride,
                    options(nostack),
                );
            }
        }
    }

    /// Loads the sums so far, or zeros, into the first four tiles.
    ///
    /// # Safety
    /// The tiles of this thread are set up; `c` and `below` have 16 rows of 32 elements, `stride` apart.
    unsafe fn start(c: *const f32, below: *const f32, stride: usize, add: bool) {
        // SAFETY: the caller's promise.
        unsafe {
            if add {
                asm!(
                    "tileloadd tmm0, [{c} + {s}]",
                    "tileloadd tmm1, [{c} + {s} + 64]",
                    "tileloadd tmm2, [{d} + {s}]",
                    "tileloadd tmm3, [{d} + {s} + 64]",
                    c = in(reg) c, d = in(reg) below, s = in(reg) 4 * stride,
                    options(nostack, readonly),
                );
            } else {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    options(nostack, nomem)
                );
            }
        }
    }

    impl Drop for Tiles {
        fn drop(&mut self) {
            // SAFETY: the tiles were set up by `new` and nothing uses them any more.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod elsewhere {
    /// There are no tiles here.
    pub(in super::super) enum Tiles {}

    pub(in super::super) fn available() -> bool {
        false
    }

    impl Tiles {
        pub(in super::super) fn new() -> Self {
            unreachable!("the kernel is never chosen on this architecture");
        }

        pub(in super::super) unsafe fn multiply(
            &self,
            _: (&[u16], super::super::Order),
            _: &[u32],
            _: *mut f32,
            _: usize,
            _: bool,
        ) {
            match *self {}
        }
    }
}
