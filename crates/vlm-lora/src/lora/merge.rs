//! Adapters folded into the weights of a checkpoint, and taken out again.

mod undo;
mod untie;
mod weights;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::PeftAdapter;
use super::pissa::unknown_principal;
use crate::checkpoint::{EMBEDDING, HEAD, TensorFile, decode, encode_into};
use crate::files::{invalid_file, io_error, sync_folder, write_atomic_with};
use crate::{Checkpoint, Error, Result};
use undo::Undo;

/// Writes the checkpoint with the adapters folded in, `W ← W + scale·B·A` (with DoRA `m/n·(W + scale·B·A)` row by row) and
/// trained biases in their places, to the directory `out`: same files, names and element types; everything that is no
/// weight is copied. A head with an adapter that was tied to the embedding is written as a tensor of its own, and
/// `tie_word_embeddings` becomes false.
///
/// Products and sums are f32; the result is rounded to the stored type once. `out` must not exist or be empty; it appears
/// whole or not at all. With DoRA or trained biases it also receives `unmerge.safetensors`, which [`unmerge`] reads.
///
/// # Errors
/// When the adapters do not fit the checkpoint or a file cannot be written.
pub fn merge(checkpoint: &Checkpoint, adapter: &PeftAdapter, out: impl AsRef<Path>) -> Result<()> {
    let adapter = adapter.clone().on_base(checkpoint)?;
    check(checkpoint, &adapter)?;
    let mut changes = Changes::new();
    for module in &adapter.modules {
        let change = |weight| module.merged(weight);
        changes.insert(format!("{}.weight", module.spec.module), Box::new(change));
    }
    for (name, values) in &adapter.biases {
        changes.insert(name.clone(), Box::new(|_| values.clone()));
    }
    let undo = Undo::of(checkpoint, &adapter)?;
    rewrite(checkpoint, &changes, out.as_ref(), |staged| undo.write(staged))
}

/// Takes adapters out of a merged checkpoint, `W ← W − scale·B·A`; with DoRA and trained biases it needs the file
/// `unmerge.safetensors` that [`merge`] left there. In a 16-bit type the original is restored only up to rounding. A head
/// that was tied to the embedding stays a tensor of its own.
///
/// # Errors
/// As [`merge`]; also when `unmerge.safetensors` is missing, or for an adapter that started by PiSSA and was not taken
/// [on its base](PeftAdapter::on_base): the merged weights do not tell what it started from.
pub fn unmerge(checkpoint: &Checkpoint, adapter: &PeftAdapter, out: impl AsRef<Path>) -> Result<()> {
    check(checkpoint, adapter)?;
    let unknown = |module: &&super::AdapterWeights| module.principal.is_none();
    if adapter.config.init_lora_weights.is_pissa()
        && let Some(module) = adapter.modules.iter().find(unknown)
    {
        return Err(unknown_principal(&module.spec.module));
    }
    let undo = Undo::open(checkpoint, adapter)?;
    let mut changes = Changes::new();
    for module in &adapter.modules {
        let norms = undo.norms(&module.spec.module);
        let change = move |weight| module.unmerged(weight, norms);
        changes.insert(format!("{}.weight", module.spec.module), Box::new(change));
    }
    for (name, values) in undo.biases() {
        changes.insert(name.clone(), Box::new(|_| values.clone()));
    }
    rewrite(checkpoint, &changes, out.as_ref(), |_| Ok(()))
}

/// What becomes of the tensors that are not copied, by their names.
type Changes<'a> = BTreeMap<String, Box<dyn Fn(Vec<f32>) -> Vec<f32> + 'a>>;

/// Whether the adapters have the shapes of the checkpoint.
fn check(checkpoint: &Checkpoint, adapter: &PeftAdapter) -> Result<()> {
    for module in &adapter.modules {
        let (spec, name) = (&module.spec, format!("{}.weight", module.spec.module));
        let shape = [spec.out_features, spec.in_features];
        if spec.module == "lm_head" && shape == checkpoint.config().head_shape() {
            checkpoint.head()?;
        } else {
            checkpoint.stored(&name, &shape)?;
        }
        let sizes = (module.a.len(), module.b.len(), module.magnitude.as_ref().map(Vec::len));
        let magnitudes = spec.use_dora.then_some(spec.out_features);
        if sizes != (spec.r * spec.in_features, spec.out_features * spec.r, magnitudes) {
            let expected = vec![spec.out_features, spec.r, spec.in_features];
            return Err(Error::Shape { name, expected, actual: vec![sizes.1, sizes.0] });
        }
    }
    adapter.biases.iter().try_for_each(|(name, values)| checkpoint.stored(name, &[values.len()]).map(drop))
}

fn check_out(out: &Path) -> Result<()> {
    let occupied = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if occupied || (out.exists() && !out.is_dir()) {
        return Err(Error::InvalidConfig {
            key: "out".to_owned(),
            expected: "a directory that is new or empty".to_owned(),
            actual: out.display().to_string(),
        });
    }
    Ok(())
}

/// Writes all files of the changed copy into a folder.
fn rewrite_files(checkpoint: &Checkpoint, changes: &Changes<'_>, staged: &Path) -> Result<()> {
    copy_others(checkpoint, staged)?;
    let new_head = changes.contains_key(HEAD) && !checkpoint.names().any(|name| name == HEAD);
    for file in checkpoint.files() {
        rewrite_file(file, changes, new_head && file.names().any(|name| name == EMBEDDING), staged)?;
    }
    if changes.contains_key(HEAD) && checkpoint.config().tie_word_embeddings {
        untie::untie(checkpoint, staged)?;
    }
    Ok(())
}

/// Writes a changed copy of the checkpoint to `out`, whole or not at all.
fn rewrite(
    checkpoint: &Checkpoint,
    changes: &Changes<'_>,
    out: &Path,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    check_out(out)?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(io_error("create", parent))?;
    let temporary =
        tempfile::Builder::new().prefix(".merge-").tempdir_in(parent).map_err(io_error("write", out))?;
    let staged = temporary.path().join("model");
    std::fs::create_dir(&staged).map_err(io_error("create", &staged))?;
    rewrite_files(checkpoint, changes, &staged)?;
    finish(&staged)?;
    sync_folder(&staged)?;
    if out.exists() {
        std::fs::remove_dir(out).map_err(io_error("replace", out))?;
    }
    std::fs::rename(&staged, out).map_err(io_error("write", out))?;
    sync_folder(parent)
}

/// Every file of the directory that holds no weights; folders (caches) are left out.
fn copy_others(checkpoint: &Checkpoint, staged: &Path) -> Result<()> {
    let dir = checkpoint.dir();
    for entry in std::fs::read_dir(dir).map_err(io_error("read", dir))? {
        let path = entry.map_err(io_error("read", dir))?.path();
        let is_weight = checkpoint.files().iter().any(|file| file.path() == path);
        let name = path.file_name().filter(|name| path.is_file() && !is_weight && *name != undo::FILE);
        if let Some(name) = name {
            std::fs::copy(&path, staged.join(name)).map_err(io_error("copy", &path))?;
        }
    }
    Ok(())
}

/// Copies header and tensors in their order; a tensor with a change is changed on the way. With `new_head` the changed
/// embedding follows as the head.
fn rewrite_file(file: &TensorFile, changes: &Changes<'_>, new_head: bool, staged: &Path) -> Result<()> {
    let name =
        file.path().file_name().ok_or_else(|| invalid_file(file.path(), "safetensors file", "no name"))?;
    let path = staged.join(name);
    let header = if new_head { untie::header_with_head(file)? } else { file.header_bytes().to_vec() };
    write_atomic_with(&path, |writer| {
        let mut put = |bytes: &[u8]| writer.write_all(bytes).map_err(io_error("write", &path));
        put(&header)?;
        for (name, entry) in file.in_file_order() {
            match changes.get(name) {
                Some(change) => put(&changed(file, name, &entry.shape, change)?)?,
                None => put(file.bytes(entry))?,
            }
        }
        match (changes.get(HEAD), file.entry(EMBEDDING)) {
            (Some(change), Some(entry)) if new_head => put(&changed(file, EMBEDDING, &entry.shape, change)?),
            _ => Ok(()),
        }
    })
}

/// The changed values in the type that they are stored in.
fn changed(
    file: &TensorFile,
    name: &str,
    shape: &[usize],
    change: &dyn Fn(Vec<f32>) -> Vec<f32>,
) -> Result<Vec<u8>> {
    let stored = file.stored(name, shape)?;
    let mut bytes = Vec::with_capacity(stored.bytes.len());
    encode_into(&change(decode(stored)?), stored.dtype, &mut bytes)?;
    Ok(bytes)
}
