//! The other processes of a run, as the trainer sees them.
//!
//! A window of samples, which makes one optimizer step, has the same batches for any number of processes. They are dealt out: batch `i`
//! is computed by process `i mod size`. So shuffling, dropout, the learning rate and what a checkpoint means do not depend on how many
//! there are; only the order in which gradients are added does.

use process_group::{Deal, ProcessGroup};
use serde_json::Value;

use super::observer::Metrics;
use crate::backend::Backend;
use crate::feature_cache::Hasher;
use crate::model::Model;
use crate::{Error, Result};

/// All processes of a run; a run of one process has none beside itself.
#[derive(Clone, Copy)]
pub(super) struct Peers<'a>(Option<&'a dyn ProcessGroup>);

impl<'a> Peers<'a> {
    pub(super) fn new(group: Option<&'a dyn ProcessGroup>) -> Self {
        Self(group.filter(|group| group.size() > 1))
    }

    /// The group, where there is more than one process.
    pub(super) fn group(self) -> Option<&'a dyn ProcessGroup> {
        self.0
    }

    pub(super) fn size(self) -> usize {
        self.0.map_or(1, ProcessGroup::size)
    }

    /// Whether this is the process that writes.
    pub(super) fn is_first(self) -> bool {
        self.0.is_none_or(|group| group.rank() == 0)
    }

    /// How batches of so many samples are dealt out.
    pub(super) fn deal(self, batch: usize) -> Deal {
        Deal::new(self.0, batch)
    }

    /// Whether everybody is still there.
    pub(super) fn check(self) -> Result<()> {
        self.0.map_or(Ok(()), |group| Ok(group.check()?))
    }

    /// What all processes have of something that was dealt out by `per`, in its own order; and whether one of them wants the end.
    pub(super) fn merged(self, mine: Vec<f64>, per: usize, is_stopped: bool) -> Result<(Vec<f64>, bool)> {
        Ok(process_group::merge(self.0, mine, per, is_stopped)?)
    }

    /// The measures of the first process, so that all decide alike; the end, where one of them wants it.
    pub(super) fn agreed(self, mine: Result<Metrics>) -> Result<Metrics> {
        let Some(group) = self.0 else { return mine };
        let mut told = vec![u8::from(matches!(mine, Err(Error::Stopped)))];
        match mine {
            Ok(metrics) => metrics.iter().for_each(|(name, value)| {
                told.extend(value.to_le_bytes());
                told.extend(format!("{name}\n").into_bytes());
            }),
            Err(Error::Stopped) => {}
            Err(error) => return Err(error),
        }
        let all = group.all_gather(&told)?;
        if all.iter().any(|told| told.first() == Some(&1)) {
            return Err(Error::Stopped);
        }
        Ok(read_metrics(&all[0][1..]))
    }

    /// Sees that all processes train the same; every one of them finds the same difference.
    pub(super) fn agree(self, what: &Value) -> Result<()> {
        let Some(group) = self.0 else { return Ok(()) };
        let all = group.all_gather(what.to_string().as_bytes())?;
        let read = |bytes: &Vec<u8>| serde_json::from_slice(bytes).unwrap_or(Value::Null);
        let all: Vec<Value> = all.iter().map(read).collect();
        for (rank, other) in all.iter().enumerate().skip(1) {
            if let Some(difference) = difference("", &all[0], other) {
                return Err(Error::Peers {
                    reason: format!("process {rank} does not train what process 0 does: {difference}"),
                });
            }
        }
        Ok(())
    }

    /// Gives all processes the adapter of the first one.
    pub(super) fn share_adapter<B: Backend>(self, model: &mut Model<B>) -> Result<()> {
        let backend = std::sync::Arc::clone(model.backend());
        self.share(backend.as_ref(), model.params_mut().iter_mut().map(|param| &mut param.value).collect())
    }

    /// Gives all processes these buffers of the first one.
    pub(super) fn share<B: Backend>(self, backend: &B, buffers: Vec<&mut B::Buffer>) -> Result<()> {
        let Some(group) = self.0 else { return Ok(()) };
        let mut bytes = Vec::new();
        if group.rank() == 0 {
            for buffer in &buffers {
                bytes.extend_from_slice(bytemuck::cast_slice(&backend.download(buffer)?));
            }
        }
        group.broadcast(&mut bytes)?;
        let mut rest = &bytes[..];
        for buffer in buffers {
            let Some((values, behind)) = rest.split_at_checked(4 * backend.len(buffer)) else {
                let reason = "process 0 has an adapter of another size".to_owned();
                return Err(Error::Peers { reason });
            };
            if group.rank() > 0 {
                *buffer = backend.upload(&bytemuck::pod_collect_to_vec(values))?;
            }
            rest = behind;
        }
        Ok(())
    }

    /// Sees that all processes hold the same adapter to the bit, so that a checkpoint of the first stands for all.
    pub(super) fn compare<B: Backend>(self, model: &Model<B>, step: usize) -> Result<()> {
        let Some(group) = self.0 else { return Ok(()) };
        let mut hash = Hasher::default();
        for param in model.params() {
            hash.add(bytemuck::cast_slice(&model.backend().download(&param.value)?));
        }
        let all = group.all_gather(&hash.finish())?;
        let Some(rank) = all.iter().position(|other| *other != all[0]) else { return Ok(()) };
        let reason = format!(
            "after step {step} process {rank} does not hold the same adapter as process 0: their machines compute differently"
        );
        Err(Error::Peers { reason })
    }
}

fn read_metrics(mut told: &[u8]) -> Metrics {
    let mut metrics = Metrics::new();
    while let Some((value, rest)) = told.split_first_chunk() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        metrics.push((String::from_utf8_lossy(&rest[..end]).into_owned(), f64::from_le_bytes(*value)));
        told = &rest[(end + 1).min(rest.len())..];
    }
    metrics
}

/// The first place at which two values differ, in words.
fn difference(path: &str, first: &Value, other: &Value) -> Option<String> {
    let (Value::Object(ours), Value::Object(theirs)) = (first, other) else {
        let short = |value: &Value| value.to_string().chars().take(80).collect::<String>();
        return (first != other).then(|| {
            format!("`{}` is {}, not {}", path.trim_start_matches('.'), short(other), short(first))
        });
    };
    let keys = ours.keys().chain(theirs.keys());
    let of =
        |value: &serde_json::Map<String, Value>, key: &str| value.get(key).cloned().unwrap_or(Value::Null);
    keys.into_iter().find_map(|key| difference(&format!("{path}.{key}"), &of(ours, key), &of(theirs, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_where_it_is() {
        let (one, two) =
            (serde_json::json!({"a": {"b": 1, "c": 2}}), serde_json::json!({"a": {"b": 1, "c": 3}}));
        assert_eq!(difference("", &one, &two).unwrap(), "`a.c` is 3, not 2");
        assert_eq!(difference("", &one, &one), None);
    }

    #[test]
    fn measures_are_told_to_the_bit() {
        let metrics = vec![("mae".to_owned(), 0.1 + 0.2), ("within 1".to_owned(), f64::NAN)];
        let told: Vec<u8> = metrics
            .iter()
            .flat_map(|(name, value)| [&value.to_le_bytes()[..], name.as_bytes(), b"\n"].concat())
            .collect();
        let read = read_metrics(&told);
        let bits = |metrics: &Metrics| {
            metrics.iter().map(|(name, value)| (name.clone(), value.to_bits())).collect::<Vec<_>>()
        };
        assert_eq!(bits(&read), bits(&metrics));
    }
}
