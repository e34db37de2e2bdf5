//! Transposes squares of 32 × 32 elements.

#[cfg(target_arch = "x86_64")]
use super::super::isa::Isa;
use super::super::isa::Simd;
use super::super::panels::PANEL;

/// `out[j][i] = from[i][j]`.
pub(super) fn transpose(simd: Simd, from: &[f32; PANEL * PANEL], out: &mut [f32; PANEL * PANEL]) {
    #[cfg(target_arch = "x86_64")]
    if simd.isa() >= Isa::Avx2 {
        // SAFETY: the CPU has the instruction set of a `Simd`.
        unsafe { x86::transpose(from, out) };
        return;
    }
    let _ = simd;
    for (j, line) in out.chunks_exact_mut(PANEL).enumerate() {
        line.iter_mut().zip(from[j..].iter().step_by(PANEL)).for_each(|(to, &from)| *to = from);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_setzero_ps, _mm256_shuffle_ps,
        _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };

    use super::PANEL;

    /// Elements of a register.
    const LANES: usize = 8;

    #[target_feature(enable = "avx2")]
    pub(super) fn transpose(from: &[f32; PANEL * PANEL], out: &mut [f32; PANEL * PANEL]) {
        for i in (0..PANEL).step_by(LANES) {
            for j in (0..PANEL).step_by(LANES) {
                // SAFETY: eight rows of eight elements, a panel apart, lie behind both pointers.
                unsafe { eight(from.as_ptr().add(i * PANEL + j), out.as_mut_ptr().add(j * PANEL + i)) };
            }
        }
    }

    /// Transposes 8 × 8 elements.
    ///
    /// # Safety
    /// `from` and `out` have eight rows of eight elements, a panel apart.
    #[target_feature(enable = "avx2")]
    unsafe fn eight(from: *const f32, out: *mut f32) {
        let mut r = [_mm256_setzero_ps(); LANES];
        for (i, row) in r.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *row = unsafe { _mm256_loadu_ps(from.add(i * PANEL)) };
        }
        let four = |r: [__m256; 4]| {
            let (a, b) = (_mm256_unpacklo_ps(r[0], r[1]), _mm256_unpackhi_ps(r[0], r[1]));
            let (c, d) = (_mm256_unpacklo_ps(r[2], r[3]), _mm256_unpackhi_ps(r[2], r[3]));
            [
                _mm256_shuffle_ps::<0x44>(a, c),
                _mm256_shuffle_ps::<0xee>(a, c),
                _mm256_shuffle_ps::<0x44>(b, d),
                _mm256_shuffle_ps::<0xee>(b, d),
            ]
        };
        // Lane `l` of each now holds column `4 l + i` of four rows.
        let (above, below) = (four([r[0], r[1], r[2], r[3]]), four([r[4], r[5], r[6], r[7]]));
        for (i, (above, below)) in above.into_iter().zip(below).enumerate() {
            // SAFETY: as above.
            unsafe {
                _mm256_storeu_ps(out.add(i * PANEL), _mm256_permute2f128_ps::<0x20>(above, below));
                _mm256_storeu_ps(out.add((4 + i) * PANEL), _mm256_permute2f128_ps::<0x31>(above, below));
            }
        }
    }
}
