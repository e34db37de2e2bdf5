//! What merging a weight-decomposed adapter or a bias forgets.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint::{TensorFile, decode, write_f32};
use crate::lora::PeftAdapter;
use crate::{Checkpoint, Error, Result};

/// The file beside merged weights.
pub(super) const FILE: &str = "unmerge.safetensors";

const NORMS: &str = ".weight_norm";

/// Row norms of `W + scale·B·A` by module, and the biases of the base by name.
pub(super) struct Undo {
    norms: BTreeMap<String, Vec<f32>>,
    biases: BTreeMap<String, Vec<f32>>,
}

impl Undo {
    /// What this merge will forget.
    pub(super) fn of(checkpoint: &Checkpoint, adapter: &PeftAdapter) -> Result<Self> {
        let decomposed = adapter.modules.iter().filter(|module| module.spec.use_dora);
        let norms = decomposed.map(|module| Ok((module.spec.module.clone(), module.row_norms(checkpoint)?)));
        let biases = adapter.biases.iter().map(|(name, values)| {
            let values = checkpoint.values(name, &[values.len()])?;
            Ok((name.clone(), values))
        });
        Ok(Self { norms: norms.collect::<Result<_>>()?, biases: biases.collect::<Result<_>>()? })
    }

    /// Reads what is needed to take the adapter out.
    pub(super) fn open(checkpoint: &Checkpoint, adapter: &PeftAdapter) -> Result<Self> {
        let mut undo = Self { norms: BTreeMap::new(), biases: BTreeMap::new() };
        let decomposed: Vec<_> = adapter.modules.iter().filter(|module| module.spec.use_dora).collect();
        if decomposed.is_empty() && adapter.biases.is_empty() {
            return Ok(undo);
        }
        let path = checkpoint.dir().join(FILE);
        if !path.is_file() {
            let what = format!("taking DoRA or biases out of merged weights without `{FILE}` beside them");
            return Err(Error::Unsupported { what });
        }
        let file = TensorFile::open(&path)?;
        for module in decomposed {
            let spec = &module.spec;
            let norms = file.stored(&format!("{}{NORMS}", spec.module), &[spec.out_features])?;
            undo.norms.insert(spec.module.clone(), decode(norms)?);
        }
        for (name, values) in &adapter.biases {
            undo.biases.insert(name.clone(), decode(file.stored(name, &[values.len()])?)?);
        }
        Ok(undo)
    }

    pub(super) fn norms(&self, module: &str) -> Option<&[f32]> {
        self.norms.get(module).map(Vec::as_slice)
    }

    pub(super) fn biases(&self) -> &BTreeMap<String, Vec<f32>> {
        &self.biases
    }

    /// Writes the file, where there is something to write.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let norms = self.norms.iter().map(|(module, values)| (format!("{module}{NORMS}"), values));
        let biases = self.biases.iter().map(|(name, values)| (name.clone(), values));
        let tensors: BTreeMap<String, (Vec<usize>, &[f32])> =
            norms.chain(biases).map(|(name, values)| (name, (vec![values.len()], &values[..]))).collect();
        if tensors.is_empty() { Ok(()) } else { write_f32(&dir.join(FILE), &tensors) }
    }
}
