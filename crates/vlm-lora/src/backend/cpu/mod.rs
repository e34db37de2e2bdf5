//! The CPU backend: flat buffers whose memory is used again, and loops over rows and heads on all threads.
//!
//! Results do not depend on the number of threads: work is divided where the arithmetic of an element is not, and sums over
//! several tasks are taken in a fixed order.

#![expect(
    clippy::inline_always,
    reason = "what a kernel calls must be compiled with the kernel's instruction set, hence into it"
)]

mod attention;
mod bf16;
mod buffer;
mod check;
mod f32_kernels;
mod fused;
mod gather;
mod integer;
mod isa;
mod loss;
mod matmul;
mod norm;
mod operations;
mod optimizer;
mod panels;
mod pointwise;
mod prepared;
mod real;
mod rope;
#[cfg(test)]
mod rows_alone;
mod simd;
mod tasks;
#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
mod tiles;
mod weight;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use bf16::Bf16Kernel;
pub use buffer::Buffer;
pub use integer::IntegerKernel;
pub use isa::Isa;
pub use real::Real;
pub use weight::{BaseDtype, LARGEST_INT8_ROWS, Weight};

use self::bf16::Context;
use self::buffer::Pool;

use self::isa::Simd;
use crate::{Error, Result};

/// How a [`Cpu`] keeps and multiplies frozen matrices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// The precision in which they are kept. With a narrow one the products of attention are taken in bf16 too.
    pub base: BaseDtype,
    /// How products with a narrow base are computed; by default the fastest way there is here.
    pub kernel: Option<Bf16Kernel>,
    /// How products of integers are computed; by default the fastest way there is here.
    pub integers: Option<IntegerKernel>,
    /// The widest instruction set that may be used; by default the widest of this CPU.
    pub isa: Option<Isa>,
}

/// The backend of the CPU, computing in `T`, with the threads of the current rayon pool.
#[derive(Debug)]
pub struct Cpu<T: Real = f32> {
    base: BaseDtype,
    kernel: Bf16Kernel,
    /// How products of integers are taken, where the base has matrices of integers.
    integers: Option<IntegerKernel>,
    /// Whether activations stay as they are where they meet such matrices.
    is_exact: AtomicBool,
    simd: Simd,
    pool: Arc<Pool>,
    rope: rope::Tables<T>,
}

impl<T: Real> Default for Cpu<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> Cpu<T> {
    /// A backend with an empty arena, whose base is kept in `T`.
    pub fn new() -> Self {
        Self {
            base: BaseDtype::Full,
            kernel: Bf16Kernel::Upcast,
            integers: None,
            is_exact: AtomicBool::new(false),
            simd: Simd::at_most(None),
            pool: Arc::default(),
            rope: rope::Tables::default(),
        }
    }

    /// A backend with these options.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a kernel that this CPU cannot run.
    pub fn with_options(options: CpuOptions) -> Result<Self> {
        let simd = Simd::at_most(options.isa);
        let available = Bf16Kernel::available_with(simd.isa());
        let kernel = options.kernel.unwrap_or(available[0]);
        if !available.contains(&kernel) {
            return Err(Error::Unsupported { what: format!("the {} kernel on this CPU", kernel.name()) });
        }
        let available = IntegerKernel::available_with(simd.isa());
        let integers = options.integers.unwrap_or(available[0]);
        if !available.contains(&integers) {
            let what = format!("the {} kernel of integers on this CPU", integers.name());
            return Err(Error::Unsupported { what });
        }
        let in_integers = match options.base {
            BaseDtype::Full => false,
            BaseDtype::Bf16 => kernel == Bf16Kernel::Int16,
            BaseDtype::Int8 => true,
        };
        let integers = (in_integers && T::HAS_KERNELS).then_some(integers);
        // In full precision there is nothing that a narrow kernel could compute.
        let kernel = if options.base == BaseDtype::Full { Bf16Kernel::Upcast } else { kernel };
        Ok(Self { base: options.base, kernel, integers, simd, ..Self::new() })
    }

    fn context(&self) -> Context<'_> {
        let integers = self.integers.filter(|_| !self.is_exact.load(Ordering::Relaxed));
        Context { pool: &self.pool, kernel: self.kernel, integers, simd: self.simd }
    }

    fn filled<S: Copy>(&self, values: &[S], convert: impl Fn(S) -> T) -> Buffer<T> {
        let mut buffer = Buffer::uninitialised(&self.pool, values.len());
        for (to, &from) in buffer.iter_mut().zip(values) {
            *to = convert(from);
        }
        buffer
    }
}
