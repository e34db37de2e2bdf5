use std::path::Path;

use super::optimizer::{AdamW, Moments};
use super::run_folder::{Checkpoint, Tensors};
use super::state::TrainerState;
use crate::Result;
use crate::backend::Backend;
use crate::files::invalid_file;
use crate::model::{Model, Param};

/// The present state of a run as a checkpoint.
pub(super) fn checkpoint_of<B: Backend>(
    model: &Model<B>,
    optimizer: &AdamW<B>,
    state: &TrainerState,
) -> Result<Checkpoint> {
    let mut tensors = Tensors::new();
    for (Param { name, shape, .. }, Moments { first, second }) in
        model.params().iter().zip(optimizer.moments())
    {
        let backend = model.backend();
        tensors.insert(format!("exp_avg.{name}"), (shape.clone(), backend.download(first)?));
        tensors.insert(format!("exp_avg_sq.{name}"), (shape.clone(), backend.download(second)?));
    }
    Ok(Checkpoint { state: state.clone(), adapter: model.adapter()?, optimizer: tensors })
}

/// Brings model and optimizer to where a checkpoint stands.
pub(super) fn restore<B: Backend>(
    model: &mut Model<B>,
    optimizer: &mut AdamW<B>,
    checkpoint: &Checkpoint,
    path: &Path,
) -> Result<()> {
    model.attach_adapter(&checkpoint.adapter)?;
    let backend = std::sync::Arc::clone(model.backend());
    let moment = |prefix: &str, param: &Param<B>| {
        let name = format!("{prefix}.{}", param.name);
        let stored = checkpoint.optimizer.get(&name).filter(|(shape, _)| *shape == param.shape);
        let Some((_, values)) = stored else {
            let problem = format!("`{name}` is missing or misshapen");
            return Err(invalid_file(path, "checkpoint of this run", problem));
        };
        backend.upload(values)
    };
    for (param, moments) in model.params().iter().zip(optimizer.moments_mut()) {
        moments.first = moment("exp_avg", param)?;
        moments.second = moment("exp_avg_sq", param)?;
    }
    Ok(())
}
