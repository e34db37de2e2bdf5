use std::fmt;

use serde::{Deserialize, Serialize};

/// How a base's frozen weights are stored in memory: a part of a run's identity and of the feature cache's key, because the numbers depend
/// on it, but not of the weights' name. It is the same on every machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct WeightFormat {
    /// Which backend computes with them.
    pub device: WeightDevice,
    /// The element in which products with them are taken.
    pub dtype: ElementType,
    /// Whether the matrices are kept in 8 bits.
    pub load_in_8bit: bool,
    /// Whether activations are rounded to 8 bits where they meet such matrices.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub int8_activations: bool,
}

/// A kind of backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightDevice {
    /// [`Cpu`](crate::backend::Cpu).
    #[default]
    Cpu,
    /// The backend of the feature `cuda`.
    Cuda,
}

/// An element type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// Single precision.
    #[default]
    Float32,
    /// The upper half of single precision.
    Bfloat16,
    /// IEEE half precision.
    Float16,
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = match self.device {
            WeightDevice::Cpu => "cpu",
            WeightDevice::Cuda => "cuda",
        };
        let dtype = match self.dtype {
            ElementType::Float32 => "float32",
            ElementType::Bfloat16 => "bfloat16",
            ElementType::Float16 => "float16",
        };
        let bits = match (self.load_in_8bit, self.int8_activations) {
            (false, _) => "",
            (true, false) => ", 8 bits",
            (true, true) => ", 8 bits, activations too",
        };
        write!(f, "{on}, {dtype}{bits}")
    }
}
