use super::{AdapterSpec, Principal};

/// What PEFT puts before the name of a module.
pub(super) const PREFIX: &str = "base_model.model.";

/// The values of one module's adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterWeights {
    /// Where it stands and how it is scaled.
    pub spec: AdapterSpec,
    /// `A (r, in_features)`, row-major.
    pub a: Vec<f32>,
    /// `B (out_features, r)`, row-major.
    pub b: Vec<f32>,
    /// The magnitude vector of DoRA `(out_features)`.
    pub magnitude: Option<Vec<f32>>,
    /// What the base weight lacks because the adapter started from it (PiSSA).
    pub principal: Option<Principal>,
}

impl AdapterWeights {
    /// Names under which PEFT stores the parts, with shapes.
    pub(crate) fn parts(spec: &AdapterSpec) -> Vec<(String, Vec<usize>)> {
        let name = |part: &str| format!("{PREFIX}{}.{part}", spec.module);
        let mut parts = vec![
            (name("lora_A.weight"), vec![spec.r, spec.in_features]),
            (name("lora_B.weight"), vec![spec.out_features, spec.r]),
        ];
        if spec.use_dora {
            parts.push((name("lora_magnitude_vector"), vec![spec.out_features]));
        }
        parts
    }

    /// How many values are trained.
    pub fn len(&self) -> usize {
        self.a.len() + self.b.len() + self.magnitude.as_ref().map_or(0, Vec::len)
    }

    /// Whether nothing is trained, which no valid adapter is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
