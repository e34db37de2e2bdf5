//! What only a card has.

use super::AnyBackend;

impl AnyBackend {
    /// The most bytes of a card that were held at one time; `None` on the processor.
    pub fn peak_bytes(&self) -> Option<usize> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => Some(cuda.peak_bytes()),
        }
    }

    /// Whether a card computes.
    pub fn is_card(&self) -> bool {
        match self {
            Self::Cpu(_) => false,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => true,
        }
    }

    /// Bytes of a card's memory that are free, and that there are; `None` on the processor, or where the card does not say.
    pub fn card_memory(&self) -> Option<(usize, usize)> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.memory().ok(),
        }
    }
}
