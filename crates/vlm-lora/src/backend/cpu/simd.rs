//! Loops compiled for several instruction sets, of which the widest that the CPU has is taken at run time.

use std::ops::AddAssign;

/// Elements that a reduction keeps side by side: its order is then the same whatever the width of the registers.
pub(super) const LANES: usize = 16;

/// Defines `fn name<T: Real>(simd: Simd, arguments) -> result` whose body is compiled once per [`Isa`], of which `simd` says
/// which one runs. What the body calls must be `#[inline(always)]` to be compiled with it.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "kernels take their rows and constants one by one")]
        $vis fn $name<T: $crate::backend::cpu::real::Real>(
            simd: $crate::backend::cpu::isa::Simd,
            $($arg: $ty),*
        ) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            #[allow(clippy::extra_unused_type_parameters, reason = "some loops are for f32 alone")]
            fn body<T: $crate::backend::cpu::real::Real>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx512<T: $crate::backend::cpu::real::Real>($($arg: $ty),*) $(-> $ret)? {
                body::<T>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx2<T: $crate::backend::cpu::real::Real>($($arg: $ty),*) $(-> $ret)? {
                body::<T>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "a function with target features is called where the CPU has them")]
            match simd.isa() {
                // SAFETY: a `Simd` is Avx512 only where the CPU has all of these features.
                $crate::backend::cpu::isa::Isa::Avx512 => unsafe { avx512::<T>($($arg),*) },
                // SAFETY: a `Simd` is Avx2 only where the CPU has both features.
                $crate::backend::cpu::isa::Isa::Avx2 => unsafe { avx2::<T>($($arg),*) },
                $crate::backend::cpu::isa::Isa::Plain | $crate::backend::cpu::isa::Isa::Neon => body::<T>($($arg),*),
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = simd;
            }
            #[cfg(not(target_arch = "x86_64"))]
            body::<T>($($arg),*)
        }
    };
}
pub(super) use simd_fn;

/// Folds `map(i)` for `i` in `0..n` into lanes in an order that depends on `n` only, then sums the lanes pairwise.
#[inline(always)]
pub(super) fn lane_sum<T: Copy + Default + AddAssign>(n: usize, map: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::default(); LANES];
    let whole = n / LANES * LANES;
    let mut at = 0;
    while at < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += map(at + lane);
        }
        at += LANES;
    }
    for (lane, sum) in lanes.iter_mut().enumerate().take(n - whole) {
        *sum += map(whole + lane);
    }
    sum_lanes(lanes)
}

/// The sum of the lanes, pairwise.
#[inline(always)]
pub(super) fn sum_lanes<T: Copy + Default + AddAssign>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            let other = lanes[lane + width];
            lanes[lane] += other;
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest element; [`Real::LEAST`](super::real::Real::LEAST) of none.
#[inline(always)]
pub(super) fn lane_max<T: super::real::Real>(values: &[T]) -> T {
    let mut lanes = [T::LEAST; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, &value) in lanes.iter_mut().zip(chunk) {
            *most = if value > *most { value } else { *most };
        }
    }
    for (most, &value) in lanes.iter_mut().zip(rest) {
        *most = if value > *most { value } else { *most };
    }
    lanes.into_iter().fold(T::LEAST, |most, value| if value > most { value } else { most })
}
