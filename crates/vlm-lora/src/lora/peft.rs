//! Adapters in PEFT's files: `adapter_config.json` and `adapter_model.safetensors`.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;

use super::adapter_weights::PREFIX;
use super::{AdapterSpec, AdapterWeights, InitLoraWeights, LoraConfig};
use crate::checkpoint::{TensorFile, decode, write_f32};
use crate::{Checkpoint, Error, ModelConfig, Result};

const WEIGHTS_FILE: &str = "adapter_model.safetensors";
const CONFIG_FILE: &str = "adapter_config.json";

/// What `adapter_config.json` says of the model that the adapter was made for; nothing here changes what is computed.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterOrigin {
    /// `base_model_name_or_path`.
    pub base_model: Option<String>,
    /// The revision of the base model.
    pub revision: Option<String>,
    /// The class that wraps the model in PEFT: `CAUSAL_LM` unless a file says otherwise.
    pub task_type: Option<String>,
    /// The classes of the base model, which PEFT records where there is no task type.
    pub auto_mapping: serde_json::Value,
}

impl Default for AdapterOrigin {
    fn default() -> Self {
        let task_type = Some("CAUSAL_LM".to_owned());
        Self { base_model: None, revision: None, task_type, auto_mapping: serde_json::Value::Null }
    }
}

/// Adapters of a model with the configuration that made them.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftAdapter {
    /// The configuration.
    pub config: LoraConfig,
    /// What it was made for.
    pub origin: AdapterOrigin,
    /// The adapters in the order of the model's modules.
    pub modules: Vec<AdapterWeights>,
    /// The trained biases by their names in the checkpoint, in place of the checkpoint's.
    pub biases: BTreeMap<String, Vec<f32>>,
}

/// Refuses a tensor that is not part of the adapter, but for a copy of the head that PEFT leaves.
fn check_names(file: &TensorFile, known: &BTreeSet<String>, specs: &[AdapterSpec]) -> Result<()> {
    let copy = copied_head(specs);
    for name in file.names() {
        if let Some((_, shape)) = copy.as_ref().filter(|(copy, _)| copy == name) {
            file.stored(name, shape)?;
        } else if !known.contains(name) {
            let (name, path) = (name.to_owned(), file.path().to_owned());
            return Err(Error::Tensor { name, problem: "not part of the adapter", path });
        }
    }
    Ok(())
}

/// A tensor's values. What a training that went astray, or a disk, left in one would make every score no number.
fn finite(file: &TensorFile, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let values = decode(file.stored(name, shape)?)?;
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    let (name, path) = (name.to_owned(), file.path().to_owned());
    Err(Error::Tensor { name, problem: "not finite everywhere", path })
}

fn read_module(file: &TensorFile, spec: AdapterSpec) -> Result<AdapterWeights> {
    let parts = AdapterWeights::parts(&spec);
    let mut values = parts.iter().map(|(name, shape)| finite(file, name, shape));
    let mut next = || values.next().transpose();
    let (a, b) = (next()?.unwrap_or_default(), next()?.unwrap_or_default());
    Ok(AdapterWeights { magnitude: next()?, a, b, spec, principal: None })
}

impl PeftAdapter {
    /// Fresh adapters on a checkpoint; the same seed gives the same values.
    ///
    /// # Errors
    /// As [`LoraConfig::adapters`] and [`LoraConfig::check_all_match`]; also when the starting scheme is not supported.
    pub fn init(config: &LoraConfig, checkpoint: &Checkpoint, seed: u64) -> Result<Self> {
        let specs = config.adapters(checkpoint.config())?;
        config.check_all_match(checkpoint.config())?;
        let mut config = config.clone();
        if config.init_lora_weights.is_approximate() {
            config.init_lora_weights = InitLoraWeights::Named("pissa".to_owned()); // computed exactly
        }
        let config = &config;
        let biases = config.trained_biases(checkpoint.config(), &specs).into_iter().map(|(name, len)| {
            let values = checkpoint.values(&name, &[len])?;
            Ok((name, values))
        });
        let biases = biases.collect::<Result<_>>()?;
        let modules = specs.into_par_iter().map(|spec| super::init::initial(config, spec, checkpoint, seed));
        let modules = modules.collect::<Result<_>>()?;
        Ok(Self { config: config.clone(), origin: AdapterOrigin::default(), modules, biases })
    }

    /// Reads an adapter directory. One that started by PiSSA also needs its base: see [`on_base`](Self::on_base).
    ///
    /// # Errors
    /// When a file is missing or invalid, the configuration asks for something that is not supported, or a tensor is missing,
    /// unknown, misshapen or not finite everywhere; the error names it. One that started by `pissa_niter_N` is refused: what PEFT's random decomposition
    /// took out of the base is not stored, so that nobody can compute what the adapter was trained on.
    pub fn open(dir: impl AsRef<Path>, model: &ModelConfig) -> Result<Self> {
        let dir = dir.as_ref();
        let read = file::read(&dir.join(CONFIG_FILE))?;
        if read.config.init_lora_weights.is_approximate() {
            return Err(Error::Unsupported { what: approximate_start(dir, &read.config) });
        }
        let specs = read.config.adapters(model)?;
        let file = TensorFile::open(&dir.join(WEIGHTS_FILE))?;
        let biases = read.config.trained_biases(model, &specs);
        let mut known: BTreeSet<String> =
            specs.iter().flat_map(AdapterWeights::parts).map(|(name, _)| name).collect();
        known.extend(biases.iter().map(|(name, _)| bias_part(name, &specs)));
        check_names(&file, &known, &specs)?;
        let biases = biases.into_iter().map(|(name, len)| {
            let values = finite(&file, &bias_part(&name, &specs), &[len])?;
            Ok((name, values))
        });
        let biases = biases.collect::<Result<_>>()?;
        let modules = specs.into_iter().map(|spec| read_module(&file, spec)).collect::<Result<_>>()?;
        Ok(Self { config: read.config, origin: read.origin, modules, biases })
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors` into `dir`, which is made if need be; each file is
    /// replaced whole, the weights last.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<()> {
        let dir = dir.as_ref();
        file::write(self, &dir.join(CONFIG_FILE))?;
        let mut tensors: BTreeMap<String, (Vec<usize>, &[f32])> = BTreeMap::new();
        for module in &self.modules {
            let values = [Some(&module.a), Some(&module.b), module.magnitude.as_ref()];
            for ((name, shape), values) in AdapterWeights::parts(&module.spec).into_iter().zip(values) {
                let values = values.map(Vec::as_slice).unwrap_or_default();
                if shape.iter().product::<usize>() != values.len() {
                    return Err(Error::Shape { name, expected: shape, actual: vec![values.len()] });
                }
                tensors.insert(name, (shape, values));
            }
        }
        let specs: Vec<AdapterSpec> = self.modules.iter().map(|module| module.spec.clone()).collect();
        for (name, values) in &self.biases {
            tensors.insert(bias_part(name, &specs), (vec![values.len()], values));
        }
        write_f32(&dir.join(WEIGHTS_FILE), &tensors)
    }

    /// How many values are trained.
    pub fn trainable_parameters(&self) -> usize {
        let biases: usize = self.biases.values().map(Vec::len).sum();
        self.modules.iter().map(AdapterWeights::len).sum::<usize>() + biases
    }
}

/// Why an adapter that started by `pissa_niter_N` cannot be read, and what to do.
fn approximate_start(dir: &Path, config: &LoraConfig) -> String {
    let InitLoraWeights::Named(name) = &config.init_lora_weights else { return String::new() };
    format!(
        "`init_lora_weights` = `{name}` in `{}`, whose start is not in the file (save it in PEFT with `save_pretrained(…, path_initial_model_for_weight_conversion=…)`, which makes a plain adapter)",
        dir.display()
    )
}

/// The name under which PEFT stores a trained bias of the model.
pub(crate) fn bias_part(name: &str, specs: &[AdapterSpec]) -> String {
    match name.strip_suffix(".bias").filter(|module| specs.iter().any(|spec| spec.module == *module)) {
        Some(module) => format!("{PREFIX}{module}.base_layer.bias"),
        None => format!("{PREFIX}{name}"),
    }
}

/// Name and shape of the frozen weight that peft stores beside an adapter on the head, which it takes for an embedding that
/// may have been resized. The base has it; only its shape is checked.
fn copied_head(specs: &[AdapterSpec]) -> Option<(String, Vec<usize>)> {
    let head = specs.iter().find(|spec| spec.module == "lm_head")?;
    Some((format!("{PREFIX}lm_head.base_layer.weight"), vec![head.out_features, head.in_features]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OneOrMany;

    #[test]
    fn weights_that_are_no_numbers_are_refused_by_name() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/parity/text-all/model");
        let checkpoint = Checkpoint::open(model).unwrap();
        let config = LoraConfig { r: 2, bias: "all".to_owned(), ..LoraConfig::default() };
        let whole = PeftAdapter::init(&config, &checkpoint, 0).unwrap();
        let refused = |adapter: &PeftAdapter| {
            let dir = tempfile::tempdir().unwrap();
            adapter.save(dir.path()).unwrap();
            match PeftAdapter::open(dir.path(), checkpoint.config()) {
                Err(Error::Tensor { name, problem: "not finite everywhere", .. }) => Some(name),
                other => other.map(|_| None).unwrap(),
            }
        };
        assert_eq!(refused(&whole), None);
        for value in [f32::NAN, f32::INFINITY] {
            let mut broken = whole.clone();
            broken.modules[1].b[3] = value;
            let (name, _) = &AdapterWeights::parts(&broken.modules[1].spec)[1];
            assert_eq!(refused(&broken).as_ref(), Some(name));
            let mut broken = whole.clone();
            broken.biases.values_mut().next().unwrap()[0] = value;
            assert!(refused(&broken).is_some());
        }
    }

    /// PEFT takes an adapted head for an embedding that may have been resized, and stores its frozen weight too.
    #[test]
    fn a_copy_of_the_head_is_allowed_beside_an_adapter_on_it() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/parity/text-all/model");
        let checkpoint = Checkpoint::open(model).unwrap();
        let open = |module: &str, shape: &dyn Fn(&AdapterSpec) -> Vec<usize>| {
            let dir = tempfile::tempdir().unwrap();
            let target_modules = OneOrMany::Many(vec![module.to_owned()]);
            let config = LoraConfig { r: 2, target_modules, ..LoraConfig::default() };
            let adapter = PeftAdapter::init(&config, &checkpoint, 0).unwrap();
            adapter.save(dir.path()).unwrap();
            let file = TensorFile::open(&dir.path().join(WEIGHTS_FILE)).unwrap();
            let mut tensors = BTreeMap::new();
            for (name, shape) in adapter.modules.iter().flat_map(|module| AdapterWeights::parts(&module.spec))
            {
                let values = decode(file.stored(&name, &shape).unwrap()).unwrap();
                tensors.insert(name, (shape, values));
            }
            drop(file);
            let shape = shape(&adapter.modules[0].spec);
            let count = shape.iter().product();
            tensors.insert(format!("{PREFIX}lm_head.base_layer.weight"), (shape, vec![0.5; count]));
            let borrowed =
                tensors.iter().map(|(name, (shape, values))| (name.clone(), (shape.clone(), &values[..])));
            write_f32(&dir.path().join(WEIGHTS_FILE), &borrowed.collect()).unwrap();
            PeftAdapter::open(dir.path(), checkpoint.config())
        };
        let right = |spec: &AdapterSpec| vec![spec.out_features, spec.in_features];
        assert!(open("lm_head", &right).is_ok());
        let wrong = open("lm_head", &|spec| vec![spec.out_features + 1, spec.in_features]);
        assert!(matches!(wrong, Err(Error::Shape { .. })), "{wrong:?}");
        let elsewhere = open("q_proj", &right);
        assert!(
            matches!(elsewhere, Err(Error::Tensor { problem: "not part of the adapter", .. })),
            "{elsewhere:?}"
        );
    }
}
