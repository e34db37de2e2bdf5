//! The device that is chosen when the program runs.

use std::sync::Arc;

#[cfg(feature = "cuda")]
use super::Cuda;
use super::{Backend, Cpu, GpuProfile, Kernels as _};

/// The CPU, or in a build with the feature `cuda` a GPU.
///
/// The passes are generic over their [`Backend`]; which one it is, is decided once, by [`run`](Self::run).
#[derive(Debug, Clone)]
pub enum Device {
    /// The CPU.
    Cpu(Arc<Cpu>),
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(Arc<Cuda>),
}

/// Work that can be done on any backend.
pub trait OnDevice {
    /// What it returns.
    type Output;

    /// Does it on this backend.
    fn run<B: Backend>(self, backend: &Arc<B>) -> Self::Output;
}

impl Device {
    /// Does `work` on the device.
    pub fn run<W: OnDevice>(&self, work: W) -> W::Output {
        match self {
            Self::Cpu(cpu) => work.run(cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => work.run(cuda),
        }
    }

    /// The device and the arithmetic in words, as in `cpu f32 avx512`.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu(cpu) => cpu.name(),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.name(),
        }
    }

    /// Whether a GPU computes.
    pub fn is_gpu(&self) -> bool {
        !matches!(self, Self::Cpu(_))
    }

    /// The most bytes of a GPU that were held at one time; `None` on the CPU.
    pub fn peak_bytes(&self) -> Option<usize> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => Some(cuda.peak_bytes()),
        }
    }

    /// What a GPU has taken for what, and what went another way; `None` on the CPU, or where the GPU does not say.
    pub fn profile(&self) -> Option<GpuProfile> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.profile().ok(),
        }
    }

    /// Bytes of a GPU's memory that are free, and that there are; `None` on the CPU, or where the GPU does not say.
    pub fn gpu_memory(&self) -> Option<(usize, usize)> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.memory().ok(),
        }
    }
}
