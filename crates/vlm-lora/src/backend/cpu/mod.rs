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
mod gather;
mod loss;
mod matmul;
mod norm;
mod operations;
mod optimizer;
mod panels;
mod pointwise;
mod real;
mod rope;
mod simd;
mod tasks;
mod weight;

use std::sync::Arc;

pub use bf16::Bf16Kernel;
pub use buffer::Buffer;
pub use real::Real;
pub use simd::Isa;
pub use weight::{BaseDtype, LARGEST_INT8_ROWS, Weight};

use self::bf16::{Activation, Rounded};
use self::buffer::Pool;
use self::weight::Context;
use crate::{Error, Result};

/// How a [`Cpu`] keeps and multiplies frozen matrices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// The precision in which they are kept. With a narrow one the products of attention are taken in bf16 too.
    pub base: BaseDtype,
    /// How products with a narrow base are computed; by default the fastest way there is here.
    pub kernel: Option<Bf16Kernel>,
    /// Limits the whole process to an instruction set from now on, as [`Isa::limit`] does; otherwise what it may use stays.
    pub isa: Option<Isa>,
}

/// The backend of the CPU, computing in `T`, with the threads of the current rayon pool.
#[derive(Debug)]
pub struct Cpu<T: Real = f32> {
    base: BaseDtype,
    kernel: Bf16Kernel,
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
            pool: Arc::default(),
            rope: rope::Tables::default(),
        }
    }

    /// A backend with these options.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a kernel that this CPU cannot run.
    pub fn with_options(options: CpuOptions) -> Result<Self> {
        if let Some(isa) = options.isa {
            isa.limit();
        }
        let available = Bf16Kernel::available();
        let kernel = options.kernel.unwrap_or(available[0]);
        if !available.contains(&kernel) {
            return Err(Error::Unsupported { what: format!("the {} kernel on this CPU", kernel.name()) });
        }
        // In full precision there is nothing that a narrow kernel could compute.
        let kernel = if options.base == BaseDtype::Full { Bf16Kernel::Upcast } else { kernel };
        Ok(Self { base: options.base, kernel, ..Self::new() })
    }

    fn context(&self) -> Context<'_> {
        Context { pool: &self.pool, kernel: self.kernel }
    }

    /// `x (m, k)`, after the activation, rounded for products with narrow matrices; `T` is f32, the one type that has them.
    fn rounded(&self, (x, m, k): (&[T], usize, usize), activation: Activation) -> Rounded {
        Rounded::new(self.kernel, &self.pool, (bytemuck::cast_slice(x), m, k), activation)
    }

    fn filled<S: Copy>(&self, values: &[S], convert: impl Fn(S) -> T) -> Buffer<T> {
        let mut buffer = Buffer::uninitialised(&self.pool, values.len());
        for (to, &from) in buffer.iter_mut().zip(values) {
            *to = convert(from);
        }
        buffer
    }
}
