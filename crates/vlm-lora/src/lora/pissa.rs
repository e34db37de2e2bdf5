//! PiSSA (Meng et al. 2024): the adapter starts as the principal part of the weight, which the base then lacks.

use super::AdapterSpec;
use super::svd::Svd;
use crate::{Checkpoint, Error, Result};

/// The principal part `scale·B₀·A₀` of a weight: the truncation of its singular value decomposition to the adapter's rank. The
/// base computes with the weight less this part.
///
/// PEFT rounds the difference to the type of the weight; here weight and part stay apart, so that nothing is rounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// `A₀ = √(S/scale)·Vᵀ (r, in_features)`, row-major.
    pub a: Vec<f32>,
    /// `B₀ = U·√(S/scale) (out_features, r)`, row-major.
    pub b: Vec<f32>,
}

impl Principal {
    /// The principal part of a module's weight, computed in f64.
    pub(super) fn of(spec: &AdapterSpec, checkpoint: &Checkpoint) -> Result<Self> {
        let (out, width, r) = (spec.out_features, spec.in_features, spec.r);
        if r > out.min(width) {
            return Err(Error::InvalidConfig {
                key: "lora.r".to_owned(),
                expected: format!("at most {} for PiSSA on `{}`", out.min(width), spec.module),
                actual: r.to_string(),
            });
        }
        let Svd { left, values, right } = Svd::of(spec, checkpoint)?;
        let root = |rank: usize| (values[rank] / spec.scale).sqrt();
        let a = (0..r).flat_map(|rank| right[rank].iter().map(move |value| (rank, value)));
        let b = (0..out).flat_map(|row| (0..r).map(move |rank| (row, rank)));
        Ok(Self {
            a: a.map(|(rank, value)| (root(rank) * value) as f32).collect(),
            b: b.map(|(row, rank)| (root(rank) * left[rank][row]) as f32).collect(),
        })
    }
}

/// The error of computing with an adapter whose base is not known.
pub(crate) fn unknown_principal(module: &str) -> Error {
    let what =
        format!("a PiSSA adapter on `{module}` that was not taken on its base (`PeftAdapter::on_base`)");
    Error::Unsupported { what }
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;

    use super::*;
    use crate::LoraConfig;
    use crate::{InitLoraWeights, PeftAdapter};

    fn started() -> (Checkpoint, PeftAdapter) {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/parity/text-all/model");
        let checkpoint = Checkpoint::open(model).unwrap();
        let config = LoraConfig {
            r: 3,
            lora_alpha: 5.0,
            init_lora_weights: InitLoraWeights::Named("pissa".to_owned()),
            ..LoraConfig::default()
        };
        let adapter = PeftAdapter::init(&config, &checkpoint, 0).unwrap();
        (checkpoint, adapter)
    }

    /// The rows of `B·A`, in f64.
    fn product(a: &[f32], b: &[f32], r: usize) -> Vec<f64> {
        let width = a.len() / r;
        let row = |b: &[f32], column: usize| -> f64 {
            (0..r).map(|rank| f64::from(b[rank]) * f64::from(a[rank * width + column])).sum()
        };
        b.chunks_exact(r).flat_map(|b| (0..width).map(move |column| row(b, column))).collect()
    }

    /// What is left of a weight after the best approximation of its rank is orthogonal to it from both sides, and its largest
    /// singular value does not exceed the smallest one of the approximation (Eckart & Young 1936).
    #[test]
    fn the_principal_part_is_the_best_approximation_of_its_rank() {
        let (checkpoint, adapter) = started();
        for module in &adapter.modules {
            let (spec, part) = (&module.spec, module.principal.as_ref().unwrap());
            let (out, width, r) = (spec.out_features, spec.in_features, spec.r);
            let weight = checkpoint.module_weight(&spec.module, [out, width]).unwrap();
            let principal = product(&part.a, &part.b, r);
            let rest: Vec<f64> =
                weight.iter().zip(&principal).map(|(w, p)| f64::from(*w) - spec.scale * p).collect();
            let rest = DMatrix::from_row_slice(out, width, &rest);
            let a =
                DMatrix::from_row_slice(r, width, &part.a.iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
            let b =
                DMatrix::from_row_slice(out, r, &part.b.iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
            assert!((&rest * a.transpose()).amax() < 1e-5 && (b.transpose() * &rest).amax() < 1e-5);
            let smallest =
                (0..r).map(|rank| spec.scale * a.row(rank).norm_squared()).fold(f64::MAX, f64::min);
            assert!(rest.singular_values()[0] <= smallest * (1.0 + 1e-5), "{}", spec.module);
        }
    }

    #[test]
    fn the_plain_form_changes_the_base_alike() {
        let (_, mut adapter) = started();
        for value in adapter.modules.iter_mut().flat_map(|module| &mut module.b) {
            *value += 0.01;
        }
        let plain = adapter.clone().into_plain_lora().unwrap();
        assert_eq!((plain.config.r, plain.modules[0].spec.r), (6, 6));
        for (started, plain) in adapter.modules.iter().zip(&plain.modules) {
            assert_eq!(started.spec.scale.to_bits(), plain.spec.scale.to_bits());
            let zero = vec![0.0; started.spec.out_features * started.spec.in_features];
            pq_testing::assert_close(&started.merged(zero.clone()), &plain.merged(zero), 1e-5);
        }
    }

    #[test]
    fn patterns_of_the_plain_form_are_of_twice_the_rank() {
        let (_, mut adapter) = started();
        adapter.config.rank_pattern.insert("q_proj".to_owned(), 2);
        adapter.config.alpha_pattern.insert("q_proj".to_owned(), 3.0);
        let plain = adapter.clone().into_plain_lora().unwrap().config;
        assert_eq!((plain.rank_pattern["q_proj"], plain.alpha_pattern["q_proj"]), (4, 6.0));
        assert_eq!((plain.r, plain.lora_alpha), (6, 10.0));
        adapter.config.use_rslora = true;
        assert!(adapter.clone().into_plain_lora().is_err(), "no alpha fits every rank");
        adapter.config.rank_pattern.clear();
        adapter.config.alpha_pattern.clear();
        let plain = adapter.clone().into_plain_lora().unwrap().config;
        assert!((plain.lora_alpha - 5.0 * 2_f64.sqrt()).abs() < 1e-12);
        adapter.config.use_dora = true;
        assert!(adapter.into_plain_lora().is_err());
    }

    #[test]
    fn an_adapter_without_its_base_is_refused() {
        let (checkpoint, mut adapter) = started();
        adapter.modules[0].principal = None;
        let error = adapter.clone().into_plain_lora().unwrap_err().to_string();
        assert!(error.contains("PiSSA"), "{error}");
        let again = adapter.clone().on_base(&checkpoint).unwrap();
        assert_eq!(
            again.modules[0].principal,
            PeftAdapter::init(&adapter.config, &checkpoint, 9).unwrap().modules[0].principal
        );
        let wide = LoraConfig { r: 65, ..adapter.config };
        let error = PeftAdapter::init(&wide, &checkpoint, 0).unwrap_err().to_string();
        assert!(error.contains("PiSSA") && error.contains("at most"), "{error}");
    }
}
