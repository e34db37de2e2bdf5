//! The CPU backend: flat buffers whose memory is used again, and loops over rows and heads on all threads.
//!
//! Results do not depend on the number of threads: work is divided where the arithmetic of an element is not, and sums over
//! several tasks are taken in a fixed order.

#![expect(
    clippy::inline_always,
    reason = "what a kernel calls must be compiled with the kernel's instruction set, hence into it"
)]

mod accelerate;
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
    /// Whether products in f32 with frozen matrices, also those of a base in bf16, are taken by Accelerate, which macOS has:
    /// faster, but what a row gets may then depend on the rows beside it and differ in the last digits from run to run.
    pub accelerate: bool,
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
    accelerate: bool,
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
            accelerate: false,
            simd: Simd::at_most(None),
            pool: Arc::default(),
            rope: rope::Tables::default(),
        }
    }

    /// A backend with these options.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a kernel that this CPU cannot run, and for Accelerate where it is not.
    pub fn with_options(options: CpuOptions) -> Result<Self> {
        let simd = Simd::at_most(options.isa);
        let accelerate = options.accelerate;
        if accelerate && !accelerate::available() {
            return Err(Error::Unsupported { what: "Accelerate on this system".to_owned() });
        }
        let available = Bf16Kernel::available_with(simd.isa());
        let fastest = if accelerate { Bf16Kernel::Upcast } else { available[0] };
        let kernel = options.kernel.unwrap_or(fastest);
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
        Ok(Self { base: options.base, kernel, integers, accelerate, simd, ..Self::new() })
    }

    fn context(&self) -> Context<'_> {
        let integers = self.integers.filter(|_| !self.is_exact.load(Ordering::Relaxed));
        let Self { ref pool, kernel, accelerate, simd, .. } = *self;
        Context { pool, kernel, integers, simd, accelerate }
    }

    fn filled<S: Copy>(&self, values: &[S], convert: impl Fn(S) -> T) -> Buffer<T> {
        let mut buffer = Buffer::uninitialised(&self.pool, values.len());
        for (to, &from) in buffer.iter_mut().zip(values) {
            *to = convert(from);
        }
        buffer
    }
}
