use std::collections::BTreeMap;

use super::adapter::dora::Dora;
use super::adapter::{Adapter, Frozen, FrozenPair, Pair, Plain, Variant};
use super::{Model, Param};
use crate::backend::Backend;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::key::name_key;
use crate::lora::pissa::unknown_principal;
use crate::lora::{
    AdapterOrigin, AdapterSpec, AdapterWeights, LoraConfig, Module, PeftAdapter, Principal, bias_part,
};

/// Where the attached parameters came from, for writing them back.
pub(crate) struct Attached {
    config: LoraConfig,
    origin: AdapterOrigin,
    specs: Vec<AdapterSpec>,
    /// The parts of the base weights that PiSSA moved into the adapter, by module.
    principals: BTreeMap<String, Principal>,
    /// The trained biases: name in the checkpoint and name of the parameter.
    biases: Vec<(String, String)>,
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

    /// Attaches an adapter in place of the present one. One that started by PiSSA must know its base, unless it takes the place
    /// of another one on the same modules: see [`PeftAdapter::on_base`].
    ///
    /// # Errors
    /// When a module is not part of this model or has another shape, or the backend fails; the model is then without an
    /// adapter.
    pub fn attach_adapter(&mut self, adapter: &PeftAdapter) -> Result<()> {
        let principals = self.principals_of(adapter)?;
        self.detach();
        let specs: Vec<AdapterSpec> = adapter.modules.iter().map(|module| module.spec.clone()).collect();
        let biases = adapter.biases.keys().map(|name| (name.clone(), bias_part(name, &specs)));
        let biases: Vec<(String, String)> = biases.collect();
        let mut params = self.adapter_params(adapter)?;
        for ((_, part), values) in biases.iter().zip(adapter.biases.values()) {
            params.push(self.param(part.clone(), vec![values.len()], values)?);
        }
        params.sort_by(|a, b| a.name.cmp(&b.name));
        for spec in &specs {
            self.place(spec, principals.get(&spec.module), &params)?;
        }
        for (name, part) in &biases {
            self.place_bias(name, part, &params)?;
        }
        self.params = params;
        let (config, origin) = (adapter.config.clone(), adapter.origin.clone());
        self.attached = Some(Attached { config, origin, specs, principals, biases });
        Ok(())
    }

    /// What the base weights lack under this adapter.
    fn principals_of(&self, adapter: &PeftAdapter) -> Result<BTreeMap<String, Principal>> {
        if !adapter.config.init_lora_weights.is_pissa() {
            return Ok(BTreeMap::new());
        }
        let present = self.attached.as_ref().filter(|attached| attached.config.init_lora_weights.is_pissa());
        let known = |spec: &AdapterSpec| {
            let attached = present.filter(|attached| attached.specs.contains(spec))?;
            attached.principals.get(&spec.module)
        };
        let parts = adapter.modules.iter().map(|AdapterWeights { spec, principal, .. }| {
            let principal = principal.as_ref().or_else(|| known(spec));
            let principal = principal.ok_or_else(|| unknown_principal(&spec.module))?;
            Ok((spec.module.clone(), principal.clone()))
        });
        parts.collect()
    }

    fn adapter_params(&self, adapter: &PeftAdapter) -> Result<Vec<Param<B>>> {
        let mut params = Vec::new();
        for weights in &adapter.modules {
            let values = [Some(&weights.a), Some(&weights.b), weights.magnitude.as_ref()];
            for ((name, shape), values) in AdapterWeights::parts(&weights.spec).into_iter().zip(values) {
                params.push(self.param(name, shape, values.map(Vec::as_slice).unwrap_or_default())?);
            }
        }
        Ok(params)
    }

    fn param(&self, name: String, shape: Vec<usize>, values: &[f32]) -> Result<Param<B>> {
        if shape.iter().product::<usize>() != values.len() {
            return Err(Error::Shape { name, expected: shape, actual: vec![values.len()] });
        }
        let (value, grad) = (self.backend.upload(values)?, self.backend.zeros(values.len())?);
        Ok(Param { name, shape, value, grad })
    }

    /// Tells a bias where its parameter is.
    fn place_bias(&mut self, name: &str, part: &str, params: &[Param<B>]) -> Result<()> {
        let missing = || Error::Unsupported { what: format!("a model without `{name}`") };
        let bias = self.network.biases_mut().find(|bias| bias.name == name).ok_or_else(missing)?;
        let index = params.binary_search_by(|param| param.name.as_str().cmp(part)).map_err(|_| missing())?;
        let (expected, actual) = (self.backend.len(&bias.frozen), params[index].elements());
        if expected != actual {
            return Err(Error::Shape {
                name: name.to_owned(),
                expected: vec![expected],
                actual: vec![actual],
            });
        }
        bias.param = Some(index);
        Ok(())
    }

    /// Tells the module where its parameters are.
    fn place(
        &mut self,
        spec: &AdapterSpec,
        principal: Option<&Principal>,
        params: &[Param<B>],
    ) -> Result<()> {
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
        let (r, scale, dropout) = (spec.r, spec.scale as f32, spec.dropout as f32);
        let pair = Pair { r, scale, dropout, key: name_key(&spec.module), a, b };
        let principal =
            principal.map(|principal| FrozenPair::new(backend, principal, r, scale)).transpose()?;
        let frozen = Frozen { principal: principal.as_ref(), ..linear.frozen() };
        let variant: Box<dyn Variant<B>> = match indices.next() {
            Some(magnitude) => Box::new(Dora::new(backend, frozen, magnitude)?),
            None => Box::new(Plain),
        };
        linear.adapter = Some(Adapter { pair, principal, variant });
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
            let principal = attached.principals.get(&spec.module).cloned();
            Ok(AdapterWeights { magnitude: next()?, a, b, spec: spec.clone(), principal })
        });
        let biases = attached.biases.iter().map(|(name, part)| Ok((name.clone(), self.value(part)?)));
        Ok(PeftAdapter {
            modules: modules.collect::<Result<_>>()?,
            biases: biases.collect::<Result<_>>()?,
            config: attached.config.clone(),
            origin: attached.origin.clone(),
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
        self.network.biases_mut().for_each(|bias| bias.param = None);
        self.params.clear();
        self.attached = None;
    }

    /// The trainable tensors in the order of their names.
    pub fn params(&self) -> &[Param<B>] {
        &self.params
    }

    /// As [`params`](Self::params), for an optimizer.
    pub fn params_mut(&mut self) -> &mut [Param<B>] {
        for adapter in self.network.linears_mut().filter_map(|linear| linear.adapter.as_mut()) {
            adapter.variant.forget();
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
        self.backend.clear(self.params.iter_mut().map(|param| &mut param.grad).collect())
    }

    /// Whether the adapter stands on the vision tower or the connector, so that [`Features`](super::Features) change with
    /// every step.
    pub fn trains_vision(&self) -> bool {
        self.network.vision.trains()
    }
}
