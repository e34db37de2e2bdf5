//! What only a GPU has.

use super::AnyBackend;

impl AnyBackend {
    /// The most bytes of a GPU that were held at one time; `None` on the CPU.
    pub fn peak_bytes(&self) -> Option<usize> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => Some(cuda.peak_bytes()),
        }
    }

    /// Whether a GPU computes.
    pub fn is_gpu(&self) -> bool {
        match self {
            Self::Cpu(_) => false,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => true,
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
