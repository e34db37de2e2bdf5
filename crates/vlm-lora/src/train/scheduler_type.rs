use serde::{Deserialize, Serialize};

/// How the learning rate changes after warm-up, under transformers' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedulerType {
    /// Falls in a straight line to 0.
    Linear,
    /// Falls along half a cosine to 0.
    Cosine,
    /// Stays, without warm-up.
    Constant,
    /// Rises in a straight line, then stays.
    ConstantWithWarmup,
}
