//! Adapters folded into the weights of a checkpoint, and taken out again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use candle_core::DType;
use rayon::prelude::*;

use super::{AdapterWeights, PeftAdapter};
use crate::backend::Stored;
use crate::checkpoint::{TensorFile, decode, encode_into};
use crate::files::{invalid_file, io_error, sync_folder, write_atomic_with};
use crate::{Checkpoint, Error, Result};

/// Writes the checkpoint with the adapters folded in, `W ← W + scale·B·A` (with DoRA `m/n·(W + scale·B·A)` row by row), to
/// the directory `out`: same files, names and element types; everything that is no weight is copied.
///
/// Products and sums are f32; the result is rounded to the stored type once. `out` must not exist or be empty; it appears
/// whole or not at all.
///
/// # Errors
/// When the adapters do not fit the checkpoint, one stands on a head that is tied to the embedding, or a file cannot be
/// written.
pub fn merge(checkpoint: &Checkpoint, adapter: &PeftAdapter, out: impl AsRef<Path>) -> Result<()> {
    rewrite(checkpoint, adapter, out.as_ref(), AdapterWeights::merged)
}

/// Takes adapters out of a merged checkpoint, `W ← W − scale·B·A`. In a 16-bit type the original is restored only up to
/// rounding.
///
/// # Errors
/// As [`merge`]; also for DoRA, whose row norms cannot be known from the merged weights: keep the base instead.
pub fn unmerge(checkpoint: &Checkpoint, adapter: &PeftAdapter, out: impl AsRef<Path>) -> Result<()> {
    if adapter.modules.iter().any(|module| module.spec.use_dora) {
        return Err(Error::Unsupported { what: "taking a DoRA adapter out of merged weights".to_owned() });
    }
    rewrite(checkpoint, adapter, out.as_ref(), |module, mut weight| {
        module.add_delta(&mut weight, -1.0);
        weight
    })
}

impl AdapterWeights {
    /// The weight `(out_features, in_features)` with the adapter folded in.
    pub fn merged(&self, mut weight: Vec<f32>) -> Vec<f32> {
        self.add_delta(&mut weight, 1.0);
        if let Some(magnitude) = &self.magnitude {
            weight.par_chunks_exact_mut(self.spec.in_features).zip(magnitude).for_each(|(row, m)| {
                let factor = m / norm(row);
                for value in row {
                    *value *= factor;
                }
            });
        }
        weight
    }

    /// `‖W + scale·B·A‖` of each row, which is where the magnitude of DoRA starts.
    pub(super) fn row_norms(&self, checkpoint: &Checkpoint) -> Result<Vec<f32>> {
        let shape = [self.spec.out_features, self.spec.in_features];
        let mut weight = checkpoint.values(&format!("{}.weight", self.spec.module), &shape)?;
        self.add_delta(&mut weight, 1.0);
        Ok(weight.par_chunks_exact(self.spec.in_features).map(norm).collect())
    }

    /// `weight += sign·scale·B·A`; each row is summed by one thread in the order of the ranks.
    fn add_delta(&self, weight: &mut [f32], sign: f64) {
        let (width, r) = (self.spec.in_features, self.spec.r);
        let scale = (self.spec.scale * sign) as f32;
        weight.par_chunks_exact_mut(width).zip(self.b.par_chunks_exact(r)).for_each(|(row, b)| {
            let mut delta = vec![0.0_f32; width];
            for (b, a) in b.iter().zip(self.a.chunks_exact(width)) {
                delta.iter_mut().zip(a).for_each(|(sum, a)| *sum += b * a);
            }
            row.iter_mut().zip(&delta).for_each(|(value, delta)| *value += scale * delta);
        });
    }
}

fn norm(row: &[f32]) -> f32 {
    row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() as f32
}

type Change<'a> = dyn Fn(&AdapterWeights, Vec<f32>) -> Vec<f32> + 'a;

fn rewrite(
    checkpoint: &Checkpoint,
    adapter: &PeftAdapter,
    out: &Path,
    change: impl Fn(&AdapterWeights, Vec<f32>) -> Vec<f32>,
) -> Result<()> {
    let by_name = by_tensor(checkpoint, adapter)?;
    let occupied = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if occupied || (out.exists() && !out.is_dir()) {
        return Err(Error::InvalidConfig {
            key: "out".to_owned(),
            expected: "a directory that is new or empty".to_owned(),
            actual: out.display().to_string(),
        });
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(io_error("create", parent))?;
    let temporary =
        tempfile::Builder::new().prefix(".merge-").tempdir_in(parent).map_err(io_error("write", out))?;
    let staged = temporary.path().join("model");
    std::fs::create_dir(&staged).map_err(io_error("create", &staged))?;
    copy_others(checkpoint, &staged)?;
    for file in checkpoint.files() {
        rewrite_file(file, &by_name, &staged, &change)?;
    }
    sync_folder(&staged)?;
    if out.exists() {
        std::fs::remove_dir(out).map_err(io_error("replace", out))?;
    }
    std::fs::rename(&staged, out).map_err(io_error("write", out))?;
    sync_folder(parent)
}

/// The adapters by the name of the tensor they change.
fn by_tensor<'a>(
    checkpoint: &Checkpoint,
    adapter: &'a PeftAdapter,
) -> Result<BTreeMap<String, &'a AdapterWeights>> {
    let mut by_name = BTreeMap::new();
    for module in &adapter.modules {
        let spec = &module.spec;
        if spec.module == "lm_head" && checkpoint.config().tie_word_embeddings {
            let what = "merging an adapter on an output head that is tied to the embedding".to_owned();
            return Err(Error::Unsupported { what });
        }
        let name = format!("{}.weight", spec.module);
        checkpoint.stored(&name, &[spec.out_features, spec.in_features])?;
        let sizes = (module.a.len(), module.b.len(), module.magnitude.as_ref().map(Vec::len));
        if sizes
            != (
                spec.r * spec.in_features,
                spec.out_features * spec.r,
                spec.use_dora.then_some(spec.out_features),
            )
        {
            let expected = vec![spec.out_features, spec.r, spec.in_features];
            return Err(Error::Shape { name, expected, actual: vec![sizes.1, sizes.0] });
        }
        by_name.insert(name, module);
    }
    Ok(by_name)
}

/// Every file of the directory that holds no weights; folders (caches) are left out.
fn copy_others(checkpoint: &Checkpoint, staged: &Path) -> Result<()> {
    let dir = checkpoint.dir();
    for entry in std::fs::read_dir(dir).map_err(io_error("read", dir))? {
        let path = entry.map_err(io_error("read", dir))?.path();
        let is_weight = checkpoint.files().iter().any(|file| file.path() == path);
        if let Some(name) = path.file_name().filter(|_| path.is_file() && !is_weight) {
            std::fs::copy(&path, staged.join(name)).map_err(io_error("copy", &path))?;
        }
    }
    Ok(())
}

/// Copies header and tensors in their order; a tensor with an adapter is changed on the way.
fn rewrite_file(
    file: &TensorFile,
    adapters: &BTreeMap<String, &AdapterWeights>,
    staged: &Path,
    change: &Change<'_>,
) -> Result<()> {
    let name =
        file.path().file_name().ok_or_else(|| invalid_file(file.path(), "safetensors file", "no name"))?;
    let path = staged.join(name);
    write_atomic_with(&path, |writer| {
        writer.write_all(file.header_bytes()).map_err(io_error("write", &path))?;
        for (name, entry) in file.in_file_order() {
            let Some(module) = adapters.get(name) else {
                writer.write_all(file.bytes(entry)).map_err(io_error("write", &path))?;
                continue;
            };
            let stored = file.stored(name, &entry.shape)?;
            let bytes = encoded(&change(module, decode(stored)?), stored)?;
            writer.write_all(&bytes).map_err(io_error("write", &path))?;
        }
        Ok(())
    })
}

fn encoded(values: &[f32], like: Stored<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(like.bytes.len());
    encode_into(values, like.dtype, &mut bytes)?;
    debug_assert!(bytes.len() == like.bytes.len() || like.dtype == DType::F64, "the type keeps its size");
    Ok(bytes)
}
