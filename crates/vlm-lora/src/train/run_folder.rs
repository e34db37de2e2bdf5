use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::state::{SCHEMA_VERSION, TrainerState};
use crate::checkpoint::{TensorFile, decode, write_f32};
use crate::files::{invalid_file, io_error, read_bytes, sync_folder, write_atomic};
use crate::lora::PeftAdapter;
use crate::{Error, ModelConfig, Result};

const METRICS: &str = "metrics.jsonl";
const CONFIG: &str = "config.toml";
const CHECKPOINTS: &str = "checkpoints";
const STATE: &str = "trainer_state.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const OLDER: &str = "an earlier version began the run and did not record the base model's tensors, so that it cannot be told \
    whether this is the same base; begin a new run";

/// Named tensors as they stand in a file.
pub(super) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// All that a run needs to go on from a step.
pub(super) struct Checkpoint {
    pub(super) state: TrainerState,
    pub(super) adapter: PeftAdapter,
    /// `exp_avg.<parameter>` and `exp_avg_sq.<parameter>`, as torch names the moments.
    pub(super) optimizer: Tensors,
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub(super) struct RunFolder {
    dir: PathBuf,
}

impl RunFolder {
    /// Creates the folder, or opens it and clears away what a killed process left half written.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let checkpoints = dir.join(CHECKPOINTS);
        std::fs::create_dir_all(&checkpoints).map_err(io_error("create", &checkpoints))?;
        for entry in std::fs::read_dir(&checkpoints).map_err(io_error("read", &checkpoints))? {
            let path = entry.map_err(io_error("read", &checkpoints))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(".step-") {
                std::fs::remove_dir_all(&path).map_err(io_error("delete", &path))?;
            }
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// The whole checkpoints with their steps, oldest first.
    pub(super) fn checkpoints(&self) -> Result<Vec<(usize, PathBuf)>> {
        let folder = self.dir.join(CHECKPOINTS);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(io_error("read", &folder))? {
            let entry = entry.map_err(io_error("read", &folder))?;
            let name = entry.file_name();
            let step = name.to_str().and_then(|name| name.strip_prefix("step-")?.parse().ok());
            found.extend(step.map(|step| (step, entry.path())));
        }
        found.sort_unstable();
        Ok(found)
    }

    pub(super) fn checkpoint_path(&self, step: usize) -> PathBuf {
        self.dir.join(CHECKPOINTS).join(format!("step-{step}"))
    }

    /// Writes a checkpoint beside the others and moves it into place when it is whole.
    pub(super) fn write(&self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let path = self.checkpoint_path(checkpoint.state.step);
        let folder = self.dir.join(CHECKPOINTS);
        let name = format!(".step-{}", checkpoint.state.step);
        let (partial, old) = (folder.join(format!("{name}.partial")), folder.join(format!("{name}.old")));
        remove_if_there(&partial)?;
        std::fs::create_dir_all(&partial).map_err(io_error("create", &partial))?;
        checkpoint.adapter.save(&partial)?;
        write_tensors(&partial.join(OPTIMIZER), &checkpoint.optimizer)?;
        write_atomic(&partial.join(STATE), &to_json(&checkpoint.state, &path)?)?;
        if path.exists() {
            remove_if_there(&old)?;
            std::fs::rename(&path, &old).map_err(io_error("replace", &path))?;
        }
        std::fs::rename(&partial, &path).map_err(io_error("write", &path))?;
        sync_folder(&folder)?;
        remove_if_there(&old)?;
        Ok(path)
    }

    /// Deletes the oldest checkpoints beyond `limit`, but never the best one nor the one of the present step.
    pub(super) fn prune(&self, limit: usize, best: Option<usize>, present: usize) -> Result<()> {
        let mut others = self.checkpoints()?;
        others.retain(|(step, _)| Some(*step) != best);
        let surplus = if limit == 0 { 0 } else { others.len().saturating_sub(limit) };
        for (step, path) in others.into_iter().take(surplus) {
            if step != present {
                std::fs::remove_dir_all(&path).map_err(io_error("delete", &path))?;
            }
        }
        Ok(())
    }

    pub(super) fn write_config(&self, text: &str) -> Result<()> {
        write_atomic(&self.dir.join(CONFIG), text.as_bytes())
    }

    pub(super) fn append_metrics(&self, line: &impl Serialize) -> Result<()> {
        let path = self.dir.join(METRICS);
        let mut line = to_json(line, &path)?;
        line.push(b'\n');
        let file = OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(&line)).map_err(io_error("append to", &path))
    }

    /// Drops the metrics of steps after `step`, which a resumed run writes anew, and a torn last line.
    pub(super) fn truncate_metrics(&self, step: usize) -> Result<()> {
        let path = self.dir.join(METRICS);
        if !path.exists() {
            return Ok(());
        }
        let text = read_bytes(&path, "metrics file")?;
        let whole = text.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let of_step = |line: &[u8]| serde_json::from_slice::<Value>(line).ok()?.get("step")?.as_u64();
        let kept: Vec<u8> = whole
            .filter(|line| of_step(line).is_some_and(|at| at <= step as u64))
            .flatten()
            .copied()
            .collect();
        write_atomic(&path, &kept)
    }
}

/// Reads a checkpoint.
///
/// # Errors
/// When a file is missing or is not what it should be.
pub(super) fn read_checkpoint(path: &Path, model: &ModelConfig) -> Result<Checkpoint> {
    let file = path.join(STATE);
    let invalid = |reason: String| invalid_file(&file, "trainer state", reason);
    let json: Value = serde_json::from_slice(&read_bytes(&file, "trainer state")?)
        .map_err(|error| invalid(error.to_string()))?;
    let version = json.get("schema_version").and_then(Value::as_u64);
    if version == Some(1) {
        return Err(Error::Resume { path: path.to_owned(), reason: OLDER.to_owned() });
    }
    if version != Some(SCHEMA_VERSION.into()) {
        return Err(invalid(format!(
            "its schema_version is {version:?}, this version reads {SCHEMA_VERSION}"
        )));
    }
    let state = serde_json::from_value(json).map_err(|error| invalid(error.to_string()))?;
    Ok(Checkpoint {
        state,
        adapter: PeftAdapter::open(path, model)?,
        optimizer: read_tensors(&path.join(OPTIMIZER))?,
    })
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("delete", path)(error)),
        _ => Ok(()),
    }
}

fn to_json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| io_error("write", path)(std::io::Error::other(error)))
}

fn write_tensors(path: &Path, tensors: &Tensors) -> Result<()> {
    let borrowed =
        tensors.iter().map(|(name, (shape, values))| (name.clone(), (shape.clone(), values.as_slice())));
    write_f32(path, &borrowed.collect())
}

fn read_tensors(path: &Path) -> Result<Tensors> {
    let file = TensorFile::open(path)?;
    file.in_file_order()
        .into_iter()
        .map(|(name, entry)| {
            let values = decode(file.stored(name, &entry.shape)?)?;
            Ok((name.to_owned(), (entry.shape.clone(), values)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(steps: &[usize]) -> (tempfile::TempDir, RunFolder) {
        let dir = tempfile::tempdir().unwrap();
        for step in steps {
            std::fs::create_dir_all(dir.path().join(CHECKPOINTS).join(format!("step-{step}"))).unwrap();
        }
        let folder = RunFolder::open(dir.path()).unwrap();
        (dir, folder)
    }

    fn steps(folder: &RunFolder) -> Vec<usize> {
        folder.checkpoints().unwrap().into_iter().map(|(step, _)| step).collect()
    }

    #[test]
    fn pruning_keeps_the_newest_and_the_best() {
        let (_dir, folder) = folder_with(&[10, 20, 30, 100, 200]);
        folder.prune(0, None, 200).unwrap();
        assert_eq!(steps(&folder), [10, 20, 30, 100, 200]);
        folder.prune(2, Some(20), 200).unwrap();
        assert_eq!(steps(&folder), [20, 100, 200]);
        folder.prune(1, Some(200), 200).unwrap();
        assert_eq!(steps(&folder), [100, 200]);
    }

    #[test]
    fn half_written_checkpoints_are_cleared_away_and_never_listed() {
        let (dir, _) = folder_with(&[10]);
        let partial = dir.path().join(CHECKPOINTS).join(".step-20.partial");
        std::fs::create_dir_all(&partial).unwrap();
        std::fs::create_dir_all(dir.path().join(CHECKPOINTS).join("step-x")).unwrap();
        let folder = RunFolder::open(dir.path()).unwrap();
        assert_eq!(steps(&folder), [10]);
        assert!(!partial.exists());
    }

    #[test]
    fn metrics_of_later_steps_and_torn_lines_are_dropped() {
        let (dir, folder) = folder_with(&[]);
        for step in 1..=3 {
            folder.append_metrics(&serde_json::json!({"step": step, "loss": 0.5})).unwrap();
        }
        let path = dir.path().join(METRICS);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"step\": 1, \"lo");
        std::fs::write(&path, text).unwrap();
        folder.truncate_metrics(2).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"loss\":0.5,\"step\":1}\n{\"loss\":0.5,\"step\":2}\n");
    }

    #[test]
    fn tensors_survive_the_file_and_garbage_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(OPTIMIZER);
        let tensors: Tensors = [("exp_avg.a".to_owned(), (vec![2, 1], vec![1.5, -0.0]))].into();
        write_tensors(&path, &tensors).unwrap();
        assert_eq!(read_tensors(&path).unwrap(), tensors);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read_tensors(&path).is_err(), "{length} bytes");
        }
    }
}
