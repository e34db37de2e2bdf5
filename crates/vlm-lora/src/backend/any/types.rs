use crate::backend::{Cpu, cpu};
#[cfg(feature = "cuda")]
use crate::backend::{Cuda, cuda};

/// The CPU, or in a build with the feature `cuda` a GPU.
#[derive(Debug)]
pub enum AnyBackend {
    /// The CPU.
    Cpu(Cpu<f32>),
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(Cuda),
}

/// A buffer of an [`AnyBackend`].
#[derive(Debug)]
pub enum AnyBuffer {
    /// Of the CPU.
    Cpu(cpu::Buffer<f32>),
    /// Of a GPU.
    #[cfg(feature = "cuda")]
    Cuda(cuda::Buffer<cuda::Driver>),
}

/// A frozen matrix of an [`AnyBackend`].
#[derive(Debug)]
pub enum AnyWeight {
    /// Of the CPU.
    Cpu(cpu::Weight<f32>),
    /// Of a GPU.
    #[cfg(feature = "cuda")]
    Cuda(cuda::Weight<cuda::Driver>),
}
