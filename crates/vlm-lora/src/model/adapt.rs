use std::sync::OnceLock;

use super::{Model, Param};
use crate::backend::Backend;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::lora::layer::{Adapter, Dora, name_key};
use crate::lora::{AdapterSpec, AdapterWeights, LoraConfig, Module, PeftAdapter};

/// Where the attached parameters came from, for writing them back.
pub(crate) struct Attached {
    config: LoraConfig,
    base_model: Option<String>,
    revision: Option<String>,
    specs: Vec<AdapterSpec>,
}

impl<B: Backend> Model<B> {
    /// Every linear that an adapter can stand on, under its full name, in the order of computation.
    pub fn modules(&self) -> Vec<Module> {
        let linears = self.network.linears().map(|linear| Module {
            name: linear.name.clone(),
            in_features: linear.in_features,
            out_features: linear.out_features,
        });
        linears.collect()
    }

    /// Attaches a fresh adapter in place of the present one; the same seed gives the same values. `checkpoint` is the one
    /// that the model was loaded from.
    ///
    /// # Errors
    /// As [`PeftAdapter::init`].
    pub fn attach(&mut self, config: &LoraConfig, checkpoint: &Checkpoint, seed: u64) -> Result<()> {
        self.attach_adapter(&PeftAdapter::init(config, checkpoint, seed)?)
    }

    /// Attaches an adapter in place of the present one.
    ///
    /// # Errors
    /// When a module is not part of this model or has another shape, or the backend fails; the model is then without an
    /// adapter.
    pub fn attach_adapter(&mut self, adapter: &PeftAdapter) -> Result<()> {
        self.detach();
        let mut params = Vec::new();
        for weights in &adapter.modules {
            let values = [Some(&weights.a), Some(&weights.b), weights.magnitude.as_ref()];
            for ((name, shape), values) in AdapterWeights::parts(&weights.spec).into_iter().zip(values) {
                params.push(self.param(name, shape, values.map(Vec::as_slice).unwrap_or_default())?);
            }
        }
        params.sort_by(|a, b| a.name.cmp(&b.name));
        for weights in &adapter.modules {
            self.place(&weights.spec, &params)?;
        }
        self.params = params;
        self.attached = Some(Attached {
            config: adapter.config.clone(),
            base_model: adapter.base_model.clone(),
            revision: adapter.revision.clone(),
            specs: adapter.modules.iter().map(|weights| weights.spec.clone()).collect(),
        });
        Ok(())
    }

    fn param(&self, name: String, shape: Vec<usize>, values: &[f32]) -> Result<Param<B>> {
        if shape.iter().product::<usize>() != values.len() {
            return Err(Error::Shape { name, expected: shape, actual: vec![values.len()] });
        }
        let (value, grad) = (self.backend.upload(values)?, self.backend.zeros(values.len())?);
        Ok(Param { name, shape, value, grad })
    }

    /// Tells the module where its parameters are.
    fn place(&mut self, spec: &AdapterSpec, params: &[Param<B>]) -> Result<()> {
        let backend = self.backend.as_ref();
        let linear = self.network.linears_mut().find(|linear| linear.name == spec.module);
        let linear =
            linear.ok_or_else(|| Error::Unsupported { what: format!("an adapter on `{}`", spec.module) })?;
        let (expected, actual) =
            (vec![linear.out_features, linear.in_features], vec![spec.out_features, spec.in_features]);
        if expected != actual {
            return Err(Error::Shape { name: spec.module.clone(), expected, actual });
        }
        let mut indices = AdapterWeights::parts(spec)
            .into_iter()
            .filter_map(|(name, _)| params.binary_search_by(|param| param.name.as_str().cmp(&name)).ok());
        let (Some(a), Some(b)) = (indices.next(), indices.next()) else {
            return Err(Error::Unsupported {
                what: format!("an adapter on `{}` without A and B", spec.module),
            });
        };
        let dora = indices.next().map(|magnitude| -> Result<Dora<B>> {
            let norms = backend.weight_row_norms_squared(&linear.weight)?;
            let mut identity = vec![0.0; spec.r * spec.r];
            identity.iter_mut().step_by(spec.r + 1).for_each(|one| *one = 1.0);
            Ok(Dora {
                magnitude,
                base_norms_squared: backend.download_f64(&norms)?,
                identity: backend.upload(&identity)?,
                inverse_norms: OnceLock::new(),
            })
        });
        linear.adapter = Some(Adapter {
            r: spec.r,
            scale: spec.scale as f32,
            dropout: spec.dropout as f32,
            key: name_key(&spec.module),
            a,
            b,
            dora: dora.transpose()?,
        });
        Ok(())
    }

    /// The attached adapter with its present values.
    ///
    /// # Errors
    /// When none is attached or the backend fails.
    pub fn adapter(&self) -> Result<PeftAdapter> {
        let missing = || Error::Unsupported { what: "writing the adapter of a model without one".to_owned() };
        let attached = self.attached.as_ref().ok_or_else(missing)?;
        let modules = attached.specs.iter().map(|spec| {
            let mut values = AdapterWeights::parts(spec).into_iter().map(|(name, _)| self.value(&name));
            let mut next = || values.next().transpose();
            let (a, b) = (next()?.unwrap_or_default(), next()?.unwrap_or_default());
            Ok(AdapterWeights { magnitude: next()?, a, b, spec: spec.clone() })
        });
        Ok(PeftAdapter {
            modules: modules.collect::<Result<_>>()?,
            config: attached.config.clone(),
            base_model: attached.base_model.clone(),
            revision: attached.revision.clone(),
        })
    }

    fn value(&self, name: &str) -> Result<Vec<f32>> {
        let index = self.params.binary_search_by(|param| param.name.as_str().cmp(name));
        let index = index.map_err(|_| Error::Unsupported { what: format!("a model without `{name}`") })?;
        self.backend.download(&self.params[index].value)
    }

    /// Removes the adapter: the model computes as the frozen base.
    pub fn detach(&mut self) {
        self.network.linears_mut().for_each(|linear| linear.adapter = None);
        self.params.clear();
        self.attached = None;
    }

    /// The trainable tensors in the order of their names.
    pub fn params(&self) -> &[Param<B>] {
        &self.params
    }

    /// As [`params`](Self::params), for an optimizer.
    pub fn params_mut(&mut self) -> &mut [Param<B>] {
        for dora in self.network.linears_mut().filter_map(|linear| linear.adapter.as_mut()?.dora.as_mut()) {
            dora.inverse_norms.take();
        }
        &mut self.params
    }

    /// How many values are trained.
    pub fn trainable_parameters(&self) -> usize {
        self.params.iter().map(Param::elements).sum()
    }

    /// Sets every gradient to zero.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn clear_gradients(&mut self) -> Result<()> {
        self.params.iter_mut().try_for_each(|param| self.backend.clear(&mut param.grad))
    }

    /// Whether the adapter stands on the vision tower or the connector, so that [`Features`](super::Features) change with
    /// every step.
    pub fn trains_vision(&self) -> bool {
        self.network.vision.trains()
    }
}
