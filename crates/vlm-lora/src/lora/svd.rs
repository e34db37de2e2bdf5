//! The singular value decomposition of a weight, by nalgebra (feature `pissa`).

use super::AdapterSpec;
use crate::{Checkpoint, Error, Result};

/// `W (out, in) = U · diag(values) · Vᵀ`, computed in f64, the values in falling order.
pub(super) struct Svd {
    /// `U (out, min(out, in))`, column by column.
    pub(super) left: Vec<Vec<f64>>,
    /// The singular values.
    pub(super) values: Vec<f64>,
    /// `Vᵀ (min(out, in), in)`, row by row.
    pub(super) right: Vec<Vec<f64>>,
}

impl Svd {
    /// The decomposition of a module's weight.
    ///
    /// # Errors
    /// When the checkpoint does not fit the module, or the singular values do not converge.
    #[cfg(feature = "pissa")]
    pub(super) fn of(spec: &AdapterSpec, checkpoint: &Checkpoint) -> Result<Self> {
        /// Rounds after which the decomposition gives up; it takes about two a singular value.
        const ROUNDS: usize = 100_000;
        let (out, width) = (spec.out_features, spec.in_features);
        let weight = checkpoint.module_weight(&spec.module, [out, width])?;
        let weight =
            nalgebra::DMatrix::from_fn(out, width, |row, column| f64::from(weight[row * width + column]));
        let decomposed = weight.try_svd(true, true, f64::EPSILON, ROUNDS);
        let Some((Some(left), values, Some(right))) =
            decomposed.map(|svd| (svd.u, svd.singular_values, svd.v_t))
        else {
            let reason = format!("the singular values of `{}` do not converge", spec.module);
            return Err(Error::Backend { device: "cpu".to_owned(), reason });
        };
        Ok(Self {
            left: left.column_iter().map(|column| column.iter().copied().collect()).collect(),
            values: values.iter().copied().collect(),
            right: right.row_iter().map(|row| row.iter().copied().collect()).collect(),
        })
    }

    /// Without the feature `pissa`.
    #[cfg(not(feature = "pissa"))]
    pub(super) fn of(spec: &AdapterSpec, _: &Checkpoint) -> Result<Self> {
        let what = format!("PiSSA on `{}` in a build without the feature `pissa`", spec.module);
        Err(Error::Unsupported { what })
    }
}
