//! The tile registers of AMX: whether they may be used, and their configuration. Intrinsics for them are not stable, inline assembly is.

#![cfg_attr(
    all(target_arch = "x86_64", target_os = "linux"),
    expect(unsafe_code, reason = "the tiles are set up by instructions that Rust does not know")
)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use linux::{Configured, has_bf16, has_int8};

/// Rows of a tile at most, and words of a row.
pub(super) const SIDE: usize = 16;

/// Rows and bytes of a row of each of the eight tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: [u8; 8],
    pub(super) row_bytes: [u16; 8],
}

impl Shape {
    /// Eight whole tiles.
    pub(super) const WHOLE: Self = Self { rows: [16; 8], row_bytes: [64; 8] };
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod linux {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    use super::Shape;

    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;

    /// Whether the CPU multiplies tiles of bf16 and the system lets this process use them.
    pub(in super::super) fn has_bf16() -> bool {
        has(AMX_BF16)
    }

    /// As [`has_bf16`], of bytes.
    pub(in super::super) fn has_int8() -> bool {
        has(AMX_INT8)
    }

    fn has(feature: u32) -> bool {
        let wanted = feature | AMX_TILE;
        __cpuid_count(7, 0).edx & wanted == wanted && is_permitted()
    }

    /// Asks Linux for the tiles' state, which it saves for a process only on request.
    fn is_permitted() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        static PERMITTED: OnceLock<bool> = OnceLock::new();
        // SAFETY: the call takes two numbers and changes nothing but the permission.
        let ask =
            || unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 };
        *PERMITTED.get_or_init(ask)
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

    /// The eight tiles of this thread, which have these shapes while this value lives.
    pub(in super::super) struct Configured(PhantomData<*const ()>);

    impl Configured {
        /// Sets the tiles of this thread up; what they held is lost.
        pub(in super::super) fn new(shape: Shape) -> Self {
            assert!(has(0), "the kernel was chosen on a CPU that lacks it");
            let mut configuration = Configuration {
                palette: 1,
                start_row: 0,
                reserved: [0; 14],
                row_bytes: [0; 16],
                rows: [0; 16],
            };
            configuration.row_bytes[..8].copy_from_slice(&shape.row_bytes);
            configuration.rows[..8].copy_from_slice(&shape.rows);
            // SAFETY: the CPU has tiles, as asserted, and the 64 bytes are a configuration; one that is not valid ends the program.
            unsafe {
                asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly));
            }
            Self(PhantomData)
        }
    }

    impl Drop for Configured {
        fn drop(&mut self) {
            // SAFETY: the tiles were set up by `new` and nothing uses them any more.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }
}
